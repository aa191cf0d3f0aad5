#include "store/meta_tree.h"

#include <algorithm>

#include "base/crc32c.h"
#include "base/units.h"
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

Task<Result<MetaTree>> MetaTree::load(Device& data, Pointer root, uint64_t leaf_count,
                                      uint64_t total_blocks, std::string what,
                                      TreeProblems* problems) {
  MetaTree tree;
  tree.resize(leaf_count);
  if (tree.height() > 0) tree.levels_.back()[0] = root;
  auto node = std::make_unique<format::NodeBlock>();
  for (size_t level = tree.levels_.size() - 1; level >= 1; --level) {
    for (uint64_t index = 0; index < tree.levels_[level].size(); ++index) {
      const Pointer pointer = tree.levels_[level][index];
      if (pointer.is_null()) continue;
      const uint64_t block = pointer.block;
      const int error = co_await data.read(block * format::kBlockSize, writable_bytes_of(*node));
      Status sound;
      if (error != 0)
        sound = errno_error(-error, "read the pool's {} (block {})", what, block);
      else if (const Status verified = verify_node(*node, pointer, total_blocks); !verified)
        sound = add_context(verified.error(), "the pool's " + what);
      if (!sound && problems == nullptr) co_return std::unexpected(sound.error());
      if (!sound) {
        problems->sentences.push_back(sound.error().what);
        const uint64_t reach = uint64_t{1} << (8 * level);
        for (uint64_t leaf = index * reach; leaf < std::min((index + 1) * reach, leaf_count);
             ++leaf)
          problems->leaves.insert(leaf);
        continue;
      }
      auto& below = tree.levels_[level - 1];
      const uint64_t first = index * kFan;
      const uint64_t count = std::min<uint64_t>(kFan, below.size() - first);
      std::copy_n(node->pointers.begin(), count, below.begin() + static_cast<ptrdiff_t>(first));
    }
  }
  co_return tree;
}

}  // namespace hozon::store
