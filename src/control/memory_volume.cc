#include "control/memory_volume.h"

#include <algorithm>

#include "control/names.h"
#include "qemu/nbd_volume.h"
#include "qemu/ram_save.h"

namespace hozon::control {
namespace {

constexpr int kZeroPatienceMs = 20'000;

// Frees every block of the head; possible in a full pool too.
Status zero_head(Core& core, const std::string& pool, const std::string& volume) {
  const auto nbd = HOZON_TRY(NbdVolume::open(core.storage.uri(pool, volume), kZeroPatienceMs));
  HOZON_TRY(nbd->zero(0, nbd->size_bytes()));
  return nbd->flush();
}

// The point is missing when somebody deleted it, or an older Hozon made the volume.
Status ensure_empty_point(Core& core, const std::string& pool, const std::string& volume) {
  const auto empty = core.storage.point(pool, volume, MemoryVolume::kEmptyPoint);
  if (empty) return {};
  if (empty.error().code != Code::kNotFound) return std::unexpected(empty.error());
  HOZON_TRY(zero_head(core, pool, volume));
  HOZON_TRY(core.storage.snapshot(pool, {volume}, MemoryVolume::kEmptyPoint));
  return {};
}

Status empty_head(Core& core, const std::string& pool, const std::string& volume) {
  HOZON_TRY(ensure_empty_point(core, pool, volume));
  const Status emptied =
      core.storage.return_to(pool, {{volume, volume, MemoryVolume::kEmptyPoint}}, "");
  if (!emptied && emptied.error().code == Code::kResourceExhausted)
    return zero_head(core, pool, volume);
  return emptied;
}

}  // namespace

MemoryVolume::MemoryVolume(Core& core, const MachineRow& machine)
    : core_(core), machine_(machine), name_(volume_of_disk(machine.name, kMemoryDisk)) {}

// The nearest snapshot with a memory of this size above `parent_snapshot`, else the newest one.
// Empty: none.
Result<std::string> MemoryVolume::base_image(uint64_t ram_bytes,
                                             const std::string& parent_snapshot) {
  const std::vector<SnapshotRow> rows = HOZON_TRY(core_.inventory.snapshots(machine_.uuid));
  const auto fits = [&](const SnapshotRow& row) {
    return row.status == "ok" && row.memory.is_object() &&
           row.memory.value("ram_bytes", uint64_t{0}) == ram_bytes;
  };
  std::string above = parent_snapshot;
  for (size_t i = 0; i < rows.size() && !above.empty(); ++i) {
    const auto row = std::ranges::find(rows, above, &SnapshotRow::uuid);
    if (row == rows.end()) break;
    if (fits(*row)) return row->uuid;
    above = row->parent;
  }
  for (auto row = rows.rbegin(); row != rows.rend(); ++row)
    if (fits(*row)) return row->uuid;
  return std::string();
}

Status MemoryVolume::prepare(uint64_t ram_bytes, const std::string& parent_snapshot) {
  const uint64_t bytes = memory_volume_bytes(ram_bytes);
  const auto existing = core_.storage.volume(machine_.pool, name_);
  if (!existing && existing.error().code != Code::kNotFound)
    return std::unexpected(existing.error());
  if (!existing) HOZON_TRY(core_.storage.create_volume(machine_.pool, name_, bytes));
  HOZON_TRY(ensure_empty_point(core_, machine_.pool, name_));
  std::string base = HOZON_TRY(base_image(ram_bytes, parent_snapshot));
  if (base.empty()) base = kEmptyPoint;
  const Status returned = core_.storage.return_to(machine_.pool, {{name_, name_, base}}, "");
  // Its sharing is worth less than the save: a base whose point is gone is done without.
  if (!returned && returned.error().code == Code::kNotFound)
    HOZON_TRY(core_.storage.return_to(machine_.pool, {{name_, name_, kEmptyPoint}}, ""));
  else
    HOZON_TRY(returned);
  if (HOZON_TRY(core_.storage.volume(machine_.pool, name_)).size_bytes < bytes)
    HOZON_TRY(core_.storage.resize_volume(machine_.pool, name_, bytes, false));
  return {};
}

Status MemoryVolume::keep(const std::string& point) {
  HOZON_TRY(core_.storage.snapshot(machine_.pool, {name_}, point));
  return empty_head(core_, machine_.pool, name_);
}

Status MemoryVolume::clear(Core& core, const std::string& pool, const std::string& volume) {
  const auto existing = core.storage.volume(pool, volume);
  if (!existing)
    return existing.error().code == Code::kNotFound ? Status() : std::unexpected(existing.error());
  if (HOZON_TRY(core.inventory.user_of_volume(pool, volume)).empty())
    return core.storage.delete_volume(pool, volume, true);
  return empty_head(core, pool, volume);
}

Status MemoryVolume::delete_point(Core& core, const SnapshotRow& snapshot,
                                  const SnapshotDisk& disk) {
  if (HOZON_TRY(core.inventory.is_in_other_snapshot(disk.pool, disk.volume, snapshot.uuid)))
    return core.delete_points(disk.pool, {disk.volume}, disk.point);
  const Status deleted = core.storage.delete_volume(disk.pool, disk.volume, true);
  return !deleted && deleted.error().code == Code::kNotFound ? Status() : deleted;
}

}  // namespace hozon::control
