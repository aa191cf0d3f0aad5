#include "control/names.h"

#include <algorithm>
#include <ctime>

#include "base/text.h"
#include "base/units.h"

namespace hozon::control {
namespace {

bool is_plain(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
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
