#include "control/names.h"

#include <algorithm>
#include <ctime>

#include "base/units.h"

namespace hozon::control {
namespace {

bool is_plain(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool is_control(char c) {
  return static_cast<unsigned char>(c) < 0x20 || static_cast<unsigned char>(c) == 0x7f;
}

// Length of the well-formed UTF-8 sequence that `text` begins with; 0: none.
size_t utf8_sequence(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(0);
  const size_t length = first < 0x80   ? 1
                        : first < 0xc2 ? 0
                        : first < 0xe0 ? 2
                        : first < 0xf0 ? 3
                        : first < 0xf5 ? 4
                                       : 0;
  if (length == 0 || length > text.size()) return 0;
  for (size_t i = 1; i < length; ++i)
    if ((byte(i) & 0xc0) != 0x80) return 0;
  if ((first == 0xe0 && byte(1) < 0xa0) || (first == 0xed && byte(1) > 0x9f) ||
      (first == 0xf0 && byte(1) < 0x90) || (first == 0xf4 && byte(1) > 0x8f))
    return 0;
  return length;
}

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    const size_t length = utf8_sequence(text);
    if (length == 0) return false;
    text.remove_prefix(length);
  }
  return true;
}

Status check_text_name(std::string_view what, std::string_view name, size_t most) {
  const bool bad =
      name.empty() || name.size() > most || !is_utf8(name) || name.front() == '-' ||
      name.front() == ' ' || name.back() == ' ' ||
      std::ranges::any_of(name, [](char c) { return c == '@' || c == '/' || is_control(c); });
  if (!bad) return {};
  return make_error(Code::kInvalidArgument,
                    "'{}' cannot be a {} name: use 1 to {} bytes of text without '@' and '/' that "
                    "does not begin with '-'",
                    is_utf8(name) ? name : "(not UTF-8)", what, most);
}

}  // namespace

Status check_name(std::string_view what, std::string_view name, size_t most) {
  const bool good = !name.empty() && name.size() <= most && is_plain(name.front()) &&
                    std::ranges::all_of(name, [](char c) {
                      return is_plain(c) || c == '.' || c == '_' || c == '-';
                    });
  if (good) return {};
  return make_error(Code::kInvalidArgument,
                    "'{}' cannot be a {} name: use 1 to {} letters, digits, '.', '_' and '-', "
                    "beginning with a letter or digit",
                    is_utf8(name) ? name : "(not UTF-8)", what, most);
}

Status check_snapshot_name(std::string_view name) {
  return check_text_name("snapshot", name, kSnapshotNameMax);
}

Status check_point_name(std::string_view name) {
  return check_text_name("point", name, kPointNameMax);
}

Status check_description(std::string_view text) {
  if (text.size() <= kDescriptionMax && is_utf8(text)) return {};
  return make_error(Code::kInvalidArgument, "a description is UTF-8 text of at most {} bytes",
                    kDescriptionMax);
}

Status check_volume_size(uint64_t size_bytes) {
  if (size_bytes > 0 && size_bytes <= kVolumeBytesMax && size_bytes % kSectorBytes == 0) return {};
  return make_error(Code::kInvalidArgument,
                    "{} bytes cannot be a volume's size: use a multiple of 512 bytes, more than 0 "
                    "and at most 4 PiB",
                    size_bytes);
}

uint64_t wall_clock_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

uint64_t monotonic_us() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000 + static_cast<uint64_t>(now.tv_nsec) / 1000;
}

std::string name_with_time(std::string_view prefix, uint64_t wall_ns) {
  const auto seconds = static_cast<std::time_t>(wall_ns / 1'000'000'000);
  std::tm parts{};
  ::gmtime_r(&seconds, &parts);
  return fmt::format("{}{:04}{:02}{:02}T{:02}{:02}{:02}Z", prefix, parts.tm_year + 1900,
                     parts.tm_mon + 1, parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec);
}

std::string volume_of_disk(const std::string& machine, const std::string& disk) {
  return machine + "." + disk;
}

std::string disk_id(size_t index) { return std::string("vd") + static_cast<char>('a' + index); }

}  // namespace hozon::control
