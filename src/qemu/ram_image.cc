#include "qemu/ram_image.h"

#include <algorithm>
#include <cstring>

#include "base/bytes.h"
#include "base/crc32c.h"

namespace hozon {
namespace {

constexpr std::array<uint8_t, 8> kMagic = {'H', 'O', 'Z', 'O', 'N', 'R', 'A', 'M'};
constexpr uint32_t kVersion = 1;

uint32_t header_checksum(RamImageHeader header) {
  header.header_crc32c = 0;
  return crc32c(bytes_of(header));
}

}  // namespace

RamImageHeader encode_ram_header(const RamImageInfo& info) {
  RamImageHeader header{};
  header.magic = kMagic;
  header.version = kVersion;
  header.ram_bytes = info.ram_bytes;
  header.thin_bytes = info.thin_bytes;
  header.insert_offset = info.insert_offset;
  header.page_count = info.page_count;
  header.thin_crc32c = info.thin_crc32c;
  header.pages_crc32c = info.pages_crc32c;
  header.ram_section = info.ram_section;
  const size_t length = std::min(info.machine_type.size(), header.machine_type.size());
  std::copy_n(info.machine_type.begin(), length, header.machine_type.begin());
  header.header_crc32c = header_checksum(header);
  return header;
}

Result<RamImageInfo> decode_ram_header(const RamImageHeader& header, uint64_t ram_bytes) {
  if (is_all_zeros(bytes_of(header)))
    return make_error(Code::kNotFound, "the memory volume holds no complete memory image");
  if (header.magic != kMagic)
    return make_error(Code::kCorruption, "the memory image has no valid header (wrong magic)");
  if (header.header_crc32c != header_checksum(header))
    return make_error(Code::kCorruption, "the header of the memory image is damaged (checksum)");
  if (header.version != kVersion)
    return make_error(Code::kUnimplemented,
                      "the memory image has version {}; this program reads version {}",
                      uint32_t{header.version}, kVersion);
  RamImageInfo info;
  info.ram_bytes = header.ram_bytes;
  info.thin_bytes = header.thin_bytes;
  info.insert_offset = header.insert_offset;
  info.page_count = header.page_count;
  info.thin_crc32c = header.thin_crc32c;
  info.pages_crc32c = header.pages_crc32c;
  info.ram_section = header.ram_section;
  info.machine_type.assign(header.machine_type.begin(),
                           std::ranges::find(header.machine_type, '\0'));
  if (info.ram_bytes != ram_bytes)
    return make_error(Code::kCorruption, "the memory image is of a machine with {}, not {}",
                      format_bytes(info.ram_bytes), format_bytes(ram_bytes));
  if (info.thin_bytes > kThinBytesMax || info.insert_offset > info.thin_bytes ||
      info.page_count > info.ram_bytes / kPageBytes)
    return make_error(Code::kCorruption, "the header of the memory image contradicts itself");
  return info;
}

void PagesChecksum::add(uint64_t page_number, uint32_t page_crc32c) {
  struct Entry {
    Le<uint64_t> number;
    Le<uint32_t> crc;
  };
  static_assert(sizeof(Entry) == 12);
  value_ = crc32c(bytes_of(Entry{page_number, page_crc32c}), value_);
  ++page_count_;
}

bool is_all_zeros(std::span<const std::byte> bytes) {
  // The first byte is zero and every byte equals its predecessor.
  return bytes.empty() || (bytes[0] == std::byte{0} &&
                           std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0);
}

}  // namespace hozon
