// src/store/reservoir.h
// Keeps some free blocks prepared (space.h), so that guest writes meet blocks which the file holds
// written: zeros are written to others ahead of need, blocks that guests freed are made reusable
// before all too many wait, and not all that is freed is given back to the filesystem.
//
// Only free blocks are touched, and nothing depends on it but speed; so nothing of it is recorded,
// and a refusal of the filesystem just ends it for a while.
// Threading: the pool's thread.
#pragma once

#include <cstdint>

#include "base/bytes.h"
#include "base/sync.h"
#include "base/task.h"
#include "store/bitmap.h"

namespace hozon::store {

class PoolCore;

class Reservoir {
 public:
  explicit Reservoir(PoolCore& core);
  // Whether a run that became free stays in the file.
  bool keeps_freed() const;
  // A guest took or freed blocks.
  void note_taken();
  void note_retired(uint64_t count);
  void wake() { wake_.pulse(); }
  // Blocks that are being prepared now; they count as in flight.
  uint64_t preparing() const { return preparing_; }
  // Works while the pool is open.
  Task<void> loop();

 private:
  uint64_t wanted() const;
  uint64_t run_blocks() const;
  bool is_due() const;
  Task<void> prepare();

  PoolCore& core_;
  Event wake_;
  AlignedBuffer zeros_;
  uint64_t preparing_ = 0;
  uint64_t retired_ = 0;  // blocks, since guests' blocks were last made reusable
  // From half empty to full: the filesystem's own record of it is synced with the guest's next
  // flush, so rather seldom and much than often.
  bool is_filling_ = false;
  uint64_t not_before_ns_ = 0;  // after a refusal
};

}  // namespace hozon::store
