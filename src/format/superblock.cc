#include "format/superblock.h"

#include <algorithm>
#include <cstring>

#include "base/bytes.h"
#include "base/crc32c.h"

namespace hozon::format {
namespace {

constexpr std::array<uint8_t, 8> kPoolMagic = {'H', 'O', 'Z', 'O', 'N', 'P', 'L', 0};
constexpr std::array<uint8_t, 8> kJournalMagic = {'H', 'O', 'Z', 'O', 'N', 'J', 'L', 0};

template <typename T>
uint32_t checksum_of(T copy) {
  copy.crc32c = 0;
  return crc32c(bytes_of(copy));
}

// What both headers share: magic first, then version, then checksum, then reserved bytes, so that
// a foreign file, a newer pool and a damaged one are told apart.
template <typename T>
Result<T> decode_header(std::span<const std::byte> block, const std::array<uint8_t, 8>& magic,
                        std::string_view what) {
  if (block.size() != sizeof(T))
    return make_error(Code::kCorruption, "{} is cut to {} bytes", what, block.size());
  T header;
  std::memcpy(&header, block.data(), sizeof(T));
  if (header.magic != magic)
    return make_error(Code::kCorruption, "{} does not begin with the mark of a Hozon pool", what);
  if (header.version != kFormatVersion)
    return make_error(Code::kUnimplemented,
                      "{} has format version {}, this program knows version {}; use a newer Hozon",
                      what, static_cast<uint32_t>(header.version), kFormatVersion);
  if (header.crc32c != checksum_of(header))
    return make_error(Code::kCorruption, "{} is damaged (checksum differs)", what);
  if (!std::ranges::all_of(header.reserved, [](uint8_t byte) { return byte == 0; }))
    return make_error(Code::kCorruption, "{} has reserved bytes that are not zero", what);
  return header;
}

bool is_tree(const Pointer& root, uint8_t height, uint64_t blocks, uint64_t total_blocks) {
  return is_plausible(root, total_blocks) && height == height_for(blocks) && blocks <= total_blocks;
}

}  // namespace

void seal(Superblock& superblock) {
  superblock.magic = kPoolMagic;
  superblock.version = kFormatVersion;
  superblock.crc32c = checksum_of(superblock);
}

void seal(JournalHeader& header) {
  header.magic = kJournalMagic;
  header.version = kFormatVersion;
  header.crc32c = checksum_of(header);
}

Result<Superblock> decode_superblock(std::span<const std::byte> block) {
  Superblock decoded = HOZON_TRY(decode_header<Superblock>(block, kPoolMagic, "superblock"));
  const uint64_t unknown = decoded.incompatible & ~kKnownIncompatible;
  if (unknown != 0)
    return make_error(Code::kUnimplemented,
                      "superblock asks for features {:#x} that this program does not know; "
                      "use a newer Hozon",
                      unknown);
  const uint64_t total = decoded.total_blocks;
  const uint64_t ring = decoded.journal_bytes;
  const bool sound =
      total >= kTotalBlocksMin && total <= (uint64_t{1} << 48) && ring >= kRingBytesMin &&
      ring % kBlockSize == 0 && decoded.journal_offset < ring &&
      decoded.journal_offset % kBlockSize == 0 && decoded.next_id > 0 &&
      decoded.bitmap_blocks == (total + kBitsPerBlock - 1) / kBitsPerBlock &&
      is_tree(decoded.catalog_root, decoded.catalog_height, decoded.catalog_blocks, total) &&
      is_tree(decoded.bitmap_root, decoded.bitmap_height, decoded.bitmap_blocks, total);
  if (!sound)
    return make_error(Code::kCorruption, "superblock has a right checksum but impossible values");
  return decoded;
}

Result<JournalHeader> decode_journal_header(std::span<const std::byte> block) {
  JournalHeader decoded =
      HOZON_TRY(decode_header<JournalHeader>(block, kJournalMagic, "journal header"));
  if (decoded.ring_bytes < kRingBytesMin || decoded.ring_bytes % kBlockSize != 0)
    return make_error(Code::kCorruption, "journal header has an impossible ring size");
  return decoded;
}

}  // namespace hozon::format
