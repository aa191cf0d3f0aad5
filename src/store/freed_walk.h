// src/store/freed_walk.h
// How much space would come back if a set of points were deleted together. Changes nothing.
//
// By connected sharing, the points that map a block at an address are a connected part of the
// history. So somebody who stays needs a block of the set exactly if one of the points around the
// set maps it at the same address. Forks and points that are being reclaimed keep nothing by
// themselves: they count as inside. The walk enters no subtree that somebody around shares, and
// none twice, so that it costs what it finds, times the number of points around.
// Heads go on meanwhile: the answer is that of about now.
// Threading: the pool's thread; the reclaimer must stand still (Reclaimer::pause()).
#pragma once

#include <unordered_set>
#include <vector>

#include "base/task.h"
#include "store/bitmap.h"
#include "store/catalog.h"
#include "store/types.h"

namespace hozon::store {

class PoolCore;

class FreedWalk {
 public:
  FreedWalk(PoolCore& core, std::vector<const Point*> points);
  Task<Result<FreedBytes>> run();

 private:
  void look_around();
  Task<Status> visit(const Point* point);
  Task<Status> visit_node(Edge own, uint8_t level, uint64_t index);

  PoolCore& core_;
  std::vector<const Point*> points_;
  std::vector<const Point*> around_;
  Bitmap data_;
  std::unordered_set<uint64_t> nodes_;  // identities of those that were visited
  std::vector<NodeRef> held_;           // of nodes without a block: their identity must last
  uint64_t data_blocks_ = 0;
  uint64_t visits_ = 0;
};

}  // namespace hozon::store
