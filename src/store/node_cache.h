// src/store/node_cache.h
// Map nodes by block number: read, verified and kept within a budget.
//
// Invariants
//   C1  A node that is handed out had the checksum that its parent holds, and plausible pointers.
//   C2  Nodes that a running checkpoint has not written yet are kept whatever the budget says.
//   C3  forget() comes before a block is used for something else.
// Errors: kCorruption (names the block), kIo.
// Threading: the pool's thread.
#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <unordered_map>

#include "base/result.h"
#include "base/sync.h"
#include "base/task.h"
#include "io/device.h"
#include "store/node.h"

namespace hozon::store {

class NodeCache {
 public:
  NodeCache(Executor& executor, Device& data, uint64_t total_blocks, uint64_t budget_bytes);

  // The node if it is in memory; empty otherwise.
  NodeRef find(const Edge& edge);
  // Reads it when needed. The edge must not be null.
  Task<Result<NodeRef>> load(Edge edge, uint8_t level);
  // Reads and verifies the node on the disk, whatever is in memory, and keeps nothing.
  Task<Result<NodeRef>> read(Pointer pointer, uint8_t level);
  // A node that just got its block and waits to be written.
  void add_unwritten(NodeRef node);
  void written(uint64_t block);  // it may be evicted from now on
  // The unwritten node of that block; empty when the disk has it.
  NodeRef unwritten(uint64_t block) const;
  void forget(uint64_t block);
  uint64_t nodes() const { return entries_.size(); }

 private:
  struct Entry {
    NodeRef node;
    std::list<uint64_t>::iterator position;
  };
  struct Loading {
    explicit Loading(Executor& executor) : done(executor) {}
    Event done;
    Result<NodeRef> result = NodeRef();
  };
  void insert(NodeRef node);

  Executor& executor_;
  Device& data_;
  uint64_t total_blocks_;
  uint64_t nodes_max_;
  std::unordered_map<uint64_t, Entry> entries_;
  std::list<uint64_t> recency_;  // newest first
  std::unordered_map<uint64_t, NodeRef> unwritten_;
  std::unordered_map<uint64_t, std::shared_ptr<Loading>> loading_;
};

// Verifies a node block against its pointer and its own rules (C1).
Status verify_node(const format::NodeBlock& block, const Pointer& pointer, uint64_t total_blocks);

}  // namespace hozon::store
