// src/client/supervisor.h
// What the CLI asks of an instance's supervisor: whether it is there, and to stop.
#pragma once

#include <string>

#include "base/result.h"
#include "client/types.h"

namespace hozon::client {

// One request, one answer (JSON lines over D/run/supervisor.sock). kUnavailable or kNotFound when
// no supervisor listens there; otherwise the supervisor's own refusal.
Result<Json> ask_supervisor(const std::string& directory, const std::string& op, int timeout_ms);

// Asks it to stop everything and returns when it has gone. kUnavailable after `timeout_ms`.
Status stop_supervisor(const std::string& directory, int timeout_ms);

}  // namespace hozon::client
