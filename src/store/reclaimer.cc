#include "store/reclaimer.h"

#include "base/log.h"
#include "store/checkpointer.h"
#include "store/core.h"
#include "store/mutants.h"

namespace hozon::store {
namespace {
constexpr uint64_t kVisitsPerTurn = 32;
constexpr uint64_t kPointsPerTurn = 64;
// What was given back can be used after a checkpoint. For so many blocks (64 MiB) it is worth one
// at once; less waits for the next idle one.
constexpr uint64_t kBlocksPerCheckpoint = 16384;
}  // namespace

Reclaimer::Reclaimer(PoolCore& core) : core_(core), mutex_(core.executor), wake_(core.executor) {}

std::vector<const Point*> Reclaimer::neighbours(const Point& point) {
  std::vector<const Point*> found;
  if (point.parent != nullptr && !mutant(Mutant::kWalkIgnoresParent)) found.push_back(point.parent);
  for (const Point* child : point.children) {
    if (mutant(Mutant::kWalkIgnoresChild) && child == point.children.front()) continue;
    found.push_back(child);
  }
  return found;
}

void Reclaimer::note_unshared(const Point& point, uint8_t level, uint64_t index, Edge edge) {
  HOZON_CHECK(point.watched);
  if (mutant(Mutant::kUnsharedForgotten)) return;
  unshared_.push_back({level, index, std::move(edge)});
}

void Reclaimer::queue_forks() {
  for (const auto& [id, point] : core_.catalog.points())
    if (point->kind == PointKind::kFork) core_.catalog.reclaim_queue().insert(id);
  wake_.pulse();
}

Task<void> Reclaimer::loop() {
  while (!core_.closing && core_.health) {
    if (core_.catalog.reclaim_queue().empty()) {
      co_await wake_;
      continue;
    }
    const Status status = co_await drain();
    if (!status && !core_.closing && core_.health) {
      log_error("reclaiming space: {}", status.error().what);
      // Damaged metadata will not heal by itself: wait until something changes.
      co_await wake_;
    }
  }
}

Task<Status> Reclaimer::drain() {
  const Mutex::Guard guard = co_await mutex_.lock();
  // A point that cannot be reclaimed (damage) does not keep the others waiting.
  Status first_error;
  std::set<uint64_t> failed;
  uint64_t reclaimed = 0;
  while (true) {
    if (core_.closing || !core_.health) co_return core_.usable();
    uint64_t next = 0;
    for (const uint64_t id : core_.catalog.reclaim_queue())
      if (!failed.contains(id)) {
        next = id;
        break;
      }
    if (next == 0) co_return first_error;
    // Points that share all they have take no wait: others get their turn all the same.
    if (++reclaimed % kPointsPerTurn == 0) co_await core_.executor.yield();
    Point* point = core_.catalog.point_by_id(next);
    HOZON_CHECK(point != nullptr);
    const Status status = co_await reclaim_one(point);
    if (!status) {
      failed.insert(next);
      if (first_error) first_error = status;
    }
  }
}

Task<Status> Reclaimer::reclaim_one(Point* point) {
  const bool rebuild = point->children.size() >= 2 && !mutant(Mutant::kForkDroppedEarly);
  Walk walk(point, core_.space.total(), rebuild);
  unshared_.clear();
  point->watched = true;
  Edge kept;
  Status status = co_await visit_root(walk, kept);
  if (status && !rebuild) status = co_await settle_unshared(walk);
  point->watched = false;
  if (!status && rebuild && status.error().code == Code::kResourceExhausted) {
    // A fork needs new nodes, at most as many as it gives back. Without room it stays as it is and
    // comes again with the next deletion near it, or when space runs short.
    walk.dropped_data = false;
    status = {};
  }
  if (!status) co_return status;
  finish(walk, std::move(kept));
  co_return Status{};
}

Task<Status> Reclaimer::visit_root(Walk& walk, Edge& kept) {
  const Tree tree = walk.point->tree;
  if (tree.root.is_null()) co_return Status{};
  HOZON_CO_TRY(const bool shared, co_await is_shared(*walk.point, tree.root, tree.height, 0));
  if (shared) {
    kept = tree.root;
    co_return Status{};
  }
  co_return co_await visit(walk, tree.root, tree.height, 0, kept);
}

Task<Result<bool>> Reclaimer::is_shared(const Point& point, const Edge& edge, uint8_t level,
                                        uint64_t index) {
  const ReaderGuard reader(core_.space);
  const HeadMap::Points around = [&point] { return neighbours(point); };
  co_return co_await core_.head_map.is_at(around, edge, level, index);
}

Task<Status> Reclaimer::visit(Walk& walk, Edge own, uint8_t level, uint64_t index, Edge& kept) {
  if (core_.closing) co_return make_error(Code::kUnavailable, "the pool is being closed");
  if (walk.rebuild && !core_.has_room_for_nodes())
    co_return make_error(Code::kResourceExhausted, "no room to rebuild the tree of a fork");
  if (++walk.visits % kVisitsPerTurn == 0) co_await core_.executor.yield();
  std::vector<std::pair<uint32_t, Edge>> below;  // private subtrees, to visit
  NodeRef rest;
  {
    const ReaderGuard reader(core_.space);
    HOZON_CO_TRY(const NodeRef node, co_await core_.cache.load(own, level));
    std::vector<NodeRef> others;
    const HeadMap::Points around = [&walk] { return neighbours(*walk.point); };
    HOZON_CO_CHECK(co_await core_.head_map.nodes_at(around, level, index, others));
    if (walk.rebuild)
      rest = NodeRef(new Node(level, walk.point->generation, &core_.nodes_in_memory));
    const uint32_t slots = format::kPointersPerNode - (mutant(Mutant::kWalkOffByOne) ? 1 : 0);
    for (uint32_t slot = 0; slot < slots; ++slot) {
      Edge edge = node->edge(slot);
      if (edge.is_null()) continue;
      bool shared = false;
      for (const NodeRef& other : others)
        shared = shared || other->edge(slot).identity() == edge.identity();
      // A lower tree stands where slot 0 of this one leads.
      if (slot == 0 && index == 0 && !mutant(Mutant::kWalkIgnoresLowerTree))
        for (const Point* neighbour : neighbours(*walk.point))
          shared = shared || (neighbour->tree.height + 1 == level &&
                              neighbour->tree.root.identity() == edge.identity());
      if (shared) {
        edge.pointer.flags = 0;
        if (rest) rest->set_edge(slot, std::move(edge));
      } else if (level == 1) {
        walk.free_block(edge.pointer.block);
        walk.dropped_data = true;
      } else {
        below.emplace_back(slot, std::move(edge));
      }
    }
    walk.free_node(node);
  }
  for (auto& [slot, edge] : below) {
    Edge left;
    const uint64_t at = index + slot * format::slot_blocks(level);
    HOZON_CO_CHECK(co_await visit(walk, edge, static_cast<uint8_t>(level - 1), at, left));
    if (rest && !left.is_null()) rest->set_edge(slot, std::move(left));
  }
  if (rest && rest->used_slots() > 0) kept = Edge{{}, rest};
  co_return Status{};
}

// What heads stopped sharing during the walk: free if no neighbour has it any more.
Task<Status> Reclaimer::settle_unshared(Walk& walk) {
  const ReaderGuard reader(core_.space);
  for (size_t i = 0; i < unshared_.size(); ++i) {
    const Unshared entry = unshared_[i];
    HOZON_CO_TRY(const bool shared,
                 co_await is_shared(*walk.point, entry.edge, entry.level, entry.index));
    if (shared) continue;
    if (entry.edge.node)
      walk.free_node(entry.edge.node);
    else
      walk.free_block(entry.edge.pointer.block);
  }
  // The last answer came without a wait, or more entries came and were looked at: complete.
  co_return Status{};
}

void Reclaimer::finish(Walk& walk, Edge kept) {
  Point* point = walk.point;
  if (walk.rebuild && !walk.dropped_data) {
    keep_as_fork(point);
    return;
  }
  for (const NodeRef& node : walk.without_block)
    if (node->block() != 0) walk.free_block(node->block());
  retire_all(walk);
  core_.raise_barrier();
  if (walk.rebuild) {
    point->tree.root = std::move(kept);
    point->tree.root.pointer.flags = 0;
    keep_as_fork(point);
  } else {
    core_.catalog.remove_point(point);
  }
  if (freed_blocks_ >= kBlocksPerCheckpoint) {
    freed_blocks_ = 0;
    core_.checkpointer->request();
  }
  core_.checkpointer->wake();
}

void Reclaimer::keep_as_fork(Point* point) {
  point->kind = PointKind::kFork;
  core_.catalog.touch(*point);
  core_.catalog.reclaim_queue().erase(point->id);
}

void Reclaimer::retire_all(Walk& walk) {
  if (!walk.freed) return;
  const uint64_t generation = core_.next_generation();
  freed_blocks_ += walk.freed->set_count();
  core_.space.retire(*std::move(walk.freed), generation);
  walk.freed.reset();
}

Task<Result<uint64_t>> Reclaimer::exclusive_bytes(uint64_t point_id) {
  const Mutex::Guard guard = co_await mutex_.lock();
  Point* point = core_.catalog.point_by_id(point_id);
  if (point == nullptr) co_return make_error(Code::kNotFound, "point {} is gone", point_id);
  Walk walk(point, core_.space.total(), false);
  Edge kept;
  HOZON_CO_CHECK(co_await visit_root(walk, kept));
  co_return (walk.freed ? walk.freed->set_count() : 0) * kBlockSize;
}

}  // namespace hozon::store
