// src/control/space_watch.h
// Notices that a pool has no room for what is being written to it. Guests wait for room as long as
// it takes; whoever imports an image is told, and what was imported so far does not stand in their
// way.
#pragma once

#include <chrono>
#include <string>

#include "base/result.h"
#include "control/storage.h"

namespace hozon::control {

class SpaceWatch {
 public:
  SpaceWatch(const Storage& storage, std::string pool)
      : storage_(storage), pool_(std::move(pool)) {}
  // Asked often; looks at the pool once a second. False when writes have waited for too long.
  bool has_room();
  // kResourceExhausted after has_room() said no.
  Status status() const;

 private:
  using Clock = std::chrono::steady_clock;
  const Storage& storage_;
  std::string pool_;
  Clock::time_point next_look_ = Clock::now();
  Clock::time_point waits_since_{};  // zero: nothing waits
  bool is_full_ = false;
};

}  // namespace hozon::control
