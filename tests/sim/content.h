// tests/sim/content.h
// What the simulated guests write. A stamp names the content of a 512-byte sector: 0 is zeros; an
// ordinary stamp is a number that no other write has, spread over the sector together with the
// sector's address, so that stale, misplaced and mixed data are told apart; a custom stamp names
// bytes kept in a table (for writes smaller than a sector).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "page_image.h"

namespace hozon::sim {

using SectorBytes = std::array<std::byte, kSectorSize>;
inline constexpr uint64_t kCustomStamp = uint64_t{1} << 63;

class Contents {
 public:
  uint64_t new_stamp() { return ++stamps_; }
  uint64_t new_custom(const SectorBytes& bytes) {
    custom_.push_back(bytes);
    return kCustomStamp | (custom_.size() - 1);
  }
  void fill(uint64_t stamp, uint64_t sector, std::span<std::byte> into) const;
  bool matches(uint64_t stamp, uint64_t sector, std::span<const std::byte> bytes) const;
  // "zeros", "stamp 17 of sector 5", "stamp 17 mixed with others", for messages.
  std::string describe(uint64_t sector, std::span<const std::byte> bytes) const;

 private:
  uint64_t stamps_ = 0;
  std::vector<SectorBytes> custom_;
};

}  // namespace hozon::sim
