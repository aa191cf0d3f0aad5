#include "store/freed_walk.h"

#include <algorithm>

#include "store/core.h"

namespace hozon::store {
namespace {

constexpr uint64_t kVisitsPerTurn = 32;

std::vector<const Point*> neighbours(const Point& point) {
  std::vector<const Point*> found(point.children.begin(), point.children.end());
  if (point.parent != nullptr) found.push_back(point.parent);
  return found;
}

}  // namespace

FreedWalk::FreedWalk(PoolCore& core, std::vector<const Point*> points)
    : core_(core), points_(std::move(points)), data_(core.space.total()) {
  look_around();
}

void FreedWalk::look_around() {
  std::vector<const Point*> inside = points_;
  std::unordered_set<const Point*> known(inside.begin(), inside.end());
  for (size_t i = 0; i < inside.size(); ++i)
    for (const Point* other : neighbours(*inside[i])) {
      if (!known.insert(other).second) continue;
      (other->is_readable() ? around_ : inside).push_back(other);
    }
}

Task<Result<FreedBytes>> FreedWalk::run() {
  for (const Point* point : points_) HOZON_CO_CHECK(co_await visit(point));
  co_return FreedBytes{.data_bytes = data_blocks_ * kBlockSize,
                       .map_bytes = nodes_.size() * kBlockSize};
}

Task<Status> FreedWalk::visit(const Point* point) {
  const Tree tree = point->tree;
  if (tree.root.is_null()) co_return Status{};
  bool needed = false;
  {
    const ReaderGuard reader(core_.space);
    const HeadMap::Points around = [this] { return around_; };
    HOZON_CO_TRY(needed, co_await core_.head_map.is_at(around, tree.root, tree.height, 0));
  }
  if (needed) co_return Status{};
  co_return co_await visit_node(tree.root, tree.height, 0);
}

Task<Status> FreedWalk::visit_node(Edge own, uint8_t level, uint64_t index) {
  if (core_.closing) co_return make_error(Code::kUnavailable, "the pool is being closed");
  if (++visits_ % kVisitsPerTurn == 0) co_await core_.executor.yield();
  std::vector<std::pair<uint32_t, Edge>> below;
  {
    const ReaderGuard reader(core_.space);
    HOZON_CO_TRY(const NodeRef node, co_await core_.cache.load(own, level));
    if (!nodes_.insert(own.identity()).second) co_return Status{};  // through another point
    if (own.node) held_.push_back(own.node);
    std::vector<NodeRef> others;
    const HeadMap::Points around = [this] { return around_; };
    HOZON_CO_CHECK(co_await core_.head_map.nodes_at(around, level, index, others));
    for (uint32_t slot = 0; slot < format::kPointersPerNode; ++slot) {
      Edge edge = node->edge(slot);
      if (edge.is_null()) continue;
      bool needed = std::ranges::any_of(others, [&](const NodeRef& other) {
        return other->edge(slot).identity() == edge.identity();
      });
      // A lower tree stands where slot 0 of this one leads.
      if (slot == 0 && index == 0)
        for (const Point* other : around_)
          needed = needed || (other->tree.height + 1 == level &&
                              other->tree.root.identity() == edge.identity());
      if (needed) continue;
      if (level > 1) {
        below.emplace_back(slot, std::move(edge));
      } else if (!data_.test(edge.pointer.block)) {
        data_.set(edge.pointer.block);
        ++data_blocks_;
      }
    }
  }
  for (const auto& [slot, edge] : below)
    HOZON_CO_CHECK(co_await visit_node(edge, static_cast<uint8_t>(level - 1),
                                       index + slot * format::slot_blocks(level)));
  co_return Status{};
}

}  // namespace hozon::store
