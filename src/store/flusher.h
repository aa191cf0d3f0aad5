// src/store/flusher.h
// Makes what was answered durable: syncs journal and data at the same time, and shares a running
// sync among all who wait for it.
//
// A record whose data did not reach the medium before a power cut is recognised at replay by its
// checksum; the flush that covers it cannot have returned. So nothing orders the two syncs.
// Threading: the pool's thread.
#pragma once

#include <cstdint>

#include "base/result.h"
#include "base/sync.h"
#include "base/task.h"

namespace hozon::store {

class PoolCore;

class Flusher {
 public:
  explicit Flusher(PoolCore& core);
  // Every frame that is in the kernel now, and the data it maps, is durable on return.
  Task<Status> flush();
  // A guest's flush, and a guest's write that is about to be answered. Who waits for a flush after
  // each write (a database's log) will do so again: once that is plain the sync begins with the
  // write, and the flush that comes meets it half done.
  Task<Status> guest_flush();
  void note_write();
  // Whether the next write is likely to be the only one before a flush.
  bool expects_flush() const;
  // As flush(), and the mark that says so is durable too: frees blocks that waited for it.
  Task<Status> flush_mark();
  // A checkpoint holds everything up to `sequence`.
  void checkpointed(uint64_t sequence);
  uint64_t durable_sequence() const { return durable_sequence_; }

 private:
  Task<void> run();
  bool has_habit() const;
  PoolCore& core_;
  bool running_ = false;
  uint64_t writes_ = 0;         // since the last guest_flush()
  uint64_t single_writes_ = 0;  // so many times in a row a single write was flushed
  Event done_;
  uint64_t durable_sequence_ = 0;
};

}  // namespace hozon::store
