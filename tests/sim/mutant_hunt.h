// tests/sim/mutant_hunt.h
// Hunts the bugs that are planted in the store (store/mutants.h): each must turn one of the suites
// red within a bounded number of histories. Only for programs linked with hozon_store_mutants.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "store/mutants.h"

namespace hozon::sim {

// Kinds of history; each is hard on other promises.
enum class Shape : uint8_t {
  kMixed,            // a World with everything a little
  kFaults,           // ... and devices that fail
  kSyncFaults,       // ... of which one sync fails
  kCrowded,          // ... with a full pool: freed blocks are soon taken again
  kSmallJournal,     // ... where checkpoints run all the time
  kCrashUponCrash,   // ... of many short lives: the journal holds remains of all of them
  kEveryEvent,       // ... with crashes of all kinds at every event
  kSequences,        // two operations in a row (sequences.h)
  kSequenceCrashes,  // three, with a crash at every event
  kSequenceFaults,   // three, of which one device call fails
  kByHand,           // plots.h
  kStorm,            // a few cycles of storm.h
};

struct Quarry {
  store::Mutant mutant;
  std::string_view name;
  std::string_view breaks;    // what is wrong with it
  std::vector<Shape> shapes;  // where it shows; others are not tried
  bool slow = false;          // rarely shows: not part of `make test`
};

// Every planted bug; the first entry is none at all.
std::span<const Quarry> quarries();

struct Catch {
  bool caught = false;
  std::string by;  // the shape and what was seen
  uint64_t histories = 0, crashes = 0;
  double seconds = 0;
};

// In a child process, because a planted bug may also trip a check, or never end.
Catch hunt(const Quarry& quarry, uint64_t seeds_most);

}  // namespace hozon::sim
