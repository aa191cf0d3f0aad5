// src/format/pointer.h
// The 16-byte checksummed reference to a block. docs/format.md, "Pointer" and "Map node".
#pragma once

#include <array>
#include <cstdint>
#include <type_traits>

#include "base/endian.h"

namespace hozon::format {

inline constexpr uint64_t kBlockSize = 4096;
inline constexpr uint32_t kPointersPerNode = 256;
inline constexpr uint8_t kHeightMax = 5;
inline constexpr uint64_t kFirstUsableBlock = 2;  // 0 and 1 are superblocks

inline constexpr uint32_t kPointerOwned = 1;

struct Pointer {
  Le<uint64_t> block;
  Le<uint32_t> crc32c;
  Le<uint32_t> flags;

  bool is_null() const { return block == 0; }
  bool is_owned() const { return (flags & kPointerOwned) != 0; }
};
static_assert(sizeof(Pointer) == 16 && alignof(Pointer) == 1);
static_assert(offsetof(Pointer, crc32c) == 8 && offsetof(Pointer, flags) == 12);
static_assert(std::has_unique_object_representations_v<Pointer>);

struct alignas(kBlockSize) NodeBlock {
  std::array<Pointer, kPointersPerNode> pointers;
};
static_assert(sizeof(NodeBlock) == kBlockSize);

// How many blocks one slot of a node at `level` (1..kHeightMax) covers.
constexpr uint64_t slot_blocks(uint8_t level) { return uint64_t{1} << (8 * (level - 1)); }
// Smallest height whose tree holds `blocks` blocks.
constexpr uint8_t height_for(uint64_t blocks) {
  uint8_t height = 0;
  uint64_t reach = 1;
  while (height < kHeightMax && (height == 0 ? blocks > 0 : reach < blocks)) {
    reach <<= 8;
    ++height;
  }
  return height;
}
static_assert(height_for(0) == 0 && height_for(1) == 1 && height_for(256) == 1);
static_assert(height_for(257) == 2 && height_for(65536) == 2 && height_for(65537) == 3);

// Whether a pointer read from disk may be followed in a pool of `total_blocks`.
constexpr bool is_plausible(const Pointer& pointer, uint64_t total_blocks) {
  if ((pointer.flags & ~kPointerOwned) != 0) return false;
  if (pointer.block == 0) return pointer.crc32c == 0;
  return pointer.block >= kFirstUsableBlock && pointer.block < total_blocks;
}

}  // namespace hozon::format
