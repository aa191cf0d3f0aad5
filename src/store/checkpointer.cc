#include "store/checkpointer.h"

#include <algorithm>
#include <cstring>
#include <set>

#include "base/crc32c.h"
#include "base/log.h"
#include "store/core.h"
#include "store/flusher.h"
#include "store/headroom.h"
#include "store/mutants.h"

namespace hozon::store {
namespace {

// A checkpoint starts when so many nodes wait in memory, or half of the ring is used.
// Guests that write at random over gigabytes change a node with every write: the more nodes wait,
// the more writes share one that is written.
constexpr uint64_t kNodesInMemoryMax = 12288;
// Few and small writes at a time: a guest's own must not queue behind a checkpoint.
constexpr uint64_t kWriteBlocksMax = 64;  // of one write of neighbouring blocks
constexpr uint64_t kWritesInFlight = 4;
constexpr uint64_t kNodesPerTurn = 64;

}  // namespace

Checkpointer::Checkpointer(PoolCore& core)
    : core_(core),
      mutex_(core.executor),
      wake_(core.executor),
      alive_(std::make_shared<bool>(true)) {}

void Checkpointer::request() {
  requested_ = true;
  wake_.pulse();
}

bool Checkpointer::is_due() const {
  const bool dirty = core_.nodes_in_memory > 0 || !core_.catalog.dirty_slots().empty() ||
                     core_.space.pending() > 0 || core_.journal.used_bytes() > 0;
  return requested_ || core_.nodes_in_memory >= kNodesInMemoryMax ||
         core_.journal.used_bytes() > core_.journal.ring_bytes() / 2 ||
         (core_.parked_writes > 0 && core_.space.pending() > 0) || (idle_due_ && dirty);
}

Task<void> Checkpointer::tick(std::shared_ptr<bool> alive) {
  Executor& executor = core_.executor;
  const uint64_t period = core_.options.checkpoint_idle_ns;
  while (true) {
    co_await executor.sleep(period);
    if (!*alive) co_return;
    idle_due_ = true;
    wake_.pulse();
  }
}

Task<void> Checkpointer::loop() {
  spawn(tick(alive_));
  while (!core_.closing && core_.health) {
    if (is_due()) {
      requested_ = false;
      idle_due_ = false;
      const Status status = co_await run();
      if (!status && core_.health && !core_.closing) {
        log_warning("checkpoint: {}", status.error().what);
        co_await core_.executor.sleep(100'000'000);
      }
    } else {
      co_await wake_;
    }
  }
  *alive_ = false;
}

Task<Status> Checkpointer::run(Observer observer) {
  const Mutex::Guard guard = co_await mutex_.lock();
  while (core_.early.is_running() && !mutant(Mutant::kEarlyFrozen)) co_await core_.early.none();
  if (!core_.health) co_return core_.health;
  // Frames with older sequences than the checkpoint covers must be in the kernel or in its image.
  core_.end_of_turn();
  Image image;
  HOZON_CO_CHECK(freeze(image));
  if (observer.frozen) observer.frozen();
  co_await seal(image);
  if (observer.sealed) observer.sealed();
  if (mutant(Mutant::kSuperblockFirst))
    HOZON_CO_CHECK(co_await write_superblocks(image.superblock));
  HOZON_CO_CHECK(co_await write_blocks(image));
  HOZON_CO_CHECK(co_await write_superblocks(image.superblock));
  co_await completed(image);
  co_return Status{};
}

Task<Status> Checkpointer::freeze_only() {
  const Mutex::Guard guard = co_await mutex_.lock();
  while (core_.early.is_running()) co_await core_.early.none();
  Image image;
  HOZON_CO_CHECK(freeze(image));
  co_await seal(image);
  co_return Status{};
}

uint64_t Checkpointer::blocks_needed() const {
  // Every dirty record in a block of its own, with nodes of its own above it; the whole bitmap.
  const uint64_t levels = core_.catalog_tree.height() + 2;  // it may grow by one
  const uint64_t groups = core_.space.live_bits().group_count();
  return core_.nodes_in_memory + levels * (core_.catalog.dirty_slots().size() + 1) + groups +
         groups / 256 + 8;
}

uint64_t Checkpointer::take_block() {
  if (block_supply_.empty()) {
    // Neighbours, so that the image is written in few writes.
    const std::optional<Run> run = core_.space.take(64);
    HOZON_CHECK(run.has_value());  // blocks_needed() was there
    for (uint64_t i = run->count; i > 0; --i) block_supply_.push_back(run->block + i - 1);
  }
  const uint64_t block = block_supply_.back();
  block_supply_.pop_back();
  core_.space.make_live({block, 1});
  return block;
}

void Checkpointer::drop_block(uint64_t block) {
  core_.space.retire({block, 1}, 0, frozen_generation_);
}

Status Checkpointer::freeze(Image& image) {
  if (core_.space.free() < blocks_needed())
    return make_error(
        Code::kResourceExhausted,
        "the pool has {} free blocks, a checkpoint needs {}; delete snapshots or data",
        core_.space.free(), blocks_needed());
  frozen_generation_ += 1;
  image.covered_sequence = core_.journal.written_sequence();
  core_.journal.begin_sync();  // the next frame starts a page, where replay will look for it
  image.journal_head = core_.journal.head();
  assign_trees(image);
  build_catalog(image);
  build_bitmap(image);

  format::Superblock& next = image.superblock;
  next = core_.superblock;
  next.generation = frozen_generation_;
  next.journal_offset = core_.journal.ring_offset(image.journal_head);
  next.journal_sequence = image.covered_sequence + 1;
  next.next_id = core_.catalog.next_id();
  next.written_ns = core_.executor.wall_ns();
  return {};
}

void Checkpointer::assign_trees(Image& image) {
  // Only points that were touched since the last checkpoint can have a root in memory.
  for (const uint64_t slot : core_.catalog.dirty_slots().numbers()) {
    const Point* point = core_.catalog.point_in_slot(slot);
    if (point == nullptr || !point->tree.root.node) continue;
    assign(*point->tree.root.node, image);
    image.rooted.push_back(point->id);
  }
}

void Checkpointer::assign(Node& node, Image& image) {
  if (node.block() != 0) return;
  for (uint32_t slot = 0; node.has_children_in_memory() && slot < format::kPointersPerNode; ++slot)
    if (const NodeRef& child = node.child(slot)) assign(*child, image);
  node.assign(take_block());
  image.nodes.emplace_back(&node);
  core_.cache.add_unwritten(NodeRef(&node));
}

// Heads go on meanwhile. They copy the nodes of the image before they change anything (N1), so
// that the image stays what it was when it was frozen.
Task<void> Checkpointer::seal(Image& image) {
  uint64_t sealed = 0;
  const auto pause = [&] { return ++sealed % kNodesPerTurn == 0; };
  for (const NodeRef& node : image.nodes) {
    node->seal();  // children come first
    if (pause()) co_await core_.executor.yield();
  }
  for (const RootPatch& patch : image.patches) {
    std::byte* const record = image.blocks[patch.block].bytes.data() + patch.offset;
    Pointer root;
    std::memcpy(&root, record + offsetof(format::CatalogRecord, root), sizeof root);
    root.crc32c = patch.root->self_pointer().crc32c;
    std::memcpy(record + offsetof(format::CatalogRecord, root), &root, sizeof root);
  }
  for (const MetaBlock& block : image.blocks) {
    block.leaf_of->set_leaf_checksum(block.leaf_index, crc32c(block.bytes.span()));
    if (pause()) co_await core_.executor.yield();
  }
  finish_tree(core_.catalog_tree, image);
  finish_tree(core_.bitmap_tree, image);
  unpin_roots(image);

  format::Superblock& next = image.superblock;
  next.catalog_root = core_.catalog_tree.root();
  next.catalog_blocks = core_.catalog_tree.leaf_count();
  next.catalog_height = core_.catalog_tree.height();
  next.bitmap_root = core_.bitmap_tree.root();
  next.bitmap_blocks = core_.bitmap_tree.leaf_count();
  next.bitmap_height = core_.bitmap_tree.height();
  format::seal(next);
}

// Roots that nobody changed since need not stay in memory.
void Checkpointer::unpin_roots(const Image& image) {
  for (const uint64_t id : image.rooted) {
    Point* point = core_.catalog.point_by_id(id);
    if (point == nullptr || !point->tree.root.node || !point->tree.root.node->is_sealed()) continue;
    const uint32_t flags = point->tree.root.pointer.flags;
    Pointer pointer = point->tree.root.node->self_pointer();
    pointer.flags = flags;
    point->tree.root = Edge{pointer, {}};
  }
}

void Checkpointer::build_catalog(Image& image) {
  const std::vector<uint64_t> slots = core_.catalog.take_dirty_slots();
  MetaTree& tree = core_.catalog_tree;
  const uint64_t blocks =
      (core_.catalog.slot_count() + format::kRecordsPerBlock - 1) / format::kRecordsPerBlock;
  if (blocks > tree.leaf_count()) tree.resize(blocks);
  uint64_t last = ~uint64_t{0};
  for (const uint64_t slot : slots) {
    const uint64_t index = slot / format::kRecordsPerBlock;
    if (index == last) continue;
    last = index;
    tree.assign(index, [this] { return take_block(); }, [this](uint64_t b) { drop_block(b); });
    AlignedBuffer block(kBlockSize);
    std::memset(block.data(), 0, block.size());
    for (uint64_t i = 0; i < format::kRecordsPerBlock; ++i) {
      const uint64_t at = index * format::kRecordsPerBlock + i;
      if (at >= core_.catalog.slot_count()) break;
      const format::CatalogRecord record = core_.catalog.record_of(at);
      std::memcpy(block.data() + i * sizeof(record), &record, sizeof(record));
      const Point* point = core_.catalog.point_in_slot(at);
      if (point != nullptr && point->tree.root.node)
        image.patches.push_back({image.blocks.size(), i * sizeof(record), point->tree.root.node});
    }
    image.blocks.push_back({tree.assigned_block(index), std::move(block), &tree, index});
  }
}

void Checkpointer::build_bitmap(Image& image) {
  // Giving the bitmap's own blocks away changes the bitmap; repeat until nothing new is touched.
  MetaTree& tree = core_.bitmap_tree;
  std::set<uint64_t> assigned;
  const auto take = [this] { return take_block(); };
  const auto drop = [this](uint64_t block) { drop_block(block); };
  while (true) {
    const std::vector<uint64_t> groups = core_.space.take_dirty_groups();
    if (groups.empty()) break;
    for (const uint64_t group : groups) {
      tree.assign(group, take, drop);
      assigned.insert(group);
    }
  }
  for (const uint64_t spare : block_supply_) core_.space.give_back({spare, 1});
  block_supply_.clear();
  for (const uint64_t group : assigned) {
    AlignedBuffer block(kBlockSize);
    core_.space.live_bits().export_group(group, block.span());
    if (mutant(Mutant::kBitmapBitLost)) block.data()[2] &= std::byte{0xfe};
    image.blocks.push_back({tree.assigned_block(group), std::move(block), &tree, group});
  }
}

void Checkpointer::finish_tree(MetaTree& tree, Image& image) {
  tree.finish([&](uint64_t number, const format::NodeBlock& node) {
    AlignedBuffer block(kBlockSize);
    std::memcpy(block.data(), &node, kBlockSize);
    image.blocks.push_back({number, std::move(block), nullptr, 0});
  });
}

namespace {

struct Part {
  uint64_t block;
  const std::byte* bytes;
};

struct Writing {
  explicit Writing(Executor& executor) : one_done(executor) {}
  Event one_done;
  uint64_t running = 0;
  int error = 0;
};

Task<void> write_run(PoolCore& core, std::span<const Part> parts, Writing& writing) {
  AlignedBuffer staging(parts.size() * kBlockSize);
  for (size_t i = 0; i < parts.size(); ++i)
    std::memcpy(staging.data() + i * kBlockSize, parts[i].bytes, kBlockSize);
  const int result =
      co_await core.headroom->write(parts.front().block * kBlockSize, staging.span());
  if (result != 0) writing.error = result;
  --writing.running;
  writing.one_done.pulse();
}

}  // namespace

Task<Status> Checkpointer::write_blocks(Image& image) {
  std::vector<Part> parts;
  parts.reserve(image.nodes.size() + image.blocks.size());
  for (const NodeRef& node : image.nodes)
    parts.push_back({node->block(), reinterpret_cast<const std::byte*>(&node->content())});
  for (const MetaBlock& block : image.blocks) parts.push_back({block.number, block.bytes.data()});
  std::ranges::sort(parts, {}, &Part::block);
  Writing writing(core_.executor);
  for (size_t at = 0; at < parts.size() && writing.error == 0;) {
    size_t end = at + 1;
    while (end < parts.size() && end - at < kWriteBlocksMax &&
           parts[end].block == parts[end - 1].block + 1)
      ++end;
    while (writing.running >= kWritesInFlight) co_await writing.one_done;
    ++writing.running;
    spawn(write_run(core_, std::span(parts).subspan(at, end - at), writing));
    at = end;
  }
  while (writing.running > 0) co_await writing.one_done;
  const int error = writing.error;
  if (error != 0) core_.fail(errno_to_error(-error, "write a checkpoint to the pool's data"));
  if (!mutant(Mutant::kForgottenCheckpointSync)) co_return co_await core_.sync_data();
  co_return core_.health;
}

namespace {

// The bug of kTailTooEarly: frames written while the checkpoint ran are taken as part of it.
void plant_late_tail(PoolCore& core, AlignedBuffer& block) {
  format::Superblock late;
  std::memcpy(&late, block.data(), kBlockSize);
  core.journal.begin_sync();
  late.journal_offset = core.journal.ring_offset(core.journal.head());
  late.journal_sequence = core.journal.written_sequence() + 1;
  format::seal(late);
  std::memcpy(block.data(), &late, kBlockSize);
}

}  // namespace

Task<Status> Checkpointer::write_superblocks(const format::Superblock& superblock) {
  AlignedBuffer block(kBlockSize);
  std::memcpy(block.data(), &superblock, kBlockSize);
  if (mutant(Mutant::kTailTooEarly)) plant_late_tail(core_, block);
  const uint64_t slots = mutant(Mutant::kSingleSuperblockSlot) ? 1 : 2;
  for (uint64_t slot = 0; slot < slots; ++slot) {
    const int error = co_await core_.headroom->write(slot * kBlockSize, block.span());
    if (error != 0) core_.fail(errno_to_error(-error, "write the pool's superblock"));
    HOZON_CO_CHECK(co_await core_.sync_data());
  }
  co_return Status{};
}

Task<void> Checkpointer::completed(const Image& image) {
  core_.superblock = image.superblock;
  core_.journal.advance_tail(image.journal_head);
  core_.flusher->checkpointed(image.covered_sequence);
  core_.space.set_durable_generation(image.superblock.generation);
  core_.journal_freed.pulse();
  co_await core_.release_all_space();
  uint64_t told = 0;
  for (const NodeRef& node : image.nodes) {
    core_.cache.written(node->block());
    if (++told % kNodesPerTurn == 0) co_await core_.executor.yield();
  }
}

}  // namespace hozon::store
