// src/store/reclaimer.h
// Gives back the space of deleted points.
//
// The walk visits only subtrees of the point that no neighbour in the history (its parent and
// children) shares: by connected sharing everything else is needed by somebody, and everything
// visited by nobody. So the cost is proportional to what is freed. Nothing is changed until the
// walk has seen all; then the blocks are retired and the point leaves the history between two
// waits, and the next checkpoint makes both durable together. A crash before that starts the walk
// again. While it walks, heads go on; what a head stops sharing with the point is noted
// (note_unshared) and looked at last. A point with two or more children becomes a fork: its tree is
// rebuilt without what was freed. Threading: the pool's thread.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "base/result.h"
#include "base/sync.h"
#include "base/task.h"
#include "store/bitmap.h"
#include "store/catalog.h"
#include "store/head_map.h"

namespace hozon::store {

class PoolCore;

class Reclaimer {
 public:
  explicit Reclaimer(PoolCore& core);
  Task<void> loop();
  void wake() { wake_.pulse(); }
  // Works until nothing is queued. Errors: those of reading map nodes.
  Task<Status> drain();
  // Nothing is reclaimed, and no point leaves the history, as long as the guard lives.
  Mutex::Lock pause() { return mutex_.lock(); }
  // Bytes that deleting the point would give back now.
  Task<Result<uint64_t>> exclusive_bytes(uint64_t point_id);
  void note_unshared(const Point& point, uint8_t level, uint64_t index, Edge edge);
  // Puts every fork into the queue: heads may have stopped sharing with it.
  void queue_forks();

 private:
  struct Walk {
    Walk(Point* point_in, uint64_t total_blocks_in, bool rebuild_in)
        : point(point_in), total_blocks(total_blocks_in), rebuild(rebuild_in) {}
    Point* point;
    uint64_t total_blocks;
    std::optional<Bitmap> freed;  // made with the first block; most points free nothing or little
    bool rebuild;                 // make a tree of what is shared
    bool dropped_data = false;
    uint64_t visits = 0;
    // Freed nodes that had no block when they were visited; a checkpoint may give them one.
    std::vector<NodeRef> without_block;

    void free_block(uint64_t block) {
      if (!freed) freed.emplace(total_blocks);
      freed->set(block);
    }
    void free_node(const NodeRef& node) {
      if (node->block() != 0)
        free_block(node->block());
      else
        without_block.push_back(node);
    }
  };
  struct Unshared {
    uint8_t level;
    uint64_t index;
    Edge edge;
  };
  Task<Status> reclaim_one(Point* point);
  // Visits the private node that `own` leads to; `kept` becomes what is left of it (rebuild).
  Task<Status> visit(Walk& walk, Edge own, uint8_t level, uint64_t index, Edge& kept);
  Task<Status> visit_root(Walk& walk, Edge& kept);
  Task<Result<bool>> is_shared(const Point& point, const Edge& edge, uint8_t level, uint64_t index);
  Task<Status> settle_unshared(Walk& walk);
  void finish(Walk& walk, Edge kept);
  void keep_as_fork(Point* point);
  void retire_all(Walk& walk);
  static std::vector<const Point*> neighbours(const Point& point);

  PoolCore& core_;
  Mutex mutex_;  // one walk at a time
  Event wake_;
  std::vector<Unshared> unshared_;
  uint64_t freed_blocks_ = 0;  // since a checkpoint was asked for because of them
};

}  // namespace hozon::store
