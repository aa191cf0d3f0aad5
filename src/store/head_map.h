// src/store/head_map.h
// Changing and reading the trees that map a volume's blocks to blocks of the pool.
//
// A change happens in one go, without waiting, once collect() has found every node that it needs in
// memory; so it is atomic for everybody else on the thread. What a change replaces is freed when
// nobody else can need it. For a head that can only be its parent in the history (connected
// sharing, docs/format.md): the block is the head's own if the path to it carries the owned flag,
// or else if the parent's tree has something different at the same address. Threading: the pool's
// thread.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "base/task.h"
#include "store/catalog.h"
#include "store/node_cache.h"

namespace hozon::store {

// Told about every block that a change replaces.
class BlockOwner {
 public:
  virtual ~BlockOwner() = default;
  // Nobody needs the block any more.
  virtual void retire_data(uint64_t block) = 0;
  virtual void retire_node(uint64_t block) = 0;
  // The head stopped sharing with its parent, which is being reclaimed, what `edge` leads to, at
  // `level` (0: data) above volume block `index`.
  virtual void note_unshared(Point& parent, uint8_t level, uint64_t index, Edge edge) = 0;
};

// A node that must be read before the work can go on.
struct MissingNode {
  Edge edge;
  uint8_t level = 0;
};

class HeadMap {
 public:
  HeadMap(NodeCache& cache, BlockOwner& owner, uint64_t* nodes_in_memory)
      : cache_(cache), owner_(owner), nodes_in_memory_(nodes_in_memory) {}

  // All that a change of slots of one leaf needs.
  struct LeafPath {
    uint8_t height = 0;
    std::array<NodeRef, format::kHeightMax + 1> nodes;  // by level; empty: not mapped below
    std::array<bool, format::kHeightMax + 1> owned{};   // every edge down to it is owned
    std::array<bool, format::kHeightMax + 1> shared{};  // the parent has the same node there
    NodeRef parent_leaf;
  };
  // For blocks [index, index + count) of one leaf (they do not cross a multiple of 256).
  std::optional<MissingNode> collect(const Point& head, uint64_t index, uint32_t count,
                                     LeafPath& path);
  // Maps blocks index.. to block.., one per checksum. `path` was collected for exactly that range,
  // and nothing has happened since. The head's tree is high enough (see grow).
  void map(Point& head, LeafPath& path, uint64_t index, uint64_t block,
           std::span<const uint32_t> crcs);
  void unmap(Point& head, LeafPath& path, uint64_t index, uint32_t count);
  // Whether any block of the range is mapped, by a collected path.
  static bool is_any_mapped(const LeafPath& path, uint64_t index, uint32_t count);
  // After a collected path under which nothing of the range is mapped: the next index that may be.
  static uint64_t next_possible(const LeafPath& path, uint64_t index, uint32_t count);
  // Whether the parent has the block that the head maps at `index`, by a path collected for it.
  static bool is_shared(const LeafPath& path, uint64_t index, const Pointer& pointer);
  // Makes the head's tree high enough for block `index`.
  void grow(Point& head, uint64_t index);

  // The leaf node over `index`, read if necessary; empty when nothing is mapped there. `skip` gets
  // the number of blocks from the leaf's first one that the answer "empty" covers.
  Task<Result<NodeRef>> leaf(Tree tree, uint64_t index, uint64_t* skip);
  // The edge of `tree` that leads to the node at `level` over `index` (level 0: to the data block).
  // When a node on the way is not in memory, it is returned instead.
  std::optional<MissingNode> edge_at(const Tree& tree, uint64_t index, uint8_t level, Edge& found);

  // Points that a walk compares with, asked for again after every wait: they may be others by then.
  using Points = std::function<std::vector<const Point*>()>;
  // The nodes of all of them at that place, in memory when this returns without another wait.
  Task<Status> nodes_at(const Points& points, uint8_t level, uint64_t index,
                        std::vector<NodeRef>& nodes);
  // Whether one of them has the same there.
  Task<Result<bool>> is_at(const Points& points, const Edge& edge, uint8_t level, uint64_t index);

 private:
  NodeRef changeable(Point& head, const LeafPath& path, uint8_t level, uint64_t index);
  void replaced(Point& head, const LeafPath& path, uint64_t index, const Pointer& old);

  NodeCache& cache_;
  BlockOwner& owner_;
  uint64_t* nodes_in_memory_;
};

}  // namespace hozon::store
