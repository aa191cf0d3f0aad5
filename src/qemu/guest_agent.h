// src/qemu/guest_agent.h
// Talks with the agent inside a guest, through QEMU's virtio-serial port (qemu-facts.md, 6).
//
// The guest may say anything, at any time, or nothing: what it says is believed only after a
// synchronisation, is bounded in length, and is waited for no longer than the caller allows.
// Invariants
//   I1  A call returns within its timeout.
//   I2  After a call that got no proper answer nothing more is said on this connection: a late
//       answer must not be taken for that of the next command. Connect again.
// Threading: one thread. The port serves one connection at a time.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "base/fd.h"
#include "base/result.h"

namespace hozon {

constexpr size_t kAgentLineMax = 64 << 10;
constexpr size_t kAgentNoiseMax = 1 << 20;  // before the answer to the synchronisation

class GuestAgent {
 public:
  // kUnavailable: no agent answers within `timeout_ms`. kCorruption: what answers is none.
  static Result<GuestAgent> connect(const std::string& socket_path, int timeout_ms);

  // The command's "return". kUnimplemented: the agent does not have the command, or may not run it
  // now; kIo: another error that it reports, in its words (cut, and without control characters).
  Result<nlohmann::json> call(const std::string& command,
                              const nlohmann::json& arguments = nlohmann::json::object(),
                              int timeout_ms = 5000);

  Status ping(int timeout_ms = 5000);
  // Number of file systems that are frozen, or thawed.
  Result<uint64_t> freeze(int timeout_ms);
  Result<uint64_t> thaw(int timeout_ms);
  Result<bool> is_frozen(int timeout_ms = 5000);
  // Steps the guest's clock.
  Status set_time(int64_t wall_ns, int timeout_ms = 5000);

 private:
  explicit GuestAgent(Fd socket) : socket_(std::move(socket)) {}
  Status synchronise(uint64_t deadline_ns);
  Status send(const std::string& text, uint64_t deadline_ns);
  Status receive_some(uint64_t deadline_ns);
  Result<std::string> receive_line(uint64_t deadline_ns);

  Fd socket_;
  std::string received_;
  bool broken_ = false;
};

}  // namespace hozon
