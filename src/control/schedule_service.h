// src/control/schedule_service.h
// Runs the schedules of one instance: a thread that gives the runner (schedule_runner.h) a turn
// every second, with the machines, jobs and clock of this instance.
//
// HOZON_TEST_CLOCK=FILE, in tests only: the file holds a number of seconds by which the schedules'
// clock is ahead of that of the host.
// Threading: any thread.
#pragma once

#include <condition_variable>
#include <memory>
#include <thread>

#include "control/control.h"
#include "control/core.h"
#include "control/schedule_runner.h"

namespace hozon::control {

class ScheduleService {
 public:
  // Both outlive it.
  ScheduleService(Control& control, Core& core);
  ~ScheduleService();
  ScheduleService(const ScheduleService&) = delete;
  ScheduleService& operator=(const ScheduleService&) = delete;

  uint64_t now_ns() const;  // the schedules' clock
  void wake();              // something changed: look now

 private:
  class Hands;
  void run();

  std::unique_ptr<Hands> hands_;
  ScheduleRunner runner_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool ending_ = false;
  bool wanted_ = false;
  std::string last_trouble_;
  std::thread thread_;
};

}  // namespace hozon::control
