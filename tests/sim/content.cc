// tests/sim/content.cc
// Every word depends on stamp, address and position, so that no part of a sector can be exchanged
// unseen; the arithmetic is one multiplication per word, because comparing is most of what we do.

#include "content.h"

#include <cstring>

#include "random.h"

namespace hozon::sim {
namespace {

using Words = std::array<uint64_t, kSectorSize / 8>;

Words ordinary(uint64_t stamp, uint64_t sector) {
  Words words;
  const uint64_t base = mix(stamp ^ (sector << 40));
  words[0] = stamp;
  words[1] = sector;
  for (size_t i = 2; i < words.size(); ++i) words[i] = (base + i) * 0x9e3779b97f4a7c15;
  return words;
}

}  // namespace

void Contents::fill(uint64_t stamp, uint64_t sector, std::span<std::byte> into) const {
  HOZON_CHECK(into.size() == kSectorSize);
  if (stamp == 0) {
    std::memset(into.data(), 0, into.size());
  } else if ((stamp & kCustomStamp) != 0) {
    std::memcpy(into.data(), custom_[stamp & ~kCustomStamp].data(), kSectorSize);
  } else {
    const Words words = ordinary(stamp, sector);
    std::memcpy(into.data(), words.data(), kSectorSize);
  }
}

bool Contents::matches(uint64_t stamp, uint64_t sector, std::span<const std::byte> bytes) const {
  if ((stamp & kCustomStamp) != 0)
    return std::memcmp(bytes.data(), custom_[stamp & ~kCustomStamp].data(), kSectorSize) == 0;
  uint64_t first;
  std::memcpy(&first, bytes.data(), 8);
  if (first != stamp) return false;
  static constexpr SectorBytes kZeros{};
  if (stamp == 0) return std::memcmp(bytes.data(), kZeros.data(), kSectorSize) == 0;
  const Words words = ordinary(stamp, sector);
  return std::memcmp(bytes.data(), words.data(), kSectorSize) == 0;
}

std::string Contents::describe(uint64_t sector, std::span<const std::byte> bytes) const {
  if (matches(0, sector, bytes)) return "zeros";
  std::array<uint64_t, 2> head;
  std::memcpy(head.data(), bytes.data(), sizeof(head));
  if (matches(head[0], head[1], bytes))
    return fmt::format("stamp {} of sector {}", head[0], head[1]);
  for (size_t i = 0; i < custom_.size(); ++i)
    if (std::memcmp(custom_[i].data(), bytes.data(), kSectorSize) == 0)
      return fmt::format("custom {}", i);
  return fmt::format("no content that was ever written (begins {:016x} {:016x})", head[0], head[1]);
}

}  // namespace hozon::sim
