// src/cli/program.h
// Running the programs that live beside hozon (hozon-stored, hozon-supervisor).
#pragma once

#include <string>
#include <vector>

#include "base/result.h"

namespace hozon::cli {

struct ProgramOutcome {
  int exit_code = 0;   // 128 + signal when a signal ended it
  std::string output;  // both streams, at most kProgramOutputMax of their end
};
inline constexpr size_t kProgramOutputMax = 64 << 10;

// Runs `name` from the directory of this program and waits. Its input is empty. kNotFound when it
// is not installed there; kUnavailable when it does not end in time (it is then killed).
Result<ProgramOutcome> run_program(const std::string& name, const std::vector<std::string>& words,
                                   int timeout_ms);

// The last line with text, for quoting in an error: log prefixes are cut off.
std::string last_line(const std::string& text);

}  // namespace hozon::cli
