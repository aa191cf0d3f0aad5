// Proves: retention keeps what its rules name and nothing else, by examples and, for random sets of
// snapshots and rules, beside a model that asks of every snapshot by itself whether a rule names
// it, with calendar fields from the C library.
#include "control/retention.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <ctime>
#include <map>
#include <random>
#include <set>

namespace hozon::control {
namespace {

using Civil = cctz::civil_second;

TimeZone berlin() { return *TimeZone::of("Europe/Berlin"); }

std::vector<RetentionItem> each_day(int days) {
  std::vector<RetentionItem> items;
  for (int day = 0; day < days; ++day)
    items.push_back(
        {berlin().first_instant(cctz::civil_second(cctz::civil_day(2026, 1, 1) + day)) + 2 * 3600});
  return items;
}

std::vector<size_t> kept(const std::vector<std::vector<std::string>>& reasons) {
  std::vector<size_t> indices;
  for (size_t i = 0; i < reasons.size(); ++i)
    if (!reasons[i].empty()) indices.push_back(i);
  return indices;
}

TEST(Retention, WithoutARuleEverythingStays) {
  EXPECT_EQ(kept(retain(each_day(5), {}, berlin())).size(), 5U);
  EXPECT_TRUE(retain({}, {.last = 3}, berlin()).empty());
}

TEST(Retention, CountAndAgeKeepTheNewest) {
  EXPECT_EQ(kept(retain(each_day(10), {.last = 3}, berlin())), (std::vector<size_t>{7, 8, 9}));
  EXPECT_EQ(kept(retain(each_day(10), {.within_s = 2 * 86400}, berlin())),
            (std::vector<size_t>{7, 8, 9}));
}

TEST(Retention, GrandfathersFathersAndSonsKeepTheNewestOfEachPeriod) {
  // January 2026: the 31st is a Saturday, weeks end on Sundays 4, 11, 18, 25.
  EXPECT_EQ(kept(retain(each_day(31), {.daily = 2, .weekly = 3}, berlin())),
            (std::vector<size_t>{17, 24, 29, 30}));
  EXPECT_EQ(kept(retain(each_day(365), {.monthly = 2, .yearly = 5}, berlin())),
            (std::vector<size_t>{333, 364}));
}

TEST(Retention, PinnedOnesStayAndFillNoRule) {
  auto items = each_day(5);
  items[0].pinned = items[4].pinned = true;
  const auto reasons = retain(items, {.last = 1}, berlin());
  EXPECT_EQ(kept(reasons), (std::vector<size_t>{0, 3, 4}));
  EXPECT_EQ(reasons[4], std::vector<std::string>{"pinned"});
}

TEST(Retention, ARepeatedHourIsTwoHours) {
  const int64_t first = berlin().first_instant(Civil(2026, 10, 25, 2, 30, 0));
  EXPECT_EQ(kept(retain({{first}, {first + 3600}}, {.hourly = 2}, berlin())).size(), 2U);
  EXPECT_EQ(kept(retain({{first}, {first + 60}}, {.hourly = 2}, berlin())).size(), 1U);
}

// ---- the model ----

std::string label(int64_t at, const char* format) {
  std::tm local{};
  const std::time_t instant = at;
  ::localtime_r(&instant, &local);
  char text[64];
  std::strftime(text, sizeof text, format, &local);
  return text;
}

// Whether item `i` is the last of its period, and how many later periods there are, is below
// `most`.
bool named(const std::vector<int64_t>& items, size_t i, uint64_t most, const char* format) {
  std::set<std::string> later;
  for (size_t k = i + 1; k < items.size(); ++k) later.insert(label(items[k], format));
  return !later.contains(label(items[i], format)) && later.size() < most;
}

TEST(Retention, RandomSetsAreWhatAModelKeeps) {
  ::setenv("TZ", "Europe/Berlin", 1);
  ::tzset();
  std::mt19937_64 random(1);
  const auto below = [&random](uint64_t n) { return random() % n; };
  const int64_t begin = berlin().first_instant(Civil(2025, 9, 1, 0, 0, 0));
  for (int round = 0; round < 300; ++round) {
    const auto count = 1 + below(60);
    const auto span = (1 + below(400)) * 86400;
    std::set<int64_t> times;
    while (times.size() < count) times.insert(begin + static_cast<int64_t>(below(span) / 60 * 60));
    std::vector<RetentionItem> items;
    std::vector<int64_t> counted;
    for (const int64_t at : times) {
      items.push_back({at, below(10) == 0});
      if (!items.back().pinned) counted.push_back(at);
    }
    const auto rule = [&] { return below(3) == 0 ? below(8) : 0; };
    Retention rules{rule(), rule() * 43200, rule(), rule(), rule(), rule(), rule()};
    if (rules.keeps_all()) rules.last = 1;
    const auto reasons = retain(items, rules, berlin());
    size_t next = 0;
    for (size_t i = 0; i < items.size(); ++i) {
      bool stays = items[i].pinned;
      if (!stays) {
        const size_t k = next++;
        stays = k + 1 == counted.size() || counted.size() - k <= rules.last ||
                (rules.within_s != 0 &&
                 counted.back() - counted[k] <= static_cast<int64_t>(rules.within_s)) ||
                named(counted, k, rules.hourly, "%Y-%j-%H-%z") ||
                named(counted, k, rules.daily, "%Y-%j") ||
                named(counted, k, rules.weekly, "%G-%V") ||
                named(counted, k, rules.monthly, "%Y-%m") || named(counted, k, rules.yearly, "%Y");
      }
      ASSERT_EQ(!reasons[i].empty(), stays) << "round " << round << " item " << i;
    }
  }
  ::unsetenv("TZ");
  ::tzset();
}

}  // namespace
}  // namespace hozon::control
