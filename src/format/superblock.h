// src/format/superblock.h
// The root of a pool and the header of its journal. docs/format.md, "superblocks" and "journal".
// Pure functions: bytes in, verdict out.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>

#include "base/endian.h"
#include "base/result.h"
#include "format/pointer.h"

namespace hozon::format {

using PoolId = std::array<uint8_t, 16>;
inline constexpr uint32_t kFormatVersion = 1;
// Feature bits of Superblock::incompatible.
inline constexpr uint64_t kJournalInData = 1;  // the journal stands in `data`, behind the blocks
inline constexpr uint64_t kKnownIncompatible = kJournalInData;
inline constexpr uint64_t kBitsPerBlock = kBlockSize * 8;
inline constexpr uint64_t kTotalBlocksMin = 256;  // a pool of 1 MiB
inline constexpr uint64_t kRingBytesMin = uint64_t{64} << 10;
inline constexpr uint64_t kJournalHeaderBytes = kBlockSize;

struct Superblock {
  std::array<uint8_t, 8> magic;
  Le<uint32_t> version;
  Le<uint32_t> crc32c;
  PoolId pool_id;
  Le<uint64_t> incompatible;
  Le<uint64_t> generation;
  Le<uint64_t> epoch;
  Le<uint64_t> total_blocks;
  Le<uint64_t> journal_bytes;
  Le<uint64_t> journal_offset;
  Le<uint64_t> journal_sequence;
  Le<uint64_t> next_id;
  Le<uint64_t> written_ns;
  Pointer catalog_root;
  Le<uint64_t> catalog_blocks;
  Pointer bitmap_root;
  Le<uint64_t> bitmap_blocks;
  uint8_t catalog_height;
  uint8_t bitmap_height;
  std::array<uint8_t, 3942> reserved;
};
static_assert(sizeof(Superblock) == kBlockSize && alignof(Superblock) == 1);
static_assert(offsetof(Superblock, pool_id) == 16 && offsetof(Superblock, generation) == 40);
static_assert(offsetof(Superblock, journal_offset) == 72 && offsetof(Superblock, next_id) == 88);
static_assert(offsetof(Superblock, catalog_root) == 104 &&
              offsetof(Superblock, bitmap_root) == 128);
static_assert(offsetof(Superblock, catalog_height) == 152 && offsetof(Superblock, reserved) == 154);
static_assert(std::has_unique_object_representations_v<Superblock>);

struct JournalHeader {
  std::array<uint8_t, 8> magic;
  Le<uint32_t> version;
  Le<uint32_t> crc32c;
  PoolId pool_id;
  Le<uint64_t> ring_bytes;
  std::array<uint8_t, 4056> reserved;
};
static_assert(sizeof(JournalHeader) == kBlockSize && alignof(JournalHeader) == 1);
static_assert(std::has_unique_object_representations_v<JournalHeader>);

// Sets magic, version and checksum.
void seal(Superblock& superblock);
void seal(JournalHeader& header);

// kCorruption: not ours, or damaged. kUnimplemented: a version or feature this program does not
// know.
Result<Superblock> decode_superblock(std::span<const std::byte> block);
Result<JournalHeader> decode_journal_header(std::span<const std::byte> block);

}  // namespace hozon::format
