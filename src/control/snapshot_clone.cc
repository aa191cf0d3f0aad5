// A new machine from a snapshot: the settings of that instant, volumes that share every block with
// it, and an identity of its own (uuid, MAC addresses, generation id).
#include <algorithm>
#include <filesystem>

#include "control/core.h"
#include "control/json.h"
#include "control/names.h"
#include "control/settings.h"

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

}  // namespace

Result<json> Core::do_clone(JobRun& run, const std::string& machine_uuid,
                            const std::string& snapshot_uuid, MachineRow clone) {
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
  HOZON_TRY(run.commit([&] { return inventory.update_machine(clone); }));
  if (snapshot.memory.is_object())
    notes.push_back("the memory stays with the original: the clone boots from its disks");
  return json{{"machine", HOZON_TRY(machine_json(clone.uuid))}, {"notes", notes}};
}

Result<JobId> Control::start_snapshot_clone(const std::string& machine, const std::string& snapshot,
                                            const std::string& new_machine, const Caller& caller) {
  if (const auto found = HOZON_TRY(core_->jobs.find_job(caller))) return *found;
  HOZON_TRY(check_name("machine", new_machine, kMachineNameMax));
  const MachineRow owner = HOZON_TRY(core_->inventory.machine(machine));
  const SnapshotRow row = HOZON_TRY(core_->usable_snapshot(owner, snapshot));
  if (core_->inventory.machine(new_machine))
    return make_error(Code::kAlreadyExists, "a machine named '{}' exists", new_machine);
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
  // The original is locked too: its snapshot must not go while it is being cloned.
  return core_->jobs.begin({.kind = "snapshot.clone",
                            .object = fmt::format("{}@{} {}", owner.name, row.name, new_machine),
                            .caller = caller,
                            .locks = {Core::machine_lock(owner.uuid),
                                      Core::machine_lock(clone.uuid), Core::name_lock(new_machine)},
                            .subject = fmt::format("machine '{}'", owner.name)},
                           [core = core_.get(), owner, row, clone](JobRun& run) {
                             return core->do_clone(run, owner.uuid, row.uuid, clone);
                           });
}

}  // namespace hozon::control
