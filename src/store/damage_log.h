// src/store/damage_log.h
// The quarantine list: places of the pool that were found damaged and are still in use.
//
// Reads, checks and scrubs note what they find. A place leaves the list when nothing uses its block
// any more, or when a whole scrub did not find it again. The list lives in memory: a restart
// forgets it, since every read and every scrub finds again what is still there.
// Threading: the pool's thread.
#pragma once

#include <vector>

#include "store/bitmap.h"
#include "store/types.h"

namespace hozon::store {

class DamageLog {
 public:
  static constexpr size_t kPlacesMax = 256;

  // True when the place was not known yet. Sets its times.
  bool note(DamagedPlace place, uint64_t wall_ns);
  // The blocks belong to nothing any more.
  void forget(Run freed);
  // A scrub that began then has seen everything.
  void forget_older(uint64_t wall_ns);
  const std::vector<DamagedPlace>& places() const { return places_; }
  uint64_t count() const { return places_.size() + left_out_; }

 private:
  std::vector<DamagedPlace> places_;
  uint64_t left_out_ = 0;
};

}  // namespace hozon::store
