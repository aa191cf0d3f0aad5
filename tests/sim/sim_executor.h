// tests/sim/sim_executor.h
// An Executor in virtual time, on which one seed replays one history.
//
// A turn is the one that io/loop.h documents: run every ready coroutine; call the turn hooks, which
// may make more ready: repeat; then either some outstanding device operations end, in an order that
// the seed decides, or time moves on to the next timer.
#pragma once

#include <coroutine>
#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "base/sync.h"
#include "random.h"

namespace hozon::sim {

class SimExecutor : public Executor {
 public:
  // Where outstanding operations live. SimPower is one.
  class Source {
   public:
    virtual ~Source() = default;
    virtual uint64_t outstanding() const = 0;
    // Ends one operation or more; requires outstanding() > 0.
    virtual void complete_some(Random& random) = 0;
  };

  explicit SimExecutor(uint64_t seed, Source* source = nullptr) : random_(seed), source_(source) {}

  void post(std::coroutine_handle<> handle) override { ready_.push_back(handle); }
  void post_after(uint64_t delay_ns, std::coroutine_handle<> handle) override;
  uint64_t now_ns() const override { return now_ns_; }
  uint64_t wall_ns() const override { return kWallStartNs + now_ns_; }
  void add_turn_hook(TurnHook* hook) override { hooks_.push_back(hook); }
  void remove_turn_hook(TurnHook* hook) override { std::erase(hooks_, hook); }

  enum class End {
    kDone,
    kDeadlock,  // nothing ready, nothing outstanding, no timer
    kStalled,   // `stall_ns` of virtual time or `stall_turns` went by
  };
  struct Limits {
    uint64_t stall_ns = 600'000'000'000;
    uint64_t stall_turns = 2'000'000;
  };
  End run_until(const std::function<bool()>& done, Limits limits);
  End run_until(const std::function<bool()>& done) { return run_until(done, Limits{}); }
  // Starts `task` and runs until it has ended; what it returned is moved to `into`.
  template <typename T>
  End run(Task<T> task, T& into) {
    bool ended = false;
    spawn(store_result(std::move(task), into, ended));
    return run_until([&ended] { return ended; });
  }

  uint64_t turns() const { return turns_; }

 private:
  static constexpr uint64_t kWallStartNs = 1'790'000'000'000'000'000;  // some day in 2026
  struct Timer {
    uint64_t due_ns;
    uint64_t order;  // equal times run in the order of their posting
    std::coroutine_handle<> handle;
  };
  template <typename T>
  static Task<void> store_result(Task<T> task, T& into, bool& ended) {
    into = co_await std::move(task);
    ended = true;
  }
  void run_ready();
  bool wait_for_outside();
  void fire_due_timers();

  Random random_;
  Source* source_;
  uint64_t now_ns_ = 1'000'000'000;
  uint64_t turns_ = 0;
  uint64_t timers_posted_ = 0;
  std::deque<std::coroutine_handle<>> ready_;
  std::vector<Timer> timers_;  // a heap, the next one in front
  std::vector<TurnHook*> hooks_;
};

std::string_view end_name(SimExecutor::End end);

}  // namespace hozon::sim
