// Hostile journals of ext3 and ext4, in blocks of 1 KiB, of a file system with 4096 blocks. With
// checksums that fit or not, the answer comes after a bounded number of reads, and names only
// blocks that are there.
#include <algorithm>
#include <cstring>
#include <span>

#include "files/ext_journal.h"

namespace {

constexpr uint32_t kBlockBytes = 1024;
constexpr uint64_t kFilesystemBlocks = 4096;
constexpr size_t kSizeMax = 256 << 10;

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace hozon;
  const auto bytes = std::as_bytes(std::span(data, std::min(size, kSizeMax)));
  const uint64_t blocks = bytes.size() / kBlockBytes;
  uint64_t reads = 0;
  const auto read = [&](uint64_t index, std::span<std::byte> into) -> Status {
    HOZON_CHECK(index < blocks && into.size() == kBlockBytes);
    ++reads;
    std::memcpy(into.data(), bytes.data() + index * kBlockBytes, kBlockBytes);
    return {};
  };
  const auto replay = files::replay_ext_journal(
      {.blocks = blocks, .block_bytes = kBlockBytes, .filesystem_blocks = kFilesystemBlocks}, read);
  // Each block once in the scan, once more in the pass that uses it, once for its checksum.
  HOZON_CHECK(reads <= 1 + 3 * blocks);
  if (!replay) return 0;
  for (const auto& [block, copy] : replay->copies)
    HOZON_CHECK(block < kFilesystemBlocks && copy.journal_block > 0 && copy.journal_block < blocks);
  return 0;
}
