#include "control/preview.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>

#include "control/firmware_state.h"
#include "control/json.h"
#include "control/memory_volume.h"
#include "control/names.h"
#include "control/return_plan.h"
#include "control/settings.h"
#include "control/snapshot_gate.h"

namespace hozon::control {
namespace {

using nlohmann::json;

constexpr const char* kCurrent = "current";  // a part that stays as it is
constexpr const char* kNone = "none";        // no memory

// What a preview found and decided before it changed anything.
struct PreviewPlan {
  MachineRow before;
  MachineRow after;
  SnapshotRow target;
  SnapshotRow kept;
  std::optional<SnapshotRow> settings;       // empty: as they are now
  std::optional<SnapshotRow> memory;         // that the machine sleeps on
  std::optional<SnapshotRow> slept;          // in which the machine sleeps now
  std::map<std::string, SnapshotRow> disks;  // that come from a snapshot
  std::vector<link::ReturnItem> items;
  std::vector<std::string> notes;
};

Status refuse_state(Core& core, const MachineRow& machine) {
  const PowerState state = core.guests.state(machine.uuid).state;
  if (state == PowerState::kDown) return {};
  return make_error(Code::kWrongState,
                    "machine '{}' is {}, and only one that is down or suspended can be previewed: "
                    "`hozon machine suspend {}` keeps its memory, too",
                    machine.name, power_state_name(state), machine.name);
}

Result<SnapshotRow> source(Core& core, const PreviewPlan& plan, const std::string& reference) {
  return reference == plan.target.uuid ? Result<SnapshotRow>(plan.target)
                                       : core.usable_snapshot(plan.before, reference);
}

Status choose_disk(Core& core, const PreviewRequest& request, const Disk& disk, PreviewPlan& plan) {
  const auto named = request.disks.find(disk.id);
  const auto has_disk = [&](const SnapshotRow& row) {
    return std::ranges::find(row.disks, disk.id, &SnapshotDisk::disk) != row.disks.end();
  };
  if (named == request.disks.end() && !has_disk(plan.target)) return {};
  if (named != request.disks.end() && named->second == kCurrent) return {};
  SnapshotRow row =
      named == request.disks.end() ? plan.target : HOZON_TRY(source(core, plan, named->second));
  const auto saved = std::ranges::find(row.disks, disk.id, &SnapshotDisk::disk);
  if (saved == row.disks.end())
    return make_error(Code::kInvalidArgument, "snapshot '{}' has no disk '{}'", row.name, disk.id);
  HOZON_TRY(core.storage.point(saved->pool, saved->volume, saved->point));
  plan.items.push_back({saved->volume, saved->volume, saved->point});
  plan.disks.emplace(disk.id, std::move(row));
  return {};
}

// Why the memory cannot meet these disks and settings; empty: it can.
std::string memory_obstacle(const PreviewPlan& plan, const SnapshotRow& memory) {
  if (!plan.settings) return "the settings would be of the present state";
  if (plan.settings->uuid != memory.uuid)
    return fmt::format("the settings would be of '{}'", plan.settings->name);
  for (const Disk& disk : attached_disks(plan.after)) {
    const auto from = plan.disks.find(disk.id);
    if (from == plan.disks.end())
      return fmt::format("disk {} would be of the present state", disk.id);
    if (from->second.uuid != memory.uuid)
      return fmt::format("disk {} would be of '{}'", disk.id, from->second.name);
  }
  return "";
}

Status choose_memory(Core& core, const PreviewRequest& request, PreviewPlan& plan) {
  if (request.memory == kNone || request.memory == kCurrent) return {};
  if (request.memory.empty() && !plan.target.memory.is_object()) return {};
  const SnapshotRow row =
      request.memory.empty() ? plan.target : HOZON_TRY(source(core, plan, request.memory));
  if (!row.memory.is_object())
    return make_error(Code::kWrongState, "snapshot '{}' of machine '{}' has no memory", row.name,
                      plan.before.name);
  const std::string obstacle = memory_obstacle(plan, row);
  if (obstacle.empty()) {
    HOZON_TRY(check_memory_gate(core, plan.after, row));
    plan.memory = row;
    return {};
  }
  if (request.memory.empty()) {
    plan.notes.push_back(fmt::format("the memory of '{}' is left out: {}", row.name, obstacle));
    return {};
  }
  return make_error(Code::kInvalidArgument,
                    "the memory of '{}' knows the settings and all disks of its own instant, and "
                    "{}: take all of them from '{}', or no memory",
                    row.name, obstacle, row.name);
}

Status refuse_unknown_disks(const PreviewRequest& request, const MachineRow& after) {
  const auto attached = attached_disks(after);
  for (const auto& [id, from] : request.disks)
    if (std::ranges::find(attached, id, &Disk::id) == attached.end())
      return make_error(Code::kInvalidArgument, "machine '{}' with these settings has no disk '{}'",
                        after.name, id);
  return {};
}

void fill_kept(Core& core, PreviewPlan& plan) {
  SnapshotRow& kept = plan.kept;
  kept.uuid = new_uuid();
  kept.machine_uuid = plan.before.uuid;
  kept.kind = "preview";
  kept.created_ns = wall_clock_ns();
  kept.description = fmt::format("what previewing '{}' left", plan.target.name);
  kept.parent = plan.before.current_parent;
  kept.machine_state = power_state_name(core.guests.state(plan.before.uuid).state);
  kept.settings = settings_of(plan.before);
  for (const Disk& disk : plan.before.disks)
    if (plan.disks.contains(disk.id))
      kept.disks.push_back({disk.id, disk.volume, disk.pool, kept.uuid, disk.size_bytes, {}});
}

Result<PreviewPlan> plan_preview(Core& core, const std::string& machine_uuid,
                                 const std::string& snapshot_uuid, const PreviewRequest& request) {
  PreviewPlan plan;
  plan.before = HOZON_TRY(core.inventory.machine(machine_uuid));
  HOZON_TRY(refuse_in_preview(core, "snapshot.preview", plan.before));
  plan.target = HOZON_TRY(core.usable_snapshot(plan.before, snapshot_uuid));
  HOZON_TRY(refuse_state(core, plan.before));
  plan.slept = HOZON_TRY(core.inventory.suspend_of(machine_uuid));
  if (request.settings != kCurrent)
    plan.settings =
        request.settings.empty() ? plan.target : HOZON_TRY(source(core, plan, request.settings));
  plan.after = plan.before;
  if (plan.settings) plan.after = HOZON_TRY(with_settings(plan.before, plan.settings->settings));
  HOZON_TRY(refuse_unknown_disks(request, plan.after));
  for (const Disk& disk : attached_disks(plan.after))
    HOZON_TRY(choose_disk(core, request, disk, plan));
  HOZON_TRY(choose_memory(core, request, plan));
  for (Disk& disk : plan.after.disks) {
    const auto from = plan.disks.find(disk.id);
    disk.size_bytes = std::ranges::find(plan.before.disks, disk.id, &Disk::id)->size_bytes;
    if (from != plan.disks.end())
      disk.size_bytes =
          std::ranges::find(from->second.disks, disk.id, &SnapshotDisk::disk)->size_bytes;
  }
  plan.after.current_parent = plan.target.uuid;
  plan.after.vmgenid = new_uuid();
  fill_kept(core, plan);
  plan.kept.name = HOZON_TRY(core.free_snapshot_name(
      machine_uuid, name_with_time("before-preview-", plan.kept.created_ns)));
  return plan;
}

// What undo needs beyond the kept points.
json before_json(const PreviewPlan& plan) {
  json disks = json::array();
  for (const Disk& disk : plan.before.disks) disks.push_back(to_json(disk));
  return {{"settings", settings_of(plan.before)},
          {"disks", disks},
          {"current_parent", plan.before.current_parent},
          {"vmgenid", plan.before.vmgenid},
          {"slept", plan.slept ? plan.slept->uuid : ""}};
}

json parts_json(const PreviewPlan& plan) {
  json disks = json::object();
  for (const auto& [id, row] : plan.disks) disks[id] = row.name;
  return {{"settings", plan.settings ? json(plan.settings->name) : json(nullptr)},
          {"memory", plan.memory ? json(plan.memory->name) : json(nullptr)},
          {"disks", disks}};
}

Result<MachineRow> machine_before(const MachineRow& now, const json& before) {
  MachineRow row = HOZON_TRY(with_settings(now, before.value("settings", json::object())));
  row.current_parent = HOZON_TRY(link::string_field_or(before, "current_parent", ""));
  row.vmgenid = HOZON_TRY(link::string_field(before, "vmgenid"));
  for (const json& saved : HOZON_TRY(link::array_field(before, "disks"))) {
    const auto disk = std::ranges::find(row.disks, saved.value("id", ""), &Disk::id);
    if (disk == row.disks.end()) continue;
    disk->attached = saved.value("attached", true);
    disk->size_bytes = saved.value("size_bytes", disk->size_bytes);
  }
  return row;
}

// The machine sleeps on a point of its own that shares every page with the snapshot's memory.
Result<SnapshotRow> lay_memory(Core& core, JobRun& run, const PreviewPlan& plan) {
  const std::string pool = plan.before.pool;
  const std::string ram = volume_of_disk(plan.before.name, kMemoryDisk);
  SnapshotRow sleep = *plan.memory;
  sleep.uuid = new_uuid();
  sleep.kind = "suspend";
  sleep.status = "ok";
  sleep.marks = {};
  sleep.created_ns = wall_clock_ns();
  sleep.parent = plan.target.uuid;
  sleep.name = HOZON_TRY(
      core.free_snapshot_name(plan.before.uuid, name_with_time("suspended-", sleep.created_ns)));
  sleep.description = fmt::format("the memory of '{}', in preview", plan.memory->name);
  std::vector<std::string> volumes;
  for (SnapshotDisk& disk : sleep.disks) {
    disk.point = sleep.uuid;
    volumes.push_back(disk.volume);
  }
  HOZON_TRY(run.journal("memory.clear", {{"pool", pool}, {"volume", ram}}));
  HOZON_TRY(
      run.journal("points.delete", {{"pool", pool}, {"volumes", volumes}, {"point", sleep.uuid}}));
  HOZON_TRY(core.storage.return_to(pool, {{ram, ram, plan.memory->uuid}}, ""));
  HOZON_TRY(core.storage.snapshot(pool, volumes, sleep.uuid));
  HOZON_TRY(MemoryVolume::clear(core, pool, ram));
  return sleep;
}

std::vector<std::string> sentences(const PreviewPlan& plan) {
  std::vector<std::string> texts;
  for (const auto& [id, row] : plan.disks)
    texts.push_back(fmt::format("disk {} is that of '{}'", id, row.name));
  texts.push_back(plan.settings ? fmt::format("settings are those of '{}'", plan.settings->name)
                                : std::string("settings are as they were"));
  if (plan.memory)
    texts.push_back(
        fmt::format("it sleeps on the memory of '{}': `hozon machine resume {}` wakes it",
                    plan.memory->name, plan.before.name));
  texts.insert(texts.end(), plan.notes.begin(), plan.notes.end());
  texts.push_back(
      fmt::format("`hozon snapshot commit {}` keeps it, `hozon snapshot undo {}` "
                  "brings back what was before",
                  plan.before.name, plan.before.name));
  return texts;
}

Result<json> do_preview(Core& core, JobRun& run, const std::string& machine_uuid,
                        const std::string& snapshot_uuid, const PreviewRequest& request) {
  const PreviewPlan plan = HOZON_TRY(plan_preview(core, machine_uuid, snapshot_uuid, request));
  HOZON_TRY(run.journal("snapshot.forget", {{"snapshot", plan.kept.uuid}}));
  HOZON_TRY(core.inventory.insert_snapshot(plan.kept));
  std::vector<std::string> volumes;
  for (const link::ReturnItem& item : plan.items) volumes.push_back(item.volume);
  if (!plan.items.empty()) {
    HOZON_TRY(
        run.journal("preview.take_back",
                    {{"pool", plan.before.pool}, {"volumes", volumes}, {"kept", plan.kept.uuid}}));
    run.step("switching the disks");
    HOZON_TRY(keep_tpm(core, plan.before));
    HOZON_TRY(core.storage.return_to(plan.before.pool, plan.items, plan.kept.uuid));
    HOZON_TRY(forget_tpm(core, plan.before));
  }
  std::optional<SnapshotRow> sleep;
  if (plan.memory) sleep = HOZON_TRY(lay_memory(core, run, plan));
  const auto record = [&]() -> Status {
    HOZON_TRY(core.inventory.end_suspend(machine_uuid));
    HOZON_TRY(core.inventory.update_machine(plan.after));
    HOZON_TRY(core.inventory.set_snapshot_status(plan.kept.uuid, "ok"));
    HOZON_TRY(core.inventory.set_snapshot_status(plan.target.uuid, "in_preview"));
    HOZON_TRY(core.inventory.insert_preview({.machine_uuid = machine_uuid,
                                             .target = plan.target.uuid,
                                             .kept = plan.kept.uuid,
                                             .before = before_json(plan),
                                             .parts = parts_json(plan),
                                             .created_ns = plan.kept.created_ns}));
    return sleep ? core.inventory.insert_snapshot(*sleep) : Status();
  };
  HOZON_TRY(run.commit(record));
  return json{{"machine", HOZON_TRY(core.machine_json(machine_uuid))},
              {"snapshot", HOZON_TRY(core.snapshot_json(machine_uuid, plan.target.uuid))},
              {"parts", parts_json(plan)},
              {"settings_changes",
               to_json(settings_changes(settings_of(plan.before), settings_of(plan.after)))},
              {"steps", sentences(plan)}};
}

std::unexpected<Error> not_in_preview(const MachineRow& machine) {
  return make_error(Code::kWrongState,
                    "machine '{}' is not in preview: `hozon snapshot preview {} NAME` begins one",
                    machine.name, machine.name);
}

struct CommitPlan {
  PreviewRow preview;
  SnapshotRow target;
  SnapshotRow kept;
  std::vector<SnapshotRow> discarded;
};

Result<CommitPlan> plan_commit(Core& core, const MachineRow& machine, bool discard_newer) {
  const auto preview = HOZON_TRY(core.inventory.preview(machine.uuid));
  if (!preview) return not_in_preview(machine);
  CommitPlan plan{.preview = *preview,
                  .target = HOZON_TRY(core.inventory.snapshot(machine.uuid, preview->target)),
                  .kept = HOZON_TRY(core.inventory.snapshot(machine.uuid, preview->kept)),
                  .discarded = {}};
  if (discard_newer) plan.discarded = HOZON_TRY(newer_than(core, machine, plan.target));
  return plan;
}

Result<json> do_commit(Core& core, JobRun& run, const MachineRow& machine, bool discard_newer) {
  const CommitPlan plan = HOZON_TRY(plan_commit(core, machine, discard_newer));
  const uint64_t until = wall_clock_ns() + kTrashSeconds * 1'000'000'000;
  std::vector<std::string> discarded;
  const auto record = [&]() -> Status {
    HOZON_TRY(core.inventory.delete_preview(machine.uuid));
    HOZON_TRY(core.inventory.set_snapshot_status(plan.target.uuid, "ok"));
    HOZON_TRY(core.inventory.set_snapshot_kind(plan.kept.uuid, "system"));
    SnapshotMarks marks = plan.kept.marks;
    marks.expires_ns = until;
    HOZON_TRY(core.inventory.set_marks(plan.kept.uuid, marks));
    // With the time of the kept state, so that one undo takes back both.
    for (const SnapshotRow& row : plan.discarded) {
      HOZON_TRY(core.inventory.trash_snapshot(row.uuid, plan.kept.created_ns, until));
      discarded.push_back(row.name);
    }
    return {};
  };
  HOZON_TRY(run.commit(record));
  return json{{"machine", HOZON_TRY(core.machine_json(machine.uuid))},
              {"snapshot", HOZON_TRY(core.snapshot_json(machine.uuid, plan.target.uuid))},
              {"kept", plan.kept.name},
              {"discarded", discarded}};
}

Result<json> do_undo(Core& core, JobRun& run, const MachineRow& machine) {
  const auto preview = HOZON_TRY(core.inventory.preview(machine.uuid));
  if (!preview) return not_in_preview(machine);
  // From here on it only goes forward.
  HOZON_TRY(run.journal("preview.undo", {{"machine", machine.uuid}, {"kept", preview->kept}}));
  run.step("bringing back what was before");
  HOZON_TRY(undo_preview(core, machine.uuid, preview->kept));
  HOZON_TRY(run.commit([] { return Status(); }));
  return json{{"machine", HOZON_TRY(core.machine_json(machine.uuid))},
              {"snapshot", HOZON_TRY(core.snapshot_json(machine.uuid, preview->target))}};
}

}  // namespace

Status refuse_in_preview(Core& core, const std::string& kind, const MachineRow& machine) {
  constexpr std::array kRefused = {"snapshot.create", "snapshot.return",  "snapshot.preview",
                                   "snapshot.delete", "snapshot.restore", "snapshot.expire",
                                   "trash.empty",     "machine.undo",     "machine.delete"};
  if (std::ranges::find(kRefused, kind) == kRefused.end()) return {};
  const auto preview = HOZON_TRY(core.inventory.preview(machine.uuid));
  if (!preview) return {};
  const SnapshotRow target = HOZON_TRY(core.inventory.snapshot(machine.uuid, preview->target));
  return make_error(Code::kWrongState,
                    "machine '{}' is in preview of '{}': `hozon snapshot undo {}` ends that, or "
                    "`hozon snapshot commit {}`",
                    machine.name, target.name, machine.name, machine.name);
}

Status take_preview_back(Core& core, const std::string& pool,
                         const std::vector<std::string>& volumes, const std::string& kept,
                         const std::function<Status()>& then) {
  std::vector<link::ReturnItem> items;
  std::vector<std::string> switched;
  for (const std::string& volume : volumes) {
    const auto point = core.storage.point(pool, volume, kept);
    if (!point && point.error().code == Code::kNotFound) continue;
    if (!point) return std::unexpected(point.error());
    items.push_back({volume, volume, kept});
    switched.push_back(volume);
  }
  if (items.empty()) return {};
  HOZON_TRY(core.storage.return_to(pool, items, ""));
  HOZON_TRY(then());
  return core.delete_points(pool, switched, kept);
}

namespace {

// The machine stands on what was before, and the inventory says so.
Status leave_preview(Core& core, const std::string& machine_uuid) {
  const auto preview = HOZON_TRY(core.inventory.preview(machine_uuid));
  if (!preview) return {};
  const MachineRow now = HOZON_TRY(core.inventory.machine(machine_uuid));
  const SnapshotRow kept = HOZON_TRY(core.inventory.snapshot(machine_uuid, preview->kept));
  HOZON_TRY(core.guests.end(machine_uuid, ""));
  std::vector<link::ReturnItem> items;
  for (const SnapshotDisk& disk : kept.disks)
    items.push_back({disk.volume, disk.volume, kept.uuid});
  if (!items.empty()) HOZON_TRY(core.storage.return_to(now.pool, items, ""));
  HOZON_TRY(forget_tpm(core, now));
  // Memories in which the machine slept meanwhile; nothing else can have been made (P2).
  for (const SnapshotRow& row : HOZON_TRY(core.inventory.snapshots(machine_uuid)))
    if (row.created_ns > preview->created_ns && row.uuid != kept.uuid)
      HOZON_TRY(core.delete_snapshot(machine_uuid, row.uuid));
  const MachineRow before = HOZON_TRY(machine_before(now, preview->before));
  const std::string slept = HOZON_TRY(link::string_field_or(preview->before, "slept", ""));
  Transaction transaction = HOZON_TRY(Transaction::begin(core.inventory.database()));
  HOZON_TRY(core.inventory.update_machine(before));
  HOZON_TRY(core.inventory.set_snapshot_status(preview->target, "ok"));
  HOZON_TRY(core.inventory.set_snapshot_status(kept.uuid, "locked"));
  if (!slept.empty()) HOZON_TRY(core.inventory.set_snapshot_kind(slept, "suspend"));
  HOZON_TRY(core.inventory.delete_preview(machine_uuid));
  return transaction.commit();
}

}  // namespace

Status undo_preview(Core& core, const std::string& machine_uuid, const std::string& kept) {
  HOZON_TRY(leave_preview(core, machine_uuid));
  return core.delete_snapshot(machine_uuid, kept);
}

namespace {

void describe_preview(const PreviewPlan& plan, Plan& into) {
  into.settings_changes = settings_changes(settings_of(plan.before), settings_of(plan.after));
  into.makes.push_back(
      fmt::format("snapshot {}@{} (the state that is left)", plan.before.name, plan.kept.name));
  into.identity.emplace_back("new VM generation id; uuid and MAC addresses stay");
  into.notes = sentences(plan);
}

}  // namespace

Result<JobId> Control::start_snapshot_preview(const std::string& machine,
                                              const std::string& snapshot,
                                              const PreviewRequest& request, const Caller& caller) {
  if (const auto found = HOZON_TRY(core_->jobs.find_job(caller))) return *found;
  const MachineRow owner = HOZON_TRY(core_->inventory.machine(machine));
  const SnapshotRow row = HOZON_TRY(core_->listed_snapshot(owner, snapshot));
  if (!core_->jobs.lock_of(Core::machine_lock(owner.uuid))) {
    const PreviewPlan plan = HOZON_TRY(plan_preview(*core_, owner.uuid, row.uuid, request));
    if (caller.plan) describe_preview(plan, *caller.plan);
  }
  return core_->begin_machine(
      "snapshot.preview", owner, owner.name + "@" + row.name, caller,
      [core = core_.get(), machine_uuid = owner.uuid, uuid = row.uuid, request](JobRun& run) {
        return do_preview(*core, run, machine_uuid, uuid, request);
      });
}

Result<JobId> Control::start_snapshot_commit(const std::string& machine, bool discard_newer,
                                             const Caller& caller) {
  if (const auto found = HOZON_TRY(core_->jobs.find_job(caller))) return *found;
  const MachineRow owner = HOZON_TRY(core_->inventory.machine(machine));
  if (!core_->jobs.lock_of(Core::machine_lock(owner.uuid))) {
    const CommitPlan plan = HOZON_TRY(plan_commit(*core_, owner, discard_newer));
    if (caller.plan)
      for (const SnapshotRow& row : plan.discarded)
        caller.plan->removes.push_back(fmt::format("snapshot {}@{}", owner.name, row.name));
  }
  return core_->begin_machine("snapshot.commit", owner, owner.name, caller,
                              [core = core_.get(), owner, discard_newer](JobRun& run) {
                                return do_commit(*core, run, owner, discard_newer);
                              });
}

Result<JobId> Control::start_snapshot_undo(const std::string& machine, const Caller& caller) {
  if (const auto found = HOZON_TRY(core_->jobs.find_job(caller))) return *found;
  const MachineRow owner = HOZON_TRY(core_->inventory.machine(machine));
  const bool busy = core_->jobs.lock_of(Core::machine_lock(owner.uuid)).has_value();
  const auto preview = HOZON_TRY(core_->inventory.preview(owner.uuid));
  if (!busy && !preview) return not_in_preview(owner);
  if (caller.plan && preview) {
    const SnapshotRow kept = HOZON_TRY(core_->inventory.snapshot(owner.uuid, preview->kept));
    const bool runs = is_running(core_->guests.state(owner.uuid).state);
    caller.plan->guest = runs ? "end" : "none";
    caller.plan->removes.push_back(fmt::format("snapshot {}@{}", owner.name, kept.name));
    caller.plan->unreachable.emplace_back("what the machine has written since the preview began");
    const MachineRow before = HOZON_TRY(machine_before(owner, preview->before));
    caller.plan->settings_changes = settings_changes(settings_of(owner), settings_of(before));
  }
  return core_->begin_machine(
      "snapshot.undo", owner, owner.name, caller,
      [core = core_.get(), owner](JobRun& run) { return do_undo(*core, run, owner); });
}

}  // namespace hozon::control
