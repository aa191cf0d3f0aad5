// Hostile catalog records: what validate() accepts can be used without looking again.
#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "base/result.h"
#include "format/catalog_record.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace hozon::format;
  std::array<uint8_t, sizeof(CatalogRecord)> bytes{};
  std::copy_n(data, std::min(size, bytes.size()), bytes.begin());
  const auto record = std::bit_cast<CatalogRecord>(bytes);
  constexpr uint64_t kTotalBlocks = 1 << 20;
  if (!validate(record, kTotalBlocks)) return 0;
  if (record.type == static_cast<uint8_t>(RecordType::kFree)) {
    HOZON_CHECK(std::ranges::all_of(bytes, [](uint8_t byte) { return byte == 0; }));
    return 0;
  }
  const bool is_volume = record.type == static_cast<uint8_t>(RecordType::kVolume);
  HOZON_CHECK(is_volume || record.type == static_cast<uint8_t>(RecordType::kPoint));
  HOZON_CHECK(record.id > 0);
  HOZON_CHECK(record.name_length <= (is_volume ? kVolumeNameMax : kPointNameMax));
  HOZON_CHECK(record.height <= kHeightMax);
  HOZON_CHECK(record.size_bytes % 512 == 0);
  HOZON_CHECK(is_volume ? record.root.is_null() : is_plausible(record.root, kTotalBlocks));
  HOZON_CHECK(record.name_text().size() == record.name_length);
  return 0;
}
