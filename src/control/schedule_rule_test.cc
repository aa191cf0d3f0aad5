// Proves: rules run when they say, over the changes of clocks of several zones.
// Method: besides named instants (spring gap, autumn repeat, a day that a country left out), whole
// years are compared with a model that shares nothing with the code: it walks every minute of the
// year, asks the C library (not cctz) for the local time, and compares the fields.
#include "control/schedule_rule.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <ctime>
#include <functional>

namespace hozon::control {
namespace {

using Civil = cctz::civil_second;

TimeZone zone_of(const std::string& name) { return *TimeZone::of(name); }

// The runs after `from`, as local texts.
std::vector<std::string> runs(const std::string& rule, const std::string& zone_name,
                              const cctz::civil_second& from, size_t count) {
  const TimeZone zone = zone_of(zone_name);
  const auto parsed = ScheduleRule::parse(rule);
  if (!parsed) return {parsed.error().what};
  std::vector<std::string> texts;
  int64_t at = zone.first_instant(from);
  while (texts.size() < count) {
    const auto next = parsed->next_after(at, zone);
    if (!next) break;
    at = *next;
    texts.push_back(zone.text(at));
  }
  return texts;
}

using Texts = std::vector<std::string>;

TEST(ScheduleRule, ATimeThatSpringLeavesOutRunsOnceAtTheEndOfTheGap) {
  EXPECT_EQ(runs("daily at 02:30", "Europe/Berlin", Civil(2026, 3, 28, 12, 0, 0), 2),
            (Texts{"2026-03-29 03:00 CEST", "2026-03-30 02:30 CEST"}));
  EXPECT_EQ(runs("daily at 02:00,02:30,03:00", "Europe/Berlin", Civil(2026, 3, 29, 1, 0, 0), 2),
            (Texts{"2026-03-29 03:00 CEST", "2026-03-30 02:00 CEST"}));
}

TEST(ScheduleRule, ATimeThatAutumnRepeatsRunsAtTheFirst) {
  EXPECT_EQ(runs("daily at 02:30", "Europe/Berlin", Civil(2026, 10, 24, 12, 0, 0), 2),
            (Texts{"2026-10-25 02:30 CEST", "2026-10-26 02:30 CET"}));
  // Asked in the repeated hour, the run of that day is over.
  const TimeZone berlin = zone_of("Europe/Berlin");
  const int64_t second_pass = berlin.first_instant(Civil(2026, 10, 25, 2, 10, 0)) + 3600;
  EXPECT_EQ(berlin.text(*ScheduleRule::parse("daily at 02:30")->next_after(second_pass, berlin)),
            "2026-10-26 02:30 CET");
}

TEST(ScheduleRule, HourlyRunsFollowElapsedTime) {
  EXPECT_EQ(runs("hourly at :15", "America/New_York", Civil(2026, 3, 8, 0, 30, 0), 3),
            (Texts{"2026-03-08 01:15 EST", "2026-03-08 03:15 EDT", "2026-03-08 04:15 EDT"}));
  EXPECT_EQ(runs("cron 15 * * * *", "America/New_York", Civil(2026, 11, 1, 0, 30, 0), 3),
            (Texts{"2026-11-01 01:15 EDT", "2026-11-01 01:15 EST", "2026-11-01 02:15 EST"}));
  // Clocks that move by half an hour.
  EXPECT_EQ(runs("hourly at :45", "Australia/Lord_Howe", Civil(2026, 4, 5, 0, 50, 0), 3).size(),
            3U);
}

TEST(ScheduleRule, ADayThatACountryLeftOutRunsWhenTheNextOneBegins) {
  EXPECT_EQ(runs("daily at 10:00", "Pacific/Apia", Civil(2011, 12, 29, 12, 0, 0), 2),
            (Texts{"2011-12-31 00:00 +14", "2011-12-31 10:00 +14"}));
}

TEST(ScheduleRule, LeapDaysAndEitherDayOfCron) {
  EXPECT_EQ(runs("cron 0 0 29 2 *", "UTC", Civil(2096, 3, 1, 0, 0, 0), 1),
            (Texts{"2104-02-29 00:00 UTC"}));
  EXPECT_EQ(runs("cron 0 0 13 * fri", "UTC", Civil(2026, 2, 5, 0, 0, 0), 3),
            (Texts{"2026-02-06 00:00 UTC", "2026-02-13 00:00 UTC", "2026-02-20 00:00 UTC"}));
  EXPECT_EQ(runs("cron 0 0 */2 * fri", "UTC", Civil(2026, 2, 6, 1, 0, 0), 1),
            (Texts{"2026-02-13 00:00 UTC"}));
}

TEST(ScheduleRule, OneRuleHasOneText) {
  const auto text = [](const std::string& rule) {
    const auto parsed = ScheduleRule::parse(rule);
    return parsed ? parsed->text() : parsed.error().what;
  };
  EXPECT_EQ(text("hourly"), "hourly at :00");
  EXPECT_EQ(text("DAILY  at 14:30,2:00"), "daily at 02:00,14:30");
  EXPECT_EQ(text("weekly on sunday,fri-sat"), "weekly on fri,sat,sun at 00:00");
  EXPECT_EQ(text("weekly on sat-mon at 03:00"), "weekly on mon,sat,sun at 03:00");
  EXPECT_EQ(text("cron 0 2 * * MON-FRI"), "cron 0 2 * * mon-fri");
  EXPECT_EQ(runs("cron 0 2 * * fri-sun", "UTC", Civil(2026, 2, 2, 0, 0, 0), 4),
            runs("weekly on fri,sat,sun at 02:00", "UTC", Civil(2026, 2, 2, 0, 0, 0), 4));
  EXPECT_EQ(runs("cron 0 2 * * 5-7", "UTC", Civil(2026, 2, 2, 0, 0, 0), 4),
            runs("cron 0 2 * * 5,6,0", "UTC", Civil(2026, 2, 2, 0, 0, 0), 4));
}

TEST(ScheduleRule, NamesThePartThatIsWrong) {
  const std::pair<const char*, const char*> kWrong[] = {
      {"", "a schedule is"},
      {"yearly", "not 'yearly'"},
      {"hourly at 15", "'15' is not a minute"},
      {"hourly at :60", "':60' is not a minute"},
      {"hourly at :1", "':1' is not a minute"},
      {"hourly :15", "':15' is not minutes"},
      {"daily at 24:00", "'24:00' is not a time"},
      {"daily at 2:5", "'2:5' is not a time"},
      {"daily at -1:00", "'-1:00' is not a time"},
      {"daily at 02:00,", "'' is not a time"},
      {"daily at 02:00 please", "is not times"},
      {"weekly at 02:00", "is not days"},
      {"weekly on mon,tusday at 02:00", "'tusday' is not a day"},
      {"weekly on mon at", "is not times"},
      {"cron 0 2 * *", "is not five fields"},
      {"cron 60 2 * * *", "'60' is not a minute of cron"},
      {"cron 0 2-1 * * *", "'2-1' is not a hour of cron"},
      {"cron 0 */0 * * *", "'*/0' is not a hour of cron"},
      {"cron 0 2 0 * *", "'0' is not a day of the month of cron"},
      {"cron 0 2 * foo *", "'foo' is not a month of cron"},
      {"cron 0 2 * * 8", "'8' is not a day of the week of cron"},
      {"cron 0 2 30 2 *", "'cron 0 2 30 2 *' never comes true"}};
  for (const auto& [rule, words] : kWrong) {
    const auto parsed = ScheduleRule::parse(rule);
    ASSERT_FALSE(parsed) << rule;
    EXPECT_EQ(parsed.error().code, Code::kInvalidArgument);
    EXPECT_NE(parsed.error().what.find(words), std::string::npos) << parsed.error().what;
  }
  EXPECT_FALSE(ScheduleRule::parse(std::string(1000, 'x')));
  for (const char* name : {"", "Mars/Base", "../../etc/passwd", "/etc/passwd", "file:x", "UTC "})
    EXPECT_FALSE(TimeZone::of(name)) << name;
}

// ---- a year, minute by minute ----

struct Form {
  const char* rule;
  bool elapsed;
  std::function<bool(const std::tm&)> matches;  // of a local minute
};

const Form kForms[] = {
    {"daily at 02:30,23:59", false,
     [](const std::tm& t) {
       return (t.tm_hour == 2 && t.tm_min == 30) || (t.tm_hour == 23 && t.tm_min == 59);
     }},
    {"weekly on sun,wed at 00:00,01:45", false,
     [](const std::tm& t) {
       return (t.tm_wday == 0 || t.tm_wday == 3) &&
              ((t.tm_hour == 0 && t.tm_min == 0) || (t.tm_hour == 1 && t.tm_min == 45));
     }},
    {"hourly at :00,:20", true, [](const std::tm& t) { return t.tm_min == 0 || t.tm_min == 20; }},
    {"cron */7 */3 * * *", true,
     [](const std::tm& t) { return t.tm_min % 7 == 0 && t.tm_hour % 3 == 0; }},
    {"cron 10-20/5 1-3 1,15 * sat", false, [](const std::tm& t) {
       return (t.tm_min == 10 || t.tm_min == 15 || t.tm_min == 20) && t.tm_hour >= 1 &&
              t.tm_hour <= 3 && (t.tm_mday == 1 || t.tm_mday == 15 || t.tm_wday == 6);
     }}};

// Local minutes as one number that grows by one with each, whatever the offset.
int64_t local_number(const std::tm& local) {
  std::tm copy = local;
  copy.tm_isdst = 0;
  return ::timegm(&copy) / 60;
}

std::vector<int64_t> model(const Form& form, int64_t from_s, int64_t to_s) {
  std::vector<int64_t> found;
  int64_t highest = INT64_MIN;  // of the local minutes so far
  for (int64_t at = from_s - 86400; at < to_s; at += 60) {
    std::tm local{};
    const std::time_t instant = at;
    ::localtime_r(&instant, &local);
    const int64_t number = local_number(local);
    bool runs = form.matches(local);
    if (!form.elapsed) {
      if (number <= highest) runs = false;
      for (int64_t left_out = highest + 1; highest != INT64_MIN && left_out < number; ++left_out) {
        const std::time_t fields = left_out * 60;
        std::tm missing{};
        ::gmtime_r(&fields, &missing);
        runs |= form.matches(missing);
      }
    }
    highest = std::max(highest, number);
    if (runs && at > from_s) found.push_back(at);
  }
  return found;
}

TEST(ScheduleRule, AYearIsWhatAWalkThroughItsMinutesFinds) {
  size_t compared = 0;
  for (const char* name : {"Europe/Berlin", "Australia/Lord_Howe", "Africa/Casablanca"}) {
    const TimeZone zone = zone_of(name);
    ::setenv("TZ", name, 1);
    ::tzset();
    const int64_t from = zone.first_instant(Civil(2026, 1, 1, 0, 0, 0));
    const int64_t to = zone.first_instant(Civil(2027, 1, 1, 0, 0, 0));
    for (const Form& form : kForms) {
      const ScheduleRule rule = *ScheduleRule::parse(form.rule);
      const std::vector<int64_t> wanted = model(form, from, to);
      std::vector<int64_t> found;
      for (auto at = rule.next_after(from, zone); at && *at < to; at = rule.next_after(*at, zone))
        found.push_back(*at);
      compared += wanted.size();
      ASSERT_EQ(found.size(), wanted.size()) << name << ": " << form.rule;
      for (size_t i = 0; i < found.size(); ++i)
        ASSERT_EQ(found[i], wanted[i]) << name << ": " << form.rule << ": " << zone.text(found[i])
                                       << " instead of " << zone.text(wanted[i]);
    }
  }
  ::unsetenv("TZ");
  ::tzset();
  EXPECT_GT(compared, 100'000U);
}

}  // namespace
}  // namespace hozon::control
