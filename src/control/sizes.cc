#include "control/sizes.h"

#include <algorithm>
#include <map>

#include "control/core.h"
#include "control/json.h"
#include "control/memory_volume.h"
#include "control/names.h"

namespace hozon::control {
namespace {

using nlohmann::json;
using PointsByPool = std::map<std::string, std::vector<Storage::PointName>>;
using VolumesByPool = std::map<std::string, std::vector<std::string>>;

void add_points(const SnapshotRow& row, PointsByPool& points) {
  for (const SnapshotDisk& disk : row.disks) points[disk.pool].push_back({disk.volume, disk.point});
}

Result<Storage::Freed> freed_by(Core& core, const PointsByPool& points) {
  Storage::Freed sum;
  for (const auto& [pool, names] : points) {
    const Storage::Freed freed = HOZON_TRY(core.storage.freed_bytes(pool, names));
    sum.data_bytes += freed.data_bytes;
    sum.map_bytes += freed.map_bytes;
  }
  return sum;
}

// The volumes of a machine that exist: its disks, and that of its memory.
Result<VolumesByPool> volumes_of(Core& core, const MachineRow& machine) {
  std::vector<Disk> disks = machine.disks;
  disks.push_back({kMemoryDisk, volume_of_disk(machine.name, kMemoryDisk), machine.pool, 0, true});
  VolumesByPool volumes;
  for (const Disk& disk : disks) {
    const auto volume = core.storage.volume(disk.pool, disk.volume);
    if (volume) volumes[disk.pool].push_back(disk.volume);
    if (!volume && volume.error().code != Code::kNotFound) return std::unexpected(volume.error());
  }
  return volumes;
}

}  // namespace

json to_json(const MachineSizes& sizes) {
  json snapshots = json::array();
  for (const SnapshotSize& size : sizes.snapshots)
    snapshots.push_back({{"name", size.name},
                         {"uuid", size.uuid},
                         {"referenced_bytes", size.referenced_bytes},
                         {"shared_bytes", size.shared_bytes},
                         {"freed_bytes", size.freed_bytes}});
  return {{"machine", sizes.machine},
          {"snapshots", snapshots},
          {"set_bytes", sizes.set_bytes},
          {"now_bytes", sizes.now_bytes},
          {"machine_bytes", sizes.machine_bytes}};
}

json to_json(const PoolSizes& sizes) {
  json owners = json::array();
  for (const OwnerSize& owner : sizes.owners)
    owners.push_back(
        {{"name", owner.name}, {"kind", owner.kind}, {"freed_bytes", owner.freed_bytes}});
  return {{"pool", sizes.pool},
          {"used_bytes", sizes.used_bytes},
          {"owners", owners},
          {"shared_bytes", sizes.shared_bytes},
          {"own_bytes", sizes.own_bytes}};
}

Result<MachineSizes> Control::machine_sizes(const std::string& machine,
                                            const std::vector<std::string>& snapshots) const {
  const MachineRow owner = HOZON_TRY(core_->inventory.machine(machine));
  std::vector<SnapshotRow> rows;
  for (const std::string& name : snapshots) {
    SnapshotRow row = HOZON_TRY(core_->usable_snapshot(owner, name));
    if (std::ranges::find(rows, row.uuid, &SnapshotRow::uuid) == rows.end())
      rows.push_back(std::move(row));
  }
  if (snapshots.empty())
    for (SnapshotRow& row : HOZON_TRY(core_->inventory.snapshots(owner.uuid)))
      if (row.status != "locked") rows.push_back(std::move(row));
  MachineSizes sizes;
  sizes.machine = owner.name;
  PointsByPool set;
  for (const SnapshotRow& row : rows) {
    PointsByPool points;
    add_points(row, points);
    add_points(row, set);
    const Storage::Freed freed = HOZON_TRY(freed_by(*core_, points));
    SnapshotSize size{row.name, row.uuid, 0, 0, freed.bytes()};
    for (const SnapshotDisk& disk : row.disks)
      size.referenced_bytes +=
          HOZON_TRY(core_->storage.mapped_bytes(disk.pool, disk.volume, disk.point));
    size.shared_bytes = size.referenced_bytes - std::min(size.referenced_bytes, freed.data_bytes);
    sizes.snapshots.push_back(std::move(size));
  }
  sizes.set_bytes = HOZON_TRY(freed_by(*core_, set)).bytes();
  for (const auto& [pool, volumes] : HOZON_TRY(volumes_of(*core_, owner))) {
    sizes.machine_bytes += HOZON_TRY(core_->storage.freed_bytes(pool, {}, volumes)).bytes();
    for (const std::string& volume : volumes)
      sizes.now_bytes += HOZON_TRY(core_->storage.mapped_bytes(pool, volume));
  }
  return sizes;
}

Result<PoolSizes> Control::pool_sizes(const std::string& pool) const {
  PoolSizes sizes;
  sizes.pool = pool;
  std::vector<std::string> left;
  for (const link::VolumeInfo& volume : HOZON_TRY(core_->storage.volumes(pool)))
    left.push_back(volume.name);
  const std::vector<std::string> all = left;
  const auto add = [&](const std::string& name, const std::string& kind,
                       const std::vector<std::string>& volumes) -> Status {
    const uint64_t freed = HOZON_TRY(core_->storage.freed_bytes(pool, {}, volumes)).bytes();
    sizes.owners.push_back({name, kind, freed});
    for (const std::string& volume : volumes) std::erase(left, volume);
    return {};
  };
  auto machines = HOZON_TRY(core_->inventory.machines());
  for (MachineRow& row : HOZON_TRY(core_->inventory.templates()))
    machines.push_back(std::move(row));
  for (const MachineRow& machine : machines) {
    const VolumesByPool volumes = HOZON_TRY(volumes_of(*core_, machine));
    const auto here = volumes.find(pool);
    if (here == volumes.end()) continue;
    HOZON_TRY(add(machine.name, machine.is_template ? "template" : "machine", here->second));
  }
  const std::vector<std::string> others = left;
  for (const std::string& volume : others) HOZON_TRY(add(volume, "volume", {volume}));
  const uint64_t total = HOZON_TRY(core_->storage.freed_bytes(pool, {}, all)).bytes();
  const link::PoolStats stats = HOZON_TRY(core_->storage.stats(pool));
  sizes.used_bytes = stats.live_bytes + stats.pending_bytes + stats.in_flight_bytes;
  uint64_t owned = 0;
  for (const OwnerSize& owner : sizes.owners) owned += owner.freed_bytes;
  sizes.shared_bytes = total - std::min(total, owned);
  // The walks are made one after the other, while the pool goes on: what they differ by is its own.
  sizes.own_bytes = sizes.used_bytes - std::min(sizes.used_bytes, owned + sizes.shared_bytes);
  return sizes;
}

}  // namespace hozon::control
