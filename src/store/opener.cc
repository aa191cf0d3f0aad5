#include "store/opener.h"

#include <algorithm>
#include <cstring>
#include <set>

#include "base/crc32c.h"
#include "base/log.h"
#include "store/block_reader.h"
#include "store/checkpointer.h"
#include "store/flusher.h"
#include "store/mutants.h"

namespace hozon::store {
namespace {

constexpr uint64_t kCatalogWindow = 2048;  // blocks
constexpr size_t kLeavesWarmed = 2048;
constexpr uint64_t kLeavesInFlight = 128;

Task<int> write_and_sync(Device& device, uint64_t offset, std::span<const std::byte> bytes) {
  int error = co_await device.write(offset, bytes);
  if (error == 0) error = co_await device.sync();
  co_return error;
}

}  // namespace

namespace {

Task<Status> format_devices(Device& data, uint64_t total_blocks, Device& journal, uint64_t features,
                            const format::PoolId& pool_id) {
  if (total_blocks < format::kTotalBlocksMin)
    co_return make_error(Code::kInvalidArgument, "a pool needs at least {} bytes, {} were given",
                         format::kTotalBlocksMin * kBlockSize, total_blocks * kBlockSize);
  if (journal.size_bytes() < format::kJournalHeaderBytes + format::kRingBytesMin)
    co_return make_error(Code::kInvalidArgument, "a pool's journal needs at least {} bytes",
                         format::kJournalHeaderBytes + format::kRingBytesMin);
  const uint64_t ring_bytes =
      (journal.size_bytes() - format::kJournalHeaderBytes) / kBlockSize * kBlockSize;

  AlignedBuffer block(kBlockSize);
  format::JournalHeader header{};
  header.pool_id = pool_id;
  header.ring_bytes = ring_bytes;
  format::seal(header);
  std::memcpy(block.data(), &header, kBlockSize);
  int error = co_await write_and_sync(journal, 0, block.span());
  if (error != 0) co_return errno_error(-error, "write the header of the pool's journal");

  format::Superblock first{};
  first.pool_id = pool_id;
  first.incompatible = features;
  first.generation = 1;
  first.epoch = 1;
  first.total_blocks = total_blocks;
  first.journal_bytes = ring_bytes;
  first.journal_sequence = 1;
  first.next_id = 1;
  first.bitmap_blocks = (total_blocks + format::kBitsPerBlock - 1) / format::kBitsPerBlock;
  first.bitmap_height = format::height_for(first.bitmap_blocks);
  format::seal(first);
  std::memcpy(block.data(), &first, kBlockSize);
  for (uint64_t slot = 0; slot < 2 && error == 0; ++slot)
    error = co_await write_and_sync(data, slot * kBlockSize, block.span());
  if (error != 0) co_return errno_error(-error, "write the pool's superblock");
  co_return Status{};
}

}  // namespace

Task<Status> format_pool(Device& data, Device& journal, CreateOptions options) {
  if (&journal != &data)
    co_return co_await format_devices(data, data.size_bytes() / kBlockSize, journal, 0,
                                      options.pool_id);
  const uint64_t journal_bytes =
      std::min(data.size_bytes(), options.journal_bytes) / kBlockSize * kBlockSize;
  const uint64_t total_blocks = (data.size_bytes() - journal_bytes) / kBlockSize;
  PartDevice end(data, total_blocks * kBlockSize, journal_bytes);
  co_return co_await format_devices(data, total_blocks, end, format::kJournalInData,
                                    options.pool_id);
}

Task<Result<SuperblockSlots>> read_superblocks(Device& data) {
  if (data.size_bytes() < 2 * kBlockSize)
    co_return make_error(Code::kCorruption, "the pool's data is cut to {} bytes",
                         data.size_bytes());
  SuperblockSlots slots;
  AlignedBuffer block(kBlockSize);
  bool found = false;
  uint64_t older_generation = 0;  // of the other slot, when both are usable
  Error last;
  for (uint64_t slot = 0; slot < 2; ++slot) {
    const int error = co_await data.read(slot * kBlockSize, block.span());
    if (error != 0) {
      last = errno_to_error(-error, fmt::format("read superblock slot {}", slot));
      slots.problems.push_back(last.what);
      continue;
    }
    const auto decoded = format::decode_superblock(block.span());
    if (!decoded) {
      // A version that we do not know explains more than damage in the other slot.
      if (last.code != Code::kUnimplemented) last = decoded.error();
      slots.problems.push_back(fmt::format("slot {}: {}", slot, decoded.error().what));
    } else if (!found || decoded->generation > slots.best.generation) {
      older_generation = found ? uint64_t{slots.best.generation} : 0;
      slots.best = *decoded;
      slots.best_slot = slot;
      found = true;
    } else {
      older_generation = decoded->generation;
      slots.both_good = decoded->generation == slots.best.generation;
    }
  }
  // A crash leaves the slots at most one checkpoint apart; more is a write that was lost.
  if (older_generation != 0 && older_generation + 1 < slots.best.generation)
    slots.problems.push_back(fmt::format("slot {} is of checkpoint {} instead of {}",
                                         1 - slots.best_slot, older_generation,
                                         uint64_t{slots.best.generation}));
  if (!found) co_return std::unexpected(last);
  if (slots.best.total_blocks * kBlockSize > data.size_bytes())
    co_return make_error(Code::kCorruption,
                         "the pool's data is cut to {} bytes: its superblock says {}",
                         data.size_bytes(), slots.best.total_blocks * kBlockSize);
  co_return slots;
}

Task<Status> unify_superblocks(PoolCore& core) {
  HOZON_CO_TRY(const SuperblockSlots slots, co_await read_superblocks(core.data));
  if (slots.both_good || mutant(Mutant::kSlotsNotMadeEqual)) co_return Status{};
  AlignedBuffer block(kBlockSize);
  std::memcpy(block.data(), &slots.best, kBlockSize);
  const uint64_t other = 1 - slots.best_slot;
  const int error = co_await write_and_sync(core.data, other * kBlockSize, block.span());
  if (error != 0) co_return errno_error(-error, "write the pool's superblock");
  co_return Status{};
}

Task<Status> check_journal_header(Device& journal, const format::Superblock& superblock) {
  AlignedBuffer block(kBlockSize);
  if (journal.size_bytes() < format::kJournalHeaderBytes + superblock.journal_bytes)
    co_return make_error(Code::kCorruption, "the pool's journal is cut to {} bytes",
                         journal.size_bytes());
  const int error = co_await journal.read(0, block.span());
  if (error != 0) co_return errno_error(-error, "read the header of the pool's journal");
  HOZON_CO_TRY(const format::JournalHeader header, format::decode_journal_header(block.span()));
  if (header.pool_id != superblock.pool_id || header.ring_bytes != superblock.journal_bytes)
    co_return make_error(Code::kCorruption,
                         "the journal belongs to another pool than the data; put the two files "
                         "that were made together into one directory");
  co_return Status{};
}

namespace {

// Reads leaves [first, end) of a tree of the pool's own, null ones left out, and verifies them.
Task<Status> read_leaves(
    PoolCore& core, const MetaTree& tree, uint64_t first, uint64_t end, std::string what,
    std::function<Status(uint64_t index, std::span<const std::byte> bytes)> visit) {
  std::vector<WantedBlock> wanted;
  for (uint64_t index = first; index < end; ++index)
    if (!tree.leaf(index).is_null()) wanted.push_back({tree.leaf(index).block, index});
  const auto verified = [&](const WantedBlock& which, std::span<const std::byte> bytes) -> Status {
    if (crc32c(bytes) != tree.leaf(which.index).crc32c)
      return make_error(Code::kCorruption,
                        "the pool's {} in block {} is damaged (checksum differs)", what,
                        which.block);
    return visit(which.index, bytes);
  };
  co_return co_await read_blocks(core.executor, core.data, std::move(wanted), what, verified);
}

Task<Status> load_bitmap(PoolCore& core, TreeProblems* problems) {
  const format::Superblock& sb = core.superblock;
  HOZON_CO_TRY(core.bitmap_tree,
               co_await MetaTree::load(core.executor, core.data, sb.bitmap_root, sb.bitmap_blocks,
                                       sb.total_blocks, "bitmap", problems));
  const MetaTree& tree = core.bitmap_tree;
  bool is_past_end = false;
  const auto take = [&](uint64_t group, std::span<const std::byte> bytes) -> Status {
    if (core.space.import_group(group, bytes)) return {};
    is_past_end = true;
    return make_error(Code::kCorruption, "the pool's bitmap marks blocks past its end");
  };
  if (problems == nullptr)
    co_return co_await read_leaves(core, tree, 0, tree.leaf_count(), "bitmap", take);
  for (uint64_t group = 0; group < tree.leaf_count(); ++group) {  // the others may be good
    const Status read = co_await read_leaves(core, tree, group, group + 1, "bitmap", take);
    if (read) continue;
    if (is_past_end) co_return read;
    problems->sentences.push_back(read.error().what);
    problems->leaves.insert(group);
  }
  co_return Status{};
}

Status add_catalog_block(PoolCore& core, uint64_t index, std::span<const std::byte> bytes) {
  for (uint64_t i = 0; i < format::kRecordsPerBlock; ++i) {
    format::CatalogRecord record;
    std::memcpy(&record, bytes.data() + i * sizeof(record), sizeof(record));
    HOZON_TRY(format::validate(record, core.superblock.total_blocks));
    HOZON_TRY(core.catalog.add_record(index * format::kRecordsPerBlock + i, record));
  }
  return {};
}

Task<Status> load_catalog(PoolCore& core) {
  const format::Superblock& sb = core.superblock;
  HOZON_CO_TRY(core.catalog_tree,
               co_await MetaTree::load(core.executor, core.data, sb.catalog_root, sb.catalog_blocks,
                                       sb.total_blocks, "catalog"));
  // Records are added in order; blocks arrive in any. So one window of blocks after the other.
  const uint64_t count = core.catalog_tree.leaf_count();
  AlignedBuffer window(std::min(count, kCatalogWindow) * kBlockSize);
  for (uint64_t first = 0; first < count; first += kCatalogWindow) {
    const uint64_t end = std::min(count, first + kCatalogWindow);
    std::memset(window.data(), 0, (end - first) * kBlockSize);
    const auto keep = [&](uint64_t index, std::span<const std::byte> bytes) -> Status {
      std::memcpy(window.data() + (index - first) * kBlockSize, bytes.data(), kBlockSize);
      return {};
    };
    HOZON_CO_CHECK(co_await read_leaves(core, core.catalog_tree, first, end, "catalog", keep));
    for (uint64_t index = first; index < end; ++index)
      HOZON_CO_CHECK(add_catalog_block(
          core, index, window.span().subspan((index - first) * kBlockSize, kBlockSize)));
  }
  HOZON_CO_CHECK(core.catalog.link_up());
  if (core.catalog.next_id() > sb.next_id)
    co_return make_error(Code::kCorruption, "the catalog holds an id that was never given out");
  if (!mutant(Mutant::kReusedId)) core.catalog.set_next_id(sb.next_id);
  co_return Status{};
}

// The next checkpoint gives these blocks back: it must be able to take them for what they are.
Status check_own_blocks(const PoolCore& core) {
  Status sound;
  Bitmap seen(core.space.total());
  const auto visit = [&](const Pointer& pointer, uint8_t) {
    if (!sound) return;
    const uint64_t block = pointer.block;
    if (!core.space.is_live(block))
      sound = make_error(Code::kCorruption,
                         "block {} holds a part of the pool's catalog or bitmap, but the pool's "
                         "bitmap says it is free",
                         block);
    else if (!seen.set(block))
      sound = make_error(Code::kCorruption,
                         "block {} holds two parts of the pool's catalog or bitmap", block);
  };
  core.bitmap_tree.for_each_block(visit);
  core.catalog_tree.for_each_block(visit);
  return sound;
}

// --- replay ---

Status validate_map(const PoolCore& core, const format::MapRecord& record) {
  const uint64_t count = record.crcs.size();
  const bool sound = count >= 1 && (record.first_index & 255) + count <= 256 &&
                     record.first_index < (kVolumeBytesMax / kBlockSize) &&
                     record.block >= format::kFirstUsableBlock &&
                     record.block <= core.space.total() && count <= core.space.total() &&
                     record.block + count <= core.space.total();
  if (!sound) return make_error(Code::kCorruption, "a journal record maps impossible blocks");
  return {};
}

// Cuts the frames at the first one whose data is not there.
Task<Status> drop_unwritten(PoolCore& core, std::vector<Journal::FoundFrame>& frames,
                            uint64_t mark) {
  if (mutant(Mutant::kSkippedReplayCheck)) co_return Status{};
  struct Expected {
    size_t frame;
    uint32_t crc32c;
  };
  std::vector<Expected> expected;
  std::vector<WantedBlock> wanted;
  for (size_t i = 0; i < frames.size(); ++i) {
    if (frames[i].header.sequence <= mark) continue;
    for (const format::Record& record : frames[i].records) {
      const auto* map = std::get_if<format::MapRecord>(&record);
      for (size_t k = 0; map != nullptr && k < map->crcs.size(); ++k) {
        wanted.push_back({map->block + k, expected.size()});
        expected.push_back({i, map->crcs[k]});
      }
    }
  }
  size_t first_bad = frames.size();
  const auto compare = [&](const WantedBlock& which, std::span<const std::byte> bytes) -> Status {
    const Expected& one = expected[which.index];
    if (one.frame < first_bad && crc32c(bytes) != one.crc32c) first_bad = one.frame;
    return {};
  };
  HOZON_CO_CHECK(co_await read_blocks(core.executor, core.data, std::move(wanted),
                                      "data, to replay the journal", compare));
  if (first_bad < frames.size()) {
    log_info("replay: {} journal frames after the last durable write are incomplete and dropped",
             frames.size() - first_bad);
    if (mutant(Mutant::kReplayGoesOn))
      frames.erase(frames.begin() + static_cast<ptrdiff_t>(first_bad));
    else
      frames.resize(first_bad);
  }
  co_return Status{};
}

Task<Status> replay_map(PoolCore& core, const format::MapRecord& record) {
  const auto head_of = [&] {
    Point* head = core.catalog.point_by_id(record.head_id);
    return head != nullptr && head->kind == PointKind::kHead ? head : nullptr;
  };
  Point* head = head_of();
  bool fits = head != nullptr;
  for (uint64_t i = 0; fits && i < record.crcs.size(); ++i)
    fits = !core.space.is_live(record.block + i);
  if (!fits)
    co_return make_error(Code::kCorruption,
                         "a journal record maps block {}, which is in use, or "
                         "for a volume that is not there",
                         record.block);
  core.head_map.grow(*head, record.first_index);
  HeadMap::LeafPath path;
  const auto count = static_cast<uint32_t>(record.crcs.size());
  while (auto missing = core.head_map.collect(*head, record.first_index, count, path))
    HOZON_CO_CHECK(co_await core.load_missing(*missing));
  core.space.replay_live({record.block, count});
  core.head_map.map(*head, path, record.first_index, record.block, record.crcs);
  core.catalog.touch(*head);
  co_return Status{};
}

Task<Status> replay_unmap(PoolCore& core, const format::UnmapRecord& record) {
  Point* head = core.catalog.point_by_id(record.head_id);
  if (head == nullptr || head->kind != PointKind::kHead || record.count < 1 || record.count > 256 ||
      (record.first_index & 255) + record.count > 256)
    co_return make_error(Code::kCorruption, "a journal record unmaps impossible blocks");
  HeadMap::LeafPath path;
  const auto count = static_cast<uint32_t>(record.count);
  while (auto missing = core.head_map.collect(*head, record.first_index, count, path))
    HOZON_CO_CHECK(co_await core.load_missing(*missing));
  core.head_map.unmap(*head, path, record.first_index, count);
  core.catalog.touch(*head);
  co_return Status{};
}

// --- reading ahead of replay ---

struct Warming {
  explicit Warming(Executor& executor) : one_done(executor) {}
  Event one_done;
  uint64_t running = 0;
};

// Errors are left to replay itself, which comes here again.
Task<void> warm_leaf(PoolCore& core, Tree tree, uint64_t index, Warming& warming) {
  uint64_t skip = 0;
  (void)co_await core.head_map.leaf(tree, index, &skip);
  --warming.running;
  warming.one_done.pulse();
}

// Which leaves of which heads the record changes (one at most).
std::optional<std::pair<uint64_t, uint64_t>> leaf_of(const format::Record& record) {
  if (const auto* map = std::get_if<format::MapRecord>(&record))
    return std::pair(map->head_id, map->first_index / format::kPointersPerNode);
  if (const auto* unmap = std::get_if<format::UnmapRecord>(&record))
    return std::pair(unmap->head_id, unmap->first_index / format::kPointersPerNode);
  return std::nullopt;
}

// Brings the nodes that the next frames will look at into the cache, many at a time; replay itself
// goes one record after the other and would wait for each. Returns behind the last frame covered.
Task<size_t> warm(PoolCore& core, const std::vector<Journal::FoundFrame>& frames, size_t from) {
  std::set<std::pair<uint64_t, uint64_t>> leaves;
  size_t end = from;
  for (; end < frames.size() && leaves.size() < kLeavesWarmed; ++end)
    for (const format::Record& record : frames[end].records)
      if (const auto leaf = leaf_of(record)) leaves.insert(*leaf);
  Warming warming(core.executor);
  for (const auto& [head_id, leaf] : leaves) {
    const Point* point = core.catalog.point_by_id(head_id);
    // The head's own leaf, and its parent's, with which it is compared.
    for (int i = 0; i < 2 && point != nullptr; ++i, point = point->parent) {
      while (warming.running >= kLeavesInFlight) co_await warming.one_done;
      ++warming.running;
      spawn(warm_leaf(core, point->tree, leaf * format::kPointersPerNode, warming));
    }
  }
  while (warming.running > 0) co_await warming.one_done;
  co_return end;
}

Task<Status> replay_record(PoolCore& core, const format::Record& record) {
  if (const auto* map = std::get_if<format::MapRecord>(&record))
    co_return co_await replay_map(core, *map);
  if (const auto* unmap = std::get_if<format::UnmapRecord>(&record))
    co_return co_await replay_unmap(core, *unmap);
  co_return core.catalog.apply(record);
}

Task<Status> replay(PoolCore& core) {
  const format::Superblock& sb = core.superblock;
  HOZON_CO_TRY(Journal::Scan scan,
               co_await Journal::scan(core.journal_device, sb.pool_id, sb.journal_bytes, sb.epoch,
                                      sb.journal_offset, sb.journal_sequence));
  for (const auto& frame : scan.frames)
    for (const format::Record& record : frame.records)
      if (const auto* map = std::get_if<format::MapRecord>(&record))
        HOZON_CO_CHECK(validate_map(core, *map));
  uint64_t mark = 0;
  for (const auto& frame : scan.frames) mark = std::max<uint64_t>(mark, frame.header.mark);
  HOZON_CO_CHECK(co_await drop_unwritten(core, scan.frames, mark));
  core.replaying = true;
  size_t warmed = 0;
  for (size_t i = 0; i < scan.frames.size(); ++i) {
    if (i == warmed) warmed = co_await warm(core, scan.frames, i);
    const auto& frame = scan.frames[i];
    core.replay_under_mark = frame.header.sequence <= mark || mutant(Mutant::kReplayFreesEarly);
    for (const format::Record& record : frame.records) {
      HOZON_CO_CHECK(co_await replay_record(core, record));
      HOZON_CO_CHECK(core.replay_fault);
    }
  }
  core.replaying = false;
  core.checkpointer->set_frozen_generation(sb.generation);
  core.space.end_replay(sb.generation + 1);
  const uint64_t offset = (scan.end_offset + kBlockSize - 1) / kBlockSize * kBlockSize;
  const uint64_t epoch = sb.epoch + (mutant(Mutant::kEpochKept) ? 0 : 1);
  core.journal.start(epoch, offset % sb.journal_bytes, scan.next_sequence);
  core.superblock.epoch = epoch;
  core.flusher->checkpointed(0);
  co_return Status{};
}

}  // namespace

Task<Result<std::unique_ptr<PoolCore>>> open_core(Executor& executor, Device& data, Device& journal,
                                                  OpenOptions options,
                                                  const RepairOpening* repair) {
  HOZON_CO_TRY(const SuperblockSlots slots, co_await read_superblocks(data));
  for (const std::string& problem : slots.problems)
    log_warning("pool superblock {}; the other slot is used", problem);
  auto core = std::make_unique<PoolCore>(executor, data, journal, options, slots.best);
  if (&core->journal_device == &data)
    co_return make_error(Code::kNotFound,
                         "the pool's journal is missing: put the file 'journal' that was made with "
                         "'data' beside it");
  HOZON_CO_CHECK(co_await check_journal_header(core->journal_device, slots.best));
  HOZON_CO_CHECK(co_await load_bitmap(*core, repair != nullptr ? repair->bitmap : nullptr));
  HOZON_CO_CHECK(co_await load_catalog(*core));
  if (repair != nullptr) HOZON_CO_CHECK(co_await repair->before_replay(*core));
  HOZON_CO_CHECK(check_own_blocks(*core));
  HOZON_CO_CHECK(co_await replay(*core));
  co_return core;
}

Task<Status> begin_writing(PoolCore& core) {
  // After the death of an earlier opener, what was read may be in the kernel only. It must be
  // stable before anything is built upon it: else a power cut could keep the new blocks and lose
  // the superblock or the frames that made their places free.
  const bool skip = mutant(Mutant::kUnsyncedOpening);
  const int data_error = skip ? 0 : co_await core.data.sync();
  const int journal_error = skip || core.has_one_file() ? 0 : co_await core.journal_device.sync();
  if (data_error != 0 || journal_error != 0)
    co_return errno_error(data_error != 0 ? -data_error : -journal_error, "sync the pool");
  HOZON_CO_CHECK(co_await unify_superblocks(core));
  // Takes the replayed state to the disk and opens a new epoch: what an older opener's journal
  // says after this point can never count again.
  co_return co_await core.checkpointer->run();
}

}  // namespace hozon::store
