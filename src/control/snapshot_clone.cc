// A new machine from a snapshot: the settings of that instant, volumes that share every block with
// it, and an identity of its own (uuid, MAC addresses, generation id).
#include <algorithm>
#include <filesystem>

#include "control/clone_disks.h"
#include "control/image.h"
#include "control/json.h"
#include "control/memory_volume.h"
#include "control/names.h"
#include "control/plans.h"
#include "control/settings.h"
#include "control/snapshot_gate.h"
#include "control/space_watch.h"

namespace hozon::control {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

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

Status refuse_existing(Core& core, const Disk& disk) {
  const auto existing = core.storage.volume(disk.pool, disk.volume);
  if (existing)
    return make_error(Code::kAlreadyExists, "a volume named '{}' is in the way", disk.volume);
  return existing.error().code == Code::kNotFound ? Status() : std::unexpected(existing.error());
}

// Bytes of all disks of a full clone, for its progress.
struct Copied {
  uint64_t done = 0;
  uint64_t total = 0;
};

Status copy_disk(Core& core, JobRun& run, const SnapshotDisk& source, Disk& disk, Copied& copied) {
  HOZON_TRY(core.storage.create_volume(disk.pool, disk.volume, source.size_bytes));
  SpaceWatch space(core.storage, disk.pool);
  const Image point{core.storage.uri(source.pool, source.volume, source.point), "raw",
                    source.size_bytes};
  const Status imported = import_image(point, core.storage.uri(disk.pool, disk.volume),
                                       core.options.qemu_img, [&](uint64_t done) {
                                         run.progress(copied.done + done, copied.total);
                                         return run.check().has_value() && space.has_room();
                                       });
  HOZON_TRY(run.check());
  HOZON_TRY(space.status());
  HOZON_TRY(imported);
  copied.done += source.size_bytes;
  run.progress(copied.done, copied.total);
  return core.storage.checkpoint(disk.pool);
}

}  // namespace

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

// The clone's disks that are part of the snapshot; the others are left out.
std::vector<Disk> disks_of_clone(const MachineRow& settings, const SnapshotRow& snapshot,
                                 const MachineRow& clone, std::vector<std::string>& notes) {
  std::vector<Disk> disks;
  for (const Disk& disk : attached_disks(settings)) {
    const auto saved = std::ranges::find(snapshot.disks, disk.id, &SnapshotDisk::disk);
    if (saved == snapshot.disks.end()) {
      notes.push_back(fmt::format("disk {} is not part of the snapshot and was left out", disk.id));
      continue;
    }
    disks.push_back(
        {disk.id, volume_of_disk(clone.name, disk.id), clone.pool, saved->size_bytes, true});
  }
  return disks;
}

Status make_disks(Core& core, JobRun& run, const SnapshotRow& snapshot, bool full,
                  std::vector<Disk>& disks) {
  Copied copied;
  for (const Disk& disk : disks) copied.total += disk.size_bytes;
  for (Disk& disk : disks) {
    HOZON_TRY(run.check());
    HOZON_TRY(refuse_existing(core, disk));
    HOZON_TRY(run.journal("volume.delete", {{"pool", disk.pool}, {"name", disk.volume}}));
    const SnapshotDisk& source = *std::ranges::find(snapshot.disks, disk.id, &SnapshotDisk::disk);
    if (full) {
      run.step(fmt::format("copying {}", disk.id));
      HOZON_TRY(copy_disk(core, run, source, disk, copied));
    } else {
      disk.size_bytes =
          HOZON_TRY(core.storage.clone(source.pool, source.volume, source.point, disk.volume))
              .size_bytes;
    }
  }
  return {};
}

Result<json> Core::do_clone(JobRun& run, const std::string& machine_uuid,
                            const std::string& snapshot_uuid, MachineRow clone,
                            const CloneRequest& request) {
  const MachineRow owner = HOZON_TRY(inventory.machine(machine_uuid));
  const SnapshotRow snapshot = HOZON_TRY(usable_snapshot(owner, snapshot_uuid));
  std::vector<std::string> notes;
  const MachineRow settings = HOZON_TRY(with_settings(owner, snapshot.settings));
  clone.disks = disks_of_clone(settings, snapshot, clone, notes);
  HOZON_TRY(run.journal("machine.forget", {{"machine", clone.uuid}}));
  HOZON_TRY(inventory.insert_machine(clone));
  HOZON_TRY(copy_boot_files(clone, machine_directory(machine_uuid), machine_directory(clone.uuid)));
  HOZON_TRY(make_disks(*this, run, snapshot, request.full, clone.disks));
  std::optional<SnapshotRow> sleep;
  if (request.with_memory) sleep = HOZON_TRY(clone_memory(*this, run, owner, snapshot, clone));
  std::optional<SnapshotRow> initial;
  if (!request.return_on_shutdown.empty()) {
    initial = HOZON_TRY(make_first_snapshot(*this, run, clone, request.return_on_shutdown,
                                            "what the machine returns to"));
    initial->marks = marks_of_initial(clone.name);
  }
  const auto record = [&]() -> Status {
    HOZON_TRY(inventory.update_machine(clone));
    if (initial) HOZON_TRY(record_initial(*this, clone, *initial));
    return sleep ? inventory.insert_snapshot(*sleep) : Status();
  };
  HOZON_TRY(run.commit(record));
  if (request.full) notes.emplace_back("it shares no block with the original");
  if (request.with_memory)
    notes.push_back(
        fmt::format("it sleeps where the snapshot was made; `hozon machine resume {}` "
                    "wakes it, with its network unplugged unless --connect is given",
                    clone.name));
  else if (snapshot.memory.is_object())
    notes.push_back("the memory stays with the original: the clone boots from its disks");
  return json{{"machine", HOZON_TRY(machine_json(clone.uuid))}, {"notes", notes}};
}

namespace {

Status check_clone(Core& core, const MachineRow& owner, const SnapshotRow& row,
                   const CloneRequest& request) {
  HOZON_TRY(check_description(request.description));
  if (core.inventory.machine(request.new_name))
    return make_error(Code::kAlreadyExists, "a machine named '{}' exists", request.new_name);
  if (!request.pool.empty() && !request.full)
    return make_error(Code::kInvalidArgument,
                      "a clone that shares blocks is in the pool of the original: --pool needs "
                      "--full");
  if (!request.pool.empty()) HOZON_TRY(core.storage.stats(request.pool));
  if (!request.with_memory) return {};
  if (request.full)
    return make_error(Code::kInvalidArgument,
                      "a memory is shared with the original: leave out --full or --memory");
  if (!row.memory.is_object())
    return make_error(Code::kWrongState,
                      "snapshot '{}' of machine '{}' has no memory: leave out --memory", row.name,
                      owner.name);
  // Every disk that the memory knows must come along, and the memory must be loadable here.
  const MachineRow then = HOZON_TRY(with_settings(owner, row.settings));
  return check_memory_gate(core, then, row);
}

}  // namespace

Result<JobId> Control::start_snapshot_clone(const std::string& machine, const std::string& snapshot,
                                            const CloneRequest& request, const Caller& caller) {
  if (const auto found = HOZON_TRY(core_->jobs.find_job(caller))) return *found;
  const std::string& new_machine = request.new_name;
  HOZON_TRY(check_name("machine", new_machine, kMachineNameMax));
  const MachineRow owner = HOZON_TRY(core_->inventory.machine(machine));
  const SnapshotRow row = HOZON_TRY(core_->usable_snapshot(owner, snapshot));
  HOZON_TRY(check_clone(*core_, owner, row, request));
  MachineRow clone = HOZON_TRY(with_settings(owner, row.settings));
  clone.uuid = new_uuid();
  clone.name = new_machine;
  clone.description = request.description.empty()
                          ? fmt::format("clone of {}@{}", owner.name, row.name)
                          : request.description;
  if (!request.pool.empty()) clone.pool = request.pool;
  clone.vmgenid = new_uuid();
  clone.current_parent.clear();
  clone.created_ns = wall_clock_ns();
  clone.started_ns = 0;
  clone.disks.clear();
  clone.is_template = false;
  clone.initial_snapshot.clear();
  clone.left_initial = false;
  clone.tags.clear();  // a schedule that wants the original does not want this one, too
  for (Nic& nic : clone.nics) nic.mac = HOZON_TRY(core_->fresh_mac());
  if (caller.plan) HOZON_TRY(plan_snapshot_clone(*core_, owner, row, request, *caller.plan));
  // The original is locked too: its snapshot must not go while it is being cloned.
  return core_->jobs.begin({.kind = "snapshot.clone",
                            .object = fmt::format("{}@{} {}", owner.name, row.name, new_machine),
                            .caller = caller,
                            .locks = {Core::machine_lock(owner.uuid),
                                      Core::machine_lock(clone.uuid), Core::name_lock(new_machine)},
                            .subject = fmt::format("machine '{}'", owner.name)},
                           [core = core_.get(), owner, row, clone, request](JobRun& run) {
                             return core->do_clone(run, owner.uuid, row.uuid, clone, request);
                           });
}

}  // namespace hozon::control
