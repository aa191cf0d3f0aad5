// src/files/confine.h
// Takes everything from this process that reading a hostile disk does not need.
//
// Afterwards it can use the descriptors that it has, memory up to a bound, and a bounded time of
// the processor; it can open, connect, start, change and signal nothing, and it is nobody when it
// was root. What the kernel cannot do (Landlock, namespaces for ordinary users) is left out; the
// filter of system calls is not, and neither is giving up root.
//   system calls   seccomp: any that is not on a short list ends the process, with SIGSYS
//   files          Landlock without a rule, and an empty set of capabilities
//   network, ipc   namespaces of its own
//   resources      RLIMIT_AS, _CPU, _FSIZE 0, _NPROC 0, _CORE 0
// Threading: call it while there is one thread.
#pragma once

#include <cstdint>

#include "base/result.h"

namespace hozon::files {

struct Bounds {
  uint64_t memory_bytes = uint64_t{1} << 30;
  uint64_t cpu_seconds = 30;
};

// `parent`: this process ends with that one. An error: the process must not go on.
Status confine(const Bounds& bounds, int parent);

}  // namespace hozon::files
