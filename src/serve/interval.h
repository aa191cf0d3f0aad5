// src/serve/interval.h
// A wait that can be ended early, for tasks that look after others from time to time. (A sleep of
// the executor cannot be ended, and would hold up the end of the program.)
#pragma once

#include <memory>

#include "base/fd.h"
#include "io/loop.h"

namespace hozon::serve {

class Interval {
 public:
  explicit Interval(Loop& loop);
  // Returns after `delay_ns`, or at once after end() and in all later calls. One waiter at a time.
  Task<void> wait(uint64_t delay_ns);
  void end();
  bool ended() const { return ended_; }

 private:
  Loop& loop_;
  Fd timer_;
  std::unique_ptr<Loop::Awaiter> waiting_;
  bool ended_ = false;
};

}  // namespace hozon::serve
