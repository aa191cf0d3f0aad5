// tests/sim/sequences.h
// Short sequences of operations, one after the other, on a small pool that is always the same: few
// enough that all of them can be tried, with a crash at each event and with each device call
// failing. Bounded sequences find most crash bugs; the World (world.h) looks for the others.
//
// The pool holds volumes `a` (two levels of map), `b` (one) and `c` (a clone of a point), and
// points with one and with two branches. After each step everything is compared with the model.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "session.h"

namespace hozon::sim {

enum class Step : uint8_t {
  kWrite,
  kWritePartial,   // less than a block
  kWriteSpanning,  // several blocks of two map nodes, beginning and ending inside a block
  kWriteFua,
  kFlush,
  kDiscard,  // beginning and ending inside a block
  kZero,
  kSnapshot,
  kGroupSnapshot,
  kClone,
  kReturn,
  kDeletePoint,
  kResize,  // grows, the second time it shrinks again
  kReopen,
};
inline constexpr uint64_t kStepKinds = 14;
std::string_view step_name(Step step);
// Sequence number `index` of the kStepKinds ** length ones.
std::vector<Step> sequence(uint64_t index, unsigned length);
std::string sequence_text(const std::vector<Step>& steps);

struct Trial {
  std::vector<Step> steps;
  uint64_t seed = 1;
  // Crashes at every event: none, all, and so many random fates, and kills.
  bool crash = true;
  uint64_t random_fates = 62;
  bool each_write = false;      // also each single write kept, dropped, and each prefix
  unsigned depth = 0;           // crashes during the recovery ...
  uint64_t nested_percent = 0;  // ... at so many of its events
  // Or: one failing call. Afterwards the pool is killed, cut off, and closed.
  std::optional<FaultRule> fault = {};
};

struct TrialCounters {
  CrashCounters crashes;
  uint64_t trials = 0, steps = 0, events = 0;
  uint64_t refused = 0;  // steps that failed because of a fault
  uint64_t parked = 0;   // waits for space that ended when space was there
  TrialCounters& operator+=(const TrialCounters& other);
};

// Empty, or what is wrong.
std::string run_trial(const Trial& trial, TrialCounters& counters);

}  // namespace hozon::sim
