#include "store/data_path.h"

#include <algorithm>
#include <cstring>

#include "base/crc32c.h"
#include "base/units.h"
#include "store/checkpointer.h"
#include "store/defragmenter.h"
#include "store/flusher.h"
#include "store/headroom.h"
#include "store/mutants.h"
#include "store/reclaimer.h"
#include "store/reservoir.h"

namespace hozon::store {
namespace {

constexpr uint64_t kLeavesPerTurn = 64;
constexpr uint64_t kSmallWriteBytes = 64_KiB;  // shorter ones scatter a volume

bool is_aligned(const void* address, uint64_t offset, uint64_t length) {
  return (reinterpret_cast<uintptr_t>(address) | offset | length) % kBlockSize == 0;
}

}  // namespace

Result<const Point*> DataPath::find(Target target, uint64_t offset, uint64_t length) const {
  const Point* point = nullptr;
  if (target.point_id == 0) {
    const Volume* volume = core_.catalog.volume_by_id(target.volume_id);
    if (volume != nullptr) point = volume->head;
  } else {
    point = core_.catalog.point_by_id(target.point_id);
    if (point != nullptr && point->kind != PointKind::kSnapshot) point = nullptr;
  }
  if (point == nullptr) return make_error(Code::kNotFound, "the volume or point was deleted");
  if (offset > point->size_bytes || length > point->size_bytes - offset)
    return make_error(Code::kInvalidArgument, "bytes {}+{} lie past the end of {} ({} bytes)",
                      offset, length, describe(*point, core_.catalog), point->size_bytes);
  return point;
}

Result<Point*> DataPath::writable(Target target, uint64_t offset, uint64_t length) const {
  if (target.point_id != 0)
    return make_error(Code::kPermissionDenied, "a point never changes; write to its volume");
  if (Status usable = core_.usable(); !usable) return std::unexpected(usable.error());
  const Point* point = HOZON_TRY(find(target, offset, length));
  return const_cast<Point*>(point);
}

// --- reading ---

Task<Status> DataPath::read(Target target, uint64_t offset, std::span<std::byte> into) {
  const auto point = find(target, offset, into.size());
  if (!point) co_return std::unexpected(point.error());
  core_.defragmenter->note_guest(target.volume_id, 0);
  const Tree tree = (*point)->tree;
  const Status status = co_await read_tree(tree, offset, into);
  if (!status && status.error().code == Code::kCorruption) {
    const auto again = find(target, 0, 0);
    co_return add_context(status.error(),
                          again ? describe(**again, core_.catalog) : "a deleted volume");
  }
  co_return status;
}

namespace {

Task<void> into_first_error(Task<Status> task, Status& first) {
  Status status = co_await std::move(task);
  if (!status && first) first = std::move(status);
}

}  // namespace

Task<Status> DataPath::read_tree(const Tree& tree_in, uint64_t offset, std::span<std::byte> into) {
  const ReaderGuard reader(core_.space);
  const Tree tree = tree_in;
  const uint64_t end = offset + into.size();
  Status first_error;
  Group runs(core_.executor);
  uint64_t at = offset;
  while (at < end) {
    const uint64_t index = at / kBlockSize;
    uint64_t skip = 0;
    const auto found = co_await core_.head_map.leaf(tree, index, &skip);
    if (!found) {
      first_error = std::unexpected(found.error());
      break;
    }
    const uint64_t leaf_first = index - index % skip;
    const uint64_t stop = skip > end ? end : std::min(end, (leaf_first + skip) * kBlockSize);
    if (!*found) {
      std::memset(into.data() + (at - offset), 0, stop - at);
      at = stop;
      continue;
    }
    while (at < stop) {
      // One run: neighbouring blocks in the volume that are neighbours in the pool.
      const uint64_t first = at / kBlockSize;
      const Pointer pointer = (*found)->pointer(slot_of(first, 1));
      uint64_t next = first + 1;
      BlockRun run{first, pointer.block, pointer.crc32c, {}};
      for (; next * kBlockSize < stop; ++next) {
        const Pointer& after = (*found)->pointer(slot_of(next, 1));
        const bool joins =
            pointer.is_null() ? after.is_null() : after.block == pointer.block + (next - first);
        if (!joins) break;
        run.more_crcs.push_back(after.crc32c);
      }
      const uint64_t run_end = std::min(stop, next * kBlockSize);
      const std::span<std::byte> part = into.subspan(at - offset, run_end - at);
      if (pointer.is_null()) {
        std::memset(part.data(), 0, part.size());
      } else {
        Task<Status> reading = read_run(std::move(run), at % kBlockSize, part);
        if (at == offset && run_end == end) co_return co_await std::move(reading);
        runs.start(into_first_error(std::move(reading), first_error));
      }
      at = run_end;
    }
  }
  co_await runs.wait();
  co_return first_error;
}

Task<Status> DataPath::read_run(BlockRun run, uint64_t skip, std::span<std::byte> into) {
  AlignedBuffer bounce;
  std::span<std::byte> whole = into;
  const bool direct = is_aligned(into.data(), skip, into.size());
  if (!direct) {
    bounce = AlignedBuffer(run.count() * kBlockSize);
    whole = bounce.span();
  }
  const int error = co_await core_.data.read(run.block * kBlockSize, whole);
  if (error != 0)
    co_return errno_error(-error, "read blocks {}+{} of the pool", run.block, run.count());
  for (size_t i = 0; i < run.count(); ++i) {
    if (crc32c(whole.subspan(i * kBlockSize, kBlockSize)) == run.crc(i) ||
        mutant(Mutant::kSkippedChecksum))
      continue;
    std::memset(into.data(), 0, into.size());  // P5: what failed is never delivered
    co_return make_error(Code::kCorruption, "bytes {}..{} (block {} of the pool) are damaged",
                         (run.volume_index + i) * kBlockSize,
                         (run.volume_index + i + 1) * kBlockSize, run.block + i);
  }
  if (!direct) std::memcpy(into.data(), whole.data() + skip, into.size());
  co_return Status{};
}

// --- writing ---

Task<Status> DataPath::wait_for_space() {
  ++core_.parked_writes;
  if (core_.parked_writes == 1) {
    core_.notify();
    core_.reclaimer->queue_forks();
  }
  // What was freed already may only need to become durable.
  Status status = co_await core_.flusher->flush_mark();
  if (status && core_.free_for_guests() == 0) {
    core_.wake_background();
    co_await core_.space_freed;
  }
  --core_.parked_writes;
  if (core_.parked_writes == 0) core_.notify();
  co_return core_.usable();
}

Task<Result<Run>> DataPath::take_space(uint64_t count_max) {
  while (true) {
    HOZON_CO_CHECK(core_.usable());
    const uint64_t available = core_.free_for_guests();
    if (available > 0)
      if (const auto run = core_.space.take(std::min(count_max, available))) {
        core_.reservoir->note_taken();
        co_return *run;
      }
    HOZON_CO_CHECK(co_await wait_for_space());
  }
}

Task<Status> DataPath::write(Target target, uint64_t offset, std::span<const std::byte> from,
                             bool fua) {
  HOZON_CO_TRY([[maybe_unused]] const Point* const at_start, writable(target, offset, from.size()));
  if (from.empty()) co_return co_await finish(0, fua);
  const uint64_t first = offset / kBlockSize;
  const uint64_t last = (offset + from.size() - 1) / kBlockSize;
  core_.defragmenter->note_guest(target.volume_id,
                                 from.size() < kSmallWriteBytes ? last - first + 1 : 0);
  uint64_t sequence = 0;
  {
    const uint64_t locked =
        mutant(Mutant::kNoRangeLock) ? reinterpret_cast<uintptr_t>(&sequence) : target.volume_id;
    const RangeLocks::Guard guard = co_await core_.locks.lock(locked, first, last);
    while (sequence == 0) {
      HOZON_CO_TRY(sequence, co_await write_once(target, offset, from));
    }
  }
  co_return co_await finish(sequence, fua);
}

Task<Result<uint64_t>> DataPath::write_once(Target target, uint64_t offset,
                                            std::span<const std::byte> from) {
  const uint64_t first = offset / kBlockSize;
  AlignedBuffer bounce;
  std::span<const std::byte> blocks = from;
  uint64_t for_head = 0;
  if (!is_aligned(from.data(), offset, from.size())) {
    bounce = AlignedBuffer(round_up(offset + from.size(), kBlockSize) - first * kBlockSize);
    HOZON_CO_TRY(for_head, co_await complete_blocks(target, offset, from, bounce));
    blocks = bounce.span();
  }
  std::vector<uint32_t> crcs(blocks.size() / kBlockSize);
  for (size_t i = 0; i < crcs.size(); ++i)
    crcs[i] = crc32c(blocks.subspan(i * kBlockSize, kBlockSize));
  if (core_.has_one_file() && core_.flusher->expects_flush() && core_.early.may_begin()) {
    HOZON_CO_TRY(const uint64_t early, co_await write_early(target, for_head, first, blocks, crcs));
    if (early != 0) co_return early;
  }
  HOZON_CO_TRY(const std::vector<Run> runs, co_await store_data(blocks));
  uint64_t sequence = 0;
  uint64_t done = 0;
  for (size_t i = 0; i < runs.size(); ++i) {
    const auto mapped = co_await map_run(target, for_head, first + done, runs[i],
                                         std::span(crcs).subspan(done, runs[i].count));
    if (!mapped || *mapped == 0) {
      for (size_t rest = i + 1; rest < runs.size(); ++rest) core_.space.give_back(runs[rest]);
      core_.space_freed.pulse();
      co_return mapped;
    }
    sequence = *mapped;
    done += runs[i].count;
  }
  co_return sequence;
}

Task<Status> DataPath::finish(uint64_t sequence, bool fua) {
  // Nothing needed to change: the answer still rests on changes that others made in memory.
  if (sequence == 0 && !mutant(Mutant::kIdleAnswerEarly))
    sequence = core_.journal.newest_sequence();
  if (!mutant(Mutant::kEarlyAcknowledge))
    HOZON_CO_CHECK(co_await core_.journal.wait_written(sequence));
  while (core_.early.is_running() && !mutant(Mutant::kEarlyAnswers))
    co_await core_.early.none();  // keeps W1
  if (fua) co_return co_await core_.flusher->flush();
  core_.flusher->note_write();
  co_return Status{};
}

// Fills `blocks` with the present content where the write does not reach, and with the write.
Task<Result<uint64_t>> DataPath::complete_blocks(Target target, uint64_t offset,
                                                 std::span<const std::byte> from,
                                                 AlignedBuffer& blocks) {
  const uint64_t first = offset / kBlockSize;
  const uint64_t head_bytes = offset % kBlockSize;
  const uint64_t end = offset + from.size();
  const uint64_t count = blocks.size() / kBlockSize;
  const auto point = writable(target, offset, from.size());
  if (!point) co_return std::unexpected(point.error());
  const Tree tree = (*point)->tree;
  const uint64_t head_id = (*point)->id;
  uint64_t for_head = 0;
  for (const uint64_t index : {first, first + count - 1}) {
    const bool is_partial = index * kBlockSize < offset || (index + 1) * kBlockSize > end;
    if (!is_partial) continue;
    for_head = head_id;
    HOZON_CO_CHECK(co_await read_tree(
        tree, index * kBlockSize, blocks.span().subspan((index - first) * kBlockSize, kBlockSize)));
    if (count == 1) break;
  }
  std::memcpy(blocks.data() + head_bytes, from.data(), from.size());
  co_return for_head;
}

namespace {

Task<void> write_part(Device& data, Run run, std::span<const std::byte> bytes, int& error) {
  const int result = co_await data.write(run.block * kBlockSize, bytes);
  if (result != 0) error = result;
}

}  // namespace

// Writes whole blocks to newly taken space; on success the runs are in flight, in order.
Task<Result<std::vector<Run>>> DataPath::store_data(std::span<const std::byte> blocks) {
  const uint64_t count = blocks.size() / kBlockSize;
  while (true) {
    if (core_.headroom->is_short()) co_await core_.headroom->wait();  // keeps H1
    HOZON_CO_CHECK(core_.usable());
    std::vector<Run> runs;
    uint64_t taken = 0;
    Status status;
    while (taken < count && status) {
      const auto run = co_await take_space(count - taken);
      if (!run) {
        status = std::unexpected(run.error());
      } else {
        runs.push_back(*run);
        taken += run->count;
      }
    }
    int error = 0;
    if (status && runs.size() == 1) {
      error = co_await core_.data.write(runs[0].block * kBlockSize, blocks);
    } else if (status) {
      Group writes(core_.executor);
      uint64_t done = 0;
      for (const Run run : runs) {
        writes.start(write_part(core_.data, run,
                                blocks.subspan(done * kBlockSize, run.count * kBlockSize), error));
        done += run.count;
      }
      co_await writes.wait();
    }
    if (mutant(Mutant::kIgnoredWriteError)) error = 0;
    if (status && error == 0) co_return runs;
    for (const Run run : runs) core_.space.give_back(run);
    if (!status) co_return std::unexpected(status.error());
    if (error != -ENOSPC) co_return errno_error(-error, "write to the pool's data");
    core_.headroom->refused();
  }
}

Task<Result<uint64_t>> DataPath::map_run(Target target, uint64_t for_head, uint64_t index, Run run,
                                         std::span<const uint32_t> crcs) {
  uint64_t sequence = 0;
  uint64_t done = 0;
  while (done < run.count) {
    const uint64_t count = std::min(run.count - done, 256 - (index + done) % 256);
    const auto mapped = co_await map_piece(target, for_head, index + done, run.block + done,
                                           crcs.subspan(done, count));
    if (!mapped || *mapped == 0) {
      core_.space.give_back({run.block + done, run.count - done});
      co_return mapped;
    }
    sequence = *mapped;
    done += count;
  }
  co_return sequence;
}

// Blocks of one leaf. From the last collect() to the end there is no wait: all or nothing.
Task<Result<uint64_t>> DataPath::map_piece(Target target, uint64_t for_head, uint64_t index,
                                           uint64_t block, std::span<const uint32_t> crcs) {
  const auto count = static_cast<uint32_t>(crcs.size());
  HeadMap::LeafPath path;
  while (true) {
    const uint64_t record_bytes = kMapRecordBytes + 4 * crcs.size();
    if (!core_.journal.has_room(record_bytes))
      HOZON_CO_CHECK(co_await core_.wait_journal_room(record_bytes));
    // The volume may have got another head, another size, or an end, while the data was written.
    const auto found = writable(target, index * kBlockSize, 0);
    if (!found) co_return std::unexpected(found.error());
    Point& head = **found;
    if (for_head != 0 && head.id != for_head && !mutant(Mutant::kMergeIntoOtherHead))
      co_return uint64_t{0};
    if ((index + count - 1) * kBlockSize >= head.size_bytes)
      co_return make_error(Code::kInvalidArgument, "the volume was made smaller");
    core_.head_map.grow(head, index);
    core_.catalog.touch(head);
    const auto missing = core_.head_map.collect(head, index, count, path);
    if (missing) {
      HOZON_CO_CHECK(co_await core_.load_missing(*missing));
      continue;
    }
    std::string record;
    format::encode_map(head.id, index, block, crcs, record);
    const uint64_t sequence = core_.journal.append(record, 1);
    core_.set_retire_sequence(sequence);
    core_.space.make_live({block, count});
    core_.head_map.map(head, path, index, block, crcs);
    co_return sequence;
  }
}

// --- discard and zeroes ---

Task<Status> DataPath::unmap(Target target, uint64_t offset, uint64_t length, bool fua) {
  const auto point = writable(target, offset, length);
  if (!point) co_return std::unexpected(point.error());
  const uint64_t end = offset + length;
  // The last block of a volume counts as whole when the range reaches the volume's end.
  const uint64_t first = divide_up(offset, kBlockSize);
  const uint64_t stop = end == (*point)->size_bytes ? divide_up(end, kBlockSize) : end / kBlockSize;
  uint64_t sequence = 0;
  if (first >= stop) {
    HOZON_CO_CHECK(co_await zero_part(target, offset, length));
  } else {
    HOZON_CO_CHECK(co_await zero_part(target, offset, first * kBlockSize - offset));
    bool is_tail_left = end > stop * kBlockSize;
    {
      const RangeLocks::Guard guard = co_await core_.locks.lock(target.volume_id, first, stop - 1);
      HOZON_CO_TRY(sequence, co_await unmap_blocks(target, first, end, is_tail_left));
    }
    const uint64_t tail = std::max(offset, end - end % kBlockSize);
    if (is_tail_left) HOZON_CO_CHECK(co_await zero_part(target, tail, end - tail));
  }
  co_return co_await finish(sequence, fua);
}

// Zeroes at most a block's part on each side of a block border.
Task<Status> DataPath::zero_part(Target target, uint64_t offset, uint64_t length) {
  static constexpr std::array<std::byte, kBlockSize> kZeros{};
  while (length > 0 && !mutant(Mutant::kZeroEdgesSkipped)) {
    const uint64_t part = std::min(length, kBlockSize - offset % kBlockSize);
    const auto point = writable(target, offset, part);
    if (!point) co_return std::unexpected(point.error());
    uint64_t skip = 0;
    const Tree tree = (*point)->tree;
    bool mapped = false;
    {
      const ReaderGuard reader(core_.space);
      HOZON_CO_TRY(const NodeRef leaf,
                   co_await core_.head_map.leaf(tree, offset / kBlockSize, &skip));
      mapped = leaf && !leaf->is_null(slot_of(offset / kBlockSize, 1));
    }
    if (mapped)
      HOZON_CO_CHECK(co_await write(target, offset, std::span(kZeros).first(part), false));
    offset += part;
    length -= part;
  }
  co_return Status{};
}

// All blocks that begin in the range; of the last one only a part may lie in it. Then it goes too
// if it is the volume's last one, by the size of this moment, which may have changed since the call
// came; else it is left, and `is_tail_left` set.
Task<Result<uint64_t>> DataPath::unmap_blocks(Target target, uint64_t first, uint64_t end_offset,
                                              bool& is_tail_left) {
  uint64_t sequence = 0;
  uint64_t leaves = 0;
  uint64_t end = divide_up(end_offset, kBlockSize);
  if (is_tail_left) --end;
  for (uint64_t index = first; index < end;) {
    HOZON_CO_CHECK(co_await core_.wait_journal_room(kMapRecordBytes));
    const auto found = writable(target, 0, 0);
    if (!found) co_return std::unexpected(found.error());
    Point& head = **found;
    if (!is_tail_left && end * kBlockSize > end_offset && head.size_bytes > end_offset &&
        !mutant(Mutant::kOldEndDiscarded)) {
      is_tail_left = true;
      --end;
      continue;
    }
    const auto count = static_cast<uint32_t>(std::min(end - index, 256 - index % 256));
    HeadMap::LeafPath path;
    const auto missing = core_.head_map.collect(head, index, count, path);
    if (missing) {
      HOZON_CO_CHECK(co_await core_.load_missing(*missing));
      continue;
    }
    if (HeadMap::is_any_mapped(path, index, count)) {
      if (!core_.has_room_for_nodes()) {
        HOZON_CO_CHECK(co_await core_.checkpointer->run());
        if (!core_.has_room_for_nodes())
          co_return make_error(Code::kResourceExhausted, "no room in the pool to change the map");
        continue;
      }
      std::string record;
      format::encode(format::UnmapRecord{head.id, index, count}, record);
      sequence = mutant(Mutant::kUnloggedDiscard) ? core_.journal.newest_sequence()
                                                  : core_.journal.append(record, 1);
      core_.set_retire_sequence(sequence);
      core_.head_map.unmap(head, path, index, count);
      core_.catalog.touch(head);
      index += count;
    } else {
      index = HeadMap::next_possible(path, index, count);
    }
    if (++leaves % kLeavesPerTurn == 0) co_await core_.executor.yield();
  }
  co_return sequence;
}

// --- what is mapped ---

namespace {

void add_extent(std::vector<Extent>& extents, Extent extent) {
  if (extent.length_bytes == 0) return;
  if (!extents.empty() && extents.back().mapped == extent.mapped &&
      extents.back().changed == extent.changed)
    extents.back().length_bytes += extent.length_bytes;
  else
    extents.push_back(extent);
}

}  // namespace

Task<Result<std::vector<Extent>>> DataPath::status(Target target, std::optional<Target> base,
                                                   uint64_t offset, uint64_t length,
                                                   uint32_t extents_max) {
  const auto point = find(target, offset, length);
  if (!point) co_return std::unexpected(point.error());
  Tree other;
  if (base) {
    const auto base_point = find(*base, 0, 0);
    if (!base_point) co_return std::unexpected(base_point.error());
    other = (*base_point)->tree;
  }
  const ReaderGuard reader(core_.space);
  const Tree tree = (*point)->tree;
  const uint64_t end = offset + length;
  std::vector<Extent> extents;
  uint64_t leaves = 0;
  for (uint64_t at = offset; at < end && extents.size() <= extents_max;) {
    const uint64_t index = at / kBlockSize;
    uint64_t skip = 0;
    uint64_t other_skip = ~uint64_t{0} >> 1;
    HOZON_CO_TRY(const NodeRef leaf, co_await core_.head_map.leaf(tree, index, &skip));
    NodeRef other_leaf;
    if (base) {
      HOZON_CO_TRY(other_leaf, co_await core_.head_map.leaf(other, index, &other_skip));
    }
    const uint64_t cover = std::min(skip, other_skip);
    const uint64_t covered_end = cover > end ? end : (index - index % cover + cover) * kBlockSize;
    const uint64_t stop = std::min(end, covered_end);
    const bool same =
        base && leaf && other_leaf && leaf->block() != 0 && leaf->block() == other_leaf->block();
    while (at < stop) {
      const uint32_t slot = slot_of(at / kBlockSize, 1);
      const uint64_t mine = leaf ? uint64_t{leaf->pointer(slot).block} : 0;
      const uint64_t theirs = other_leaf ? uint64_t{other_leaf->pointer(slot).block} : 0;
      const uint64_t next =
          leaf || other_leaf ? std::min(stop, (at / kBlockSize + 1) * kBlockSize) : stop;
      add_extent(extents, {next - at, mine != 0, base && !same && mine != theirs});
      at = next;
    }
    if (++leaves % kLeavesPerTurn == 0) co_await core_.executor.yield();
  }
  if (extents.size() > extents_max) extents.resize(extents_max);
  co_return extents;
}

Task<Result<uint64_t>> DataPath::mapped_bytes(Target target) {
  const auto point = find(target, 0, 0);
  if (!point) co_return std::unexpected(point.error());
  const ReaderGuard reader(core_.space);
  const Tree tree = (*point)->tree;
  const uint64_t blocks = divide_up((*point)->size_bytes, kBlockSize);
  uint64_t mapped = 0;
  uint64_t leaves = 0;
  for (uint64_t index = 0; index < blocks;) {
    uint64_t skip = 0;
    HOZON_CO_TRY(const NodeRef leaf, co_await core_.head_map.leaf(tree, index, &skip));
    if (leaf) mapped += leaf->used_slots();
    index = skip >= blocks ? blocks : index - index % skip + skip;
    if (++leaves % kLeavesPerTurn == 0) co_await core_.executor.yield();
  }
  co_return mapped* kBlockSize;
}

Task<Result<uint64_t>> DataPath::first_mapped(const Tree& tree_in, uint64_t offset, uint64_t size) {
  const ReaderGuard reader(core_.space);
  const Tree tree = tree_in;
  const uint64_t blocks = divide_up(size, kBlockSize);
  for (uint64_t index = divide_up(offset, kBlockSize); index < blocks;) {
    uint64_t skip = 0;
    HOZON_CO_TRY(const NodeRef leaf, co_await core_.head_map.leaf(tree, index, &skip));
    const uint64_t stop = skip >= blocks ? blocks : std::min(blocks, index - index % skip + skip);
    for (; leaf && index < stop; ++index)
      if (!leaf->is_null(slot_of(index, 1))) co_return index* kBlockSize;
    index = stop;
  }
  co_return size;
}

}  // namespace hozon::store
