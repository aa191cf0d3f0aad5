// src/store/scrub_walk.h
// Walks one point's tree for a scrub, a leaf at a time, and verifies what it meets on the disk.
//
// Nothing of the pool's state is held between two steps: the point may change or vanish meanwhile,
// and the walk goes on at its next address. What a neighbour in the history that was walked before
// has at the same address was verified there, so by connected sharing each block is read once,
// however many points share it. Threading: the pool's thread.
#pragma once

#include <array>
#include <functional>
#include <span>
#include <unordered_set>
#include <vector>

#include "store/core.h"
#include "store/damage_finder.h"

namespace hozon::store {

// What one step did.
struct ScrubStep {
  bool is_end = false;  // the point was walked, or is gone
  uint64_t bytes = 0;   // read
  uint64_t map_blocks = 0;
  uint64_t data_blocks = 0;
  std::vector<DamagedPlace> damaged;
};

class ScrubWalk {
 public:
  // `walked`: the points that this scrub is done with.
  ScrubWalk(PoolCore& core, const std::unordered_set<uint64_t>& walked, uint64_t point_id)
      : core_(core), walked_(walked), point_id_(point_id) {}
  // Goes on to the next leaf that has anything new, or as far as one step may go.
  Task<ScrubStep> step();

 private:
  // A node that the walk is in, verified on the disk.
  struct Entered {
    Pointer pointer{};
    NodeRef node;
  };
  std::vector<Tree> neighbours(const Point& point) const;
  Task<bool> is_verified(const std::vector<Tree>& others, Edge edge, uint8_t level);
  Task<void> descend(Tree tree, std::vector<Tree> others, ScrubStep& step);
  Task<NodeRef> enter(Edge edge, uint8_t level, ScrubStep& step);
  Task<void> verify_leaf(NodeRef leaf, std::vector<Tree> others, ScrubStep& step);
  Task<void> add_damage(uint8_t level, uint64_t index, uint64_t block, std::string reason,
                        ScrubStep& step);
  void skip(uint8_t level);

  PoolCore& core_;
  const std::unordered_set<uint64_t>& walked_;
  uint64_t point_id_;
  std::string point_name_;
  uint64_t index_ = 0;
  std::array<Entered, format::kHeightMax + 1> path_;
};

}  // namespace hozon::store
