// A rule is a set of minutes of the day and a set of days, whatever form it was written in. The
// next run is found day by day in local time; only then the zone says which instant that is.
#include "control/schedule_rule.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <vector>

namespace hozon::control {
namespace {

constexpr std::array<std::string_view, 7> kDays = {"mon", "tue", "wed", "thu", "fri", "sat", "sun"};
constexpr std::array<std::string_view, 12> kMonths = {"jan", "feb", "mar", "apr", "may", "jun",
                                                      "jul", "aug", "sep", "oct", "nov", "dec"};

std::vector<std::string_view> split(std::string_view text, char at) {
  std::vector<std::string_view> parts;
  for (;;) {
    const size_t end = text.find(at);
    parts.push_back(text.substr(0, end));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

std::vector<std::string> words_of(std::string_view text) {
  std::vector<std::string> words(1);
  for (const char c : text) {
    if (c == ' ' || c == '\t') {
      if (!words.back().empty()) words.emplace_back();
    } else {
      words.back() += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    }
  }
  if (words.back().empty()) words.pop_back();
  return words;
}

std::optional<int> number_of(std::string_view text, size_t digits_max = 2) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool whole = error == std::errc{} && end == text.data() + text.size();
  if (!whole || text.size() > digits_max || text.front() == '-') return std::nullopt;
  return value;
}

// "mon", "monday"
std::optional<int> day_of(std::string_view word) {
  constexpr std::array<std::string_view, 7> kLong = {"monday", "tuesday",  "wednesday", "thursday",
                                                     "friday", "saturday", "sunday"};
  for (size_t i = 0; i < kDays.size(); ++i)
    if (word == kDays.at(i) || word == kLong.at(i)) return static_cast<int>(i);
  return std::nullopt;
}

// One of the five fields of cron.
struct CronField {
  std::string_view name;
  int least, most;
};
constexpr std::array<CronField, 5> kCron = {{{"minute", 0, 59},
                                             {"hour", 0, 23},
                                             {"day of the month", 1, 31},
                                             {"month", 1, 12},
                                             {"day of the week", 0, 7}}};

std::optional<int> cron_value(size_t field, std::string_view word) {
  if (field == 3)
    for (size_t i = 0; i < kMonths.size(); ++i)
      if (word == kMonths.at(i)) return static_cast<int>(i + 1);
  // cron counts from Sunday, which is 0 and 7.
  if (field == 4)
    if (const auto day = day_of(word)) return (*day + 1) % 7;
  const auto value = number_of(word);
  if (!value || *value < kCron.at(field).least || *value > kCron.at(field).most)
    return std::nullopt;
  return value;
}

// The values of one field; nothing when it is malformed.
std::optional<std::vector<int>> cron_values(size_t field, std::string_view text) {
  std::vector<int> values;
  for (const std::string_view part : split(text, ',')) {
    const auto steps = split(part, '/');
    const auto ends = split(steps[0], '-');
    if (steps.size() > 2 || ends.size() > 2) return std::nullopt;
    const bool all = steps[0] == "*";
    const auto first = all ? kCron.at(field).least : cron_value(field, ends[0]);
    auto last = first;
    if (all || (steps.size() == 2 && ends.size() == 1)) last = kCron.at(field).most;
    if (all && field == 4) last = 6;
    if (ends.size() == 2) last = cron_value(field, ends[1]);
    if (ends.size() == 2 && field == 4 && last == 0) last = 7;  // "fri-sun"
    const auto step = steps.size() == 2 ? number_of(steps[1]) : 1;
    if (!first || !last || !step || *step == 0 || *last < *first) return std::nullopt;
    for (int value = *first; value <= *last; value += *step) values.push_back(value);
  }
  return values;
}

}  // namespace

// Reads one rule; each member reads one kind of phrase.
class RuleReader {
 public:
  explicit RuleReader(std::string_view text) : words_(words_of(text)) {}

  Result<ScheduleRule> read() {
    rule_.months_.set();
    rule_.month_days_.set();
    rule_.week_days_.set();
    const std::string kind = words_.empty() ? "" : words_[0];
    if (kind == "hourly")
      HOZON_TRY(read_hourly());
    else if (kind == "daily")
      HOZON_TRY(read_daily(1, "daily"));
    else if (kind == "weekly")
      HOZON_TRY(read_weekly());
    else if (kind == "cron")
      HOZON_TRY(read_cron());
    else
      return make_error(Code::kInvalidArgument,
                        "a schedule is 'hourly at :15', 'daily at 02:00', 'weekly on mon,fri at "
                        "02:00' or 'cron 0 2 * * *', not '{}'",
                        kind);
    const cctz::civil_minute leap_cycle(2024, 1, 1);
    if (!rule_.next_local(leap_cycle))
      return make_error(Code::kInvalidArgument, "'{}' never comes true", rule_.text_);
    return std::move(rule_);
  }

 private:
  std::unexpected<Error> wrong(std::string_view what, std::string_view found) const {
    return make_error(Code::kInvalidArgument, "'{}' is not {}", found, what);
  }

  Status read_hourly() {
    rule_.follows_elapsed_ = true;
    std::bitset<60> minutes;
    if (words_.size() == 1)
      minutes.set(0);
    else if (words_.size() != 3 || words_[1] != "at")
      return wrong("minutes of the hour such as 'at :15,:45'", rest(1));
    if (words_.size() == 3)
      for (const std::string_view part : split(words_[2], ',')) {
        const auto minute =
            part.size() == 3 && part[0] == ':' ? number_of(part.substr(1)) : std::nullopt;
        if (!minute || *minute > 59) return wrong("a minute of the hour such as :15", part);
        minutes.set(static_cast<size_t>(*minute));
      }
    rule_.text_ = "hourly at ";
    for (size_t minute = 0; minute < 60; ++minute) {
      if (!minutes.test(minute)) continue;
      rule_.text_ += fmt::format("{}:{:02}", rule_.text_.ends_with(' ') ? "" : ",", minute);
      for (size_t hour = 0; hour < 24; ++hour) rule_.minutes_.set(hour * 60 + minute);
    }
    return {};
  }

  // "[at 02:00,14:30]", from the word `next` on.
  Status read_daily(size_t next, const std::string& before) {
    if (words_.size() == next)
      rule_.minutes_.set(0);
    else if (words_.size() != next + 2 || words_[next] != "at")
      return wrong("times such as 'at 02:00,14:30'", rest(next));
    if (words_.size() == next + 2)
      for (const std::string_view part : split(words_[next + 1], ',')) {
        const auto ends = split(part, ':');
        const auto hour = ends.size() == 2 ? number_of(ends[0]) : std::nullopt;
        const auto minute =
            ends.size() == 2 && ends[1].size() == 2 ? number_of(ends[1]) : std::nullopt;
        if (!hour || !minute || *hour > 23 || *minute > 59)
          return wrong("a time such as 02:00", part);
        rule_.minutes_.set(static_cast<size_t>(*hour * 60 + *minute));
      }
    rule_.text_ = before + " at ";
    for (size_t minute = 0; minute < rule_.minutes_.size(); ++minute)
      if (rule_.minutes_.test(minute))
        rule_.text_ += fmt::format("{}{:02}:{:02}", rule_.text_.ends_with(' ') ? "" : ",",
                                   minute / 60, minute % 60);
    return {};
  }

  Status read_weekly() {
    if (words_.size() < 3 || words_[1] != "on") return wrong("days such as 'on mon,fri'", rest(1));
    rule_.week_days_.reset();
    for (const std::string_view part : split(words_[2], ',')) {
      const auto ends = split(part, '-');
      const auto first = day_of(ends[0]);
      const auto last = ends.size() == 1 ? first : day_of(ends[1]);
      if (ends.size() > 2 || !first || !last) return wrong("a day such as mon, or mon-fri", part);
      for (int day = *first;; day = (day + 1) % 7) {
        rule_.week_days_.set(static_cast<size_t>(day));
        if (day == *last) break;
      }
    }
    std::string text = "weekly on ";
    for (size_t day = 0; day < kDays.size(); ++day)
      if (rule_.week_days_.test(day))
        text += fmt::format("{}{}", text.ends_with(' ') ? "" : ",", kDays.at(day));
    return read_daily(3, text);
  }

  Status read_cron() {
    if (words_.size() != 6)
      return wrong("five fields of cron: minute, hour, day of the month, month, day of the week",
                   rest(1));
    std::array<std::vector<int>, 5> fields;
    rule_.text_ = "cron";
    for (size_t i = 0; i < fields.size(); ++i) {
      auto values = cron_values(i, words_[i + 1]);
      if (!values) return wrong(fmt::format("a {} of cron", kCron.at(i).name), words_[i + 1]);
      fields.at(i) = *std::move(values);
      rule_.text_ += " " + words_[i + 1];
    }
    rule_.months_.reset();
    rule_.month_days_.reset();
    rule_.week_days_.reset();
    for (const int hour : fields[1])
      for (const int minute : fields[0])
        rule_.minutes_.set(static_cast<size_t>(hour * 60 + minute));
    for (const int day : fields[2]) rule_.month_days_.set(static_cast<size_t>(day));
    for (const int month : fields[3]) rule_.months_.set(static_cast<size_t>(month));
    for (const int day : fields[4]) rule_.week_days_.set(static_cast<size_t>((day + 6) % 7));
    rule_.either_day_ = words_[3][0] != '*' && words_[5][0] != '*';
    rule_.follows_elapsed_ = words_[2][0] == '*';
    return {};
  }

  std::string rest(size_t from) const {
    std::string text;
    for (size_t i = from; i < words_.size(); ++i) text += (i == from ? "" : " ") + words_[i];
    return text;
  }

  std::vector<std::string> words_;
  ScheduleRule rule_;
};

Result<ScheduleRule> ScheduleRule::parse(std::string_view text) {
  if (text.size() > kTextMax)
    return make_error(Code::kInvalidArgument, "a schedule's rule has at most {} bytes", kTextMax);
  return RuleReader(text).read();
}

bool ScheduleRule::is_day(const cctz::civil_day& day) const {
  if (!months_.test(static_cast<size_t>(day.month()))) return false;
  const bool of_month = month_days_.test(static_cast<size_t>(day.day()));
  const bool of_week = week_days_.test(static_cast<size_t>(cctz::get_weekday(day)));
  return either_day_ ? of_month || of_week : of_month && of_week;
}

std::optional<cctz::civil_minute> ScheduleRule::next_local(cctz::civil_minute from) const {
  const cctz::civil_day end = cctz::civil_day(from) + 366 * kHorizonYears;
  for (cctz::civil_day day(from); day < end; ++day, from = cctz::civil_minute(day)) {
    if (!is_day(day)) continue;
    for (auto minute = static_cast<size_t>(from.hour() * 60 + from.minute());
         minute < minutes_.size(); ++minute)
      if (minutes_.test(minute)) return cctz::civil_minute(day) + static_cast<int>(minute);
  }
  return std::nullopt;
}

// The instants of local times never go backwards when the local times go forward, so that the first
// one that is late enough is the one.
std::optional<int64_t> ScheduleRule::next_after(int64_t instant_s, const TimeZone& zone) const {
  if (follows_elapsed_) return next_elapsed(instant_s, zone);
  cctz::civil_minute from(zone.local(instant_s));
  for (;;) {
    const auto local = next_local(from);
    if (!local) return std::nullopt;
    const int64_t found = zone.first_instant(cctz::civil_second(*local));
    if (found > instant_s) return found;
    from = *local + 1;
  }
}

// Between two changes of the offset, local time passes as time does.
std::optional<int64_t> ScheduleRule::next_elapsed(int64_t instant_s, const TimeZone& zone) const {
  int64_t from = instant_s + 1;
  for (int changes = 0; changes < 4 * kHorizonYears; ++changes) {
    const cctz::civil_second local = zone.local(from);
    const auto found = next_local(cctz::civil_minute(local + 59));
    const int64_t change = zone.next_change(from);
    if (found) {
      const int64_t instant = from + (cctz::civil_second(*found) - local);
      if (instant < change) return instant;
    }
    if (change == std::numeric_limits<int64_t>::max()) return std::nullopt;
    from = change;
  }
  return std::nullopt;
}

}  // namespace hozon::control
