// Snapshots: listing, disk-only creation, names, deletion. Memory: snapshot_memory.cc; the way
// back: snapshot_return.cc; clones: snapshot_clone.cc.
#include <algorithm>

#include "control/core.h"
#include "control/firmware_state.h"
#include "control/guest_facts.h"
#include "control/json.h"
#include "control/memory_volume.h"
#include "control/names.h"
#include "control/plans.h"
#include "control/quiesce.h"
#include "control/settings.h"

namespace hozon::control {
namespace {

using nlohmann::json;

std::string object_name(const MachineRow& machine, const std::string& snapshot) {
  return machine.name + "@" + snapshot;
}

// The disks that the request means.
Result<std::vector<Disk>> chosen_disks(const MachineRow& machine, const SnapshotRequest& request) {
  const std::vector<Disk> attached = attached_disks(machine);
  if (request.settings_only && (request.with_memory || !request.disks.empty()))
    return make_error(Code::kInvalidArgument,
                      "a snapshot of the settings only has neither disks nor memory");
  if (request.settings_only) return std::vector<Disk>{};
  if (attached.empty())
    return make_error(Code::kWrongState,
                      "machine '{}' has no disks to snapshot; --settings-only keeps its settings",
                      machine.name);
  if (request.disks.empty()) return attached;
  std::vector<Disk> chosen;
  for (const std::string& id : request.disks) {
    const auto disk = std::ranges::find(attached, id, &Disk::id);
    if (disk == attached.end()) {
      std::string known;
      for (const Disk& other : attached) known += (known.empty() ? "" : ", ") + other.id;
      return make_error(Code::kInvalidArgument, "machine '{}' has no disk '{}'; it has {}",
                        machine.name, id, known);
    }
    if (std::ranges::find(chosen, id, &Disk::id) == chosen.end()) chosen.push_back(*disk);
  }
  if (request.with_memory && chosen.size() < attached.size())
    return make_error(Code::kInvalidArgument,
                      "a snapshot with memory needs all disks: leave out --disks");
  return chosen;
}

}  // namespace

Result<SnapshotRow> Core::usable_snapshot(const MachineRow& machine, const std::string& reference) {
  const SnapshotRow row = HOZON_TRY(inventory.snapshot(machine.uuid, reference));
  if (row.status == "trashed") return listed_snapshot(machine, reference);
  if (row.status == "ok") return row;
  if (row.status == "in_preview")
    return make_error(Code::kWrongState,
                      "snapshot '{}' of machine '{}' is in preview: `hozon snapshot undo {}` ends "
                      "that, or `hozon snapshot commit {}`",
                      row.name, machine.name, machine.name, machine.name);
  return make_error(Code::kBusy, "snapshot '{}' of machine '{}' is locked by a job", row.name,
                    machine.name);
}

Result<std::string> Core::free_snapshot_name(const std::string& machine_uuid,
                                             const std::string& base) {
  std::string name = base;
  for (int i = 2; HOZON_TRY(inventory.has_snapshot_name(machine_uuid, name)); ++i)
    name = fmt::format("{}-{}", base, i);
  return name;
}

Result<SnapshotRow> Core::new_snapshot_row(const MachineRow& machine,
                                           const SnapshotRequest& request) {
  SnapshotRow snapshot;
  snapshot.uuid = new_uuid();
  snapshot.machine_uuid = machine.uuid;
  snapshot.created_ns = wall_clock_ns();
  snapshot.name = request.name;
  if (snapshot.name.empty()) {
    const std::string base = request.name_base.empty()
                                 ? name_with_time("snap-", snapshot.created_ns)
                                 : request.name_base;
    snapshot.name = HOZON_TRY(free_snapshot_name(machine.uuid, base));
  }
  snapshot.schedule_uuid = request.schedule_uuid;
  snapshot.due_ns = request.due_ns;
  snapshot.description = request.description;
  snapshot.marks.tags = request.tags;
  if (request.expires_in_s != 0)
    snapshot.marks.expires_ns = snapshot.created_ns + request.expires_in_s * 1'000'000'000;
  snapshot.parent = machine.current_parent;
  snapshot.machine_state = power_state_name(guests.state(machine.uuid).state);
  snapshot.settings = settings_of(machine);
  for (const Disk& disk : HOZON_TRY(chosen_disks(machine, request)))
    snapshot.disks.push_back({disk.id, disk.volume, disk.pool, snapshot.uuid, disk.size_bytes, {}});
  return snapshot;
}

Status Core::delete_points(const std::string& pool, const std::vector<std::string>& volumes,
                           const std::string& point) {
  for (const std::string& volume : volumes) {
    const Status deleted = storage.delete_point(pool, volume, point);
    if (!deleted && deleted.error().code != Code::kNotFound) return deleted;
  }
  return {};
}

// One call to the data plane freezes all disks; the guest is not stopped for it.
Result<json> Core::do_disk_snapshot(JobRun& run, const MachineRow& machine, SnapshotRow row,
                                    const std::string& quiesce) {
  std::vector<std::string> volumes;
  for (const SnapshotDisk& disk : row.disks) volumes.push_back(disk.volume);
  HOZON_TRY(run.journal("snapshot.forget", {{"snapshot", row.uuid}}));
  HOZON_TRY(inventory.insert_snapshot(row));
  if (!volumes.empty()) {
    HOZON_TRY(run.journal("points.delete",
                          {{"pool", machine.pool}, {"volumes", volumes}, {"point", row.uuid}}));
    const auto make_points = [&]() -> Status {
      HOZON_TRY(keep_tpm(*this, machine));
      HOZON_TRY(storage.snapshot(machine.pool, volumes, row.uuid));
      return {};
    };
    const Quiesced quiesced =
        HOZON_TRY(while_quiesced(*this, run, {machine}, quiesce, make_points)).front();
    row.environment = quiesced.environment(ask_guest_facts(*this, machine));
  } else {
    row.environment = {{"consistency", "settings"}};
  }
  row.status = "ok";
  const auto record = [&]() -> Status {
    HOZON_TRY(inventory.update_snapshot(row));
    return inventory.set_current_parent(machine.uuid, row.uuid);
  };
  HOZON_TRY(run.commit(record));
  return snapshot_json(machine.uuid, row.uuid);
}

// May be repeated: also the way in which an interrupted deletion is finished.
Status Core::delete_snapshot(const std::string& machine_uuid, const std::string& uuid) {
  const auto row = inventory.snapshot(machine_uuid, uuid);
  if (!row) return row.error().code == Code::kNotFound ? Status() : std::unexpected(row.error());
  for (const SnapshotDisk& disk : row->disks)
    HOZON_TRY(disk.disk == kMemoryDisk ? MemoryVolume::delete_point(*this, *row, disk)
                                       : delete_points(disk.pool, {disk.volume}, disk.point));
  return inventory.delete_snapshot(uuid);
}

namespace {

Status add_sizes(const Core& core, Snapshot& snapshot) {
  if (snapshot.status != "ok") return {};
  uint64_t sum = 0;
  for (SnapshotDisk& disk : snapshot.disks) {
    disk.exclusive_bytes =
        HOZON_TRY(core.storage.exclusive_bytes(disk.pool, disk.volume, disk.point));
    sum += *disk.exclusive_bytes;
  }
  snapshot.exclusive_bytes = sum;
  return {};
}

}  // namespace

Result<SnapshotList> Control::snapshots(const std::string& machine) const {
  return SnapshotList::read(*core_, machine);
}

Result<Snapshot> Control::snapshot(const std::string& machine, const std::string& snapshot) const {
  const MachineRow owner = HOZON_TRY(core_->inventory.machine(machine));
  const SnapshotRow row = HOZON_TRY(core_->listed_snapshot(owner, snapshot));
  Snapshot shown = core_->view(row, owner, core_->jobs.lock_of(Core::machine_lock(owner.uuid)));
  if (!row.parent.empty())
    if (const auto parent = core_->inventory.snapshot(owner.uuid, row.parent))
      shown.parent_name = parent->name;
  HOZON_TRY(add_sizes(*core_, shown));
  return shown;
}

Result<JobId> Control::start_snapshot_create(const std::string& machine,
                                             const SnapshotRequest& request, const Caller& caller) {
  if (const auto found = HOZON_TRY(core_->jobs.find_job(caller))) return *found;
  const MachineRow owner = HOZON_TRY(core_->inventory.machine(machine));
  if (!request.name.empty()) HOZON_TRY(check_snapshot_name(request.name));
  HOZON_TRY(check_description(request.description));
  HOZON_TRY(check_quiesce(request.quiesce));
  if (request.with_memory && request.quiesce == "require")
    return make_error(
        Code::kInvalidArgument,
        "a snapshot with memory needs no quiesce: disks and memory are of one instant");
  if (!request.name.empty() &&
      HOZON_TRY(core_->inventory.has_snapshot_name(owner.uuid, request.name)))
    return make_error(Code::kAlreadyExists,
                      "machine '{}' has a snapshot named '{}': choose another name", owner.name,
                      request.name);
  HOZON_TRY(chosen_disks(owner, request));
  HOZON_TRY(check_tags(request.tags));
  if (request.expires_in_s > kExpirySecondsMax)
    return make_error(Code::kInvalidArgument, "an expiry is at most 100 years away");
  HOZON_TRY(core_->refuse_over_quota(owner));
  const PowerState now = core_->guests.state(owner.uuid).state;
  const auto lock = core_->jobs.lock_of(Core::machine_lock(owner.uuid));
  if (!lock && request.with_memory && now != PowerState::kUp && now != PowerState::kPaused)
    return make_error(Code::kWrongState,
                      "machine '{}' is {}, so it has no memory to save: start it, or leave out "
                      "--memory",
                      owner.name, power_state_name(now));
  if (caller.plan) HOZON_TRY(plan_snapshot_create(*core_, owner, request, *caller.plan));
  const auto work = [core = core_.get(), uuid = owner.uuid, request](JobRun& run) -> Result<json> {
    // Read again: before the lock was taken another job may have changed the machine.
    const MachineRow row = HOZON_TRY(core->inventory.machine(uuid));
    SnapshotRow snapshot = HOZON_TRY(core->new_snapshot_row(row, request));
    if (request.with_memory) run.plan_steps(4);
    return request.with_memory
               ? core->do_memory_snapshot(run, row, std::move(snapshot))
               : core->do_disk_snapshot(run, row, std::move(snapshot), request.quiesce);
  };
  return core_->begin_machine("snapshot.create", owner, object_name(owner, request.name), caller,
                              work);
}

Result<JobId> Control::start_snapshot_rename(const std::string& machine,
                                             const std::string& snapshot,
                                             const std::string& new_name, const Caller& caller) {
  if (const auto found = HOZON_TRY(core_->jobs.find_job(caller))) return *found;
  HOZON_TRY(check_snapshot_name(new_name));
  const MachineRow owner = HOZON_TRY(core_->inventory.machine(machine));
  const SnapshotRow row = HOZON_TRY(core_->listed_snapshot(owner, snapshot));
  if (row.name != new_name && HOZON_TRY(core_->inventory.has_snapshot_name(owner.uuid, new_name)))
    return make_error(Code::kAlreadyExists,
                      "machine '{}' has a snapshot named '{}': choose another name", owner.name,
                      new_name);
  const auto work = [core = core_.get(), row, new_name](JobRun& run) -> Result<json> {
    HOZON_TRY(run.commit([&] { return core->inventory.rename_snapshot(row.uuid, new_name); }));
    return core->snapshot_json(row.machine_uuid, row.uuid);
  };
  return core_->begin_machine("snapshot.rename", owner, object_name(owner, row.name), caller, work);
}

Result<JobId> Control::start_snapshot_describe(const std::string& machine,
                                               const std::string& snapshot,
                                               const std::string& description,
                                               const Caller& caller) {
  if (const auto found = HOZON_TRY(core_->jobs.find_job(caller))) return *found;
  HOZON_TRY(check_description(description));
  const MachineRow owner = HOZON_TRY(core_->inventory.machine(machine));
  const SnapshotRow row = HOZON_TRY(core_->listed_snapshot(owner, snapshot));
  const auto work = [core = core_.get(), row, description](JobRun& run) -> Result<json> {
    HOZON_TRY(run.commit([&] { return core->inventory.describe_snapshot(row.uuid, description); }));
    return core->snapshot_json(row.machine_uuid, row.uuid);
  };
  return core_->begin_machine("snapshot.describe", owner, object_name(owner, row.name), caller,
                              work);
}

}  // namespace hozon::control
