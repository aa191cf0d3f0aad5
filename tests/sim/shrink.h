// tests/sim/shrink.h
// Makes a failing history shorter: first actors stay away, then runs of steps are left out, as long
// as something still fails. Every try is a child process, because a failure may be an abort.
#pragma once

#include <string>

#include "world.h"

namespace hozon::sim {

struct Shrunk {
  WorldOptions options;      // fails, too
  uint64_t steps_asked = 0;  // before
  uint64_t steps_left = 0;   // after
  uint64_t tries = 0;
};

// `options` fails. Tries at most `tries_most` times.
Shrunk shrink(const WorldOptions& options, uint64_t tries_most);

// What to add to the command that repeated the whole history.
std::string shrunk_arguments(const WorldOptions& options);

}  // namespace hozon::sim
