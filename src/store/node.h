// src/store/node.h
// A map node in memory, and the edges between nodes.
//
// An edge leads either to a block on disk (a pointer) or to a node that exists in memory only: a
// node that some head changed since the last checkpoint. A checkpoint gives every such node a block
// and turns all edges into pointers at once.
// Invariants
//   N1  A node with a block never changes again. A node without one is changed only by the head
//       whose generation it carries (`made_by`); everybody else copies it.
//   N2  Edges with equal identity() lead to equal content, and blocks are not reused while an edge
//       leads to them; so comparing identities compares whole subtrees.
// Threading: the pool's thread; the count is not atomic.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <utility>

#include "format/pointer.h"

namespace hozon::store {

using format::Pointer;

class Node;

class NodeRef {
 public:
  NodeRef() = default;
  explicit NodeRef(Node* node);
  NodeRef(const NodeRef& other);
  NodeRef(NodeRef&& other) noexcept : node_(std::exchange(other.node_, nullptr)) {}
  NodeRef& operator=(NodeRef other) noexcept {
    std::swap(node_, other.node_);
    return *this;
  }
  ~NodeRef();
  explicit operator bool() const { return node_ != nullptr; }
  Node* operator->() const { return node_; }
  Node& operator*() const { return *node_; }
  Node* get() const { return node_; }

 private:
  Node* node_ = nullptr;
};

struct Edge {
  Pointer pointer{};  // meaningful when `node` is empty (flags always are)
  NodeRef node;       // a node in memory that has no block yet

  bool is_null() const { return !node && pointer.is_null(); }
  bool is_owned() const { return pointer.is_owned(); }
  // 0 for null. Never equal for different nodes or blocks.
  uint64_t identity() const;
};

// Gives the bytes of a node back to where Node took them (node.cc).
struct NodeBlockDeleter {
  void operator()(format::NodeBlock* block) const;
};

class Node {
 public:
  // `in_memory` counts nodes without a block, for the space that the next checkpoint needs.
  Node(uint8_t level, uint64_t made_by, uint64_t* in_memory);
  ~Node();
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;

  // A changeable copy; `keep_owned` says whether the entries' owned flags still speak the truth.
  NodeRef copy(uint64_t made_by, bool keep_owned, uint64_t* in_memory) const;

  uint8_t level() const { return level_; }
  uint64_t made_by() const { return made_by_; }
  uint64_t block() const { return block_; }  // 0: in memory only
  // What a parent holds: block and checksum, without flags. Only for sealed nodes.
  Pointer self_pointer() const;
  bool is_changeable_by(uint64_t generation) const { return block_ == 0 && made_by_ == generation; }

  bool is_null(uint32_t slot) const {
    return content_->pointers[slot].is_null() && (!children_ || !(*children_)[slot]);
  }
  Edge edge(uint32_t slot) const;
  const Pointer& pointer(uint32_t slot) const { return content_->pointers[slot]; }
  void set_edge(uint32_t slot, Edge edge);
  uint32_t used_slots() const { return used_; }

  // The bytes of this node, once no child is in memory only.
  format::NodeBlock& content() { return *content_; }
  const format::NodeBlock& content() const { return *content_; }
  bool has_children_in_memory() const { return children_ != nullptr; }
  const NodeRef& child(uint32_t slot) const { return (*children_)[slot]; }
  // A checkpoint gives the node its block: from now on it never changes (N1). Its children have
  // blocks too, but its bytes still lack their pointers, and its checksum is not known.
  void assign(uint64_t block);
  // Completes the bytes, once all children are sealed, and computes the checksum.
  void seal();
  bool is_sealed() const { return block_ != 0 && !is_unsealed_; }
  // A node that was read through `pointer`; counts its entries.
  void loaded_from(const Pointer& pointer);

 private:
  friend class NodeRef;
  uint32_t references_ = 0;
  uint32_t used_ = 0;
  uint8_t level_;
  uint64_t made_by_;
  uint64_t block_ = 0;
  uint32_t crc32c_ = 0;
  bool is_unsealed_ = false;  // has a block, but not its final bytes
  uint64_t* in_memory_;
  std::unique_ptr<format::NodeBlock, NodeBlockDeleter> content_;
  std::unique_ptr<std::array<NodeRef, format::kPointersPerNode>> children_;
};

inline NodeRef::NodeRef(Node* node) : node_(node) {
  if (node_ != nullptr) ++node_->references_;
}
inline NodeRef::NodeRef(const NodeRef& other) : NodeRef(other.node_) {}
inline NodeRef::~NodeRef() {
  if (node_ != nullptr && --node_->references_ == 0) delete node_;
}

inline uint64_t Edge::identity() const {
  if (!node) return pointer.block;
  // A node may have got its block while this edge was held.
  if (node->block() != 0) return node->block();
  return reinterpret_cast<uintptr_t>(node.get()) | (uint64_t{1} << 63);
}

// The tree of one point.
struct Tree {
  Edge root;
  uint8_t height = 0;
};

// Which slot of a node at `level` leads towards block `index` of the volume.
constexpr uint32_t slot_of(uint64_t index, uint8_t level) {
  return static_cast<uint32_t>((index >> (8 * (level - 1))) & 0xff);
}

}  // namespace hozon::store
