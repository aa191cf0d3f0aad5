#include "format/catalog_record.h"

#include <algorithm>
#include <cstring>

#include "base/bytes.h"

namespace hozon::format {
namespace {

bool all_zero(std::span<const std::byte> bytes) {
  return std::ranges::all_of(bytes, [](std::byte byte) { return byte == std::byte{0}; });
}

bool name_is_sound(const CatalogRecord& record, size_t least, size_t most) {
  if (record.name_length < least || record.name_length > most) return false;
  const auto bytes = std::as_bytes(std::span(record.name));
  return all_zero(bytes.subspan(record.name_length));
}

bool volume_is_sound(const CatalogRecord& record) {
  return record.kind == 0 && record.height == 0 && record.root.is_null() && record.link != 0 &&
         record.volume_id == 0 && record.size_bytes == 0 && record.set_id == 0 &&
         name_is_sound(record, 1, kVolumeNameMax);
}

bool point_is_sound(const CatalogRecord& record, uint64_t total_blocks) {
  constexpr uint8_t kSnapshotKind = 2;
  const bool named = record.kind == kSnapshotKind;
  return record.kind >= 1 && record.kind <= 4 && record.height <= kHeightMax &&
         record.volume_id != 0 && record.size_bytes % 512 == 0 &&
         is_plausible(record.root, total_blocks) && (record.height > 0 || record.root.is_null()) &&
         name_is_sound(record, named ? 1 : 0, named ? kPointNameMax : 0);
}

}  // namespace

void CatalogRecord::set_name(const std::string& text) {
  HOZON_CHECK(text.size() < name.size());
  name.fill(0);
  std::memcpy(name.data(), text.data(), text.size());
  name_length = static_cast<uint16_t>(text.size());
}

Status validate(const CatalogRecord& record, uint64_t total_blocks) {
  const auto damaged = [&](std::string_view why) {
    return make_error(Code::kCorruption, "catalog record of object {} {}",
                      static_cast<uint64_t>(record.id), why);
  };
  if (record.type == static_cast<uint8_t>(RecordType::kFree)) {
    if (!all_zero(bytes_of(record))) return damaged("is marked free but not empty");
    return {};
  }
  if (record.reserved0 != 0 || record.reserved1 != 0 ||
      !all_zero(std::as_bytes(std::span(record.reserved2))) ||
      !all_zero(std::as_bytes(std::span(record.reserved3))))
    return damaged("has reserved bytes that are not zero");
  if (record.id == 0) return damaged("has no id");
  if (record.type == static_cast<uint8_t>(RecordType::kVolume)) {
    if (!volume_is_sound(record)) return damaged("is not a possible volume");
    return {};
  }
  if (record.type != static_cast<uint8_t>(RecordType::kPoint))
    return damaged("has an unknown type");
  if (!point_is_sound(record, total_blocks)) return damaged("is not a possible point");
  return {};
}

}  // namespace hozon::format
