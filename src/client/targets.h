// src/client/targets.h
// What the calls of Client share: the targets of records, and what a refusal says.
#pragma once

#include <string>

#include "base/result.h"
#include "client/http_connection.h"

namespace hozon::client {

inline std::string machine_path(const std::string& name) {
  return "/v1/machines/" + percent_encode(name);
}
inline std::string snapshot_path(const std::string& machine, const std::string& name) {
  return machine_path(machine) + "/snapshots/" + percent_encode(name);
}

// What a problem says; an answer that is no problem is named by its status.
Error error_of(const HttpAnswer& answer);

}  // namespace hozon::client
