// src/io/uring_loop.h
// The event loop over io_uring: operations go to the kernel a few at a time, the last of a turn
// with the system call that also waits for the next results.
//
// The ring is made disabled and enabled by the first run(), so that the kernel takes the thread of
// run() for its only submitter. Results that do not fit into the completion queue are kept by the
// kernel (IORING_FEAT_NODROP is required).
#pragma once

#include <liburing.h>

#include <deque>
#include <memory>

#include "io/loop_base.h"

namespace hozon {

class UringLoop final : public LoopBase {
 public:
  static constexpr unsigned kSubmissionEntries = 512;
  static constexpr unsigned kCompletionEntries = 4096;

  // kUnavailable when the kernel forbids io_uring or is too old for it.
  static Result<std::unique_ptr<Loop>> create();
  ~UringLoop() override;

  std::string_view backend_name() const override { return "io_uring"; }
  void submit(IoOp& op) override;
  void cancel(IoOp& op) override;

 protected:
  Status begin_run() override;
  void exchange(std::optional<uint64_t> limit_ns) override;

 private:
  // What a submission entry is about: the address of an IoOp, with one of these in its low bits.
  enum Tag : uint64_t { kStart = 0, kPoll = 1, kCancelStart = 2, kCancelPoll = 3, kTagMask = 7 };
  // Values that are no addresses.
  static constexpr uint64_t kIgnored = 8;
  static constexpr uint64_t kWake = 16;

  UringLoop(Fd wake_descriptor, io_uring ring, bool disabled);
  void fill_submission_queue();
  void prepare(io_uring_sqe* sqe, uint64_t about);
  static void prepare_start(io_uring_sqe* sqe, IoOp& op);
  void hand_over();
  static void check(int result);
  void submit_and_wait(std::optional<uint64_t> limit_ns);
  void reap();
  void handle(uint64_t about, int32_t result);
  void handle_storage(IoOp& op, int32_t result);

  io_uring ring_;
  bool disabled_;
  std::deque<uint64_t> queued_;  // not yet handed to the kernel, in order
  uint64_t wake_count_ = 0;      // what the kernel reads from the wake descriptor
};

}  // namespace hozon
