// src/qemu/command.h
// Runs a short-lived program and collects what it says. Blocks; any thread.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"

namespace hozon {

constexpr size_t kCommandOutputMax = 1 << 20;

struct CommandRequest {
  std::vector<std::string> argv;  // argv[0] is looked up in PATH when it has no slash
  int timeout_ms = 5000;
  std::string stop_text;  // when this appears in the output, the program is killed at once
  int fd = -1;            // becomes descriptor 3 of the program
};

struct CommandOutcome {
  int exit_status = -1;  // -1: ended by a signal or by us
  bool timed_out = false;
  bool stopped = false;  // stop_text appeared
  std::string output;    // standard output and error, the first kCommandOutputMax bytes
};

// kNotFound: no such program.
Result<CommandOutcome> run_command(const CommandRequest& request);

}  // namespace hozon
