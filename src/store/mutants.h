// src/store/mutants.h
// Planted bugs. The suites must catch every one of them (tests/sim/mutants_test.cc); a suite that
// stays green with a planted bug proves nothing. Only the library built with HOZON_MUTANTS has
// them; elsewhere mutant() is a constant and the branches vanish.
#pragma once

#include <cstdint>

namespace hozon::store {

enum class Mutant : uint8_t {
  kNone,
  kForgottenDataSync,        // flush syncs the journal only
  kForgottenJournalSync,     // flush syncs the data only
  kForgottenCheckpointSync,  // superblocks are written before their children are durable
  kSingleSuperblockSlot,     // checkpoints write slot 0 only
  kEarlyReuse,               // freed blocks are handed out at once
  kReuseBeforeMark,          // reuse does not wait for a durable mark
  kIgnoredReaders,           // reuse does not wait for readers
  kSkippedChecksum,          // reads do not verify
  kSkippedReplayCheck,       // replay believes records whose data may be missing
  kEarlyAcknowledge,         // writes are answered before their journal record is in the kernel
  kWalkIgnoresParent,        // deleting a point frees what its parent shares
  kWalkIgnoresChild,         // ... what its first child shares
  kOwnedSurvivesSnapshot,    // a snapshot does not take ownership away from the head
  kStaleEpoch,               // replay accepts frames of an earlier epoch
};

#ifdef HOZON_MUTANTS
Mutant active_mutant();
void set_active_mutant(Mutant mutant);
inline bool mutant(Mutant which) { return active_mutant() == which; }
#else
constexpr bool mutant(Mutant) { return false; }
#endif

}  // namespace hozon::store
