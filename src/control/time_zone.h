// src/control/time_zone.h
// A named time zone, as the tz database of this host has it ("Europe/Berlin", "UTC").
//
// Instants are seconds since 1970 UTC. Local times are cctz's civil times, which know nothing of
// offsets; a local time may not exist (clocks went forward) or exist twice (they went back).
// Threading: values; cctz keeps what it loaded for the life of the program.
#pragma once

#include <cctz/civil_time.h>
#include <cctz/time_zone.h>

#include <string>

#include "base/result.h"

namespace hozon::control {

class TimeZone {
 public:
  // kInvalidArgument: no such zone. Nothing outside of the tz database can be named.
  static Result<TimeZone> of(const std::string& name);
  // What /etc/localtime names; "UTC" when that says nothing.
  static std::string name_of_host();

  const std::string& name() const { return name_; }
  cctz::civil_second local(int64_t instant_s) const;
  // The first instant with this local time; if that does not exist, the end of the gap.
  int64_t first_instant(const cctz::civil_second& local) const;
  // When the offset changes next, after `instant_s`; INT64_MAX: never.
  int64_t next_change(int64_t instant_s) const;
  // "2026-03-29 03:00 CEST"
  std::string text(int64_t instant_s) const;

 private:
  TimeZone(std::string name, cctz::time_zone zone) : name_(std::move(name)), zone_(zone) {}
  std::string name_;
  cctz::time_zone zone_;
};

}  // namespace hozon::control
