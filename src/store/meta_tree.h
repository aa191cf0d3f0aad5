// src/store/meta_tree.h
// The trees that hold the pool's own data: catalog and bitmap. Same nodes on disk as a volume's
// map; in memory all pointers are kept, since these trees are small (16 bytes per 4 KiB of
// metadata).
//
// At a checkpoint: assign() gives a leaf and all nodes above it new blocks; then set_leaf() takes
// the leaf's checksum, and finish() computes the nodes from the bottom up. Threading: the pool's
// thread.
#pragma once

#include <cstdint>
#include <functional>
#include <set>
#include <span>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "base/sync.h"
#include "base/task.h"
#include "format/pointer.h"
#include "io/device.h"

namespace hozon::store {

using format::Pointer;

// What of a tree could not be read.
struct TreeProblems {
  std::vector<std::string> sentences;
  std::set<uint64_t> leaves;
};

class MetaTree {
 public:
  // Reads all nodes of a tree with `leaf_count` leaves. kCorruption, kIo.
  // With `problems`, damage is noted there, and the leaves below it are null.
  static Task<Result<MetaTree>> load(Executor& executor, Device& data, Pointer root,
                                     uint64_t leaf_count, uint64_t total_blocks, std::string what,
                                     TreeProblems* problems = nullptr);
  MetaTree() { levels_.resize(1); }

  uint64_t leaf_count() const { return levels_[0].size(); }
  uint8_t height() const { return static_cast<uint8_t>(levels_.size() - 1); }
  Pointer root() const { return height() == 0 ? Pointer{} : levels_.back()[0]; }
  const Pointer& leaf(uint64_t index) const { return levels_[0][index]; }
  // Leaves can only be added.
  void resize(uint64_t leaf_count);

  // `take` returns a fresh block, `drop` gets the one that it replaces. Idempotent until finish().
  void assign(uint64_t leaf_index, const std::function<uint64_t()>& take,
              const std::function<void(uint64_t)>& drop);
  uint64_t assigned_block(uint64_t leaf_index) const { return levels_[0][leaf_index].block; }
  void set_leaf_checksum(uint64_t leaf_index, uint32_t crc32c);
  // Hands every assigned node (not the leaves) with its block to `write`, and starts afresh.
  void finish(const std::function<void(uint64_t block, const format::NodeBlock&)>& write);
  uint64_t block_count(uint8_t level) const { return levels_[level].size(); }
  const Pointer& pointer(uint8_t level, uint64_t index) const { return levels_[level][index]; }
  // Every block of the tree: nodes and leaves.
  void for_each_block(const std::function<void(const Pointer&, uint8_t level)>& visit) const;

 private:
  std::vector<std::vector<Pointer>> levels_;  // [0]: leaves; [k]: nodes of level k
  std::vector<std::vector<bool>> assigned_;
};

}  // namespace hozon::store
