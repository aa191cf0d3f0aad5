// src/control/retention.h
// Which of a schedule's snapshots of one machine stay. Pure: no clock, no I/O.
//
// Each rule that is not 0 names snapshots to keep, and what any rule names stays:
//   last     the newest so many
//   within_s as old as this at most, counted from the newest one
//   hourly, daily, weekly, monthly, yearly
//            the newest one of each of the newest so many hours, days, ... that have any
// Hours, days and so on are those of the schedule's time zone; weeks begin on Monday. A repeated
// hour in autumn is two hours.
// Invariants
//   R1  The newest one stays. Without any rule all stay.
//   R2  Pinned ones stay and count for nothing: they neither fill a rule nor are named by it.
#pragma once

#include <string>
#include <vector>

#include "control/time_zone.h"

namespace hozon::control {

struct Retention {
  uint64_t last = 0;
  uint64_t within_s = 0;
  uint64_t hourly = 0, daily = 0, weekly = 0, monthly = 0, yearly = 0;
  bool keeps_all() const {
    return (last | within_s | hourly | daily | weekly | monthly | yearly) == 0;
  }
  bool operator==(const Retention&) const = default;
};

inline constexpr uint64_t kRetentionMax = 100'000;

struct RetentionItem {
  int64_t at_s = 0;  // when it was due
  bool pinned = false;
};

// For each item, by which rules it stays ("last", "daily", "newest", "pinned"); none: it goes.
// `items` are in order, oldest first.
std::vector<std::vector<std::string>> retain(const std::vector<RetentionItem>& items,
                                             const Retention& rules, const TimeZone& zone);

}  // namespace hozon::control
