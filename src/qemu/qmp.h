// src/qemu/qmp.h
// Talks QMP with one QEMU over its unix socket.
//
// A reader thread sorts what arrives: answers go to the call with the same id, events into a
// bounded queue, and anything else (late or repeated answers, text that is no JSON, lines beyond
// kQmpLineMax) is counted and dropped. So one silent or confused command never disturbs the next.
//
// Invariants
//   I1  A call returns within its timeout, or at once when QEMU closes the connection.
//   I2  Events keep their order and QEMU's own time; when more than kQmpEventsMax wait, the oldest
//   go. I3  Descriptors reach QEMU together with the command they belong to, whatever other threads
//   send.
// Threading: every member from any thread. QEMU serves one connection at a time: keep one client
// per machine. Never call from a thread that QEMU may be waiting for (an NBD server's, for
// example).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/result.h"

namespace hozon {

constexpr size_t kQmpLineMax = 16 << 20;
constexpr size_t kQmpEventsMax = 4096;
constexpr int kQmpTimeoutMs = 30'000;

struct QmpEvent {
  uint64_t number = 0;  // 1, 2, 3 ... in order of arrival at this client
  std::string name;     // "STOP"
  nlohmann::json data;
  int64_t qemu_time_us = 0;  // wall clock by QEMU
  uint64_t arrival_ns = 0;   // CLOCK_MONOTONIC, here
};

class QmpClient {
 public:
  // Waits for the socket to appear, for the greeting, and negotiates. kUnavailable when that takes
  // longer, or as soon as `keep_trying` says no before there is a socket.
  static Result<std::unique_ptr<QmpClient>> connect(const std::string& socket_path, int timeout_ms,
                                                    const std::function<bool()>& keep_trying = {});
  QmpClient(const QmpClient&) = delete;
  QmpClient& operator=(const QmpClient&) = delete;
  ~QmpClient();

  // The command's "return". Errors: kUnavailable (no answer in time; connection gone), else what
  // QEMU said ("stop: <desc>"; kNotFound for CommandNotFound and DeviceNotFound, otherwise kIo).
  Result<nlohmann::json> call(const std::string& command,
                              nlohmann::json arguments = nlohmann::json::object(),
                              int timeout_ms = kQmpTimeoutMs, const std::vector<int>& fds = {});
  // getfd: QEMU keeps a copy of `fd` under `name` (for "fd:name"); the caller still owns its own.
  Status send_fd(const std::string& name, int fd, int timeout_ms = kQmpTimeoutMs);

  // Number of the newest event so far. Take it before a command whose events matter, then wait from
  // it.
  uint64_t last_event() const;
  // The first event numbered above `after` whose name is listed (no names: any event).
  // kUnavailable: none in time, or the connection is gone and none can come.
  Result<QmpEvent> wait_event(const std::vector<std::string>& names, uint64_t after,
                              int timeout_ms);
  std::vector<QmpEvent> events_after(uint64_t after) const;

  bool is_connected() const;
  std::string qemu_version() const;  // "7.2.22", from the greeting
  uint64_t ignored_lines() const;    // dropped as described above

 private:
  struct State;
  explicit QmpClient(std::shared_ptr<State> state);
  std::shared_ptr<State> state_;
};

}  // namespace hozon
