// src/qemu/ram_image.h
// The header of a memory image, and the checksum over its pages. On disk: docs/memory-image.md.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "base/endian.h"
#include "base/result.h"
#include "base/units.h"

namespace hozon {

constexpr uint64_t kPageBytes = 4096;
constexpr uint64_t kRamHeaderBytes = 4096;
constexpr uint64_t kRamTailBytes = 64_MiB;
constexpr uint64_t kThinBytesMax = kRamTailBytes - kRamHeaderBytes;

struct RamImageHeader {
  std::array<uint8_t, 8> magic;  // "HOZONRAM"
  Le<uint32_t> version;
  Le<uint32_t> header_crc32c;  // of all 4096 bytes, this field taken as zero
  Le<uint64_t> ram_bytes;
  Le<uint64_t> thin_bytes;
  Le<uint64_t> insert_offset;
  Le<uint64_t> page_count;
  Le<uint32_t> thin_crc32c;
  Le<uint32_t> pages_crc32c;
  Le<uint32_t> ram_section;
  Le<uint32_t> reserved_word;
  std::array<char, 64> machine_type;
  std::array<uint8_t, 3968> reserved;
};
static_assert(sizeof(RamImageHeader) == kRamHeaderBytes && alignof(RamImageHeader) == 1);
static_assert(offsetof(RamImageHeader, ram_bytes) == 16);
static_assert(offsetof(RamImageHeader, page_count) == 40);
static_assert(offsetof(RamImageHeader, ram_section) == 56);
static_assert(offsetof(RamImageHeader, machine_type) == 64);
static_assert(std::has_unique_object_representations_v<RamImageHeader>);

constexpr uint64_t ram_header_offset(uint64_t ram_bytes) { return round_up(ram_bytes, 1_MiB); }
constexpr uint64_t ram_thin_offset(uint64_t ram_bytes) {
  return ram_header_offset(ram_bytes) + kRamHeaderBytes;
}

struct RamImageInfo {
  uint64_t ram_bytes = 0;
  uint64_t thin_bytes = 0;
  uint64_t insert_offset = 0;
  uint64_t page_count = 0;
  uint32_t thin_crc32c = 0;
  uint32_t pages_crc32c = 0;
  uint32_t ram_section = 0;
  std::string machine_type;
};

RamImageHeader encode_ram_header(const RamImageInfo& info);
// kNotFound: all zeros (no image was completed here). kCorruption: anything else that is not valid.
Result<RamImageInfo> decode_ram_header(const RamImageHeader& header, uint64_t ram_bytes);

// The checksum over the pages that are not all zeros, when they come in ascending order.
class PagesChecksum {
 public:
  void add(uint64_t page_number, uint32_t page_crc32c);
  uint32_t value() const { return value_; }
  uint64_t page_count() const { return page_count_; }

 private:
  uint32_t value_ = 0;
  uint64_t page_count_ = 0;
};

bool is_all_zeros(std::span<const std::byte> bytes);

}  // namespace hozon
