// src/store/checkpointer.h
// Writes the state of the pool to new blocks and moves the superblock over to it.
//
// freeze() builds the whole image of the checkpoint between two waits: every node in memory gets a
// block, dirty catalog blocks and bitmap groups too. Then I/O goes on while the image is written:
// blocks, sync, superblock slot 0, sync, slot 1, sync. Only then do blocks that the older
// checkpoint needed become free, and the journal's tail moves. Why both slots, one after the other:
// each of them alone then opens the pool without loss. Threading: the pool's thread.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "base/sync.h"
#include "base/task.h"
#include "format/superblock.h"
#include "store/node.h"

namespace hozon::store {

class PoolCore;
class MetaTree;

class Checkpointer {
 public:
  explicit Checkpointer(PoolCore& core);
  // A checkpoint of the state at some moment after the call. `at_freeze` runs at that moment, when
  // no node is in memory only. kResourceExhausted: no room; nothing has changed.
  Task<Status> run(std::function<void()> at_freeze = {});
  // No checkpoint writes while this is held.
  Mutex::Lock hold() { return mutex_.lock(); }
  // In memory only, for pools opened read-only.
  Status freeze_only();
  // Asks the background loop for a checkpoint soon.
  void request();
  void wake() { wake_.pulse(); }
  Task<void> loop();
  // At most so many blocks would a checkpoint of the present state take.
  uint64_t blocks_needed() const;
  // The checkpoint that the present state will be part of.
  uint64_t next_generation() const { return frozen_generation_ + 1; }
  void set_frozen_generation(uint64_t generation) { frozen_generation_ = generation; }

 private:
  struct Image {
    std::vector<NodeRef> nodes;
    std::vector<std::pair<uint64_t, AlignedBuffer>> blocks;  // catalog, bitmap and their nodes
    format::Superblock superblock{};
    uint64_t covered_sequence = 0;
    uint64_t journal_head = 0;
  };
  Status freeze(Image& image);
  void settle_trees(Image& image);
  Pointer settle(Node& node, Image& image);
  void build_catalog(Image& image);
  void build_bitmap(Image& image);
  void finish_tree(MetaTree& tree, Image& image);
  uint64_t take_block();
  void drop_block(uint64_t block);
  Task<Status> write_blocks(Image& image);
  Task<Status> write_superblocks(const format::Superblock& superblock);
  void completed(const Image& image);
  bool is_due() const;
  Task<void> tick(std::shared_ptr<bool> alive);

  PoolCore& core_;
  Mutex mutex_;
  Event wake_;
  bool requested_ = false;
  bool idle_due_ = false;
  uint64_t frozen_generation_ = 0;
  std::vector<uint64_t> block_supply_;  // taken for the image being built
  std::shared_ptr<bool> alive_;         // false: the ticker ends without touching this
};

}  // namespace hozon::store
