// tests/sim/rot.h
// Damages a resting pool the way media do, opens it, and reads everything: whatever is answered
// must be right. Damage may be refused, at opening or at each read, and the check must name it
// then.
#pragma once

#include <string>

#include "session.h"

namespace hozon::sim {

struct RotCounters {
  uint64_t tried = 0;
  uint64_t refused_opening = 0;
  uint64_t refused_reads = 0;  // trials in which at least one read was refused
  RotCounters& operator+=(const RotCounters& other);
};

// One trial on a copy. `model` says what a sound pool shows. Empty, or what is wrong.
std::string try_rot(const SimPower& power, const Model& model, Random& random,
                    RotCounters& counters);

}  // namespace hozon::sim
