// Hostile superblocks and journal headers. What is accepted must be what format.md allows and
// encode to the same bytes; the checksum is mended first, so that the fuzzer gets past it.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "base/crc32c.h"
#include "base/result.h"
#include "format/superblock.h"

namespace {

using hozon::format::kBlockSize;
constexpr size_t kChecksumOffset = 12;

// All three structs keep their checksum at the same place, computed with the field as zero.
void mend_checksum(std::span<std::byte> block) {
  std::memset(block.data() + kChecksumOffset, 0, 4);
  const uint32_t crc = hozon::crc32c(block);
  for (size_t i = 0; i < 4; ++i)
    block[kChecksumOffset + i] = static_cast<std::byte>(crc >> (8 * i));
}

void check_superblock(std::span<const std::byte> block) {
  auto found = hozon::format::decode_superblock(block);
  if (!found) return;
  HOZON_CHECK(found->total_blocks >= hozon::format::kTotalBlocksMin);
  HOZON_CHECK(found->catalog_height <= hozon::format::kHeightMax);
  HOZON_CHECK(found->bitmap_height <= hozon::format::kHeightMax);
  HOZON_CHECK(is_plausible(found->catalog_root, found->total_blocks));
  HOZON_CHECK(is_plausible(found->bitmap_root, found->total_blocks));
  HOZON_CHECK(found->journal_offset <= found->journal_bytes);
  hozon::format::seal(*found);
  HOZON_CHECK(std::memcmp(&*found, block.data(), kBlockSize) == 0);
}

void check_journal_header(std::span<const std::byte> block) {
  auto found = hozon::format::decode_journal_header(block);
  if (!found) return;
  HOZON_CHECK(found->ring_bytes % kBlockSize == 0);
  hozon::format::seal(*found);
  HOZON_CHECK(std::memcmp(&*found, block.data(), kBlockSize) == 0);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  // As it came, at its own size.
  const auto raw = std::as_bytes(std::span(data, size));
  check_superblock(raw);
  check_journal_header(raw);
  // As one block with a right checksum.
  std::array<std::byte, kBlockSize> block{};
  std::copy_n(raw.begin(), std::min(size, kBlockSize), block.begin());
  mend_checksum(block);
  check_superblock(block);
  check_journal_header(block);
  return 0;
}
