// src/link/client.h
// The calling side of a JSON-lines socket: hozond towards hozon-stored, and towards the supervisor.
//
// A server that restarts is waited for: its listening socket lives on in the supervisor, so the
// next connection just takes longer. A call is sent again, once, when the server cannot have
// executed it (no complete line was sent) or when it only reads; otherwise a lost answer is
// kUnavailable and the sentence says that the outcome is unknown.
// Threading: one call at a time per client; use one client per thread (connecting is cheap).
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "base/fd.h"
#include "base/result.h"

namespace hozon::link {

class LinkClient {
 public:
  // kUnavailable: nobody listens there. `timeout_ms` bounds every later reconnection too.
  static Result<LinkClient> connect(std::string path, int timeout_ms);

  // The "result" of the answer, or the server's error. `parameters` is an object.
  Result<nlohmann::json> call(const std::string& op, const nlohmann::json& parameters,
                              int timeout_ms);

  // Sends one line that needs not follow the link's form and returns the line that answers it,
  // both without their ends. For the supervisor's socket; never sends twice.
  Result<std::string> exchange(const std::string& line, int timeout_ms);

 private:
  LinkClient(std::string path, int timeout_ms) : path_(std::move(path)), connect_ms_(timeout_ms) {}
  Status reconnect();
  Status send_line(const std::string& line, uint64_t deadline_ns, bool& complete);
  Result<std::string> receive_line(uint64_t deadline_ns);
  Status wait_ready(short events, uint64_t deadline_ns);

  std::string path_;
  int connect_ms_;
  Fd socket_;
  std::string buffer_;
  uint64_t last_id_ = 0;
};

}  // namespace hozon::link
