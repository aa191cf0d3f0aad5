// src/client/unix_connect.h
// Connecting to the unix sockets of an instance.
#pragma once

#include <string>

#include "base/fd.h"
#include "base/result.h"

namespace hozon::client {

// A connected stream socket (close-on-exec, blocking). The path may be longer than the 107 bytes of
// a socket's address. kNotFound or kUnavailable (with errno) when nobody listens there.
Result<Fd> unix_connect(const std::string& path);

// Milliseconds of the monotonic clock.
int64_t monotonic_ms();

// Waits for poll events. True when they came, false at the deadline.
Result<bool> wait_for(int fd, short events, int64_t deadline_ms);

}  // namespace hozon::client
