// src/io/thread_loop.h
// The event loop where io_uring is forbidden: storage operations run on kWorkers threads, sockets
// are tried at once and then watched by epoll.
//
// Threading: only `jobs_` and `done_` (under `mutex_`) are shared with the workers.
#pragma once

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>
#include <unordered_map>
#include <vector>

#include "io/loop_base.h"

namespace hozon {

class ThreadLoop final : public LoopBase {
 public:
  static constexpr unsigned kWorkers = 4;

  static Result<std::unique_ptr<Loop>> create();
  ~ThreadLoop() override;

  std::string_view backend_name() const override { return "threads"; }
  void submit(IoOp& op) override;
  void cancel(IoOp& op) override;

 protected:
  void exchange(std::optional<uint64_t> limit_ns) override;

 private:
  struct Done {
    IoOp* op;
    int32_t result;
  };
  static constexpr int kEventsMax = 64;

  ThreadLoop(Fd wake_descriptor, Fd epoll);
  void work();
  void hand_over();
  void start_socket(IoOp& op);
  // Tells epoll which events the operations that wait on `fd` are waiting for.
  Status watch(int fd);
  void wait_for_events(std::optional<uint64_t> limit_ns);
  void retry_sockets(int fd);
  void collect_done();

  Fd epoll_;
  std::deque<IoOp*> queued_sockets_;
  std::deque<IoOp*> queued_storage_;
  std::unordered_map<int, std::vector<IoOp*>> waiting_;  // by descriptor, in order of arrival
  std::mutex mutex_;
  std::condition_variable work_there_;
  std::deque<IoOp*> jobs_;
  std::vector<Done> done_;
  bool ending_ = false;
  std::vector<std::thread> workers_;
};

}  // namespace hozon
