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
  kSuperblockFirst,          // superblocks are written before what they lead to
  kTailTooEarly,             // replay begins behind frames written while the checkpoint ran
  kBitmapBitLost,            // a checkpoint writes a live block as free
  kIgnoredWriteError,        // data that could not be written is mapped
  kIgnoredJournalError,      // a journal write that failed counts as done
  kIgnoredSyncError,         // a failed sync of the data counts as done
  kConcurrentSyncs,          // two syncs of the data run at once; only one hears of a loss
  kMergeIntoOtherHead,       // a partial write merges with the state before a return
  kNoRangeLock,              // writes to one block do not wait for each other
  kZeroEdgesSkipped,         // zeroes and discards leave the parts of blocks at their ends
  kOldEndDiscarded,          // a discard takes the end of the volume for what it was at its call
  kUnloggedDiscard,          // discards leave no journal record
  kIdleAnswerEarly,          // what needs no change does not wait for what it relies on
  kFlushJoinsRunning,        // a flush takes part in a sync that began before it
  kUnflushedCommit,       // operations on volumes and points are answered before they are durable
  kMarkTooHigh,           // the mark covers frames that the sync did not
  kSharedJournalPage,     // frames go into pages that hold durable ones
  kIgnoredBarrier,        // reuse does not wait for the checkpoint that ends a reclaiming
  kStaleNode,             // the node cache keeps what a reused block held before
  kLostRetire,            // replaced map nodes are never freed
  kSharedBlockFreed,      // overwriting frees a block that the parent shares
  kUnsharedForgotten,     // what heads stop sharing while the walk runs is not looked at
  kForkDroppedEarly,      // a point with two branches is removed as if it had one
  kWalkOffByOne,          // the walk leaves out the last slot of each node
  kWalkIgnoresLowerTree,  // ... and what a neighbour with a lower tree shares
  kReplayGoesOn,          // replay drops the incomplete frame and applies the later ones
  kReplayFreesEarly,      // what replay frees may be reused although replay may need it again
  kSlotsNotMadeEqual,     // an opening leaves a damaged superblock slot as it is
  kEpochKept,             // an opening does not begin a new epoch
  kUnsyncedOpening,       // an opening builds upon what may be in the page cache only
  kReusedId,              // ids of deleted objects are given out again after an opening
  kOwnedSurvivesClone,    // a clone's head believes that it owns what it shares
  kOwnedSurvivesReturn,   // ... and so does the head that a return makes
  kGrowthForgetsTree,     // a tree that becomes higher loses what it held
  kShrinkLeavesMapping,   // a shrink does not look for mapped blocks
  kSplitSnapshot,         // the points of a set are made one after the other
  kEarlyAnswers,          // others are answered while a record waits for its data
  kEarlyMarked,           // a sync counts for a record whose data is being written
  kEarlyFrozen,           // a checkpoint begins between a record and its effect
  kEarlyCommitted,        // ... and so does a change of volumes or points
  kEarlyKept,             // the record of a write that failed stays in the journal
  kEnd,
};

#ifdef HOZON_MUTANTS
Mutant active_mutant();
void set_active_mutant(Mutant mutant);
inline bool mutant(Mutant which) { return active_mutant() == which; }
#else
constexpr bool mutant(Mutant) { return false; }
#endif

}  // namespace hozon::store
