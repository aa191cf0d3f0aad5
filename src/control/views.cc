// From records and answers to what people see.
#include "control/core.h"
#include "control/explain.h"
#include "control/json.h"
#include "control/names.h"

namespace hozon::control {
namespace {

std::optional<MemoryInfo> memory_of(const nlohmann::json& saved) {
  if (!saved.is_object()) return std::nullopt;
  MemoryInfo memory;
  memory.mode = saved.value("mode", "");
  memory.mode_reason = saved.value("mode_reason", "");
  memory.stop_us = saved.value("stop_us", uint64_t{0});
  memory.ram_bytes = saved.value("ram_bytes", uint64_t{0});
  memory.stream_bytes = saved.value("stream_bytes", uint64_t{0});
  memory.written_bytes = saved.value("written_bytes", uint64_t{0});
  memory.zero_pages = saved.value("zero_pages", uint64_t{0});
  memory.unchanged_pages = saved.value("unchanged_pages", uint64_t{0});
  memory.duration_us = saved.value("duration_us", uint64_t{0});
  memory.state_after_load = saved.value("state_after_load", "up");
  memory.is_foreign = saved.value("is_foreign", false);
  return memory;
}

// "" when there is none.
Result<std::string> snapshot_name(Inventory& inventory, const std::string& uuid) {
  if (uuid.empty()) return "";
  const auto rows = HOZON_TRY(inventory.database().query(
      "SELECT name FROM snapshots WHERE uuid = ? AND status <> 'trashed'", {sql(uuid)}));
  return rows.empty() ? "" : rows.front().text(0);
}

}  // namespace

Result<Machine> Core::view(const MachineRow& row) {
  return view(row, HOZON_TRY(inventory.facts(row.uuid)));
}

Machine Core::view(const MachineRow& row, const MachineFacts& facts, const Members& wanted) {
  Machine machine;
  machine.uuid = row.uuid;
  machine.name = row.name;
  machine.description = row.description;
  machine.pool = row.pool;
  const GuestState guest = guests.state(row.uuid);
  machine.state = guest.state;
  machine.state_reason = guest.reason;
  machine.pid = guest.pid;
  machine.accelerator = guest.accelerator;
  machine.lock = jobs.lock_of(machine_lock(row.uuid));
  machine.memory_bytes = row.memory_bytes;
  machine.cpus = row.cpus;
  machine.machine_type = row.machine_type;
  machine.cpu_model = row.cpu_model;
  machine.disks = row.disks;
  machine.nics = row.nics;
  machine.has_kernel = row.has_kernel;
  machine.has_initrd = row.has_initrd;
  machine.append = row.append;
  machine.firmware = row.firmware;
  machine.tags = row.tags;
  machine.current_parent = row.current_parent;
  machine.snapshot_count = facts.snapshots;
  machine.current_parent_name = facts.current_parent_name;
  machine.created_ns = row.created_ns;
  machine.started_ns = row.started_ns;
  machine.directory = machine_directory(row.uuid);
  machine.console_socket = machine.directory + "/" + kSerialSocket;
  machine.console_log = machine.directory + "/" + kSerialLog;
  machine.snapshot_quota = facts.quota;
  machine.initial_snapshot = facts.initial_snapshot_name;
  machine.preview = facts.preview;
  if (machine.state == PowerState::kDown && facts.is_asleep) {
    machine.state = PowerState::kSuspended;
    machine.state_reason = "its memory is kept; `hozon machine resume` wakes it";
  }
  if (wanted.wants_any({"allowed_operations", "blocked_operations"})) explain_machine(machine);
  return machine;
}

Snapshot Core::view(const SnapshotRow& row, const MachineRow& machine,
                    const std::optional<Lock>& lock, const Members& wanted) {
  Snapshot snapshot;
  snapshot.uuid = row.uuid;
  snapshot.name = row.name;
  snapshot.description = row.description;
  snapshot.machine = machine.name;
  snapshot.machine_uuid = machine.uuid;
  snapshot.kind = row.kind;
  snapshot.status = row.status;
  snapshot.parent = row.parent;
  snapshot.is_current = machine.current_parent == row.uuid;
  snapshot.created_ns = row.created_ns;
  snapshot.machine_state = row.machine_state;
  snapshot.memory = memory_of(row.memory);
  snapshot.consistency = snapshot.memory ? "memory" : "crash";
  if (!snapshot.memory && row.environment.is_object()) {
    snapshot.consistency = row.environment.value("consistency", "crash");
    snapshot.consistency_reason = row.environment.value("consistency_reason", "");
  }
  snapshot.disks = row.disks;
  snapshot.settings = row.settings;
  snapshot.tags = row.marks.tags;
  snapshot.expires_ns = row.marks.expires_ns;
  snapshot.pinned = row.marks.pinned;
  snapshot.pin_reason = row.marks.pin_reason;
  snapshot.schedule = row.schedule_name;
  snapshot.group = row.group_name;
  if (wanted.wants_any({"allowed_operations", "blocked_operations"}))
    explain_snapshot(snapshot, lock);
  return snapshot;
}

Result<nlohmann::json> Core::machine_json(const std::string& uuid) {
  const MachineRow row = HOZON_TRY(inventory.machine(uuid));
  // The job that asks holds the lock until it has ended, which is when its result is read.
  Machine machine = HOZON_TRY(view(row));
  machine.lock.reset();
  explain_machine(machine);
  return to_json(machine);
}

Result<nlohmann::json> Core::snapshot_json(const std::string& machine_uuid,
                                           const std::string& uuid) {
  const MachineRow machine = HOZON_TRY(inventory.machine(machine_uuid));
  // As in machine_json(): the lock that is held now is gone when the result is read.
  const SnapshotRow row = HOZON_TRY(inventory.snapshot(machine_uuid, uuid));
  Snapshot snapshot = view(row, machine, std::nullopt);
  snapshot.parent_name = HOZON_TRY(snapshot_name(inventory, row.parent));
  return to_json(snapshot);
}

Volume Core::view(const link::VolumeInfo& info, const std::string& pool) {
  Volume volume;
  volume.name = info.name;
  volume.pool = pool;
  volume.id = info.id;
  volume.size_bytes = info.size_bytes;
  volume.created_ns = info.created_ns;
  volume.point_count = info.snapshot_count;
  volume.uri = storage.uri(pool, info.name);
  volume.machine = inventory.user_of_volume(pool, info.name).value_or("");
  explain_volume(volume);
  return volume;
}

Point Core::view(const link::PointInfo& info, const std::string& volume, const std::string& pool) {
  Point point;
  point.name = info.name;
  point.volume = volume;
  point.pool = pool;
  point.id = info.id;
  point.parent_id = info.parent_id;
  point.set_id = info.set_id;
  point.size_bytes = info.size_bytes;
  point.created_ns = info.created_ns;
  point.kind = info.kind;
  if (info.kind == "snapshot" && !info.name.empty()) {
    point.uri = storage.uri(pool, volume, info.name);
    point.snapshot = inventory.user_of_point(pool, volume, info.name).value_or("");
  }
  return point;
}

}  // namespace hozon::control
