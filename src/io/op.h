// src/io/op.h
// One storage or socket operation, from its start to its result. It lives in the frame of the
// coroutine that awaits it; the buffer is the executor's until the coroutine is resumed. An
// executor may advance `data`, `size` and `offset` while it works on the rest of a short read or
// write.
#pragma once

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <span>

namespace hozon {

struct IoOp {
  enum class Kind : uint8_t {
    kRead,     // whole `size` bytes at `offset`; result 0 or -errno (-EIO at the end of the file)
    kWrite,    // whole `size` bytes at `offset`; result 0 or -errno
    kSync,     // writes that completed before this began are on stable storage; 0 or -errno
    kPunch,    // [offset, offset + size) reads as zeros, its space is given back; 0 or -errno
    kAccept,   // result: new descriptor or -errno
    kRecv,     // result: bytes received (0 = end of stream) or -errno
    kSend,     // result: bytes sent, may be fewer than `size`, or -errno
    kSendMsg,  // `data`: a msghdr; result as for kSend
    kPollIn,   // result: > 0 when `fd` is readable, or -errno
  };
  Kind kind = Kind::kRead;
  int fd = -1;
  std::byte* data = nullptr;
  uint64_t size = 0;
  uint64_t offset = 0;
  int32_t result = 0;
  std::coroutine_handle<> waiter;
};

}  // namespace hozon
