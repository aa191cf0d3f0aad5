// src/format/catalog_record.h
// One volume or point as it lies in the catalog. docs/format.md, "Catalog".
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <type_traits>

#include "base/endian.h"
#include "base/result.h"
#include "format/pointer.h"

namespace hozon::format {

enum class RecordType : uint8_t { kFree = 0, kVolume = 1, kPoint = 2 };
inline constexpr size_t kVolumeNameMax = 128;
inline constexpr size_t kPointNameMax = 255;

struct CatalogRecord {
  uint8_t type;
  uint8_t kind;
  uint8_t height;
  uint8_t reserved0;
  Le<uint16_t> name_length;
  Le<uint16_t> reserved1;
  Le<uint64_t> id;
  Le<uint64_t> link;
  Le<uint64_t> volume_id;
  Le<uint64_t> size_bytes;
  Le<uint64_t> created_ns;
  Le<uint64_t> set_id;
  Pointer root;
  std::array<uint8_t, 56> reserved2;
  std::array<char, 256> name;
  std::array<uint8_t, 128> reserved3;

  std::string name_text() const { return std::string(name.data(), name_length); }
  void set_name(const std::string& text);
};
static_assert(sizeof(CatalogRecord) == 512 && alignof(CatalogRecord) == 1);
static_assert(offsetof(CatalogRecord, id) == 8 && offsetof(CatalogRecord, size_bytes) == 32);
static_assert(offsetof(CatalogRecord, root) == 56 && offsetof(CatalogRecord, name) == 128);
static_assert(std::has_unique_object_representations_v<CatalogRecord>);

inline constexpr uint64_t kRecordsPerBlock = kBlockSize / sizeof(CatalogRecord);

// Checks one record by itself (a free one must be all zeros); kCorruption says what is wrong.
Status validate(const CatalogRecord& record, uint64_t total_blocks);

}  // namespace hozon::format
