// src/io/perform.h
// Operations carried out by plain system calls: how the thread-pool back end does its work.
#pragma once

#include "io/op.h"

namespace hozon {

constexpr bool is_storage(IoOp::Kind kind) {
  return kind == IoOp::Kind::kRead || kind == IoOp::Kind::kWrite || kind == IoOp::Kind::kSync ||
         kind == IoOp::Kind::kPunch;
}

// Does a storage operation from its beginning to its end; returns its result. Any thread.
int32_t perform_storage(IoOp& op);

// Tries a socket operation once without waiting. -EAGAIN: poll for socket_events() and try again.
int32_t try_socket(const IoOp& op);
// The poll event (POLLIN or POLLOUT) that a socket operation waits for.
short socket_events(IoOp::Kind kind);

// Bytes that one system call or submission entry moves at most.
inline constexpr uint64_t kTransferMax = uint64_t{1} << 30;

}  // namespace hozon
