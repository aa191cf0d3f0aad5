#include "control/retention.h"

#include <functional>

namespace hozon::control {
namespace {

using Period = std::function<int64_t(int64_t)>;  // which one an instant is in

int64_t days_since_epoch(const cctz::civil_second& local) {
  return cctz::civil_day(local) - cctz::civil_day(1970, 1, 1);
}

}  // namespace

std::vector<std::vector<std::string>> retain(const std::vector<RetentionItem>& items,
                                             const Retention& rules, const TimeZone& zone) {
  std::vector<std::vector<std::string>> reasons(items.size());
  std::vector<size_t> newest_first;
  for (size_t i = items.size(); i-- > 0;) {
    if (items[i].pinned)
      reasons[i].emplace_back("pinned");
    else
      newest_first.push_back(i);
  }
  if (rules.keeps_all())
    for (const size_t i : newest_first) reasons[i].emplace_back("all");
  if (newest_first.empty() || rules.keeps_all()) return reasons;

  const int64_t newest_s = items[newest_first.front()].at_s;
  for (size_t i = 0; i < newest_first.size() && i < rules.last; ++i)
    reasons[newest_first[i]].emplace_back("last");
  for (const size_t i : newest_first)
    if (rules.within_s != 0 && newest_s - items[i].at_s <= static_cast<int64_t>(rules.within_s))
      reasons[i].emplace_back("within");

  const auto keep_each = [&](uint64_t most, const char* name, const Period& period_of) {
    uint64_t kept = 0;
    int64_t last_period = 0;
    for (const size_t i : newest_first) {
      if (kept == most) return;
      const int64_t period = period_of(items[i].at_s);
      if (kept != 0 && period == last_period) continue;
      reasons[i].emplace_back(name);
      last_period = period;
      ++kept;
    }
  };
  const auto local = [&zone](int64_t at_s) { return zone.local(at_s); };
  // The instant at which the local hour began, so that a repeated hour is another one.
  keep_each(rules.hourly, "hourly", [&](int64_t at_s) {
    const cctz::civil_second then = local(at_s);
    return at_s - (then.minute() * 60 + then.second());
  });
  keep_each(rules.daily, "daily", [&](int64_t at_s) { return days_since_epoch(local(at_s)); });
  // 1970 began on a Thursday.
  keep_each(rules.weekly, "weekly",
            [&](int64_t at_s) { return (days_since_epoch(local(at_s)) + 3) / 7; });
  keep_each(rules.monthly, "monthly", [&](int64_t at_s) {
    return static_cast<int64_t>(local(at_s).year()) * 12 + local(at_s).month();
  });
  keep_each(rules.yearly, "yearly",
            [&](int64_t at_s) { return static_cast<int64_t>(local(at_s).year()); });
  if (reasons[newest_first.front()].empty()) reasons[newest_first.front()].emplace_back("newest");
  return reasons;
}

}  // namespace hozon::control
