#include "store/node.h"

#include <memory_resource>
#include <new>

#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/result.h"

namespace hozon::store {
namespace {

constexpr size_t kBlocksPerChunk = 256;

// Blocks side by side, taken from the heap by the megabyte and kept for the nodes to come: the heap
// itself would spend a second block on the alignment of each.
std::pmr::memory_resource& node_blocks() {
  static thread_local std::pmr::unsynchronized_pool_resource blocks(
      {.max_blocks_per_chunk = kBlocksPerChunk,
       .largest_required_pool_block = sizeof(format::NodeBlock)});
  return blocks;
}

}  // namespace

void NodeBlockDeleter::operator()(format::NodeBlock* block) const {
  node_blocks().deallocate(block, sizeof(format::NodeBlock), alignof(format::NodeBlock));
}

Node::Node(uint8_t level, uint64_t made_by, uint64_t* in_memory)
    : level_(level),
      made_by_(made_by),
      in_memory_(in_memory),
      content_(new(node_blocks().allocate(sizeof(format::NodeBlock), alignof(format::NodeBlock)))
                   format::NodeBlock()) {
  if (in_memory_ != nullptr) ++*in_memory_;
}

Node::~Node() {
  if (in_memory_ != nullptr) --*in_memory_;
}

NodeRef Node::copy(uint64_t made_by, bool keep_owned, uint64_t* in_memory) const {
  NodeRef made(new Node(level_, made_by, in_memory));
  *made->content_ = *content_;
  if (!keep_owned)
    for (Pointer& pointer : made->content_->pointers) pointer.flags = 0;
  if (children_) made->children_ = std::make_unique<std::array<NodeRef, 256>>(*children_);
  made->used_ = used_;
  return made;
}

Edge Node::edge(uint32_t slot) const {
  Edge found{content_->pointers[slot], {}};
  if (children_) found.node = (*children_)[slot];
  return found;
}

void Node::set_edge(uint32_t slot, Edge edge) {
  HOZON_CHECK(block_ == 0);  // keeps N1
  const bool was_null = is_null(slot);
  const bool now_null = edge.is_null();
  if (edge.node) {
    HOZON_CHECK(level_ > 1);
    if (!children_) children_ = std::make_unique<std::array<NodeRef, 256>>();
    edge.pointer.block = 0;
    edge.pointer.crc32c = 0;
  }
  if (now_null) edge.pointer = Pointer{};
  content_->pointers[slot] = edge.pointer;
  if (children_) (*children_)[slot] = std::move(edge.node);
  if (was_null && !now_null) ++used_;
  if (!was_null && now_null) --used_;
}

Pointer Node::self_pointer() const {
  HOZON_CHECK(is_sealed());
  return {block_, crc32c_, 0};
}

void Node::assign(uint64_t block) {
  HOZON_CHECK(block_ == 0);
  block_ = block;
  is_unsealed_ = true;
  if (in_memory_ != nullptr) --*in_memory_;
  in_memory_ = nullptr;
}

void Node::seal() {
  HOZON_CHECK(is_unsealed_);
  for (uint32_t slot = 0; children_ && slot < format::kPointersPerNode; ++slot) {
    if (!(*children_)[slot]) continue;
    Pointer& entry = content_->pointers[slot];
    const uint32_t flags = entry.flags;
    entry = (*children_)[slot]->self_pointer();
    entry.flags = flags;
  }
  children_.reset();
  crc32c_ = crc32c(bytes_of(*content_));
  is_unsealed_ = false;
}

void Node::loaded_from(const Pointer& pointer) {
  block_ = pointer.block;
  crc32c_ = pointer.crc32c;
  used_ = 0;
  for (const Pointer& entry : content_->pointers) used_ += entry.is_null() ? 0 : 1;
}

}  // namespace hozon::store
