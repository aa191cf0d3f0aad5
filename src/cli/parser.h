// src/cli/parser.h
// From argv to Arguments, or to what should be printed instead (help, version, one error line).
//
// The grammar is declared to CLI11, which only parser.cc and declare_*.cc include. Nouns and verbs
// are never abbreviated; options stand anywhere after the noun or verb; `--` ends options.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cli/arguments.h"

namespace hozon::cli {

struct Parsed {
  std::optional<Arguments> arguments;  // set: run this
  ExitCode exit_code = ExitCode::kOk;  // otherwise: print these and leave
  std::string output;                  // to standard output (help)
  std::string error;                   // one line, without the "hozon: error: " before it
};

// `words` without the program's name. Environment: HOZON_DIR.
Parsed parse_command_line(const std::vector<std::string>& words);

}  // namespace hozon::cli
