// tests/rot/damage.h
// The ways in which a medium gives back something else than was written.
#pragma once

#include <vector>

#include "disk_map.h"
#include "sample_pool.h"

namespace hozon::rot {

enum class Damage : uint8_t { kBitFlip, kZeroed, kStale, kSwapped };
inline constexpr Damage kDamages[] = {Damage::kBitFlip, Damage::kZeroed, Damage::kStale,
                                      Damage::kSwapped};
std::string_view damage_name(Damage damage);

// Damages places[index] of the pool on `power`; a swap damages a second place too. Returns the
// places that hold something else now: none when there is no such damage (an old version of a
// thing that never changed).
// `old`: an earlier image of the pool and its places.
std::vector<Place> damage_place(sim::SimPower& power, const std::vector<Place>& places,
                                size_t index, Damage damage, const sim::SimPower& old,
                                const std::vector<Place>& old_places);

// What opening, reading and checking a damaged pool must show; empty, or what is wrong.
// `is_last_frame`: the damaged page of the journal is the last one, which nothing confirms.
struct Verdict {
  std::string wrong;
  bool refused = false;  // to open
  uint64_t reads_failed = 0;
};
Verdict judge_closed_pool(const sim::SimPower& power, const Sample& sample,
                          const std::vector<Place>& damaged, bool is_last_frame);

}  // namespace hozon::rot
