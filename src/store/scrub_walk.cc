#include "store/scrub_walk.h"

#include <algorithm>

#include "store/run_verifier.h"

namespace hozon::store {
namespace {

constexpr uint64_t kDescentsPerStep = 64;
// Of the children of a point so many are compared with; leaving some out only costs reading twice.
constexpr size_t kChildrenMax = 8;

}  // namespace

std::vector<Tree> ScrubWalk::neighbours(const Point& point) const {
  std::vector<Tree> found;
  for (const Point* up = point.parent; up != nullptr; up = up->parent) {
    if (!walked_.contains(up->id)) continue;
    found.push_back(up->tree);
    break;
  }
  for (const Point* child : point.children) {
    if (found.size() > kChildrenMax) break;
    if (walked_.contains(child->id)) found.push_back(child->tree);
  }
  return found;
}

void ScrubWalk::skip(uint8_t level) {
  const uint64_t span = format::slot_blocks(static_cast<uint8_t>(level + 1));
  index_ = index_ - index_ % span + span;
}

Task<ScrubStep> ScrubWalk::step() {
  ScrubStep step;
  const ReaderGuard reader(core_.space);
  for (uint64_t i = 0; i < kDescentsPerStep && step.bytes == 0 && !step.is_end; ++i) {
    const Point* point = core_.catalog.point_by_id(point_id_);
    const uint64_t reach =
        point != nullptr ? format::slot_blocks(static_cast<uint8_t>(point->tree.height + 1)) : 0;
    if (point == nullptr || point->tree.root.is_null() || index_ >= reach) {
      step.is_end = true;
      break;
    }
    point_name_ = describe(*point, core_.catalog);
    co_await descend(point->tree, neighbours(*point), step);
  }
  co_return step;
}

Task<bool> ScrubWalk::is_verified(const std::vector<Tree>& others, Edge edge, uint8_t level) {
  for (const Tree& other : others) {
    Edge beside;
    bool is_known = true;
    while (const auto missing = core_.head_map.edge_at(other, index_, level, beside)) {
      const auto loaded = co_await core_.cache.load(missing->edge, missing->level);
      if (!loaded) {
        is_known = false;  // damaged there: what is below must be looked at here
        break;
      }
    }
    if (is_known && beside.identity() == edge.identity()) co_return true;
  }
  co_return false;
}

// From the root to the leaf over index_; moves index_ past what it did.
Task<void> ScrubWalk::descend(Tree tree, std::vector<Tree> others, ScrubStep& step) {
  Edge edge = tree.root;
  for (uint8_t level = tree.height; level >= 1; --level) {
    if (edge.is_null() || co_await is_verified(others, edge, level)) {
      skip(level);
      co_return;
    }
    const NodeRef node = co_await enter(edge, level, step);
    if (!node) {
      skip(level);
      co_return;
    }
    if (level == 1) {
      co_await verify_leaf(node, std::move(others), step);
      skip(1);
      co_return;
    }
    edge = node->edge(slot_of(index_, level));
  }
}

// The node that `edge` leads to, read from the disk when it is entered; empty when it is damaged.
Task<NodeRef> ScrubWalk::enter(Edge edge, uint8_t level, ScrubStep& step) {
  if (edge.node && !edge.node->is_sealed()) co_return edge.node;  // not on the disk yet
  const Pointer pointer = edge.node ? edge.node->self_pointer() : edge.pointer;
  if (NodeRef unwritten = core_.cache.unwritten(pointer.block)) co_return unwritten;
  Entered& entered = path_[level];
  if (entered.pointer.block == pointer.block && entered.pointer.crc32c == pointer.crc32c)
    co_return entered.node;
  step.bytes += kBlockSize;
  ++step.map_blocks;
  const auto node = co_await core_.cache.read(pointer, level);
  if (!node) {
    const bool is_damage = node.error().code == Code::kCorruption;
    const uint64_t span = format::slot_blocks(static_cast<uint8_t>(level + 1));
    std::string reason = is_damage ? "is damaged (checksum differs)" : "cannot be read";
    co_await add_damage(level, index_ - index_ % span, pointer.block, std::move(reason), step);
  }
  entered = {pointer, node ? *node : NodeRef()};
  co_return entered.node;
}

Task<void> ScrubWalk::verify_leaf(NodeRef leaf, std::vector<Tree> others, ScrubStep& step) {
  std::vector<NodeRef> beside;
  for (const Tree& other : others) {
    Edge edge;
    bool is_known = true;
    while (const auto missing = core_.head_map.edge_at(other, index_, 1, edge)) {
      const auto loaded = co_await core_.cache.load(missing->edge, missing->level);
      is_known = loaded.has_value();
      if (!is_known) break;
    }
    if (!is_known || edge.is_null()) continue;
    const auto node = co_await core_.cache.load(edge, 1);
    if (node) beside.push_back(*node);
  }
  const uint64_t first = index_ - index_ % format::kPointersPerNode;
  std::vector<Pointer> to_read(format::kPointersPerNode);
  for (uint32_t slot = 0; slot < format::kPointersPerNode; ++slot) {
    const Pointer pointer = leaf->pointer(slot);
    const bool is_new =
        !pointer.is_null() && std::ranges::none_of(beside, [&](const NodeRef& node) {
          return node->pointer(slot).block == pointer.block;
        });
    if (!is_new) continue;
    to_read[slot] = pointer;
    step.bytes += kBlockSize;
    ++step.data_blocks;
  }
  RunVerifier verifier(core_.executor, core_.data);
  std::vector<DataRun> runs = runs_of(first, to_read);
  for (DataRun& run : runs) co_await verifier.add(std::move(run));
  std::vector<BadBlock> found = co_await verifier.finish();
  for (BadBlock& bad : found)
    co_await add_damage(0, bad.index, bad.block, std::move(bad.reason), step);
}

Task<void> ScrubWalk::add_damage(uint8_t level, uint64_t index, uint64_t block, std::string reason,
                                 ScrubStep& step) {
  const DamagedBlock found{point_id_, point_name_, level, index, block, std::move(reason)};
  DamagedPlace place = co_await name_damage(core_, found);
  step.damaged.push_back(std::move(place));
}

}  // namespace hozon::store
