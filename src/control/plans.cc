#include "control/plans.h"

#include <algorithm>
#include <fstream>

#include "control/image.h"
#include "control/names.h"
#include "control/program.h"
#include "control/snapshot_gate.h"

namespace hozon::control {
namespace {

using nlohmann::json;

constexpr uint64_t kUsualStopUs = 20'000;
constexpr uint64_t kStoppedBytesPerUs = 500;  // of a save while the guest stands still

// The guest's RAM is one mapping; what of it was ever touched is what there is to save.
uint64_t touched_ram_bytes(int pid, uint64_t ram_bytes) {
  std::ifstream maps(fmt::format("/proc/{}/smaps", pid));
  bool is_ram = false;
  for (std::string line; std::getline(maps, line);) {
    const auto kib = [&](std::string_view label) -> uint64_t {
      return std::strtoull(line.c_str() + label.size(), nullptr, 10);
    };
    if (line.starts_with("Size:")) is_ram = kib("Size:") * 1024 == ram_bytes;
    if (is_ram && line.starts_with("Anonymous:")) return kib("Anonymous:") * 1024;
  }
  return ram_bytes;
}

Result<uint64_t> freed_bytes(Core& core, const SnapshotRow& row) {
  uint64_t bytes = 0;
  for (const SnapshotDisk& disk : row.disks)
    bytes += HOZON_TRY(core.storage.exclusive_bytes(disk.pool, disk.volume, disk.point));
  return bytes;
}

}  // namespace

uint64_t stored_image_bytes(const std::string& path, const Options& options) {
  const auto image = inspect_image(path, options.qemu_img);
  if (!image) return 0;
  const auto end = run_program(
      {.argv = {options.qemu_img, "map", "--output=json", "-f", image->format, image->path},
       .address_space_bytes = 1_GiB,
       .cpu_seconds = 30,
       .on_output = {}});
  if (!end || end->exit_status != 0) return image->size_bytes;
  uint64_t bytes = 0;
  for (const json& part : json::parse(end->output, nullptr, false)) {
    if (!part.is_object() || !part.value("data", false) || part.value("zero", false)) continue;
    bytes += part.value("length", uint64_t{0});
  }
  return bytes;
}

Status plan_machine_create(Core& core, const MachineRequest& request, Plan& plan) {
  plan.makes.push_back("machine " + request.name);
  for (size_t i = 0; i < request.disks.size(); ++i) {
    plan.makes.push_back("volume " + volume_of_disk(request.name, disk_id(i)));
    if (!request.disks[i].image.empty())
      plan.writes_bytes += stored_image_bytes(request.disks[i].image, core.options);
  }
  plan.identity.emplace_back("a uuid, a VM generation id and MAC addresses of its own");
  return {};
}

Status plan_machine_delete(Core& core, const MachineRow& machine, Plan& plan) {
  const auto rows = HOZON_TRY(core.inventory.snapshots(machine.uuid));
  plan.removes.push_back("machine " + machine.name);
  plan.unreachable.push_back("machine " + machine.name);
  for (const SnapshotRow& row : rows)
    plan.unreachable.push_back(fmt::format("snapshot {}@{}", machine.name, row.name));
  for (const TrashRow& row : HOZON_TRY(core.inventory.trash(machine.uuid)))
    plan.unreachable.push_back(fmt::format("snapshot {}@{} in the trash", machine.name, row.name));
  for (const Disk& disk : machine.disks) {
    plan.removes.push_back("volume " + disk.volume);
    HOZON_TRY(plan_volume_delete(core, disk.pool, disk.volume, plan));
  }
  return {};
}

Status plan_memory_save(Core& core, const MachineRow& machine, Plan& plan) {
  const GuestState guest = core.guests.state(machine.uuid);
  plan.writes_bytes = touched_ram_bytes(guest.pid, machine.memory_bytes);
  plan.guest = "pause";
  plan.guest_stop_us = kUsualStopUs;
  const auto obstacles = live_memory_obstacles(core, machine.uuid);
  for (const std::string& obstacle : obstacles)
    plan.notes.push_back("the guest stands still for the whole save: " + obstacle);
  if (!obstacles.empty()) plan.guest_stop_us = plan.writes_bytes / kStoppedBytesPerUs;
  // The last save of this machine knows better.
  for (const SnapshotRow& row : HOZON_TRY(core.inventory.snapshots(machine.uuid))) {
    if (!row.memory.is_object() || row.memory.value("is_foreign", false)) continue;
    plan.writes_bytes = row.memory.value("written_bytes", plan.writes_bytes);
    plan.guest_stop_us = row.memory.value("stop_us", plan.guest_stop_us);
  }
  return {};
}

Status plan_snapshot_create(Core& core, const MachineRow& machine, const SnapshotRequest& request,
                            Plan& plan) {
  const SnapshotRow row = HOZON_TRY(core.new_snapshot_row(machine, request));
  plan.makes.push_back(fmt::format("snapshot {}@{}", machine.name, row.name));
  if (request.with_memory) HOZON_TRY(plan_memory_save(core, machine, plan));
  return {};
}

Status plan_snapshot_delete(Core& core, const MachineRow& owner,
                            const std::vector<SnapshotRow>& rows, std::optional<uint64_t> ttl_s,
                            Plan& plan) {
  uint64_t bytes = 0;
  for (const SnapshotRow& row : rows) {
    const std::string name = fmt::format("snapshot {}@{}", owner.name, row.name);
    bytes += HOZON_TRY(freed_bytes(core, row));
    plan.removes.push_back(name);
    if (ttl_s == 0) plan.unreachable.push_back(name);
  }
  (ttl_s == 0 ? plan.frees_bytes : plan.later_frees_bytes) = bytes;
  if (!ttl_s)
    plan.notes.push_back(fmt::format(
        "their points stay until `hozon snapshot trash empty {}` reclaims them", owner.name));
  else if (*ttl_s != 0)
    plan.notes.push_back(fmt::format("`hozon machine undo {}` brings them back for {} hours",
                                     owner.name, *ttl_s / 3600));
  return {};
}

Status plan_snapshot_clone(Core& core, const MachineRow& owner, const SnapshotRow& row,
                           const CloneRequest& request, Plan& plan) {
  plan.makes.push_back("machine " + request.new_name);
  for (const SnapshotDisk& disk : row.disks) {
    if (disk.disk == kMemoryDisk && !request.with_memory) continue;
    plan.makes.push_back("volume " + volume_of_disk(request.new_name, disk.disk));
    if (request.full)
      plan.writes_bytes += HOZON_TRY(core.storage.mapped_bytes(disk.pool, disk.volume, disk.point));
  }
  plan.identity.emplace_back("a uuid, a VM generation id and MAC addresses of its own");
  if (request.with_memory)
    plan.identity.push_back(fmt::format(
        "its guest knows the addresses of '{}': its network stays unplugged until it is connected",
        owner.name));
  return {};
}

Status plan_volume_delete(Core& core, const std::string& pool, const std::string& volume,
                          Plan& plan) {
  for (const link::PointInfo& point : HOZON_TRY(core.storage.points(pool, volume))) {
    plan.unreachable.push_back(fmt::format("point {}@{}", volume, point.name));
    plan.frees_bytes += HOZON_TRY(core.storage.exclusive_bytes(pool, volume, point.name));
  }
  return {};
}

}  // namespace hozon::control
