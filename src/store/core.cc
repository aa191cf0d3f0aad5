#include "store/core.h"

#include <algorithm>

#include "base/log.h"
#include "store/checkpointer.h"
#include "store/defragmenter.h"
#include "store/flusher.h"
#include "store/headroom.h"
#include "store/mutants.h"
#include "store/reclaimer.h"
#include "store/reservoir.h"
#include "store/scrubber.h"

namespace hozon::store {
namespace {

constexpr uint64_t kReserveBlocksMin = 64;
constexpr uint64_t kReserveBlocksMax = 65536;  // 256 MiB
// Freed runs of at least this many blocks are punched out of the file before reuse.
constexpr uint64_t kPunchBlocksMin = 256;

std::unique_ptr<PartDevice> journal_in(Device& data, const format::Superblock& superblock) {
  if ((superblock.incompatible & format::kJournalInData) == 0) return nullptr;
  const uint64_t begin = superblock.total_blocks * kBlockSize;
  return std::make_unique<PartDevice>(data, begin, data.size_bytes() - begin);
}

}  // namespace

PoolCore::PoolCore(Executor& executor_in, Device& data_in, Device& journal_device_in,
                   const OpenOptions& options_in, const format::Superblock& superblock_in)
    : executor(executor_in),
      data(data_in),
      journal_part(journal_in(data_in, superblock_in)),
      journal_device(journal_part != nullptr ? *journal_part : journal_device_in),
      options(options_in),
      superblock(superblock_in),
      space(superblock_in.total_blocks),
      journal(executor_in, journal_device, superblock_in.pool_id, superblock_in.journal_bytes),
      cache(executor_in, data_in, superblock_in.total_blocks, options_in.node_cache_bytes),
      head_map(cache, *this, &nodes_in_memory),
      locks(executor_in),
      early(executor_in),
      flusher(std::make_unique<Flusher>(*this)),
      checkpointer(std::make_unique<Checkpointer>(*this)),
      reclaimer(std::make_unique<Reclaimer>(*this)),
      scrubber(std::make_unique<Scrubber>(*this)),
      defragmenter(std::make_unique<Defragmenter>(*this)),
      headroom(std::make_unique<Headroom>(*this)),
      reservoir(std::make_unique<Reservoir>(*this)),
      background(executor_in),
      space_freed(executor_in),
      journal_freed(executor_in),
      sync_mutex_(executor_in) {
  executor.add_turn_hook(this);
}

PoolCore::~PoolCore() { executor.remove_turn_hook(this); }

Status PoolCore::usable() const {
  if (!health) return health;
  if (options.read_only) return make_error(Code::kPermissionDenied, "the pool is open read-only");
  if (closing) return make_error(Code::kUnavailable, "the pool is being closed");
  return {};
}

void PoolCore::fail(const Error& reason) {
  if (!health) return;
  health = make_error(Code::kUnavailable,
                      "the pool accepts no changes since an operation of its storage failed ({}); "
                      "check the storage, then restart hozon-stored",
                      reason.what);
  log_error("pool failed: {}", reason.what);
  journal.die(health.error());
  wake_background();
  space_freed.pulse();
  journal_freed.pulse();
  notify();
}

void PoolCore::wake_background() {
  checkpointer->wake();
  reclaimer->wake();
  defragmenter->wake();
  headroom->wake();
  reservoir->wake();
}

uint64_t PoolCore::next_generation() const { return checkpointer->next_generation(); }

uint64_t PoolCore::reserve_blocks() const {
  return std::clamp(space.total() / 64, kReserveBlocksMin, kReserveBlocksMax);
}

uint64_t PoolCore::free_for_guests() const {
  // Each block in flight may make a node of its own.
  const uint64_t needed = reserve_blocks() + checkpointer->blocks_needed() + space.in_flight();
  return space.free() > needed ? space.free() - needed : 0;
}

bool PoolCore::has_room_for_nodes() const {
  return space.free() > checkpointer->blocks_needed() + reserve_blocks() / 4;
}

PoolStats PoolCore::stats() const {
  PoolStats out;
  out.pool_id = superblock.pool_id;
  out.size_bytes = space.total() * kBlockSize;
  out.live_bytes = space.live() * kBlockSize;
  out.pending_bytes = space.pending() * kBlockSize;
  out.in_flight_bytes = space.in_flight() * kBlockSize;
  out.preparing_bytes = reservoir->preparing() * kBlockSize;
  out.free_bytes = space.free() * kBlockSize;
  out.reserve_bytes = reserve_blocks() * kBlockSize;
  out.volumes = catalog.volumes().size();
  out.points = catalog.points().size();
  out.reclaiming = catalog.reclaim_queue().size();
  out.generation = superblock.generation;
  out.early_writes = early.begun();
  out.parked = parked_writes > 0;
  out.filesystem_full = headroom->is_short();
  out.read_only = !health || options.read_only;
  if (!health) out.failure = health.error().what;
  out.damaged = damage.count();
  return out;
}

void PoolCore::notify() const {
  if (listener) listener(stats());
}

bool PoolCore::release_some_space() {
  std::vector<Run> freed;
  const bool more = space.release(freed, options.release_blocks);
  if (freed.empty()) return more;
  for (const Run run : freed) {
    damage.forget(run);
    if (!mutant(Mutant::kStaleNode))
      for (uint64_t block = run.block; block < run.block + run.count; ++block) cache.forget(block);
    const bool is_short = headroom->is_short();
    const bool gives = is_short || (run.count >= kPunchBlocksMin && !reservoir->keeps_freed());
    if (gives && !closing && !replaying && !options.read_only) {
      space.begin_punch(run);  // keeps H3
      background.start(punch(run));
    }
  }
  space_freed.pulse();
  return more;
}

void PoolCore::release_space() {
  if (!release_some_space() || releases_rest_) return;
  releases_rest_ = true;
  background.start(release_rest());
}

Task<void> PoolCore::release_rest() {
  co_await executor.yield();
  co_await release_all_space();
  releases_rest_ = false;
}

Task<void> PoolCore::release_all_space() {
  while (release_some_space()) co_await executor.yield();
}

Task<void> PoolCore::punch(Run run) {
  const int error = co_await data.punch(run.block * kBlockSize, run.count * kBlockSize);
  if (error != 0 && error != -EOPNOTSUPP)
    log_warning("cannot give blocks {}..{} back to the filesystem: errno {}", run.block,
                run.block + run.count, -error);
  space.end_punch(run);
  space_freed.pulse();
}

Task<Status> PoolCore::sync_data() {
  if (mutant(Mutant::kConcurrentSyncs)) {
    const int failure = co_await data.sync();
    if (failure == 0) co_return Status{};
    fail(errno_to_error(-failure, "sync the pool's data"));
    co_return health;
  }
  const Mutex::Guard guard = co_await sync_mutex_.lock();
  if (!health) co_return health;
  const int error = co_await data.sync();
  if (error != 0 && !mutant(Mutant::kIgnoredSyncError))
    fail(errno_to_error(-error, "sync the pool's data"));
  co_return health;
}

Task<Status> PoolCore::sync_journal() {
  if (has_one_file()) co_return co_await sync_data();
  const int error = co_await journal_device.sync();
  if (error != 0) fail(errno_to_error(-error, "sync the pool's journal"));
  co_return health;
}

Task<Status> PoolCore::wait_journal_room(uint64_t bytes) {
  while (true) {
    HOZON_CO_CHECK(usable());
    if (journal.has_room(bytes)) co_return Status{};
    checkpointer->request();
    co_await journal_freed;
  }
}

Task<Status> PoolCore::load_missing(MissingNode missing) {
  const ReaderGuard reader(space);
  const auto loaded = co_await cache.load(missing.edge, missing.level);
  if (!loaded) co_return std::unexpected(loaded.error());
  co_return Status{};
}

Task<Status> PoolCore::commit(BuildRecords build) {
  // The size of what `build` will make is not known yet; a frame's worth is enough for all.
  HOZON_CO_CHECK(co_await wait_journal_room(0));
  while (early.is_running() && !mutant(Mutant::kEarlyCommitted)) {  // keeps W3
    co_await early.none();
    HOZON_CO_CHECK(co_await wait_journal_room(0));
  }
  HOZON_CO_TRY(const std::vector<format::Record> records, build());
  std::string bytes;
  for (const format::Record& record : records) format::encode(record, bytes);
  if (!journal.has_room(bytes.size()))
    co_return make_error(Code::kResourceExhausted,
                         "the operation needs {} bytes of journal, more than is there",
                         bytes.size());
  const uint64_t sequence = journal.append(bytes, static_cast<uint32_t>(records.size()));
  set_retire_sequence(sequence);
  for (const format::Record& record : records) HOZON_CO_CHECK(catalog.apply(record));
  HOZON_CO_CHECK(co_await journal.wait_written(sequence));
  if (!mutant(Mutant::kUnflushedCommit)) HOZON_CO_CHECK(co_await flusher->flush());
  wake_background();
  co_return Status{};
}

// What is replaced at replay comes from the disk: a bitmap that calls it free is damage, not a bug.
void PoolCore::replay_retire(uint64_t block, bool under_mark) {
  if (space.is_live(block))
    space.replay_retire({block, 1}, under_mark);
  else if (replay_fault)
    replay_fault = make_error(Code::kCorruption,
                              "block {} is in use, but the pool's bitmap says it is free", block);
}

void PoolCore::retire_data(uint64_t block) {
  if (replaying) {
    replay_retire(block, replay_under_mark);
    return;
  }
  const bool barrier =
      barrier_generation_ > superblock.generation && !mutant(Mutant::kIgnoredBarrier);
  space.retire({block, 1}, retire_sequence_, barrier ? barrier_generation_ : 0);
  reservoir->note_retired(1);
}

void PoolCore::retire_node(uint64_t block) {
  if (replaying) {
    replay_retire(block, false);
    return;
  }
  if (!mutant(Mutant::kLostRetire)) space.retire({block, 1}, 0, next_generation());
}

void PoolCore::note_unshared(Point& parent, uint8_t level, uint64_t index, Edge edge) {
  reclaimer->note_unshared(parent, level, index, std::move(edge));
}

void PoolCore::end_of_turn() {
  if (!journal.has_open_records()) return;
  const Status status = journal.write_out();
  if (!status && health) fail(status.error());
}

std::string describe(const Point& point, const Catalog& catalog) {
  const Volume* volume = catalog.volume_by_id(point.volume_id);
  const std::string owner = volume != nullptr ? fmt::format("volume '{}'", volume->name)
                                              : fmt::format("deleted volume {}", point.volume_id);
  switch (point.kind) {
    case PointKind::kHead: return owner;
    case PointKind::kSnapshot: return fmt::format("{} point '{}'", owner, point.name);
    case PointKind::kFork: return fmt::format("{} fork {}", owner, point.id);
    case PointKind::kReclaiming: return fmt::format("{} deleted point {}", owner, point.id);
  }
  return owner;
}

}  // namespace hozon::store
