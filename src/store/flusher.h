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
  // As flush(), and the mark that says so is durable too: frees blocks that waited for it.
  Task<Status> flush_mark();
  // A checkpoint holds everything up to `sequence`.
  void checkpointed(uint64_t sequence);
  uint64_t durable_sequence() const { return durable_sequence_; }

 private:
  Task<void> run();
  PoolCore& core_;
  bool running_ = false;
  Event done_;
  uint64_t durable_sequence_ = 0;
};

}  // namespace hozon::store
