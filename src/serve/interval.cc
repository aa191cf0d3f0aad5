#include "serve/interval.h"

#include <sys/timerfd.h>

namespace hozon::serve {

Interval::Interval(Loop& loop)
    : loop_(loop), timer_(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK)) {}

Task<void> Interval::wait(uint64_t delay_ns) {
  if (ended_) co_return;
  const itimerspec due{.it_interval = {},
                       .it_value = {.tv_sec = static_cast<time_t>(delay_ns / 1'000'000'000),
                                    .tv_nsec = static_cast<long>(delay_ns % 1'000'000'000)}};
  if (!timer_ || ::timerfd_settime(timer_.get(), 0, &due, nullptr) != 0) {
    co_await loop_.sleep(delay_ns);  // out of descriptors
    co_return;
  }
  waiting_.reset(new Loop::Awaiter(loop_.poll_in(timer_.get())));
  Loop::Awaiter& waiting = *waiting_;
  co_await waiting;
  waiting_.reset();
}

void Interval::end() {
  ended_ = true;
  if (waiting_) loop_.cancel(waiting_->op);
}

}  // namespace hozon::serve
