#include "io/loop_base.h"

#include <sys/eventfd.h>

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <functional>
#include <mutex>

namespace hozon {
namespace {

uint64_t clock_ns(clockid_t clock) {
  timespec now{};
  ::clock_gettime(clock, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

}  // namespace

// Whoever still sleeps is never resumed, and its frame cannot be freed from here: it belongs to
// whoever started it. It stays known, so that leak checkers speak only of what was truly lost.
LoopBase::~LoopBase() {
  static std::mutex mutex;
  static auto& sleepers_left = *new std::vector<std::coroutine_handle<>>;
  const std::lock_guard lock(mutex);
  for (const Timer& timer : timers_) sleepers_left.push_back(timer.handle);
}

uint64_t LoopBase::now_ns() const { return clock_ns(CLOCK_MONOTONIC); }
uint64_t LoopBase::wall_ns() const { return clock_ns(CLOCK_REALTIME); }

Result<Fd> LoopBase::make_wake_fd() {
  Fd wake(::eventfd(0, EFD_CLOEXEC));
  if (!wake) return errno_error(errno, "make the event descriptor of an event loop");
  return wake;
}

void LoopBase::wake() const {
  const uint64_t one = 1;
  // A full counter means that the loop is going to wake up anyway.
  [[maybe_unused]] const ssize_t written = ::write(wake_.get(), &one, sizeof one);
}

void LoopBase::stop() {
  const int saved_errno = errno;  // may run in a signal handler
  stop_requested_.store(true);
  wake();
  errno = saved_errno;
}

void LoopBase::post_after(uint64_t delay_ns, std::coroutine_handle<> handle) {
  timers_.push_back({now_ns() + delay_ns, timer_sequence_++, handle});
  std::push_heap(timers_.begin(), timers_.end(), std::greater<>{});
}

void LoopBase::fire_timers() {
  if (timers_.empty()) return;
  const uint64_t now = now_ns();
  while (!timers_.empty() && timers_.front().due_ns <= now) {
    std::pop_heap(timers_.begin(), timers_.end(), std::greater<>{});
    post(timers_.back().handle);
    timers_.pop_back();
  }
}

void LoopBase::add_turn_hook(TurnHook* hook) {
  for (TurnHook*& slot : hooks_) {
    if (slot != nullptr) continue;
    slot = hook;
    return;
  }
  HOZON_CHECK(!"too many turn hooks");
}

void LoopBase::remove_turn_hook(TurnHook* hook) { std::ranges::replace(hooks_, hook, nullptr); }

void LoopBase::call_hooks() {
  // By index, because a hook may remove itself or another one.
  for (size_t i = 0; i < hooks_.size(); ++i)
    if (hooks_[i] != nullptr) hooks_[i]->end_of_turn();
}

void LoopBase::run_ready() {
  for (unsigned round = 0; round < kRoundsMax; ++round) {
    fire_timers();
    if (ready_.empty()) call_hooks();
    if (ready_.empty()) return;
    running_.swap(ready_);
    for (const std::coroutine_handle<> handle : running_) handle.resume();
    running_.clear();
  }
  call_hooks();  // those who yield all the time do not hold up what others wait for (L2)
}

std::optional<uint64_t> LoopBase::wait_limit_ns() const {
  if (!ready_.empty() || !next_turn_.empty() || stop_requested_.load()) return 0;
  if (timers_.empty()) return std::nullopt;
  const uint64_t now = now_ns();
  const uint64_t due = timers_.front().due_ns;
  return due > now ? due - now : 0;
}

void LoopBase::run() {
  const Status begun = begin_run();
  if (!begun) {
    fmt::print(stderr, "hozon: {}\n", begun.error().what);
    HOZON_CHECK(!"the event loop cannot run");
  }
  while (!stop_requested_.exchange(false)) {
    run_ready();
    exchange(wait_limit_ns());
    ready_.insert(ready_.end(), next_turn_.begin(), next_turn_.end());
    next_turn_.clear();
  }
}

}  // namespace hozon
