// src/base/sync.h
// Meeting points of coroutines on one reactor thread: Event, Mutex, Group.
//
// Waiters are resumed through an Executor (never inside the caller of set()/unlock()), in the order
// in which they began to wait. None of them can be copied: `co_await f()` of a reference makes GCC
// 12 wait on a copy, which nobody sets.
#pragma once

#include <coroutine>
#include <cstdint>
#include <deque>
#include <utility>
#include <vector>

#include "base/result.h"
#include "base/task.h"

namespace hozon {

// Where coroutines continue and how they wait for time. The event loop and the simulator are ones.
class Executor {
 public:
  virtual ~Executor() = default;
  // Resumes the coroutine later, on this executor's thread, after those posted before.
  virtual void post(std::coroutine_handle<> handle) = 0;
  // As post(), once the executor has looked at what comes from outside: storage, sockets, timers.
  virtual void post_next_turn(std::coroutine_handle<> handle) { post(handle); }
  // Runs `handle` after `delay_ns` by this executor's clock.
  virtual void post_after(uint64_t delay_ns, std::coroutine_handle<> handle) = 0;
  // Monotonic time of this executor, in nanoseconds.
  virtual uint64_t now_ns() const = 0;
  // Wall clock, nanoseconds since 1970 UTC.
  virtual uint64_t wall_ns() const = 0;
  // A hook that runs whenever no coroutine is ready, before the executor waits for the outside;
  // what it posts runs in the same turn. At most kTurnHooksMax; remove before the object dies.
  class TurnHook {
   public:
    virtual ~TurnHook() = default;
    virtual void end_of_turn() = 0;
  };
  virtual void add_turn_hook(TurnHook* hook) = 0;
  virtual void remove_turn_hook(TurnHook* hook) = 0;

  // co_await executor.sleep(ns)
  struct Sleep {
    Executor& executor;
    uint64_t delay_ns;
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> handle) { executor.post_after(delay_ns, handle); }
    void await_resume() const noexcept {}
  };
  Sleep sleep(uint64_t delay_ns) { return Sleep{*this, delay_ns}; }
  // co_await executor.yield(): lets everything that is ready run first, and what comes from outside.
  struct Yield {
    Executor& executor;
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> handle) { executor.post_next_turn(handle); }
    void await_resume() const noexcept {}
  };
  Yield yield() { return Yield{*this}; }
};

// A gate that stays open once set.
class Event {
 public:
  explicit Event(Executor& executor) : executor_(executor) {}
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  bool is_set() const { return set_; }
  void set() {
    set_ = true;
    pulse();
  }
  void reset() { set_ = false; }
  // Wakes those who wait now, without staying open.
  void pulse() {
    for (const std::coroutine_handle<> waiter : std::exchange(waiters_, {})) executor_.post(waiter);
  }
  bool has_waiters() const { return !waiters_.empty(); }

  bool await_ready() const noexcept { return set_; }
  void await_suspend(std::coroutine_handle<> handle) { waiters_.push_back(handle); }
  void await_resume() const noexcept {}

 private:
  Executor& executor_;
  bool set_ = false;
  std::vector<std::coroutine_handle<>> waiters_;
};

// Fair mutual exclusion. `const Mutex::Guard guard = co_await mutex.lock();`
class Mutex {
 public:
  explicit Mutex(Executor& executor) : executor_(executor) {}
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;
  class [[nodiscard]] Guard {
   public:
    explicit Guard(Mutex* mutex) : mutex_(mutex) {}
    Guard(Guard&& other) noexcept : mutex_(std::exchange(other.mutex_, nullptr)) {}
    Guard& operator=(Guard&&) = delete;
    ~Guard() {
      if (mutex_ != nullptr) mutex_->unlock();
    }

   private:
    Mutex* mutex_;
  };
  struct Lock {
    Mutex& mutex;
    bool await_ready() const noexcept {
      if (mutex.locked_) return false;
      mutex.locked_ = true;
      return true;
    }
    void await_suspend(std::coroutine_handle<> handle) { mutex.waiters_.push_back(handle); }
    Guard await_resume() const noexcept { return Guard(&mutex); }
  };
  Lock lock() { return Lock{*this}; }
  bool is_locked() const { return locked_; }

 private:
  void unlock() {
    if (waiters_.empty()) {
      locked_ = false;
      return;
    }
    executor_.post(waiters_.front());  // ownership passes on; locked_ stays true
    waiters_.pop_front();
  }
  Executor& executor_;
  bool locked_ = false;
  std::deque<std::coroutine_handle<>> waiters_;
};

// Counts running tasks; `co_await group.wait()` returns when all have ended.
class Group {
 public:
  explicit Group(Executor& executor) : idle_(executor) {}
  ~Group() { HOZON_CHECK(running_ == 0); }
  Group(const Group&) = delete;
  Group& operator=(const Group&) = delete;
  void start(Task<void> task) {
    ++running_;
    spawn(run(std::move(task)));
  }
  uint64_t running() const { return running_; }
  Task<void> wait() {
    while (running_ > 0) co_await idle_;
  }

 private:
  Task<void> run(Task<void> task) {
    co_await std::move(task);
    if (--running_ == 0) idle_.pulse();
  }
  uint64_t running_ = 0;
  Event idle_;
};

}  // namespace hozon
