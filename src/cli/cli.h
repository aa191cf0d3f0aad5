// src/cli/cli.h
// The hozon command line, from argv to the exit code.
#pragma once

namespace hozon::cli {

int run(int argc, char** argv);

}  // namespace hozon::cli
