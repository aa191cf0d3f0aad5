#include "control/time_zone.h"

#include <chrono>
#include <filesystem>
#include <limits>

namespace hozon::control {
namespace {

using Seconds = cctz::time_point<cctz::seconds>;

Seconds point_of(int64_t instant_s) { return Seconds(cctz::seconds(instant_s)); }
int64_t instant_of(const Seconds& point) { return point.time_since_epoch().count(); }

// cctz would also take paths and a notation of its own.
bool is_plain_name(const std::string& name) {
  if (name.empty() || name.size() > 64 || name.front() == '/' || name.front() == '.') return false;
  for (const char c : name) {
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    if (!letter && c != '/' && c != '_' && c != '-' && c != '+') return false;
  }
  return true;
}

}  // namespace

Result<TimeZone> TimeZone::of(const std::string& name) {
  cctz::time_zone zone;
  if (is_plain_name(name) && cctz::load_time_zone(name, &zone)) return TimeZone(name, zone);
  return make_error(Code::kInvalidArgument,
                    "'{}' is not a time zone such as Europe/Berlin, Asia/Tokyo or UTC", name);
}

std::string TimeZone::name_of_host() {
  std::error_code error;
  const std::string place = std::filesystem::canonical("/etc/localtime", error).string();
  const std::string root = "zoneinfo/";
  const size_t at = place.find(root);
  if (error || at == std::string::npos) return "UTC";
  std::string name = place.substr(at + root.size());
  if (name == "Etc/UTC") name = "UTC";
  return of(name) ? name : "UTC";
}

cctz::civil_second TimeZone::local(int64_t instant_s) const {
  return zone_.lookup(point_of(instant_s)).cs;
}

int64_t TimeZone::first_instant(const cctz::civil_second& local) const {
  const auto found = zone_.lookup(local);
  const bool skipped = found.kind == cctz::time_zone::civil_lookup::SKIPPED;
  return instant_of(skipped ? found.trans : found.pre);
}

int64_t TimeZone::next_change(int64_t instant_s) const {
  cctz::time_zone::civil_transition change;
  if (!zone_.next_transition(point_of(instant_s), &change))
    return std::numeric_limits<int64_t>::max();
  return instant_of(zone_.lookup(change.to).trans);
}

std::string TimeZone::text(int64_t instant_s) const {
  return cctz::format("%Y-%m-%d %H:%M %Z", point_of(instant_s), zone_);
}

}  // namespace hozon::control
