#include "store/defragmenter.h"

#include <algorithm>

#include "base/bytes.h"
#include "base/log.h"
#include "base/units.h"
#include "store/core.h"
#include "store/data_path.h"
#include "store/headroom.h"

namespace hozon::store {
namespace {

constexpr uint32_t kLeafBlocks = format::kPointersPerNode;
constexpr size_t kPieceBlocksMin = 4;  // shorter pieces gain nothing
constexpr size_t kRunBlocksGood = 64;  // runs of that length on average stay where they are
constexpr uint64_t kLeavesAtOnce = 4;
// Free space that guests keep, beyond the pool's reserve: at most so much, less in small pools.
constexpr uint64_t kFreeBlocksKept = 4096;

constexpr uint64_t kTickNs = 10'000'000'000;
constexpr uint64_t kIdleTicks = 3;
constexpr uint64_t kIdleRequests = 50;        // at most so many in a tick
constexpr uint64_t kSmallBlocksMin = 16'384;  // 64 MiB
constexpr uint64_t kBytesPerSecond = 32_MiB;

}  // namespace

Defragmenter::Defragmenter(PoolCore& core)
    : core_(core), wake_(core.executor), alive_(std::make_shared<bool>(true)) {}

Task<Result<DefragmentReport>> Defragmenter::run(uint64_t volume_id, uint64_t offset,
                                                 uint64_t most_bytes) {
  Pass pass(core_.executor);
  uint64_t leaf = offset / (kLeafBlocks * kBlockSize);
  bool is_through = false;
  while (pass.first_error && pass.report.bytes_examined < most_bytes) {
    const auto next = co_await next_leaf(volume_id, leaf);
    if (!next) pass.first_error = std::unexpected(next.error());
    is_through = next && *next == ~uint64_t{0};
    if (!next || is_through) break;
    while (pass.running >= kLeavesAtOnce) co_await pass.one_done;
    ++pass.running;
    spawn(settle_in(volume_id, *next, pass));
    leaf = *next + 1;
  }
  while (pass.running > 0) co_await pass.one_done;
  HOZON_CO_CHECK(pass.first_error);
  if (is_through)
    small_blocks_.erase(volume_id);
  else
    pass.report.next_offset = leaf * kLeafBlocks * kBlockSize;
  co_return pass.report;
}

Task<void> Defragmenter::settle_in(uint64_t volume_id, uint64_t leaf, Pass& pass) {
  Status status = co_await settle_leaf(volume_id, leaf, pass.report);
  if (!status && pass.first_error) pass.first_error = std::move(status);
  --pass.running;
  pass.one_done.pulse();
}

// The first leaf at or after `leaf` under which something is mapped; all ones: none.
Task<Result<uint64_t>> Defragmenter::next_leaf(uint64_t volume_id, uint64_t leaf) {
  while (true) {
    HOZON_CO_CHECK(core_.usable());
    const Volume* volume = core_.catalog.volume_by_id(volume_id);
    if (volume == nullptr) co_return make_error(Code::kNotFound, "the volume was deleted");
    const uint64_t index = leaf * kLeafBlocks;
    if (index * kBlockSize >= volume->head->size_bytes) co_return ~uint64_t{0};
    const ReaderGuard reader(core_.space);
    const Tree tree = volume->head->tree;
    uint64_t skip = 0;
    HOZON_CO_TRY(const NodeRef node, co_await core_.head_map.leaf(tree, index, &skip));
    if (node) co_return leaf;
    if (skip > ~index) co_return ~uint64_t{0};
    leaf = (index - index % skip + skip) / kLeafBlocks;
  }
}

Task<Result<Point*>> Defragmenter::look(uint64_t volume_id, uint64_t first, uint32_t count,
                                        HeadMap::LeafPath& path) {
  while (true) {
    HOZON_CO_CHECK(core_.usable());
    const Volume* volume = core_.catalog.volume_by_id(volume_id);
    if (volume == nullptr) co_return nullptr;
    Point* head = volume->head;
    const auto missing = core_.head_map.collect(*head, first, count, path);
    if (!missing) co_return head;
    HOZON_CO_CHECK(co_await core_.load_missing(*missing));
  }
}

std::vector<Defragmenter::Piece> Defragmenter::scattered_pieces(const HeadMap::LeafPath& path,
                                                                uint64_t first) {
  std::vector<Piece> pieces;
  Piece piece;
  size_t runs = 0;
  for (uint32_t slot = 0; slot <= kLeafBlocks; ++slot) {
    const bool movable = slot < kLeafBlocks && !path.nodes[1]->is_null(slot) &&
                         !HeadMap::is_shared(path, first + slot, path.nodes[1]->pointer(slot));
    if (movable) {
      const Pointer& pointer = path.nodes[1]->pointer(slot);
      if (piece.pointers.empty()) piece.first = first + slot;
      if (piece.pointers.empty() || piece.pointers.back().block + 1 != pointer.block) ++runs;
      piece.pointers.push_back(pointer);
      continue;
    }
    if (piece.pointers.size() >= kPieceBlocksMin && runs > 1 &&
        piece.pointers.size() / runs < kRunBlocksGood)
      pieces.push_back(std::move(piece));
    piece = {};
    runs = 0;
  }
  return pieces;
}

Task<Status> Defragmenter::settle_leaf(uint64_t volume_id, uint64_t leaf,
                                       DefragmentReport& report) {
  const uint64_t first = leaf * kLeafBlocks;
  const RangeLocks::Guard guard =
      co_await core_.locks.lock(volume_id, first, first + kLeafBlocks - 1);
  HeadMap::LeafPath path;
  HOZON_CO_TRY(const Point* const head, co_await look(volume_id, first, kLeafBlocks, path));
  if (head == nullptr || !path.nodes[1]) co_return Status{};
  // What is reachable now stays readable; the lock keeps writes away from these blocks.
  const ReaderGuard reader(core_.space);
  const Tree tree = head->tree;
  const uint64_t head_id = head->id;
  report.bytes_examined += path.nodes[1]->used_slots() * kBlockSize;
  for (const Piece& piece : scattered_pieces(path, first))
    HOZON_CO_CHECK(co_await move(volume_id, head_id, tree, piece, report));
  co_return Status{};
}

Task<Status> Defragmenter::move(uint64_t volume_id, uint64_t head_id, const Tree& tree,
                                const Piece& piece, DefragmentReport& report) {
  const uint64_t count = piece.pointers.size();
  const uint64_t kept = std::min(kFreeBlocksKept, core_.space.total() / 64);
  const auto run =
      core_.free_for_guests() > count + kept && !core_.headroom->is_short()  // keeps H1
          ? core_.space.take_whole(count)
          : std::nullopt;
  if (!run) {
    report.bytes_left += count * kBlockSize;
    co_return Status{};
  }
  AlignedBuffer content(count * kBlockSize);
  DataPath path(core_);
  Status status = co_await path.read_tree(tree, piece.first * kBlockSize, content.span());
  if (status) {
    const int error = co_await core_.data.write(run->block * kBlockSize, content.span());
    if (error != 0) status = errno_error(-error, "write to the pool's data");
  }
  bool moved = false;
  if (status) {
    const auto switched = co_await switch_over(volume_id, head_id, piece, run->block);
    if (switched)
      moved = *switched;
    else
      status = std::unexpected(switched.error());
  }
  if (!moved) {
    core_.space.give_back(*run);
    core_.space_freed.pulse();
  }
  (moved ? report.bytes_moved : report.bytes_left) += count * kBlockSize;
  // Damage stays where it is, to be named to whoever reads it.
  if (!status && status.error().code == Code::kCorruption) co_return Status{};
  co_return status;
}

// From the last look() to the end there is no wait: all or nothing, as in DataPath::map_piece.
Task<Result<bool>> Defragmenter::switch_over(uint64_t volume_id, uint64_t head_id,
                                             const Piece& piece, uint64_t block) {
  const auto count = static_cast<uint32_t>(piece.pointers.size());
  std::vector<uint32_t> crcs;
  for (const Pointer& pointer : piece.pointers) crcs.push_back(pointer.crc32c);
  std::string record;
  format::encode_map(head_id, piece.first, block, crcs, record);
  HeadMap::LeafPath path;
  while (true) {
    HOZON_CO_CHECK(co_await core_.wait_journal_room(record.size()));
    HOZON_CO_TRY(Point* const head, co_await look(volume_id, piece.first, count, path));
    if (head == nullptr || head->id != head_id || !path.nodes[1]) co_return false;
    for (uint32_t i = 0; i < count; ++i) {
      const Pointer& now = path.nodes[1]->pointer(slot_of(piece.first + i, 1));
      if (now.block != piece.pointers[i].block || HeadMap::is_shared(path, piece.first + i, now))
        co_return false;
    }
    if (!core_.journal.has_room(record.size())) continue;  // look() waited, and others were faster
    core_.catalog.touch(*head);
    const uint64_t sequence = core_.journal.append(record, 1);
    core_.set_retire_sequence(sequence);
    core_.space.make_live({block, count});
    core_.head_map.map(*head, path, piece.first, block, crcs);
    co_return true;
  }
}

// --- in the background ---

Task<void> Defragmenter::tick(std::shared_ptr<bool> alive) {
  Executor& executor = core_.executor;
  uint64_t seen = 0;
  while (true) {
    co_await executor.sleep(kTickNs);
    if (!*alive) co_return;
    idle_ticks_ = guest_requests_ - seen <= kIdleRequests ? idle_ticks_ + 1 : 0;
    seen = guest_requests_;
    wake_.pulse();
  }
}

Task<void> Defragmenter::loop() {
  spawn(tick(alive_));
  while (!core_.closing && core_.health) {
    const auto due = std::ranges::find_if(
        small_blocks_, [](const auto& entry) { return entry.second >= kSmallBlocksMin; });
    if (idle_ticks_ < kIdleTicks || due == small_blocks_.end()) {
      co_await wake_;
      continue;
    }
    co_await work_while_idle(due->first);
  }
  *alive_ = false;
}

Task<void> Defragmenter::work_while_idle(uint64_t volume_id) {
  DefragmentReport report;
  uint64_t& leaf = resume_at_[volume_id];
  const uint64_t requests = guest_requests_;
  Status status;
  while (status && !core_.closing && guest_requests_ - requests <= kIdleRequests) {
    const auto next = co_await next_leaf(volume_id, leaf);
    if (next && *next != ~uint64_t{0}) {
      leaf = *next + 1;
      const uint64_t before = report.bytes_moved;
      status = co_await settle_leaf(volume_id, *next, report);
      co_await core_.executor.sleep((report.bytes_moved - before) * 1'000'000'000 /
                                    kBytesPerSecond);
      continue;
    }
    if (!next) status = std::unexpected(next.error());
    resume_at_.erase(volume_id);
    small_blocks_.erase(volume_id);
    break;
  }
  if (!status && status.error().code != Code::kNotFound && !core_.closing)
    log_warning("defragmenting: {}", status.error().what);
  if (guest_requests_ - requests > kIdleRequests) idle_ticks_ = 0;
}

}  // namespace hozon::store
