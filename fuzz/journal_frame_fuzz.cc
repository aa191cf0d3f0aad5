// Hostile journal frames. An accepted frame lies within the bytes that were there, and its records
// survive encoding and decoding again. Length and checksum are mended first, so that the fuzzer
// gets to the records.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>

#include "base/crc32c.h"
#include "base/result.h"
#include "format/journal_frame.h"

namespace {

using namespace hozon::format;

void put32(std::string& bytes, size_t at, uint32_t value) {
  for (size_t i = 0; i < 4; ++i) bytes[at + i] = static_cast<char>(value >> (8 * i));
}

void check_frame(std::span<const std::byte> bytes) {
  const auto header = decode_frame(bytes);
  if (!header) return;
  HOZON_CHECK(header->length <= bytes.size() && header->length <= kFrameBytesMax);
  const auto records = decode_records(bytes.first(header->length));
  if (!records) return;
  HOZON_CHECK(records->size() == header->record_count);
  std::string again;
  reserve_frame(again);
  for (const Record& record : *records) encode(record, again);
  seal_frame(again, *header);
  const auto once_more = decode_records(std::as_bytes(std::span(again)));
  HOZON_CHECK(once_more && *once_more == *records);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  check_frame(std::as_bytes(std::span(data, size)));
  if (size < sizeof(FrameHeader)) return 0;
  std::string frame(reinterpret_cast<const char*>(data), std::min<size_t>(size, kFrameBytesMax));
  frame.resize(frame.size() & ~size_t{7});
  put32(frame, 8, static_cast<uint32_t>(frame.size()));
  put32(frame, 4, 0);
  put32(frame, 4, hozon::crc32c(std::as_bytes(std::span(frame))));
  check_frame(std::as_bytes(std::span(frame)));
  return 0;
}
