#include "store/head_map.h"

#include <algorithm>

#include "store/mutants.h"

namespace hozon::store {
namespace {

// Whether a tree of that height can hold block `index` at all.
bool within(uint8_t height, uint64_t index) {
  return height > 0 && (height >= 8 || (index >> (8 * height)) == 0);
}

}  // namespace

std::optional<MissingNode> HeadMap::edge_at(const Tree& tree, uint64_t index, uint8_t level,
                                            Edge& found) {
  found = {};
  if (level > tree.height || !within(tree.height, index)) return std::nullopt;
  Edge edge = tree.root;
  for (uint8_t at = tree.height; at > level; --at) {
    if (edge.is_null()) return std::nullopt;
    const NodeRef node = cache_.find(edge);
    if (!node) return MissingNode{edge, at};
    edge = node->edge(slot_of(index, at));
  }
  found = std::move(edge);
  return std::nullopt;
}

std::optional<MissingNode> HeadMap::collect(const Point& head, uint64_t index, uint32_t count,
                                            LeafPath& path) {
  path = {};
  path.height = head.tree.height;
  if (!within(path.height, index)) return std::nullopt;
  bool owned = true;
  bool shared = false;
  Edge edge = head.tree.root;
  for (uint8_t level = path.height; level >= 1; --level) {
    if (edge.is_null()) return std::nullopt;
    owned = owned && edge.is_owned();
    if (!owned && !shared && head.parent != nullptr) {
      Edge beside;
      if (auto missing = edge_at(head.parent->tree, index, level, beside)) return missing;
      shared = beside.identity() == edge.identity();
    }
    path.owned[level] = owned;
    path.shared[level] = shared;
    path.nodes[level] = cache_.find(edge);
    if (!path.nodes[level]) return MissingNode{edge, level};
    edge = path.nodes[level]->edge(slot_of(index, level));
  }
  if (shared || head.parent == nullptr) return std::nullopt;
  const Node& leaf = *path.nodes[1];
  for (uint32_t slot = slot_of(index, 1); slot < slot_of(index, 1) + count; ++slot) {
    const Pointer& pointer = leaf.pointer(slot);
    if (pointer.is_null() || (owned && pointer.is_owned())) continue;
    Edge beside;
    if (auto missing = edge_at(head.parent->tree, index, 1, beside)) return missing;
    if (beside.is_null()) return std::nullopt;
    path.parent_leaf = cache_.find(beside);
    if (!path.parent_leaf) return MissingNode{beside, 1};
    return std::nullopt;
  }
  return std::nullopt;
}

bool HeadMap::is_any_mapped(const LeafPath& path, uint64_t index, uint32_t count) {
  if (!path.nodes[1]) return false;
  const uint32_t first = slot_of(index, 1);
  for (uint32_t slot = first; slot < first + count; ++slot)
    if (!path.nodes[1]->is_null(slot)) return true;
  return false;
}

uint64_t HeadMap::next_possible(const LeafPath& path, uint64_t index, uint32_t count) {
  if (!within(path.height, index)) return ~uint64_t{0};
  uint8_t level = path.height;
  while (level >= 1 && path.nodes[level]) --level;
  if (level == 0) return index + count;
  const uint64_t covered = format::slot_blocks(static_cast<uint8_t>(level + 1));
  return index - index % covered + covered;
}

void HeadMap::grow(Point& head, uint64_t index) {
  Tree& tree = head.tree;
  while (!within(tree.height, index)) {
    HOZON_CHECK(tree.height < format::kHeightMax);
    ++tree.height;
    if (tree.root.is_null()) continue;
    if (mutant(Mutant::kGrowthForgetsTree)) {
      tree.root = {};
      continue;
    }
    NodeRef top(new Node(tree.height, head.generation, nodes_in_memory_));
    top->set_edge(0, tree.root);
    tree.root = Edge{{0, 0, format::kPointerOwned}, top};
  }
}

// The node at `level`, as one that the head may change; not linked yet when it is new.
NodeRef HeadMap::changeable(Point& head, const LeafPath& path, uint8_t level, uint64_t index) {
  const NodeRef& node = path.nodes[level];
  if (!node) return NodeRef(new Node(level, head.generation, nodes_in_memory_));
  if (node->is_changeable_by(head.generation)) return node;
  NodeRef copy = node->copy(head.generation, path.owned[level], nodes_in_memory_);
  const bool is_shared = !path.owned[level] && path.shared[level];
  if (is_shared) {
    if (head.parent->watched) owner_.note_unshared(*head.parent, level, index, Edge{{}, node});
  } else if (node->block() != 0) {
    owner_.retire_node(node->block());
  }
  return copy;
}

bool HeadMap::is_shared(const LeafPath& path, uint64_t index, const Pointer& pointer) {
  if (path.owned[1] && pointer.is_owned()) return false;
  return path.shared[1] ||
         (path.parent_leaf && path.parent_leaf->pointer(slot_of(index, 1)).block == pointer.block);
}

void HeadMap::replaced(Point& head, const LeafPath& path, uint64_t index, const Pointer& old) {
  if (old.is_null()) return;
  if (!is_shared(path, index, old) || mutant(Mutant::kSharedBlockFreed))
    owner_.retire_data(old.block);
  else if (head.parent->watched)
    owner_.note_unshared(*head.parent, 0, index, Edge{old, {}});
}

void HeadMap::map(Point& head, LeafPath& path, uint64_t index, uint64_t block,
                  std::span<const uint32_t> crcs) {
  HOZON_CHECK(path.height == head.tree.height && within(path.height, index));
  NodeRef above;
  for (uint8_t level = path.height; level >= 1; --level) {
    NodeRef node = changeable(head, path, level, index);
    if (node.get() != path.nodes[level].get()) {
      Edge edge{{0, 0, format::kPointerOwned}, node};
      if (above)
        above->set_edge(slot_of(index, static_cast<uint8_t>(level + 1)), std::move(edge));
      else
        head.tree.root = std::move(edge);
    }
    above = std::move(node);
  }
  for (size_t i = 0; i < crcs.size(); ++i) {
    const uint32_t slot = slot_of(index + i, 1);
    replaced(head, path, index + i, above->pointer(slot));
    above->set_edge(slot, Edge{{block + i, crcs[i], format::kPointerOwned}, {}});
  }
}

void HeadMap::unmap(Point& head, LeafPath& path, uint64_t index, uint32_t count) {
  if (!is_any_mapped(path, index, count)) return;
  // First the copies of the whole path (as in map), then the slots, then nodes that became empty.
  std::array<NodeRef, format::kHeightMax + 2> now;
  for (uint8_t level = path.height; level >= 1; --level) {
    now[level] = changeable(head, path, level, index);
    if (now[level].get() == path.nodes[level].get()) continue;
    Edge edge{{0, 0, format::kPointerOwned}, now[level]};
    if (level < path.height)
      now[level + 1u]->set_edge(slot_of(index, static_cast<uint8_t>(level + 1)), std::move(edge));
    else
      head.tree.root = std::move(edge);
  }
  for (uint64_t at = index; at < index + count; ++at) {
    replaced(head, path, at, now[1]->pointer(slot_of(at, 1)));
    now[1]->set_edge(slot_of(at, 1), Edge{});
  }
  for (uint8_t level = 1; level <= path.height && now[level]->used_slots() == 0; ++level) {
    if (level < path.height)
      now[level + 1u]->set_edge(slot_of(index, static_cast<uint8_t>(level + 1)), Edge{});
    else
      head.tree.root = Edge{};
  }
}

Task<Result<NodeRef>> HeadMap::leaf(Tree tree, uint64_t index, uint64_t* skip) {
  *skip = format::kPointersPerNode;
  if (!within(tree.height, index)) {
    *skip = ~uint64_t{0} >> 1;
    co_return NodeRef();
  }
  Edge edge = tree.root;
  for (uint8_t level = tree.height;; --level) {
    if (edge.is_null()) {
      *skip = format::slot_blocks(static_cast<uint8_t>(level + 1));
      co_return NodeRef();
    }
    NodeRef node = cache_.find(edge);
    if (!node) {
      auto loaded = co_await cache_.load(edge, level);
      if (!loaded) co_return std::unexpected(std::move(loaded.error()));
      node = std::move(*loaded);
    }
    if (level == 1) co_return node;
    edge = node->edge(slot_of(index, level));
  }
}

Task<Status> HeadMap::nodes_at(const Points& points, uint8_t level, uint64_t index,
                               std::vector<NodeRef>& nodes) {
  while (true) {
    nodes.clear();
    std::optional<MissingNode> missing;
    for (const Point* point : points()) {
      Edge edge;
      missing = edge_at(point->tree, index, level, edge);
      if (missing) break;
      if (edge.is_null()) continue;
      NodeRef node = cache_.find(edge);
      if (!node) {
        missing = MissingNode{edge, level};
        break;
      }
      nodes.push_back(std::move(node));
    }
    if (!missing) co_return Status{};
    const auto loaded = co_await cache_.load(missing->edge, missing->level);
    if (!loaded) co_return std::unexpected(loaded.error());
  }
}

Task<Result<bool>> HeadMap::is_at(const Points& points, const Edge& edge, uint8_t level,
                                  uint64_t index) {
  while (true) {
    std::optional<MissingNode> missing;
    for (const Point* point : points()) {
      Edge other;
      missing = edge_at(point->tree, index, level, other);
      if (missing) break;
      if (other.identity() == edge.identity()) co_return true;
    }
    if (!missing) co_return false;
    const auto loaded = co_await cache_.load(missing->edge, missing->level);
    if (!loaded) co_return std::unexpected(loaded.error());
  }
}

}  // namespace hozon::store
