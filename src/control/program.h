// src/control/program.h
// Runs another program to its end, with its output collected, its resources bounded, and a way to
// stop it. For qemu-img and hozon-stored create; QEMU itself is started by the room qemu.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace hozon::control {

struct ProgramRequest {
  std::vector<std::string> argv;     // argv[0] is looked up in PATH when it has no slash
  uint64_t address_space_bytes = 0;  // limits, 0: none
  uint64_t cpu_seconds = 0;
  // Called with pieces of standard output as they come, and five times a second with nothing.
  // False ends the program (SIGKILL) and run_program() answers kCancelled.
  std::function<bool(std::string_view)> on_output;
};

struct ProgramEnd {
  int exit_status = 0;  // 128 + N: ended by signal N
  std::string output;   // the first kProgramOutputMax bytes of standard output
  std::string errors;   // the same of standard error
};
inline constexpr size_t kProgramOutputMax = 1 << 20;

// kNotFound: no such program. The program dies with this process.
Result<ProgramEnd> run_program(const ProgramRequest& request);

// The last line that says something, for error messages.
std::string last_line(std::string_view text);

}  // namespace hozon::control
