// src/control/schedule_rule.h
// When a schedule runs: a rule in words, and the instants that it means in a time zone. Pure: no
// clock, no I/O.
//
//   hourly at :15,:45                    also "hourly", at :00
//   daily at 02:00,14:30                 also "daily", at 00:00
//   weekly on mon-fri,sun at 02:00
//   cron 30 2 1,15 * mon-fri             minute, hour, day of month, month, day of week; lists,
//                                        ranges, steps (*/5), names. When both days are given,
//                                        either is enough, as everywhere.
// When clocks change
//   A local time that does not exist runs once at the end of the gap. One that exists twice runs at
//   the first. Rules that name no hour (hourly; cron with * or */n for the hour) follow elapsed
//   time instead: a gap leaves nothing to make up for, and a repeated hour has its runs again.
// Threading: values.
#pragma once

#include <bitset>
#include <optional>
#include <string>
#include <string_view>

#include "control/time_zone.h"

namespace hozon::control {

class ScheduleRule {
 public:
  // kInvalidArgument names the part that is wrong, also of a rule that never comes true.
  static Result<ScheduleRule> parse(std::string_view text);
  // The same rule, written one way.
  const std::string& text() const { return text_; }
  // The first run after `instant_s`; nothing when there is none within kHorizonYears.
  std::optional<int64_t> next_after(int64_t instant_s, const TimeZone& zone) const;

  static constexpr int kHorizonYears = 12;  // leap days are at most 8 years apart
  static constexpr size_t kTextMax = 200;

 private:
  friend class RuleReader;
  std::optional<cctz::civil_minute> next_local(cctz::civil_minute from) const;
  bool is_day(const cctz::civil_day& day) const;
  std::optional<int64_t> next_elapsed(int64_t instant_s, const TimeZone& zone) const;

  std::string text_;
  std::bitset<24 * 60> minutes_;  // of a day that counts
  std::bitset<32> month_days_;    // 1..31
  std::bitset<13> months_;        // 1..12
  std::bitset<7> week_days_;      // 0: Monday
  bool either_day_ = false;       // one of month_days_ and week_days_ is enough
  bool follows_elapsed_ = false;
};

}  // namespace hozon::control
