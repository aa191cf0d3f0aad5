// src/io/loop.h
// The reactor: one thread that runs coroutines and performs their storage and socket operations.
//
// A turn: run every ready coroutine; call the turn hooks (they may make more ready: repeat);
// hand queued operations to the kernel; wait for results. Two back ends with equal behaviour:
// io_uring, and a pool of threads with epoll where io_uring is forbidden.
// Threading: everything but stop() is called on the thread that called run().
#pragma once

#include <sys/socket.h>
#include <sys/uio.h>

#include <memory>
#include <span>
#include <string_view>

#include "base/fd.h"
#include "base/result.h"
#include "base/sync.h"
#include "io/op.h"

namespace hozon {

enum class LoopBackend { kAuto, kUring, kThreads };

class Loop : public Executor {
 public:
  // kAuto: io_uring when the kernel allows it, else threads. HOZON_LOOP=uring|threads overrides.
  static Result<std::unique_ptr<Loop>> create(LoopBackend backend = LoopBackend::kAuto);

  // Runs turns until stop(); returns at once after a stop() that came earlier. May be called again.
  virtual void run() = 0;
  // Any thread, and signal handlers.
  virtual void stop() = 0;
  // "io_uring" or "threads".
  virtual std::string_view backend_name() const = 0;

  // Starts an operation; resumes op.waiter in a later turn.
  virtual void submit(IoOp& op) = 0;
  // Ends a socket operation early with -ECANCELED, unless it completes by itself. The operation's
  // coroutine must not have been resumed yet.
  virtual void cancel(IoOp& op) = 0;

  // Cannot be copied: GCC 12 copies what `co_await *pointer` and `co_await f()` name by reference,
  // and the operation would not be where cancel() looks for it.
  struct Awaiter {
    Loop& loop;
    IoOp op;
    Awaiter(Loop& on, IoOp what) : loop(on), op(what) {}
    Awaiter(const Awaiter&) = delete;
    Awaiter& operator=(const Awaiter&) = delete;
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> handle) {
      op.waiter = handle;
      loop.submit(op);
    }
    int32_t await_resume() const noexcept { return op.result; }
  };
  Awaiter accept(int fd) { return {*this, {IoOp::Kind::kAccept, fd, nullptr, 0, 0, 0, {}}}; }
  Awaiter recv(int fd, std::span<std::byte> into) {
    return {*this, {IoOp::Kind::kRecv, fd, into.data(), into.size(), 0, 0, {}}};
  }
  Awaiter send(int fd, std::span<const std::byte> from) {
    return {*this,
            {IoOp::Kind::kSend, fd, const_cast<std::byte*>(from.data()), from.size(), 0, 0, {}}};
  }
  // Sends all parts, in order, in one call to the kernel (at most IOV_MAX parts; maybe not all
  // bytes).
  struct SendPartsAwaiter : Awaiter {
    msghdr message{};
    SendPartsAwaiter(Loop& on, int fd, std::span<iovec> parts)
        : Awaiter(on, {IoOp::Kind::kSendMsg, fd, nullptr, 0, 0, 0, {}}) {
      message.msg_iov = parts.data();
      message.msg_iovlen = parts.size();
    }
    void await_suspend(std::coroutine_handle<> handle) {
      op.data = reinterpret_cast<std::byte*>(&message);
      Awaiter::await_suspend(handle);
    }
  };
  SendPartsAwaiter send_parts(int fd, std::span<iovec> parts) { return {*this, fd, parts}; }
  Awaiter poll_in(int fd) { return {*this, {IoOp::Kind::kPollIn, fd, nullptr, 0, 0, 0, {}}}; }
};

}  // namespace hozon
