// The actions that jobs journal before they act: each takes something back, or finishes it when
// there is no way back. Every one may run again after it ran, and after a restart of everything.
//
//   pool.discard     {pool}                    stop its daemon, remove its files
//   volume.delete    {pool, name}
//   points.delete    {pool, volumes, point}
//   machine.forget   {machine}                 record and directory of one that was not completed
//   machine.delete   {machine}                 finishes a deletion
//   snapshot.forget  {snapshot}                only while it is still "locked"
//   snapshot.delete  {machine, snapshot}       finishes a deletion
//   memory.clear     {pool, volume}            what a save has written that was not kept
//   helper.end       {machine, name}           of a memory helper; QEMU is done with it
//   save.settle      {machine, run, live}      the guest is free of a save that failed
//   guest.start      {machine, paused, unless_returned}   not when that return has happened
//   guest.load       {machine, target}         finishes the way back to a memory
//   return.settle    {machine, target, kept, start, paused, memory}   looks whether the disks were
//                                              switched, and if so finishes the return
#include <filesystem>

#include "base/log.h"
#include "control/core.h"
#include "control/memory_volume.h"

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

Status discard_pool(Core& core, const std::string& pool) {
  if (pool.empty()) return {};
  std::error_code error;
  const std::string place = core.storage.pool_directory(pool);
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

Status start_guest(Core& core, const json& arguments) {
  const MachineRow machine = HOZON_TRY(core.inventory.machine(text_of(arguments, "machine")));
  if (core.guests.state(machine.uuid).state != PowerState::kDown) return {};
  // Then return.settle has started it, or its memory could not be loaded: that is not replaced by
  // a boot behind its owner's back.
  const std::string kept = text_of(arguments, "unless_returned");
  if (!kept.empty()) {
    const auto row = core.inventory.snapshot(machine.uuid, kept);
    if (row && row->status == "ok") return {};
  }
  const Status started =
      core.boot(machine, flag_of(arguments, "paused") ? StartMode::kPaused : StartMode::kRun);
  if (!started && started.error().code != Code::kUnavailable) {
    log_error("machine '{}' stays down: {}", machine.name, started.error().what);
    return {};
  }
  return started;
}

Status load_guest(Core& core, const json& arguments) {
  const MachineRow machine = HOZON_TRY(core.inventory.machine(text_of(arguments, "machine")));
  const SnapshotRow target =
      HOZON_TRY(core.inventory.snapshot(machine.uuid, text_of(arguments, "target")));
  const Status loaded = core.load_memory(machine, target);
  if (loaded || loaded.error().code == Code::kUnavailable) return loaded;
  log_error("machine '{}' stays down: {}", machine.name, loaded.error().what);
  return {};
}

// The switch of the disks is one step of the data plane: the kept point exists exactly if it
// happened.
Status settle_return(Core& core, const json& arguments) {
  const std::string machine = text_of(arguments, "machine");
  const std::string kept_uuid = text_of(arguments, "kept");
  const SnapshotRow kept = HOZON_TRY(core.inventory.snapshot(machine, kept_uuid));
  if (kept.status == "ok" || kept.disks.empty()) return {};
  const SnapshotDisk& disk = kept.disks.front();
  const auto point = core.storage.point(disk.pool, disk.volume, disk.point);
  if (!point) {
    if (point.error().code == Code::kNotFound) return {};
    return std::unexpected(point.error());
  }
  const std::string target = text_of(arguments, "target");
  HOZON_TRY(core.record_return(machine, target, kept_uuid));
  if (!flag_of(arguments, "start")) return {};
  return flag_of(arguments, "memory")
             ? load_guest(core, {{"machine", machine}, {"target", target}})
             : start_guest(core, {{"machine", machine}, {"paused", flag_of(arguments, "paused")}});
}

}  // namespace

Status Core::undo(const std::string& action, const json& arguments) {
  if (action == "pool.discard") return discard_pool(*this, text_of(arguments, "pool"));
  if (action == "volume.delete")
    return storage.delete_volume(text_of(arguments, "pool"), text_of(arguments, "name"), true);
  if (action == "points.delete")
    return delete_points(text_of(arguments, "pool"),
                         HOZON_TRY(link::strings_field(arguments, "volumes")),
                         text_of(arguments, "point"));
  if (action == "machine.forget") return forget_machine(*this, text_of(arguments, "machine"));
  if (action == "machine.delete")
    return try_until_done(delete_machine(text_of(arguments, "machine")));
  if (action == "snapshot.forget") return forget_snapshot(*this, text_of(arguments, "snapshot"));
  if (action == "snapshot.delete")
    return try_until_done(
        delete_snapshot(text_of(arguments, "machine"), text_of(arguments, "snapshot")));
  if (action == "save.settle")
    return settle_save(text_of(arguments, "machine"),
                       link::bool_field_or(arguments, "run", true).value_or(true),
                       link::bool_field_or(arguments, "live", true).value_or(true));
  if (action == "helper.end")
    return end_helper(text_of(arguments, "machine"), text_of(arguments, "name"));
  if (action == "memory.clear")
    return MemoryVolume::clear(*this, text_of(arguments, "pool"), text_of(arguments, "volume"));
  if (action == "guest.start") return start_guest(*this, arguments);
  if (action == "guest.load") return load_guest(*this, arguments);
  if (action == "return.settle") return settle_return(*this, arguments);
  return make_error(Code::kInternal, "there is no way back called '{}'", action);
}

}  // namespace hozon::control
