// src/io/loop_base.h
// What both back ends of the event loop share: ready coroutines, timers, turn hooks, stop().
//
// Invariants
//
//   L1  A coroutine is resumed only from run(), never from submit(), post() or a completion
//   handler.
//
//   L2  Coroutines that never stop being ready cannot starve storage and sockets: who yields goes
//   on after the outside was looked at, without waiting; so do all after kRoundsMax rounds.
#pragma once

#include <array>
#include <atomic>
#include <optional>
#include <vector>

#include "io/loop.h"

namespace hozon {

class LoopBase : public Loop {
 public:
  static constexpr size_t kTurnHooksMax = 16;
  static constexpr unsigned kRoundsMax = 16;

  ~LoopBase() override;
  LoopBase(const LoopBase&) = delete;
  LoopBase& operator=(const LoopBase&) = delete;

  void post(std::coroutine_handle<> handle) final { ready_.push_back(handle); }
  void post_next_turn(std::coroutine_handle<> handle) final { next_turn_.push_back(handle); }
  void post_after(uint64_t delay_ns, std::coroutine_handle<> handle) final;
  uint64_t now_ns() const final;
  uint64_t wall_ns() const final;
  void add_turn_hook(TurnHook* hook) final;
  void remove_turn_hook(TurnHook* hook) final;
  void run() final;
  void stop() final;

 protected:
  explicit LoopBase(Fd wake) : wake_(std::move(wake)) {}
  // Called on the thread of run(), before its first turn.
  virtual Status begin_run() { return {}; }
  // Hands queued operations over and collects results. Waits for one result: for ever without a
  // limit, not at all when the limit is 0. A readable wake descriptor ends the wait.
  virtual void exchange(std::optional<uint64_t> limit_ns) = 0;

  void complete(IoOp& op, int32_t result) {
    op.result = result;
    post(op.waiter);
  }
  bool has_ready() const { return !ready_.empty(); }
  // An eventfd that other threads write to make exchange() return.
  int wake_fd() const { return wake_.get(); }
  void wake() const;
  static Result<Fd> make_wake_fd();

 private:
  struct Timer {
    uint64_t due_ns;
    uint64_t sequence;  // equal times fire in the order in which they were set
    std::coroutine_handle<> handle;
    bool operator>(const Timer& other) const {
      return due_ns != other.due_ns ? due_ns > other.due_ns : sequence > other.sequence;
    }
  };
  void run_ready();
  void fire_timers();
  void call_hooks();
  std::optional<uint64_t> wait_limit_ns() const;

  Fd wake_;
  std::atomic<bool> stop_requested_ = false;
  std::vector<std::coroutine_handle<>> ready_;
  std::vector<std::coroutine_handle<>> running_;
  std::vector<std::coroutine_handle<>> next_turn_;
  std::vector<Timer> timers_;  // a heap, the earliest at the front
  uint64_t timer_sequence_ = 0;
  std::array<TurnHook*, kTurnHooksMax> hooks_{};
};

}  // namespace hozon
