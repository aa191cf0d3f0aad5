// tests/sim/sim_executor.cc
// Time moves only here: a little with each completed operation, and to the next timer when nothing
// is outstanding. Now and then a timer is let through although operations are outstanding, because
// a real disk can be slow; otherwise timeouts would never race with I/O.

#include "sim_executor.h"

#include <algorithm>

#ifdef __SANITIZE_ADDRESS__
// A pool that a simulated kill leaves behind keeps its suspended coroutines, which nobody can end.
// Leaks of the store are looked for by the room's own tests and by what runs as hozon-stored.
extern "C" int __lsan_is_turned_off() { return 1; }  // NOLINT(bugprone-reserved-identifier)
#endif

namespace hozon::sim {
namespace {

constexpr uint64_t kOperationNsMax = 100'000;
constexpr auto kLater = [](const auto& a, const auto& b) {
  return std::pair(a.due_ns, a.order) > std::pair(b.due_ns, b.order);
};

}  // namespace

void SimExecutor::post_after(uint64_t delay_ns, std::coroutine_handle<> handle) {
  timers_.push_back({now_ns_ + delay_ns, timers_posted_++, handle});
  std::push_heap(timers_.begin(), timers_.end(), kLater);
}

void SimExecutor::fire_due_timers() {
  while (!timers_.empty() && timers_.front().due_ns <= now_ns_) {
    std::pop_heap(timers_.begin(), timers_.end(), kLater);
    ready_.push_back(timers_.back().handle);
    timers_.pop_back();
  }
}

void SimExecutor::run_ready() {
  do {
    while (!ready_.empty()) {
      const std::coroutine_handle<> handle = ready_.front();
      ready_.pop_front();
      handle.resume();
    }
    const std::vector<TurnHook*> hooks = hooks_;  // a hook's coroutines may remove it
    for (TurnHook* hook : hooks)
      if (std::ranges::find(hooks_, hook) != hooks_.end()) hook->end_of_turn();
  } while (!ready_.empty());
}

bool SimExecutor::wait_for_outside() {
  const bool busy = source_ != nullptr && source_->outstanding() > 0;
  if (!busy && timers_.empty()) return false;
  if (busy && (timers_.empty() || !random_.chance(1, 200))) {
    now_ns_ += random_.between(1, kOperationNsMax);
    source_->complete_some(random_);
  } else {
    now_ns_ = std::max(now_ns_, timers_.front().due_ns);
  }
  fire_due_timers();
  return true;
}

SimExecutor::End SimExecutor::run_until(const std::function<bool()>& done, Limits limits) {
  const uint64_t end_ns = now_ns_ + limits.stall_ns;
  const uint64_t end_turn = turns_ + limits.stall_turns;
  while (true) {
    ++turns_;
    run_ready();
    if (done()) return End::kDone;
    if (now_ns_ > end_ns || turns_ > end_turn) return End::kStalled;
    if (!wait_for_outside()) return End::kDeadlock;
  }
}

std::string_view end_name(SimExecutor::End end) {
  switch (end) {
    case SimExecutor::End::kDone: return "done";
    case SimExecutor::End::kDeadlock: return "deadlock";
    case SimExecutor::End::kStalled: return "stalled";
  }
  return "?";
}

}  // namespace hozon::sim
