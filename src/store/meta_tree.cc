#include "store/meta_tree.h"

#include <algorithm>
#include <cstring>

#include "base/crc32c.h"
#include "base/units.h"
#include "store/block_reader.h"
#include "store/node_cache.h"

namespace hozon::store {
namespace {
constexpr uint64_t kFan = format::kPointersPerNode;
}

void MetaTree::resize(uint64_t leaf_count) {
  HOZON_CHECK(leaf_count >= levels_[0].size());
  levels_[0].resize(leaf_count);
  const uint8_t height = format::height_for(leaf_count);
  uint64_t count = leaf_count;
  for (uint8_t level = 1; level <= height; ++level) {
    count = divide_up(count, kFan);
    if (level >= levels_.size()) levels_.emplace_back();
    levels_[level].resize(count);
  }
  assigned_.resize(levels_.size());
  for (size_t level = 0; level < levels_.size(); ++level)
    assigned_[level].resize(levels_[level].size());
}

void MetaTree::assign(uint64_t leaf_index, const std::function<uint64_t()>& take,
                      const std::function<void(uint64_t)>& drop) {
  uint64_t index = leaf_index;
  for (size_t level = 0; level < levels_.size(); ++level, index /= kFan) {
    if (assigned_[level][index]) continue;
    assigned_[level][index] = true;
    Pointer& pointer = levels_[level][index];
    if (!pointer.is_null()) drop(pointer.block);
    pointer = Pointer{take(), 0, 0};
  }
}

void MetaTree::set_leaf_checksum(uint64_t leaf_index, uint32_t crc32c) {
  HOZON_CHECK(assigned_[0][leaf_index]);
  levels_[0][leaf_index].crc32c = crc32c;
}

void MetaTree::finish(const std::function<void(uint64_t block, const format::NodeBlock&)>& write) {
  for (size_t level = 1; level < levels_.size(); ++level) {
    for (uint64_t index = 0; index < levels_[level].size(); ++index) {
      if (!assigned_[level][index]) continue;
      format::NodeBlock node{};
      const auto& below = levels_[level - 1];
      const uint64_t first = index * kFan;
      const uint64_t count = std::min<uint64_t>(kFan, below.size() - first);
      std::copy_n(below.begin() + static_cast<ptrdiff_t>(first), count, node.pointers.begin());
      levels_[level][index].crc32c = crc32c(bytes_of(node));
      write(levels_[level][index].block, node);
    }
  }
  for (auto& flags : assigned_) flags.assign(flags.size(), false);
}

void MetaTree::for_each_block(
    const std::function<void(const Pointer&, uint8_t level)>& visit) const {
  for (size_t level = 0; level < levels_.size(); ++level)
    for (const Pointer& pointer : levels_[level])
      if (!pointer.is_null()) visit(pointer, static_cast<uint8_t>(level));
}

Task<Result<MetaTree>> MetaTree::load(Executor& executor, Device& data, Pointer root,
                                      uint64_t leaf_count, uint64_t total_blocks, std::string what,
                                      TreeProblems* problems) {
  MetaTree tree;
  tree.resize(leaf_count);
  if (tree.height() > 0) tree.levels_.back()[0] = root;
  auto node = std::make_unique<format::NodeBlock>();
  for (size_t level = tree.levels_.size() - 1; level >= 1; --level) {
    const std::vector<Pointer>& nodes = tree.levels_[level];
    std::vector<Pointer>& below = tree.levels_[level - 1];
    std::vector<WantedBlock> wanted;
    for (uint64_t index = 0; index < nodes.size(); ++index)
      if (!nodes[index].is_null()) wanted.push_back({nodes[index].block, index});
    const auto take = [&](const WantedBlock& which, std::span<const std::byte> bytes) -> Status {
      std::memcpy(node.get(), bytes.data(), sizeof *node);
      Status sound = verify_node(*node, nodes[which.index], total_blocks);
      if (!sound) return add_context(sound.error(), "the pool's " + what);
      const uint64_t first = which.index * kFan;
      const uint64_t count = std::min<uint64_t>(kFan, below.size() - first);
      std::copy_n(node->pointers.begin(), count, below.begin() + static_cast<ptrdiff_t>(first));
      return {};
    };
    if (problems == nullptr) {
      HOZON_CO_CHECK(co_await read_blocks(executor, data, std::move(wanted), what, take));
      continue;
    }
    for (const WantedBlock& one : wanted) {  // each for itself: the others may be good
      const std::vector<WantedBlock> alone(1, one);
      const Status sound = co_await read_blocks(executor, data, alone, what, take);
      if (sound) continue;
      problems->sentences.push_back(sound.error().what);
      const uint64_t reach = uint64_t{1} << (8 * level);
      const uint64_t end = std::min((one.index + 1) * reach, leaf_count);
      for (uint64_t leaf = one.index * reach; leaf < end; ++leaf) problems->leaves.insert(leaf);
    }
  }
  co_return tree;
}

}  // namespace hozon::store
