// The part of DataPath that lets records go ahead (early_writes.h).
#include "store/data_path.h"
#include "store/flusher.h"
#include "store/headroom.h"
#include "store/mutants.h"
#include "store/reservoir.h"

namespace hozon::store {

Task<Result<uint64_t>> DataPath::early_head(Target target, uint64_t for_head, uint64_t index,
                                            uint32_t count) {
  while (true) {
    const auto found = writable(target, index * kBlockSize, 0);
    if (!found) co_return std::unexpected(found.error());
    Point& head = **found;
    if ((for_head != 0 && head.id != for_head) ||
        (index + count - 1) * kBlockSize >= head.size_bytes)
      co_return uint64_t{0};
    core_.head_map.grow(head, index);
    core_.catalog.touch(head);
    HeadMap::LeafPath path;
    const auto missing = core_.head_map.collect(head, index, count, path);
    if (!missing) co_return head.id;
    HOZON_CO_CHECK(co_await core_.load_missing(*missing));
  }
}

std::optional<Run> DataPath::take_early(uint32_t count) {
  if (!core_.early.may_begin() || core_.headroom->is_short() ||
      !core_.journal.has_room(kMapRecordBytes + 4 * uint64_t{count}) ||
      core_.free_for_guests() < count)
    return std::nullopt;
  const std::optional<Run> run = core_.space.take(count);
  if (!run) return std::nullopt;
  core_.reservoir->note_taken();
  if (run->count == count) return run;
  core_.space.give_back(*run);
  return std::nullopt;
}

Task<Result<uint64_t>> DataPath::write_early(Target target, uint64_t for_head, uint64_t index,
                                             std::span<const std::byte> blocks,
                                             std::span<const uint32_t> crcs) {
  const auto count = static_cast<uint32_t>(crcs.size());
  if (index % 256 + count > 256) co_return uint64_t{0};
  HOZON_CO_TRY(const uint64_t head_id, co_await early_head(target, for_head, index, count));
  const std::optional<Run> run = head_id != 0 ? take_early(count) : std::nullopt;
  if (!run) co_return uint64_t{0};
  std::string record;
  format::encode_map(head_id, index, run->block, crcs, record);
  const uint64_t sequence = core_.journal.append_early(record);
  core_.early.begin();
  int error = co_await core_.data.write(run->block * kBlockSize, blocks);
  if (mutant(Mutant::kIgnoredWriteError)) error = 0;
  Status landed;
  if (error == 0) landed = co_await land(head_id, index, *run, sequence, crcs);
  if (error == 0 && landed) {
    core_.journal.early_arrived();
    core_.early.end();
    co_return sequence;
  }
  core_.space.give_back(*run);
  if (mutant(Mutant::kEarlyKept))
    core_.journal.early_arrived();
  else if (const Status gone = core_.journal.void_early(); !gone)
    core_.fail(gone.error());
  core_.early.end();
  if (!landed) co_return std::unexpected(landed.error());
  co_return uint64_t{0};  // the usual way says what is wrong with the device, or waits for space
}

Task<Status> DataPath::land(uint64_t head_id, uint64_t index, Run run, uint64_t sequence,
                            std::span<const uint32_t> crcs) {
  while (core_.health) {
    Point& head = *core_.catalog.point_by_id(head_id);  // there, by W3
    core_.head_map.grow(head, index);
    HeadMap::LeafPath path;
    const auto missing =
        core_.head_map.collect(head, index, static_cast<uint32_t>(crcs.size()), path);
    if (missing) {
      HOZON_CO_CHECK(co_await core_.load_missing(*missing));
      continue;
    }
    core_.set_retire_sequence(sequence);
    core_.space.make_live(run);
    core_.head_map.map(head, path, index, run.block, crcs);
    co_return Status{};
  }
  co_return core_.health;
}

}  // namespace hozon::store
