// src/store/opener.h
// Formatting a pool, and bringing one from its files to a PoolCore that has replayed its journal.
// docs/format.md, "Replay". Nothing is written before everything was read and found possible.
// Threading: the pool's thread.
#pragma once

#include <memory>
#include <vector>

#include "base/result.h"
#include "base/task.h"
#include "store/core.h"

namespace hozon::store {

Task<Status> format_pool(Device& data, Device& journal, CreateOptions options);

// What the two superblock slots say.
struct SuperblockSlots {
  format::Superblock best{};
  uint64_t best_slot = 0;
  bool both_good = false;             // the other slot holds the same
  std::vector<std::string> problems;  // of a slot that is not usable
};
// kCorruption, kUnimplemented: neither slot is usable, and why.
Task<Result<SuperblockSlots>> read_superblocks(Device& data);

// kCorruption: the journal's header is damaged, or of another pool.
Task<Status> check_journal_header(Device& journal, const format::Superblock& superblock);

// Makes both slots hold the best one. Comes before a writable opening builds upon it: that reuses
// what an older superblock needs, and must never be left with that one alone.
Task<Status> unify_superblocks(PoolCore& core);

// An opening that may correct the bitmap.
struct RepairOpening {
  TreeProblems* bitmap;  // what of it could not be read is noted here, instead of refused
  std::function<Task<Status>(PoolCore&)> before_replay;
};

// The core of the pool, replayed; not yet checkpointed, no background work.
Task<Result<std::unique_ptr<PoolCore>>> open_core(Executor& executor, Device& data, Device& journal,
                                                  OpenOptions options,
                                                  const RepairOpening* repair = nullptr);

// Makes an opened core ready for changes: what was read becomes stable, both superblocks equal, and
// the replayed state a checkpoint of a new epoch.
Task<Status> begin_writing(PoolCore& core);

}  // namespace hozon::store
