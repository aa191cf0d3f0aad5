#include "control/snapshot_list.h"

#include <algorithm>
#include <map>

#include "control/core.h"

namespace hozon::control {

Result<SnapshotList> SnapshotList::read(Core& core, const std::string& machine) {
  SnapshotList list(core, HOZON_TRY(core.inventory.machine(machine)));
  list.lock_ = core.jobs.lock_of(Core::machine_lock(list.machine_.uuid));
  list.rows_ = HOZON_TRY(core.inventory.snapshot_heads(list.machine_.uuid));
  for (size_t i = 0; i < list.rows_.size(); ++i) list.by_uuid_.emplace(list.rows_[i].uuid, i);
  return list;
}

Status SnapshotList::complete(std::vector<size_t>& places, const Members& wanted, bool with_sizes) {
  const bool needs_all =
      wanted.wants_any({"settings", "consistency", "consistency_reason", "disks"}) ||
      (with_sizes && wanted.wants("exclusive_bytes"));
  if (!needs_all) return {};
  std::vector<std::string> uuids;
  for (const size_t place : places) uuids.push_back(rows_[place].uuid);
  std::vector<bool> found(rows_.size());
  for (SnapshotRow& row : HOZON_TRY(core_->inventory.snapshots_among(uuids))) {
    const size_t place = by_uuid_.at(row.uuid);
    found[place] = row.status != "trashed";
    rows_[place] = std::move(row);
  }
  std::erase_if(places, [&](size_t place) { return !found[place]; });
  return with_sizes ? add_sizes(places) : Status();
}

// One question for each volume.
Status SnapshotList::add_sizes(const std::vector<size_t>& places) {
  has_sizes_ = true;
  std::map<std::pair<std::string, std::string>, std::vector<SnapshotDisk*>> volumes;
  for (const size_t place : places)
    if (rows_[place].status == "ok")
      for (SnapshotDisk& disk : rows_[place].disks)
        volumes[{disk.pool, disk.volume}].push_back(&disk);
  for (const auto& [volume, disks] : volumes) {
    std::vector<std::string> points;
    for (const SnapshotDisk* disk : disks) points.push_back(disk->point);
    const auto sizes =
        HOZON_TRY(core_->storage.exclusive_bytes(volume.first, volume.second, points));
    for (SnapshotDisk* disk : disks)
      if (const auto size = sizes.find(disk->point); size != sizes.end())
        disk->exclusive_bytes = size->second;
  }
  return {};
}

Snapshot SnapshotList::at(size_t place, const Members& wanted) const {
  const SnapshotRow& row = rows_[place];
  Snapshot snapshot = core_->view(row, machine_, lock_, wanted);
  if (const auto parent = by_uuid_.find(row.parent); parent != by_uuid_.end())
    snapshot.parent_name = rows_[parent->second].name;
  const auto has_size = [](const SnapshotDisk& disk) { return disk.exclusive_bytes.has_value(); };
  if (has_sizes_ && row.status == "ok" && std::ranges::all_of(row.disks, has_size)) {
    snapshot.exclusive_bytes = 0;
    for (const SnapshotDisk& disk : row.disks) *snapshot.exclusive_bytes += *disk.exclusive_bytes;
  }
  return snapshot;
}

}  // namespace hozon::control
