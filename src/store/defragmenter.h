// src/store/defragmenter.h
// Puts the blocks of a head that random writes have scattered side by side again, so that reading
// the volume in order is reading the pool in order.
//
// One leaf of the map (1 MiB) at a time, under the lock that writes take: blocks that only the head
// has, by the map's own rule of connected sharing, are read, verified, written to one run and
// mapped there, as a guest's write of the same content would be; journal, flush, replay and reuse
// know no difference. A snapshot, clone or return that comes between reading and mapping makes the
// blocks shared or the head another one: the copy is then given back and nothing has happened.
// Blocks that a point shares are never moved. In the background this happens when guests have been
// idle for a while, at a bounded rate, for volumes that were written in small pieces since; it
// steps aside when guests come back. Threading: the pool's thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "base/sync.h"
#include "base/task.h"
#include "store/head_map.h"
#include "store/types.h"

namespace hozon::store {

class PoolCore;

class Defragmenter {
 public:
  explicit Defragmenter(PoolCore& core);
  // Now, as fast as it goes: from `offset` on, until about `most_bytes` were examined.
  Task<Result<DefragmentReport>> run(uint64_t volume_id, uint64_t offset, uint64_t most_bytes);
  Task<void> loop();
  void wake() { wake_.pulse(); }
  // A guest did something; `small_blocks` of it were written in small pieces.
  void note_guest(uint64_t volume_id, uint64_t small_blocks) {
    ++guest_requests_;
    if (small_blocks > 0) small_blocks_[volume_id] += small_blocks;
  }

 private:
  // Neighbouring blocks of one leaf that the head alone has, and that lie apart.
  struct Piece {
    uint64_t first = 0;
    std::vector<Pointer> pointers;
  };
  struct Pass {
    explicit Pass(Executor& executor) : one_done(executor) {}
    DefragmentReport report;
    Status first_error;
    uint64_t running = 0;
    Event one_done;
  };
  Task<Status> settle_leaf(uint64_t volume_id, uint64_t leaf, DefragmentReport& report);
  Task<void> settle_in(uint64_t volume_id, uint64_t leaf, Pass& pass);
  Task<Status> move(uint64_t volume_id, uint64_t head_id, const Tree& tree, const Piece& piece,
                    DefragmentReport& report);
  // False: the map has changed since, or the blocks are shared now.
  Task<Result<bool>> switch_over(uint64_t volume_id, uint64_t head_id, const Piece& piece,
                                 uint64_t block);
  // The nodes of a change of the leaf, read where necessary; the head of that moment, or null.
  Task<Result<Point*>> look(uint64_t volume_id, uint64_t first, uint32_t count,
                            HeadMap::LeafPath& path);
  Task<Result<uint64_t>> next_leaf(uint64_t volume_id, uint64_t leaf);
  static std::vector<Piece> scattered_pieces(const HeadMap::LeafPath& path, uint64_t first);
  Task<void> tick(std::shared_ptr<bool> alive);
  Task<void> work_while_idle(uint64_t volume_id);

  PoolCore& core_;
  Event wake_;
  uint64_t guest_requests_ = 0;
  uint64_t idle_ticks_ = 0;
  std::unordered_map<uint64_t, uint64_t> small_blocks_;  // by volume, since its last pass
  std::unordered_map<uint64_t, uint64_t> resume_at_;     // leaf, of passes that stepped aside
  std::shared_ptr<bool> alive_;  // false: the ticker ends without touching this
};

}  // namespace hozon::store
