#include "store/node_cache.h"

#include <algorithm>

#include "base/bytes.h"
#include "base/crc32c.h"
#include "store/mutants.h"

namespace hozon::store {
namespace {
constexpr uint64_t kNodesMin = 64;
}

Status verify_node(const format::NodeBlock& block, const Pointer& pointer, uint64_t total_blocks) {
  const auto damaged = [&](std::string_view why) {
    return make_error(Code::kCorruption, "map node in block {} {}",
                      static_cast<uint64_t>(pointer.block), why);
  };
  if (crc32c(bytes_of(block)) != pointer.crc32c && !mutant(Mutant::kSkippedChecksum))
    return damaged("is damaged (checksum differs)");
  for (const Pointer& child : block.pointers)
    if (!format::is_plausible(child, total_blocks)) return damaged("holds an impossible pointer");
  return {};
}

NodeCache::NodeCache(Executor& executor, Device& data, uint64_t total_blocks, uint64_t budget_bytes)
    : executor_(executor),
      data_(data),
      total_blocks_(total_blocks),
      nodes_max_(std::max(kNodesMin, budget_bytes / sizeof(format::NodeBlock))) {}

NodeRef NodeCache::find(const Edge& edge) {
  if (edge.node) return edge.node;
  const auto entry = entries_.find(edge.pointer.block);
  if (entry != entries_.end()) {
    recency_.splice(recency_.begin(), recency_, entry->second.position);
    return entry->second.node;
  }
  return unwritten(edge.pointer.block);
}

NodeRef NodeCache::unwritten(uint64_t block) const {
  const auto entry = unwritten_.find(block);
  return entry != unwritten_.end() ? entry->second : NodeRef();
}

Task<Result<NodeRef>> NodeCache::load(Edge edge, uint8_t level) {
  NodeRef found = find(edge);
  if (found) co_return found;
  const uint64_t block = edge.pointer.block;
  const auto running = loading_.find(block);
  if (running != loading_.end()) {
    const std::shared_ptr<Loading> shared = running->second;
    co_await shared->done;
    co_return shared->result;
  }
  const auto loading = std::make_shared<Loading>(executor_);
  loading_.emplace(block, loading);
  loading->result = co_await read(edge.pointer, level);
  loading_.erase(block);
  if (loading->result) insert(*loading->result);
  loading->done.set();
  co_return loading->result;
}

Task<Result<NodeRef>> NodeCache::read(Pointer pointer, uint8_t level) {
  NodeRef node(new Node(level, 0, nullptr));
  const uint64_t block = pointer.block;
  const int error =
      co_await data_.read(block * format::kBlockSize, writable_bytes_of(node->content()));
  if (error != 0) co_return errno_error(-error, "read map node in block {}", block);
  HOZON_CO_CHECK(verify_node(node->content(), pointer, total_blocks_));
  node->loaded_from(pointer);
  co_return node;
}

void NodeCache::insert(NodeRef node) {
  const uint64_t block = node->block();
  if (entries_.contains(block)) return;
  recency_.push_front(block);
  entries_.emplace(block, Entry{std::move(node), recency_.begin()});
  while (entries_.size() > nodes_max_) {
    entries_.erase(recency_.back());
    recency_.pop_back();
  }
}

void NodeCache::add_unwritten(NodeRef node) {
  const uint64_t block = node->block();
  unwritten_.emplace(block, std::move(node));
}

void NodeCache::written(uint64_t block) {
  const auto entry = unwritten_.find(block);
  if (entry == unwritten_.end()) return;  // forgotten meanwhile
  NodeRef node = std::move(entry->second);
  unwritten_.erase(entry);
  insert(std::move(node));
}

void NodeCache::forget(uint64_t block) {
  unwritten_.erase(block);
  const auto entry = entries_.find(block);
  if (entry == entries_.end()) return;
  recency_.erase(entry->second.position);
  entries_.erase(entry);
}

}  // namespace hozon::store
