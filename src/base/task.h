// src/base/task.h
// Task<T>: a coroutine that starts when it is awaited and hands its value to whoever awaits it.
//
// Threading: a task and everything that resumes it belong to one thread (one reactor).
// A task that completes without suspending returns to its parent by a plain call, so loops over
// tasks that never suspend do not grow the stack at any optimisation level (GCC makes symmetric
// transfer a tail call only when it optimises). Tasks do not throw; an exception that escapes one
// ends the process.
#pragma once

#include <coroutine>
#include <exception>
#include <optional>
#include <type_traits>
#include <utility>

namespace hozon {

template <typename T>
class Task;

namespace task_detail {

struct PromiseBase {
  std::coroutine_handle<> continuation;
  bool done = false;

  std::suspend_always initial_suspend() noexcept { return {}; }
  struct FinalAwaiter {
    bool await_ready() noexcept { return false; }
    template <typename Promise>
    void await_suspend(std::coroutine_handle<Promise> self) noexcept {
      PromiseBase& promise = self.promise();
      promise.done = true;
      // The frame may be destroyed by the continuation: nothing is touched after this call.
      if (promise.continuation) promise.continuation.resume();
    }
    void await_resume() noexcept {}
  };
  FinalAwaiter final_suspend() noexcept { return {}; }
  void unhandled_exception() noexcept { std::terminate(); }
};

template <typename T>
struct Promise : PromiseBase {
  std::optional<T> value;
  Task<T> get_return_object();
  template <typename U>
  void return_value(U&& result) {
    value.emplace(std::forward<U>(result));
  }
};

template <>
struct Promise<void> : PromiseBase {
  Task<void> get_return_object();
  void return_void() noexcept {}
};

}  // namespace task_detail

template <typename T>
class [[nodiscard]] Task {
 public:
  using promise_type = task_detail::Promise<T>;
  using Handle = std::coroutine_handle<promise_type>;

  explicit Task(Handle handle) : handle_(handle) {}
  Task(Task&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Task& operator=(Task other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }
  ~Task() {
    if (handle_) handle_.destroy();
  }

  bool await_ready() const noexcept { return false; }
  bool await_suspend(std::coroutine_handle<> parent) noexcept {
    handle_.resume();
    if (handle_.promise().done) return false;  // finished at once: the parent goes straight on
    handle_.promise().continuation = parent;
    return true;
  }
  T await_resume() {
    if constexpr (!std::is_void_v<T>) return *std::move(handle_.promise().value);
  }

 private:
  Handle handle_;
};

namespace task_detail {
template <typename T>
Task<T> Promise<T>::get_return_object() {
  return Task<T>(std::coroutine_handle<Promise<T>>::from_promise(*this));
}
inline Task<void> Promise<void>::get_return_object() {
  return Task<void>(std::coroutine_handle<Promise<void>>::from_promise(*this));
}

// A coroutine that runs at once and frees itself: the root of a tree of tasks.
struct Detached {
  struct promise_type {
    Detached get_return_object() noexcept { return {}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() noexcept {}
    void unhandled_exception() noexcept { std::terminate(); }
  };
};
inline Detached run_detached(Task<void> task) { co_await std::move(task); }
}  // namespace task_detail

// Starts a task now; it runs until its first suspension before this returns, and frees itself at
// its end. Whoever spawns is responsible that what the task refers to outlives it.
inline void spawn(Task<void> task) { task_detail::run_detached(std::move(task)); }

}  // namespace hozon
