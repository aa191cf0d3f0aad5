// fuzz/script_loop.h
// An event loop without a kernel: its socket is a span of bytes, its clock jumps to whoever waits.
//
// Receives come in uneven pieces, so that boundaries fall everywhere; sends vanish. A run that does
// not come to an end is a fault (kStepsMax), since nothing here ever waits for the outside.
#pragma once

#include <sys/uio.h>

#include <algorithm>
#include <coroutine>
#include <cstdint>
#include <cstring>
#include <deque>
#include <map>
#include <span>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "io/loop.h"

namespace hozon::fuzz {

class ScriptLoop final : public Loop {
 public:
  static constexpr uint64_t kStepsMax = 4'000'000;

  explicit ScriptLoop(std::span<const uint8_t> script = {}) : script_(script) {}

  void post(std::coroutine_handle<> handle) override { ready_.push_back(handle); }
  void post_after(uint64_t delay_ns, std::coroutine_handle<> handle) override {
    later_.emplace(now_ns_ + delay_ns, handle);
  }
  uint64_t now_ns() const override { return now_ns_; }
  uint64_t wall_ns() const override { return now_ns_; }
  void add_turn_hook(TurnHook* hook) override { hooks_.push_back(hook); }
  void remove_turn_hook(TurnHook* hook) override { std::erase(hooks_, hook); }

  // Until nothing is ready and nothing waits for time.
  void run() override {
    for (;;) {
      while (!ready_.empty()) {
        const std::coroutine_handle<> handle = ready_.front();
        ready_.pop_front();
        HOZON_CHECK(++steps_ < kStepsMax);
        handle.resume();
      }
      for (TurnHook* hook : std::vector(hooks_)) hook->end_of_turn();
      if (!ready_.empty()) continue;
      if (later_.empty()) return;
      now_ns_ = later_.begin()->first;
      ready_.push_back(later_.begin()->second);
      later_.erase(later_.begin());
    }
  }
  void stop() override {}
  std::string_view backend_name() const override { return "script"; }
  void cancel(IoOp&) override {}

  void submit(IoOp& op) override {
    switch (op.kind) {
      case IoOp::Kind::kRecv: op.result = receive({op.data, op.size}); break;
      case IoOp::Kind::kSend: op.result = static_cast<int32_t>(op.size); break;
      case IoOp::Kind::kSendMsg:
        op.result = total(*reinterpret_cast<const msghdr*>(op.data));
        break;
      default: HOZON_CHECK(false);
    }
    post(op.waiter);
  }

 private:
  int32_t receive(std::span<std::byte> into) {
    // 1, 2, 4, ... 512, everything, then again.
    piece_ = piece_ >= 4096 ? 1 : piece_ * 2;
    const size_t most = piece_ >= 1024 ? script_.size() : piece_;
    const size_t count = std::min({into.size(), script_.size(), most});
    if (count > 0) std::memcpy(into.data(), script_.data(), count);
    script_ = script_.subspan(count);
    return static_cast<int32_t>(count);
  }
  static int32_t total(const msghdr& message) {
    size_t sum = 0;
    for (size_t i = 0; i < message.msg_iovlen; ++i) sum += message.msg_iov[i].iov_len;
    return static_cast<int32_t>(std::min<size_t>(sum, 1 << 30));
  }

  std::span<const uint8_t> script_;
  size_t piece_ = 4096;
  uint64_t now_ns_ = 1;
  uint64_t steps_ = 0;
  std::deque<std::coroutine_handle<>> ready_;
  std::multimap<uint64_t, std::coroutine_handle<>> later_;
  std::vector<TurnHook*> hooks_;
};

namespace detail {
template <typename T>
Task<void> store_result(Task<T> task, std::optional<T>& result) {
  result.emplace(co_await std::move(task));
}
}  // namespace detail

// Runs a task to its end; that it gets there is part of what a target proves.
template <typename T>
T run(ScriptLoop& loop, Task<T> task) {
  std::optional<T> result;
  spawn(detail::store_result(std::move(task), result));
  loop.run();
  HOZON_CHECK(result.has_value());
  return std::move(*result);
}

}  // namespace hozon::fuzz
