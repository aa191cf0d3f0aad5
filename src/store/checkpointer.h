// src/store/checkpointer.h
// Writes the state of the pool to new blocks and moves the superblock over to it.
//
// freeze() fixes what the checkpoint holds between two waits: every node in memory gets a block,
// dirty catalog blocks and bitmap groups are copied. Then I/O goes on while seal() computes
// checksums, bit by bit, and while the image is written: blocks, sync, superblock slot 0, sync,
// slot 1, sync. Only then do blocks that the older
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
  // Who wants to look at the state that a checkpoint holds.
  struct Observer {
    std::function<void()> frozen;  // at that moment: every node has a block
    std::function<void()> sealed;  // later: of those nodes, and the trees of the pool's own, all
                                   // checksums are known; no other checkpoint has begun
  };
  // A checkpoint of the state at some moment after the call. kResourceExhausted: no room; nothing
  // has changed.
  Task<Status> run(Observer observer = {});
  // No checkpoint writes while this is held.
  Mutex::Lock hold() { return mutex_.lock(); }
  // In memory only, for pools opened read-only.
  Task<Status> freeze_only();
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
  // A block of the pool's own trees; a leaf's checksum is still to be told to its tree.
  struct MetaBlock {
    uint64_t number;
    AlignedBuffer bytes;
    MetaTree* leaf_of = nullptr;
    uint64_t leaf_index = 0;
  };
  // A catalog record that names the root of a tree whose checksum comes later.
  struct RootPatch {
    size_t block;  // index in Image::blocks
    uint64_t offset;
    NodeRef root;
  };
  struct Image {
    std::vector<NodeRef> nodes;     // children before their parents
    std::vector<MetaBlock> blocks;  // catalog, bitmap and their nodes
    std::vector<RootPatch> patches;
    std::vector<uint64_t> rooted;  // points whose root was a node in memory
    format::Superblock superblock{};
    uint64_t covered_sequence = 0;
    uint64_t journal_head = 0;
  };
  Status freeze(Image& image);
  void assign_trees(Image& image);
  void assign(Node& node, Image& image);
  Task<void> seal(Image& image);
  void unpin_roots(const Image& image);
  void build_catalog(Image& image);
  void build_bitmap(Image& image);
  void finish_tree(MetaTree& tree, Image& image);
  uint64_t take_block();
  void drop_block(uint64_t block);
  Task<Status> write_blocks(Image& image);
  Task<Status> write_superblocks(const format::Superblock& superblock);
  Task<void> completed(const Image& image);
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
