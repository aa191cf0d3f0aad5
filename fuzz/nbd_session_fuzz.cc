// A hostile NBD client from its first byte to its last: handshake, requests, sudden end. The
// server's own connection runs on a loop that is made of the fuzzer's bytes, over volumes in
// memory. Whatever is sent: the connection ends by itself when the bytes end, and memory goes back.
#include <sys/eventfd.h>
#include <sys/uio.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <deque>
#include <map>
#include <span>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "serve/memory_backend.h"
#include "serve/nbd_connection.h"

namespace {

using namespace hozon;

// An event loop whose socket is a span of bytes: receives come in uneven pieces, sends vanish.
class ScriptLoop final : public Loop {
 public:
  explicit ScriptLoop(std::span<const uint8_t> script) : script_(script) {}

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
    // 1, 2, 4, ... 512, everything, then again: boundaries fall everywhere.
    piece_ = piece_ >= 4096 ? 1 : piece_ * 2;
    const size_t most = piece_ >= 1024 ? script_.size() : piece_;
    const size_t count = std::min({into.size(), script_.size(), most});
    std::memcpy(into.data(), script_.data(), count);
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
  std::deque<std::coroutine_handle<>> ready_;
  std::multimap<uint64_t, std::coroutine_handle<>> later_;
  std::vector<TurnHook*> hooks_;
};

Task<void> run_and_tell(serve::nbd::Connection& connection, bool& ended) {
  co_await connection.run();
  ended = true;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  ScriptLoop loop({data, size});
  serve::MemoryBackend backend(loop);
  backend.add("disk", 1 << 20);
  backend.snapshot("disk", "p");
  serve::nbd::Shared shared{.loop = loop,
                            .backend = backend,
                            .buffers = {},
                            .budget = serve::MemoryBudget(loop, 64 << 20),
                            .flusher = serve::ReplyFlusher(loop)};
  bool ended = false;
  {
    // No real socket: shutdown() on it fails, as on one whose peer is gone.
    serve::nbd::Connection connection(shared, Fd(::eventfd(0, EFD_CLOEXEC)));
    spawn(run_and_tell(connection, ended));
    loop.run();
    HOZON_CHECK(ended);
  }
  HOZON_CHECK(shared.budget.held_bytes() == 0);
  return 0;
}
