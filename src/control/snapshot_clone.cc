// A new machine from a snapshot: the settings of that instant, volumes that share every block with
// it, and an identity of its own (uuid, MAC addresses, generation id).
#include <algorithm>
#include <filesystem>

#include "control/core.h"
#include "control/json.h"
#include "control/memory_volume.h"
#include "control/names.h"
#include "control/plans.h"
#include "control/settings.h"
#include "control/snapshot_gate.h"

namespace hozon::control {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

Status copy_boot_files(const MachineRow& clone, const std::string& from, const std::string& to) {
  std::error_code error;
  fs::create_directories(to, error);
  fs::permissions(to, fs::perms::owner_all, error);
  for (const auto& [wanted, name] :
       {std::pair{clone.has_kernel, kKernelFile}, std::pair{clone.has_initrd, kInitrdFile}}) {
    if (!wanted) continue;
    fs::copy_file(from + "/" + name, to + "/" + name, fs::copy_options::overwrite_existing, error);
    if (error) return errno_error(error.value(), "copy the {} of the machine", name);
  }
  return {};
}

// The clone sleeps on a memory that shares every page with the original: its record of kind
// "suspend". The head of the new memory volume stands on a point that holds nothing, as of any
// other.
Result<SnapshotRow> clone_memory(Core& core, JobRun& run, const MachineRow& owner,
                                 const SnapshotRow& snapshot, const MachineRow& clone) {
  const auto saved = std::ranges::find(snapshot.disks, kMemoryDisk, &SnapshotDisk::disk);
  if (saved == snapshot.disks.end())
    return make_error(Code::kWrongState, "snapshot '{}' of machine '{}' has no memory",
                      snapshot.name, owner.name);
  const std::string volume = volume_of_disk(clone.name, kMemoryDisk);
  SnapshotRow sleep;
  sleep.uuid = new_uuid();
  sleep.machine_uuid = clone.uuid;
  sleep.kind = "suspend";
  sleep.status = "ok";
  sleep.created_ns = wall_clock_ns();
  sleep.name = name_with_time("suspended-", sleep.created_ns);
  sleep.description = fmt::format("the memory of {}@{}", owner.name, snapshot.name);
  sleep.machine_state = snapshot.machine_state;
  sleep.settings = settings_of(clone);
  sleep.environment = snapshot.environment;
  sleep.memory = snapshot.memory;
  sleep.memory["is_foreign"] = true;
  sleep.memory["image"] = MemoryImages::id_of(snapshot);
  std::vector<std::string> volumes;
  for (const Disk& disk : clone.disks) {
    sleep.disks.push_back({disk.id, disk.volume, disk.pool, sleep.uuid, disk.size_bytes, {}});
    volumes.push_back(disk.volume);
  }
  sleep.disks.push_back({kMemoryDisk, volume, clone.pool, sleep.uuid, saved->size_bytes, {}});
  HOZON_TRY(run.journal("volume.delete", {{"pool", clone.pool}, {"name", volume}}));
  HOZON_TRY(core.storage.clone(saved->pool, saved->volume, MemoryVolume::kEmptyPoint, volume));
  HOZON_TRY(core.storage.snapshot(clone.pool, {volume}, MemoryVolume::kEmptyPoint));
  HOZON_TRY(core.storage.return_to(clone.pool, {{volume, saved->volume, saved->point}}, ""));
  volumes.push_back(volume);
  HOZON_TRY(core.storage.snapshot(clone.pool, volumes, sleep.uuid));
  HOZON_TRY(core.storage.return_to(clone.pool, {{volume, volume, MemoryVolume::kEmptyPoint}}, ""));
  return sleep;
}

}  // namespace

Result<json> Core::do_clone(JobRun& run, const std::string& machine_uuid,
                            const std::string& snapshot_uuid, MachineRow clone, bool with_memory) {
  const MachineRow owner = HOZON_TRY(inventory.machine(machine_uuid));
  const SnapshotRow snapshot = HOZON_TRY(usable_snapshot(owner, snapshot_uuid));
  std::vector<std::string> notes;
  const MachineRow settings = HOZON_TRY(with_settings(owner, snapshot.settings));
  for (const Disk& disk : attached_disks(settings)) {
    const auto saved = std::ranges::find(snapshot.disks, disk.id, &SnapshotDisk::disk);
    if (saved == snapshot.disks.end()) {
      notes.push_back(fmt::format("disk {} is not part of the snapshot and was left out", disk.id));
      continue;
    }
    clone.disks.push_back(
        {disk.id, volume_of_disk(clone.name, disk.id), saved->pool, saved->size_bytes, true});
  }
  HOZON_TRY(run.journal("machine.forget", {{"machine", clone.uuid}}));
  HOZON_TRY(inventory.insert_machine(clone));
  HOZON_TRY(copy_boot_files(clone, machine_directory(machine_uuid), machine_directory(clone.uuid)));
  for (Disk& disk : clone.disks) {
    HOZON_TRY(run.check());
    const auto existing = storage.volume(disk.pool, disk.volume);
    if (existing)
      return make_error(Code::kAlreadyExists, "a volume named '{}' is in the way", disk.volume);
    if (existing.error().code != Code::kNotFound) return std::unexpected(existing.error());
    HOZON_TRY(run.journal("volume.delete", {{"pool", disk.pool}, {"name", disk.volume}}));
    const std::string source = volume_of_disk(owner.name, disk.id);
    disk.size_bytes =
        HOZON_TRY(storage.clone(disk.pool, source, snapshot_uuid, disk.volume)).size_bytes;
  }
  std::optional<SnapshotRow> sleep;
  if (with_memory) sleep = HOZON_TRY(clone_memory(*this, run, owner, snapshot, clone));
  const auto record = [&]() -> Status {
    HOZON_TRY(inventory.update_machine(clone));
    return sleep ? inventory.insert_snapshot(*sleep) : Status();
  };
  HOZON_TRY(run.commit(record));
  if (with_memory)
    notes.push_back(
        fmt::format("it sleeps where the snapshot was made; `hozon machine resume {}` "
                    "wakes it, with its network unplugged unless --connect is given",
                    clone.name));
  else if (snapshot.memory.is_object())
    notes.push_back("the memory stays with the original: the clone boots from its disks");
  return json{{"machine", HOZON_TRY(machine_json(clone.uuid))}, {"notes", notes}};
}

Result<JobId> Control::start_snapshot_clone(const std::string& machine, const std::string& snapshot,
                                            const std::string& new_machine, const Caller& caller,
                                            bool with_memory) {
  if (const auto found = HOZON_TRY(core_->jobs.find_job(caller))) return *found;
  HOZON_TRY(check_name("machine", new_machine, kMachineNameMax));
  const MachineRow owner = HOZON_TRY(core_->inventory.machine(machine));
  const SnapshotRow row = HOZON_TRY(core_->usable_snapshot(owner, snapshot));
  if (core_->inventory.machine(new_machine))
    return make_error(Code::kAlreadyExists, "a machine named '{}' exists", new_machine);
  if (with_memory && !row.memory.is_object())
    return make_error(Code::kWrongState,
                      "snapshot '{}' of machine '{}' has no memory: leave out --memory", row.name,
                      owner.name);
  if (with_memory) {
    // Every disk that the memory knows must come along, and the memory must be loadable here.
    const MachineRow then = HOZON_TRY(with_settings(owner, row.settings));
    HOZON_TRY(check_memory_gate(*core_, then, row));
  }
  MachineRow clone = HOZON_TRY(with_settings(owner, row.settings));
  clone.uuid = new_uuid();
  clone.name = new_machine;
  clone.description = fmt::format("clone of {}@{}", owner.name, row.name);
  clone.vmgenid = new_uuid();
  clone.current_parent.clear();
  clone.created_ns = wall_clock_ns();
  clone.started_ns = 0;
  clone.disks.clear();
  for (Nic& nic : clone.nics) nic.mac = HOZON_TRY(core_->fresh_mac());
  if (caller.plan) plan_snapshot_clone(owner, row, clone, with_memory, *caller.plan);
  // The original is locked too: its snapshot must not go while it is being cloned.
  return core_->jobs.begin({.kind = "snapshot.clone",
                            .object = fmt::format("{}@{} {}", owner.name, row.name, new_machine),
                            .caller = caller,
                            .locks = {Core::machine_lock(owner.uuid),
                                      Core::machine_lock(clone.uuid), Core::name_lock(new_machine)},
                            .subject = fmt::format("machine '{}'", owner.name)},
                           [core = core_.get(), owner, row, clone, with_memory](JobRun& run) {
                             return core->do_clone(run, owner.uuid, row.uuid, clone, with_memory);
                           });
}

}  // namespace hozon::control
