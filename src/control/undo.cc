// The actions that jobs journal before they act: each takes something back, or finishes it when
// there is no way back. Every one may run again after it ran, and after a restart of everything.
//
//   pool.discard     {pool, finish}            stop its daemon, remove its files
//   pool.scrub.cancel {pool}                   nobody waits for its report any more
//   volume.delete    {pool, name, finish}
//   volume.settle_size    {pool, name, size_bytes}   looks whether it has that size
//   volume.settle_return  {pool, volume, kept}   looks whether the volume was switched
//   points.delete    {pool, volumes, point}
//   file.remove      {path}                    of an export that was not completed
//   file.settle_name {path, device, inode}     looks whether that file has that name
//   machine.forget   {machine}                 record and directory of one that was not completed
//   machine.delete   {machine}                 finishes a deletion
//   machine.settle   {machine, states}         looks whether the guest is where it should be
//   snapshot.forget  {snapshot}                only while it is still "locked"
//   snapshot.delete  {machine, snapshot}       finishes a deletion
//   memory.clear     {pool, volume}            what a save has written that was not kept
//   helper.drain     {machine, name}           of a memory helper: it stores nothing any more
//   helper.end       {machine, name}           of a memory helper; QEMU is done with it
//   save.settle      {machine, run, live}      the guest is free of a save that failed
//   guest.start      {machine, paused, unless_returned}   not when that return has happened
//   guest.load       {machine, target, run, instant}   finishes the way back to a memory
//   freeze.end       {machine, name}           the guest is thawed
//   guest.end        {machine}                 its memory is kept: QEMU ends
//   resume.settle    {machine}                 its memory is kept still: QEMU ends
//   return.settle    {machine, start, paused, memory, run, instant} and a ReturnRecord
//                                              looks whether the disks were switched, and if so
//                                              finishes the return
//   preview.take_back {pool, volumes, kept}    the disks are what they were before the preview
//   preview.undo     {machine, kept}           finishes the undo of a preview
//   group.take_back  {pool, volumes, machines, kept}   the machines are down, and their disks what
//                                              they were before the group returned
// With "finish" the deletion is what the job is for; without, it takes a creation back. With
// "before_ns" (job_board.h) a volume or pool of that name that was made later is somebody else's.
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>

#include "base/log.h"
#include "control/core.h"
#include "control/memory_volume.h"
#include "control/preview.h"
#include "control/return_plan.h"

namespace hozon::control {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

std::string text_of(const json& arguments, const char* name) {
  return link::string_field_or(arguments, name, "").value_or("");
}

bool flag_of(const json& arguments, const char* name) {
  return link::bool_field_or(arguments, name, false).value_or(false);
}

// What was begun has to be finished, so it is tried again until it can be.
Status try_until_done(Status status) {
  if (!status) status.error().code = Code::kUnavailable;
  return status;
}

Settled finished_if(bool finished) { return finished ? Settled::kFinished : Settled::kTakenBack; }

Result<Settled> settled(const Status& done, bool finished) {
  // What is gone already is as good as deleted.
  if (!done && done.error().code != Code::kNotFound) return std::unexpected(done.error());
  return finished_if(finished);
}

uint64_t made_before_ns(const json& arguments) {
  return link::u64_field_or(arguments, "before_ns", UINT64_MAX).value_or(UINT64_MAX);
}

uint64_t modified_ns(const std::string& path) {
  struct stat status{};
  if (::stat(path.c_str(), &status) != 0) return 0;
  return static_cast<uint64_t>(status.st_mtim.tv_sec) * 1'000'000'000 +
         static_cast<uint64_t>(status.st_mtim.tv_nsec);
}

Status discard_pool(Core& core, const json& arguments) {
  const std::string pool = text_of(arguments, "pool");
  if (pool.empty()) return {};
  std::error_code error;
  const std::string place = core.storage.pool_directory(pool);
  if (modified_ns(place) > made_before_ns(arguments)) return {};
  const std::string hidden = core.storage.pool_directory("." + pool + ".gone");
  HOZON_TRY(core.storage.stop_pool(pool));
  fs::remove_all(core.storage.pool_directory("." + pool + ".new"), error);
  if (fs::exists(place, error)) {
    fs::remove_all(hidden, error);
    fs::rename(place, hidden, error);
    if (error) return errno_error(error.value(), "remove pool '{}'", pool);
  }
  fs::remove_all(hidden, error);
  if (error) return errno_error(error.value(), "remove pool '{}'", pool);
  return {};
}

Status delete_volume(Core& core, const json& arguments) {
  const std::string pool = text_of(arguments, "pool");
  const std::string name = text_of(arguments, "name");
  const auto volume = core.storage.volume(pool, name);
  if (!volume) return std::unexpected(volume.error());
  if (volume->created_ns > made_before_ns(arguments)) return {};
  return core.storage.delete_volume(pool, name, true);
}

// The point that keeps the state that was left exists exactly if the volume was switched.
Result<Settled> settle_volume_return(Core& core, const json& arguments) {
  const auto kept = core.storage.point(text_of(arguments, "pool"), text_of(arguments, "volume"),
                                       text_of(arguments, "kept"));
  if (!kept && kept.error().code != Code::kNotFound) return std::unexpected(kept.error());
  return finished_if(kept.has_value());
}

Result<Settled> settle_size(Core& core, const json& arguments) {
  const auto volume =
      HOZON_TRY(core.storage.volume(text_of(arguments, "pool"), text_of(arguments, "name")));
  return finished_if(volume.size_bytes == HOZON_TRY(link::u64_field(arguments, "size_bytes")));
}

Result<Settled> settle_power(Core& core, const json& arguments) {
  const std::string now = power_state_name(core.guests.state(text_of(arguments, "machine")).state);
  const auto wanted = HOZON_TRY(link::strings_field(arguments, "states"));
  return finished_if(std::ranges::find(wanted, now) != wanted.end());
}

Status remove_file(const std::string& path) {
  std::error_code error;
  fs::remove(path, error);
  if (error) return errno_error(error.value(), "remove '{}'", path);
  return {};
}

Result<Settled> settle_name(const json& arguments) {
  struct stat status{};
  if (::stat(text_of(arguments, "path").c_str(), &status) != 0) return Settled::kTakenBack;
  const uint64_t device = HOZON_TRY(link::u64_field(arguments, "device"));
  const uint64_t inode = HOZON_TRY(link::u64_field(arguments, "inode"));
  return finished_if(status.st_dev == device && status.st_ino == inode);
}

Status forget_machine(Core& core, const std::string& uuid) {
  if (uuid.empty()) return {};
  HOZON_TRY(core.inventory.delete_machine(uuid));
  std::error_code error;
  fs::remove_all(core.machine_directory(uuid), error);
  return {};
}

// Only a record that never became "ok" is forgotten: afterwards it stands for points that exist.
Status forget_snapshot(Core& core, const std::string& uuid) {
  const auto rows = HOZON_TRY(
      core.inventory.database().query("SELECT status FROM snapshots WHERE uuid = ?", {sql(uuid)}));
  if (rows.empty() || rows.front().text(0) != "locked") return {};
  return core.inventory.delete_snapshot(uuid);
}

Result<Settled> start_guest(Core& core, const json& arguments) {
  const MachineRow machine = HOZON_TRY(core.inventory.machine(text_of(arguments, "machine")));
  const std::string kept = text_of(arguments, "unless_returned");
  if (core.guests.state(machine.uuid).state != PowerState::kDown) return finished_if(kept.empty());
  // Then return.settle has started it, or its memory could not be loaded: that is not replaced by
  // a boot behind its owner's back.
  if (!kept.empty()) {
    const auto row = core.inventory.snapshot(machine.uuid, kept);
    if (row && row->status == "ok") return Settled::kTakenBack;
  }
  const Status started =
      core.boot(machine, flag_of(arguments, "paused") ? StartMode::kPaused : StartMode::kRun);
  if (!started && started.error().code != Code::kUnavailable) {
    log_error("machine '{}' stays down: {}", machine.name, started.error().what);
    return Settled::kTakenBack;
  }
  HOZON_TRY(started);
  return finished_if(kept.empty());
}

Result<Settled> load_guest(Core& core, const json& arguments) {
  const MachineRow machine = HOZON_TRY(core.inventory.machine(text_of(arguments, "machine")));
  const SnapshotRow target =
      HOZON_TRY(core.inventory.snapshot(machine.uuid, text_of(arguments, "target")));
  const bool as_saved = target.memory.value("state_after_load", "up") == "up";
  const auto loaded = core.load_memory(
      machine, target, link::bool_field_or(arguments, "run", as_saved).value_or(as_saved),
      flag_of(arguments, "instant"));
  if (loaded) return Settled::kFinished;
  if (loaded.error().code == Code::kUnavailable) return std::unexpected(loaded.error());
  log_error("machine '{}' stays down: {}", machine.name, loaded.error().what);
  return Settled::kTakenBack;
}

// The switch of the disks is one step of the data plane: the kept point exists exactly if it
// happened.
Result<Settled> settle_return(Core& core, const json& arguments) {
  const std::string machine = text_of(arguments, "machine");
  const std::string kept_uuid = text_of(arguments, "kept");
  const SnapshotRow kept = HOZON_TRY(core.inventory.snapshot(machine, kept_uuid));
  if (kept.status == "ok" || kept.disks.empty()) return Settled::kTakenBack;
  const SnapshotDisk& disk = kept.disks.front();
  const auto point = core.storage.point(disk.pool, disk.volume, disk.point);
  if (!point) {
    if (point.error().code == Code::kNotFound) return Settled::kTakenBack;
    return std::unexpected(point.error());
  }
  const ReturnRecord record = HOZON_TRY(return_record_of(arguments));
  const std::string& target = record.target;
  const MachineRow before = HOZON_TRY(core.inventory.machine(machine));
  HOZON_TRY(core.settle_firmware(before, record));
  HOZON_TRY(core.record_return(machine, record));
  if (!flag_of(arguments, "start")) return Settled::kFinished;
  return flag_of(arguments, "memory")
             ? load_guest(core,
                          {{"machine", machine},
                           {"target", target},
                           {"instant", flag_of(arguments, "instant")},
                           {"run", link::bool_field_or(arguments, "run", true).value_or(true)}})
             : start_guest(core, {{"machine", machine}, {"paused", flag_of(arguments, "paused")}});
}

}  // namespace

Status Core::finish_or_forget(JobRun& run, uint64_t step, Status deleted) {
  if (!deleted && deleted.error().code != Code::kUnavailable) HOZON_TRY(run.forget(step));
  HOZON_TRY(deleted);
  return run.commit([] { return Status(); });
}

Result<Settled> Core::undo(const std::string& action, const json& arguments) {
  const std::string machine = text_of(arguments, "machine");
  const bool finish = flag_of(arguments, "finish");
  if (action == "pool.discard") return settled(discard_pool(*this, arguments), finish);
  if (action == "pool.scrub.cancel") {
    const std::string pool = text_of(arguments, "pool");
    return settled(storage.has_pool(pool) ? storage.cancel_scrub(pool) : Status(), finish);
  }
  if (action == "volume.delete") return settled(delete_volume(*this, arguments), finish);
  if (action == "volume.settle_size") return settle_size(*this, arguments);
  if (action == "volume.settle_return") return settle_volume_return(*this, arguments);
  if (action == "points.delete") {
    const auto volumes = HOZON_TRY(link::strings_field(arguments, "volumes"));
    return settled(delete_points(text_of(arguments, "pool"), volumes, text_of(arguments, "point")),
                   finish);
  }
  if (action == "file.remove") return settled(remove_file(text_of(arguments, "path")), false);
  if (action == "file.settle_name") return settle_name(arguments);
  if (action == "machine.forget") return settled(forget_machine(*this, machine), false);
  if (action == "machine.delete") return settled(try_until_done(delete_machine(machine)), true);
  if (action == "machine.settle") return settle_power(*this, arguments);
  if (action == "snapshot.forget")
    return settled(forget_snapshot(*this, text_of(arguments, "snapshot")), false);
  if (action == "snapshot.delete")
    return settled(try_until_done(delete_snapshot(machine, text_of(arguments, "snapshot"))),
                   finish);
  if (action == "save.settle")
    return settled(settle_save(machine, link::bool_field_or(arguments, "run", true).value_or(true),
                               link::bool_field_or(arguments, "live", true).value_or(true)),
                   false);
  if (action == "helper.drain")
    return settled(drain_helper(machine, text_of(arguments, "name")), false);
  if (action == "helper.end")
    return settled(end_helper(machine, text_of(arguments, "name")), false);
  if (action == "memory.clear")
    return settled(
        MemoryVolume::clear(*this, text_of(arguments, "pool"), text_of(arguments, "volume")),
        false);
  if (action == "guest.start") return start_guest(*this, arguments);
  if (action == "guest.load") return load_guest(*this, arguments);
  if (action == "guest.end") return settled(guests.end(machine, ""), true);
  if (action == "freeze.end")
    return settled(end_freeze(machine, text_of(arguments, "name")), false);
  if (action == "resume.settle") return settled(settle_resume(machine), false);
  if (action == "return.settle") return settle_return(*this, arguments);
  if (action == "preview.take_back") {
    const auto volumes = HOZON_TRY(link::strings_field(arguments, "volumes"));
    return settled(
        take_preview_back(*this, text_of(arguments, "pool"), volumes, text_of(arguments, "kept")),
        false);
  }
  if (action == "group.take_back") {
    const auto volumes = HOZON_TRY(link::strings_field(arguments, "volumes"));
    const auto machines = HOZON_TRY(link::strings_field(arguments, "machines"));
    return settled(
        take_group_back(text_of(arguments, "pool"), volumes, machines, text_of(arguments, "kept")),
        false);
  }
  if (action == "preview.undo")
    return settled(try_until_done(undo_preview(*this, machine, text_of(arguments, "kept"))), true);
  return make_error(Code::kInternal, "there is no way back called '{}'", action);
}

}  // namespace hozon::control
