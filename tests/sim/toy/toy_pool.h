// tests/sim/toy/toy_pool.h
// A pool that is right because it is trivial, and wrong in chosen ways: it proves the harness.
//
// It implements store/pool.h with everything in memory and a log of every operation, data included,
// in the journal; opening replays the log. Programs link it instead of hozon_store.
#pragma once

#include <cstdint>

namespace hozon::sim {

enum class ToyFlaw : uint8_t {
  kNone,
  kFlushWithoutSync,     // flush answers without syncing
  kAdminWithoutSync,     // operations on volumes and points answer without syncing
  kBelievesTornRecords,  // replay does not verify checksums
  kEarlyAnswer,          // a write is answered before its record is in the kernel
  kSnapshotOneByOne,     // a group's points are made at different instants, in separate records
  kPointSharesHead,      // a small write goes to the block that a snapshot shares
  kForgetsDiscard,       // a discard is not logged
  kDeletesChild,         // deleting a point damages one that descends from it
  kTrustsSecondSync,     // goes on after a failed sync
};
void set_toy_flaw(ToyFlaw flaw);

}  // namespace hozon::sim
