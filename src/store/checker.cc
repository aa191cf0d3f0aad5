#include "store/checker.h"

#include <algorithm>

#include "base/crc32c.h"
#include "store/checkpointer.h"
#include "store/damage_finder.h"
#include "store/headroom.h"
#include "store/opener.h"

namespace hozon::store {
namespace {

constexpr size_t kErrorsMax = 200;
constexpr uint64_t kVisitsPerTurn = 16;

}  // namespace

Checker::Checker(PoolCore& core, bool verify_data)
    : core_(core), verify_data_(verify_data), verifier_(core.executor, core.data) {}
Checker::~Checker() = default;

void Checker::error(std::string sentence) {
  if (report_.errors.size() < kErrorsMax)
    report_.errors.push_back(std::move(sentence));
  else
    ++errors_left_out_;
}

Task<void> Checker::damaged(const ViewPoint& point, uint8_t level, uint64_t index, uint64_t block,
                            std::string reason) {
  const DamagedBlock found{point.id, point.name, level, index, block, std::move(reason)};
  DamagedPlace place = co_await name_damage(core_, found);
  error(to_sentence(place));
  if (core_.damage.note(place, core_.executor.wall_ns())) core_.notify();
  if (report_.damaged.size() < kErrorsMax) report_.damaged.push_back(std::move(place));
}

void Checker::capture() {
  was_full_ = core_.parked_writes > 0 || core_.headroom->is_short() || core_.free_for_guests() == 0;
  reader_ = std::make_unique<ReaderGuard>(core_.space);
  for (const auto& [id, point] : core_.catalog.points()) {
    points_[id] = {id, describe(*point, core_.catalog), point->tree.root.pointer,
                   point->tree.height, point->parent != nullptr ? point->parent->id : 0};
    if (point->tree.root.node) roots_.emplace_back(id, point->tree.root.node);
  }
  live_ = std::make_unique<Bitmap>(core_.space.live_bits());
  seen_ = std::make_unique<Bitmap>(core_.space.total());
  seen_->set_run({0, format::kFirstUsableBlock});
}

void Checker::capture_checksums() {
  for (const auto& [id, node] : roots_) {
    Pointer& root = points_[id].root;
    const uint32_t flags = root.flags;
    root = node->self_pointer();
    root.flags = flags;
  }
  roots_.clear();
  const auto collect = [this](const MetaTree& tree, const char* name) {
    tree.for_each_block([&](const Pointer& pointer, uint8_t level) {
      metadata_.emplace_back(pointer, fmt::format("the pool's {} (level {})", name, level));
    });
  };
  collect(core_.catalog_tree, "catalog");
  collect(core_.bitmap_tree, "bitmap");
}

Task<Result<CheckReport>> Checker::run() {
  if (core_.options.read_only) {
    HOZON_CO_CHECK(co_await core_.checkpointer->freeze_only());
    capture();
    capture_checksums();
  } else {
    Checkpointer::Observer observer;
    observer.frozen = [this] { capture(); };
    observer.sealed = [this] { capture_checksums(); };
    HOZON_CO_CHECK(co_await core_.checkpointer->run(std::move(observer)));
  }
  co_return co_await check_captured();
}

Task<Result<CheckReport>> Checker::examine() {
  capture();
  capture_checksums();
  co_return co_await check_captured();
}

Task<Result<CheckReport>> Checker::check_captured() {
  report_.points = points_.size();
  HOZON_CO_CHECK(co_await check_superblocks());
  HOZON_CO_CHECK(co_await check_journal());
  HOZON_CO_CHECK(co_await check_tree_blocks());
  for (const auto& [id, point] : points_) HOZON_CO_CHECK(co_await check_point(point));
  std::vector<uint64_t> lost;
  live_->for_each_run(seen_.get(), [&](Run run) {
    for (uint64_t block = run.block; block < run.block + run.count && lost.size() < 8; ++block)
      lost.push_back(block);
    report_.lost_blocks += run.count;
  });
  if (report_.lost_blocks > 0)
    error(fmt::format("{} blocks are marked as used but {} (first: {})", report_.lost_blocks,
                      has_damaged_nodes() ? "hang below what is damaged, or belong to nothing"
                                          : "belong to nothing",
                      fmt::join(lost, ", ")));
  if (errors_left_out_ > 0)
    report_.errors.push_back(fmt::format("and {} more errors", errors_left_out_));
  co_return report_;
}

Task<Status> Checker::check_superblocks() {
  const Mutex::Guard guard = co_await core_.checkpointer->hold();  // nobody writes them now
  const auto slots = co_await read_superblocks(core_.data);
  if (!slots) {
    error(fmt::format("no superblock is usable: {}", slots.error().what));
    co_return Status{};
  }
  for (const std::string& problem : slots->problems)
    report_.warnings.push_back(fmt::format(
        "superblock {}; the other slot is good, and the next checkpoint repairs this one",
        problem));
  co_return Status{};
}

Task<Status> Checker::check_journal() {
  const Status header = co_await check_journal_header(core_.journal_device, core_.superblock);
  if (!header) error(header.error().what);
  co_return Status{};
}

bool Checker::introduce(const std::string& owner, const Pointer& pointer, uint64_t address) {
  const uint64_t block = pointer.block;
  if (!live_->test(block))
    error(
        fmt::format("{}: block {} at byte {} is in use but marked as free", owner, block, address));
  if (seen_->set(block)) return true;
  error(
      fmt::format("{}: block {} at byte {} is in use at another place too", owner, block, address));
  return false;
}

Task<Status> Checker::check_tree_blocks() {
  AlignedBuffer buffer(kBlockSize);
  for (const auto& [pointer, name] : metadata_) {
    introduce(name, pointer, 0);
    ++report_.map_blocks;
    if (core_.options.read_only) continue;  // they were just built in memory
    const uint64_t block = pointer.block;
    const int failure = co_await core_.data.read(block * kBlockSize, buffer.span());
    if (failure != 0 || crc32c(buffer.span()) != pointer.crc32c)
      error(fmt::format("{} in block {} is damaged", name, block));
  }
  co_return Status{};
}

Task<Pointer> Checker::parents_root(const ViewPoint& parent, uint8_t level) {
  if (parent.height < level) co_return Pointer{};
  Edge edge{parent.root, {}};
  for (uint8_t at = parent.height; at > level && !edge.is_null(); --at) {
    const auto node = co_await core_.cache.load(edge, at);
    if (!node) co_return Pointer{};  // reported where the parent itself is checked
    edge = (*node)->edge(0);
  }
  co_return edge.pointer;
}

Task<Status> Checker::check_point(const ViewPoint& point) {
  if (point.root.is_null()) co_return Status{};
  Pointer parents{};
  const auto parent = points_.find(point.parent_id);
  if (parent != points_.end()) parents = co_await parents_root(parent->second, point.height);
  Place place{point.root, parents, point.height, 0};
  // A parent that is lower hangs somewhere under slot 0: visit() finds it when it gets there.
  const Status status = co_await visit(point, place);
  std::vector<BadBlock> found = co_await verifier_.finish();
  for (BadBlock& bad : found)
    co_await damaged(point, 0, bad.index, bad.block, std::move(bad.reason));
  co_return status;
}

Task<Result<std::unique_ptr<format::NodeBlock>>> Checker::read_node(const ViewPoint& point,
                                                                    Place place) {
  auto node = std::make_unique<format::NodeBlock>();
  const uint64_t block = place.own.block;
  if (const NodeRef unwritten = core_.cache.unwritten(block)) {
    *node = unwritten->content();
    co_return node;
  }
  const int failure = co_await core_.data.read(block * kBlockSize, writable_bytes_of(*node));
  std::string reason;
  if (failure != 0)
    reason = errno_to_error(-failure, "cannot be read").what;
  else if (!verify_node(*node, place.own, core_.space.total()))
    reason = "is damaged (checksum differs)";
  if (!reason.empty()) {
    ++damaged_nodes_;
    co_await damaged(point, place.level, place.index, block, std::move(reason));
    co_return std::unique_ptr<format::NodeBlock>();
  }
  co_return node;
}

Task<Status> Checker::visit(const ViewPoint& point, Place place) {
  if (place.own.is_null() || place.own.block == place.parents.block) co_return Status{};
  if (must_stop())
    co_return make_error(Code::kBusy,
                         "the check was stopped: the pool is closing or short of space");
  if (++visits_ % kVisitsPerTurn == 0) co_await core_.executor.yield();
  if (!introduce(point.name, place.own, place.index * kBlockSize)) co_return Status{};
  ++report_.map_blocks;
  HOZON_CO_TRY(const std::unique_ptr<format::NodeBlock> node, co_await read_node(point, place));
  if (!node) co_return Status{};

  NodeRef beside;
  const auto parent = points_.find(point.parent_id);
  const bool parent_below = parent != points_.end() && place.parents.is_null() &&
                            place.index == 0 && parent->second.height == place.level - 1;
  if (!place.parents.is_null()) {
    const auto loaded = co_await core_.cache.load(Edge{place.parents, {}}, place.level);
    if (loaded) beside = *loaded;
  }
  std::vector<Pointer> introduced;
  for (uint32_t slot = 0; slot < format::kPointersPerNode; ++slot) {
    const Pointer own = node->pointers[slot];
    Pointer parents = beside ? beside->pointer(slot) : Pointer{};
    if (parent_below && slot == 0) parents = parent->second.root;
    const bool is_new = !own.is_null() && own.block != parents.block;
    if (place.level == 1) {
      introduced.push_back(is_new ? own : Pointer{});
    } else if (is_new) {
      const uint64_t at = place.index + slot * format::slot_blocks(place.level);
      HOZON_CO_CHECK(
          co_await visit(point, Place{own, parents, static_cast<uint8_t>(place.level - 1), at}));
    }
  }
  if (place.level == 1) co_await visit_leaf(point, place.index, std::move(introduced));
  co_return Status{};
}

Task<void> Checker::visit_leaf(const ViewPoint& point, uint64_t index,
                               std::vector<Pointer> introduced) {
  for (size_t slot = 0; slot < introduced.size(); ++slot) {
    if (introduced[slot].is_null()) continue;
    ++report_.data_blocks;
    if (!introduce(point.name, introduced[slot], (index + slot) * kBlockSize))
      introduced[slot] = Pointer{};
  }
  if (!verify_data_) co_return;
  std::vector<DataRun> runs = runs_of(index, introduced);
  for (DataRun& run : runs) co_await verifier_.add(std::move(run));
}

}  // namespace hozon::store
