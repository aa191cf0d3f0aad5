// src/store/headroom.h
// What the filesystem below the pool still has room for. The pool's file is sparse, so that
// filesystem can be full while the pool has free blocks.
//
// The state is  ample   nothing was refused lately
//               short   guest writes wait; metadata is written with the device's reserve
// Invariants
//   H1  While short no guest write asks for room: what there is belongs to checkpoints, and with
//       them to deleting, discarding, stopping and reopening.
//   H2  It ends only when the reserve is whole, there is room beside it, and no metadata waits.
//   H3  While short every free block of the pool is given back to the filesystem, however small
//       its run: room that hides in the pool's file counts too.
// Why a reserve and not just waiting: what frees room (a deletion) needs a checkpoint, and that
// needs room. Threading: the pool's thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/result.h"
#include "base/sync.h"
#include "base/task.h"

namespace hozon::store {

class PoolCore;

class Headroom {
 public:
  explicit Headroom(PoolCore& core);
  bool is_short() const { return short_; }
  // A guest's write was refused for want of room; it may try again when wait() has returned.
  void refused();
  // Returns when there is room, or the pool failed or closes.
  Task<void> wait();
  // For metadata: as Device::write(), but waits for room. -ENOSPC only when the pool closes.
  Task<int> write(uint64_t offset, std::span<const std::byte> from);
  // Ends the shortage when it is over; runs while the pool is open.
  Task<void> loop();
  void wake() { changed_.pulse(); }

 private:
  bool is_ending() const;
  void begin_shortage();
  bool is_over();
  Task<void> give_back_free_blocks();

  PoolCore& core_;
  bool short_ = false;
  bool giving_back_ = false;
  uint64_t metadata_waiting_ = 0;
  Event changed_;
};

}  // namespace hozon::store
