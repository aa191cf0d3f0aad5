// Deleting goes through a trash, so that it can be undone until its time to live ends. Only then
// (or when somebody empties the trash) the points go and their space comes back.
#include <algorithm>
#include <unordered_map>

#include "base/log.h"
#include "control/core.h"
#include "control/json.h"
#include "control/names.h"
#include "control/plans.h"

namespace hozon::control {
namespace {

using nlohmann::json;

std::string object_name(const MachineRow& machine, const std::string& snapshot) {
  return machine.name + "@" + snapshot;
}

// The snapshot and everything that grew from it, but not the memory of a machine that sleeps: that
// goes only by its own name.
void add_subtree(const std::vector<SnapshotRow>& all, std::vector<SnapshotRow>& chosen) {
  for (size_t i = 0; i < chosen.size(); ++i)
    for (const SnapshotRow& row : all) {
      const bool is_child = row.parent == chosen[i].uuid && row.kind != "suspend";
      if (is_child && std::ranges::find(chosen, row.uuid, &SnapshotRow::uuid) == chosen.end())
        chosen.push_back(row);
    }
}

Result<std::vector<SnapshotRow>> choose(Core& core, const MachineRow& owner,
                                        const DeleteRequest& request) {
  const auto all = HOZON_TRY(core.inventory.snapshots(owner.uuid));
  std::vector<SnapshotRow> chosen;
  for (const std::string& reference : request.snapshots) {
    SnapshotRow row = HOZON_TRY(core.listed_snapshot(owner, reference));
    if (std::ranges::find(chosen, row.uuid, &SnapshotRow::uuid) == chosen.end())
      chosen.push_back(std::move(row));
  }
  if (request.all_unpinned)
    std::ranges::copy_if(all, std::back_inserter(chosen), [](const SnapshotRow& row) {
      return !row.marks.pinned && row.kind != "suspend";
    });
  if (request.subtree) add_subtree(all, chosen);
  if (chosen.empty())
    return make_error(Code::kInvalidArgument, "name at least one snapshot of '{}' to delete",
                      owner.name);
  for (const SnapshotRow& row : chosen) HOZON_TRY(refuse_pinned(owner, row));
  return chosen;
}

Result<json> purge(Core& core, JobRun& run, const std::string& machine_uuid,
                   const std::vector<std::pair<std::string, std::string>>& snapshots) {
  // The steps are promises to finish: points of any may be gone from here on.
  for (const auto& [uuid, name] : snapshots)
    HOZON_TRY(run.journal("snapshot.delete",
                          {{"machine", machine_uuid}, {"snapshot", uuid}, {"finish", true}}));
  json deleted = json::array();
  for (const auto& [uuid, name] : snapshots) {
    run.step(fmt::format("deleting '{}'", name));
    if (HOZON_TRY(core.inventory.snapshot(machine_uuid, uuid)).status == "ok")
      HOZON_TRY(core.inventory.set_snapshot_status(uuid, "locked"));
    HOZON_TRY(core.delete_snapshot(machine_uuid, uuid));
    deleted.push_back(name);
  }
  HOZON_TRY(run.commit([] { return Status(); }));
  return json{{"deleted", deleted}};
}

// `ttl_s`: none, until the trash is emptied.
Result<json> move_to_trash(Core& core, JobRun& run, const std::vector<SnapshotRow>& rows,
                           std::optional<uint64_t> ttl_s) {
  const uint64_t now = wall_clock_ns();
  const uint64_t until = ttl_s ? now + *ttl_s * 1'000'000'000 : 0;
  json deleted = json::array();
  const auto change = [&]() -> Status {
    for (const SnapshotRow& row : rows) {
      HOZON_TRY(core.inventory.trash_snapshot(row.uuid, now, until));
      deleted.push_back(row.name);
    }
    return {};
  };
  HOZON_TRY(run.commit(change));
  return json{{"deleted", deleted}, {"trash_until_ns", until}, {"trash_until", utc_text(until)}};
}

std::vector<std::pair<std::string, std::string>> names_of(const std::vector<SnapshotRow>& rows) {
  std::vector<std::pair<std::string, std::string>> names;
  for (const SnapshotRow& row : rows) names.emplace_back(row.uuid, row.name);
  return names;
}

std::unexpected<Error> not_in_trash(const MachineRow& owner, const std::string& snapshot) {
  return make_error(Code::kNotFound,
                    "there is no snapshot '{}' in the trash of machine '{}'; `hozon snapshot "
                    "trash list {}` shows what is",
                    snapshot, owner.name, owner.name);
}

Result<json> restore(Core& core, JobRun& run, const MachineRow& owner,
                     const std::vector<TrashRow>& rows) {
  std::vector<std::string> restored;
  const auto change = [&]() -> Status {
    // Before this job had the lock, another may have brought them back, or removed them for good.
    const auto present = HOZON_TRY(core.inventory.trash(owner.uuid));
    for (const TrashRow& row : rows)
      if (std::ranges::find(present, row.id, &TrashRow::id) == present.end())
        return not_in_trash(owner, row.name);
    restored = HOZON_TRY(core.restore_trash(owner.uuid, rows));
    return {};
  };
  HOZON_TRY(run.commit(change));
  return json{{"undone", "snapshot.delete"}, {"restored", restored}};
}

// Of one machine: what goes to the trash, and what for good (uuid and name).
struct PastTime {
  std::vector<SnapshotRow> due;
  std::vector<std::pair<std::string, std::string>> gone;
  bool is_nothing() const { return due.empty() && gone.empty(); }
};

Result<PastTime> past_time(Core& core, const MachineRow& owner, uint64_t now_ns) {
  PastTime past;
  for (const SnapshotRow& row : HOZON_TRY(core.inventory.snapshots(owner.uuid))) {
    const SnapshotMarks& marks = row.marks;
    if (marks.pinned || marks.expires_ns == 0 || marks.expires_ns > now_ns || row.status != "ok")
      continue;
    if (row.kind == "system")
      past.gone.emplace_back(row.uuid, row.name);
    else if (row.kind == "user")
      past.due.push_back(row);
  }
  for (const TrashRow& row : HOZON_TRY(core.inventory.trash(owner.uuid)))
    if (row.until_ns != 0 && row.until_ns <= now_ns) past.gone.emplace_back(row.snapshot, row.name);
  return past;
}

}  // namespace

Status refuse_pinned(const MachineRow& owner, const SnapshotRow& row) {
  if (!row.marks.pinned) return {};
  return make_error(Code::kWrongState,
                    "snapshot '{}' of machine '{}' is pinned ({}): `hozon snapshot unpin {} {}` "
                    "lets it go",
                    row.name, owner.name, row.marks.pin_reason, owner.name, row.name);
}

Result<std::vector<std::string>> Core::restore_trash(const std::string& machine_uuid,
                                                     std::vector<TrashRow> rows) {
  std::vector<std::string> restored;
  std::ranges::reverse(rows);
  for (const TrashRow& row : rows) {
    const std::string name = HOZON_TRY(free_snapshot_name(machine_uuid, row.name));
    HOZON_TRY(inventory.restore_snapshot(row, name));
    restored.push_back(name);
  }
  return restored;
}

Result<SnapshotRow> Core::listed_snapshot(const MachineRow& machine, const std::string& reference) {
  SnapshotRow row = HOZON_TRY(inventory.snapshot(machine.uuid, reference));
  if (row.status != "trashed") return row;
  return make_error(Code::kNotFound,
                    "snapshot '{}' of machine '{}' is in the trash: `hozon snapshot trash restore "
                    "{} {}` brings it back",
                    reference, machine.name, machine.name, reference);
}

Result<JobId> Control::start_snapshot_delete(const std::string& machine,
                                             const DeleteRequest& request, const Caller& caller) {
  if (const auto found = HOZON_TRY(core_->jobs.find_job(caller))) return *found;
  const MachineRow owner = HOZON_TRY(core_->inventory.machine(machine));
  if (request.metadata_only && request.ttl_s == 0)
    return make_error(Code::kInvalidArgument,
                      "only the record, and for good, contradict each other: choose one");
  const auto rows = HOZON_TRY(choose(*core_, owner, request));
  const auto ttl_s = request.metadata_only ? std::nullopt : std::optional(request.ttl_s);
  if (caller.plan) HOZON_TRY(plan_snapshot_delete(*core_, owner, rows, ttl_s, *caller.plan));
  std::string names;
  for (const SnapshotRow& row : rows) names += (names.empty() ? "" : ",") + row.name;
  const auto work = [core = core_.get(), owner, rows, ttl_s](JobRun& run) -> Result<json> {
    for (const SnapshotRow& row : rows) {
      const SnapshotRow now = HOZON_TRY(core->usable_snapshot(owner, row.uuid));
      HOZON_TRY(refuse_pinned(owner, now));
    }
    if (ttl_s == 0) return purge(*core, run, owner.uuid, names_of(rows));
    return move_to_trash(*core, run, rows, ttl_s);
  };
  return core_->begin_machine("snapshot.delete", owner, object_name(owner, names), caller, work);
}

Result<std::vector<Snapshot>> Control::trash(const std::string& machine) const {
  const MachineRow owner = HOZON_TRY(core_->inventory.machine(machine));
  const auto lock = core_->jobs.lock_of(Core::machine_lock(owner.uuid));
  const std::vector<TrashRow> rows = HOZON_TRY(core_->inventory.trash(owner.uuid));
  std::vector<std::string> uuids;
  for (const TrashRow& row : rows) uuids.push_back(row.snapshot);
  std::unordered_map<std::string, SnapshotRow> records;
  for (SnapshotRow& record : HOZON_TRY(core_->inventory.snapshots_among(uuids)))
    records.emplace(record.uuid, std::move(record));
  std::vector<Snapshot> snapshots;
  for (const TrashRow& row : rows) {
    const auto found = records.find(row.snapshot);
    if (found == records.end()) continue;  // it went for good meanwhile
    SnapshotRow& record = found->second;
    record.name = row.name;
    Snapshot snapshot = core_->view(record, owner, lock);
    snapshot.trashed_ns = row.trashed_ns;
    snapshot.trash_until_ns = row.until_ns;
    snapshots.push_back(std::move(snapshot));
  }
  return snapshots;
}

Result<JobId> Control::start_trash_restore(const std::string& machine, const std::string& snapshot,
                                           const Caller& caller) {
  if (const auto found = HOZON_TRY(core_->jobs.find_job(caller))) return *found;
  const MachineRow owner = HOZON_TRY(core_->inventory.machine(machine));
  std::optional<TrashRow> newest;
  for (const TrashRow& row : HOZON_TRY(core_->inventory.trash(owner.uuid)))
    if (row.name == snapshot || row.snapshot == snapshot) newest = row;
  if (!newest) return not_in_trash(owner, snapshot);
  if (caller.plan)
    caller.plan->makes.push_back(
        fmt::format("snapshot {}@{}", owner.name,
                    HOZON_TRY(core_->free_snapshot_name(owner.uuid, newest->name))));
  return core_->begin_machine("snapshot.restore", owner, object_name(owner, newest->name), caller,
                              [core = core_.get(), owner, row = *newest](JobRun& run) {
                                return restore(*core, run, owner, {row});
                              });
}

Result<JobId> Control::start_trash_empty(const std::string& machine, const Caller& caller) {
  if (const auto found = HOZON_TRY(core_->jobs.find_job(caller))) return *found;
  const MachineRow owner = HOZON_TRY(core_->inventory.machine(machine));
  if (caller.plan) {
    std::vector<SnapshotRow> rows;
    for (const TrashRow& row : HOZON_TRY(core_->inventory.trash(owner.uuid))) {
      rows.push_back(HOZON_TRY(core_->inventory.snapshot(owner.uuid, row.snapshot)));
      rows.back().name = row.name;
    }
    HOZON_TRY(plan_snapshot_delete(*core_, owner, rows, 0, *caller.plan));
  }
  const auto work = [core = core_.get(), owner](JobRun& run) -> Result<json> {
    std::vector<std::pair<std::string, std::string>> all;
    for (const TrashRow& row : HOZON_TRY(core->inventory.trash(owner.uuid)))
      all.emplace_back(row.snapshot, row.name);
    return purge(*core, run, owner.uuid, all);
  };
  return core_->begin_machine("trash.empty", owner, owner.name, caller, work);
}

Result<JobId> Control::start_machine_undo(const std::string& machine, const Caller& caller) {
  if (const auto found = HOZON_TRY(core_->jobs.find_job(caller))) return *found;
  const MachineRow owner = HOZON_TRY(core_->inventory.machine(machine));
  const auto trash = HOZON_TRY(core_->inventory.trash(owner.uuid));
  const uint64_t deleted_ns = trash.empty() ? 0 : trash.back().trashed_ns;
  std::optional<SnapshotRow> left;  // what the last return left
  for (const SnapshotRow& row : HOZON_TRY(core_->inventory.snapshots(owner.uuid)))
    if (row.kind == "system" && row.status == "ok") left = row;
  if (left && left->created_ns >= deleted_ns) {
    ReturnRequest back;
    back.restores_trash_ns = left->created_ns == deleted_ns ? deleted_ns : 0;
    return start_snapshot_return(owner.uuid, left->uuid, caller, back);
  }
  if (deleted_ns == 0)
    return make_error(Code::kWrongState,
                      "nothing was returned or deleted on machine '{}' that could be undone",
                      owner.name);
  std::vector<TrashRow> together;
  std::ranges::copy_if(trash, std::back_inserter(together),
                       [&](const TrashRow& row) { return row.trashed_ns == deleted_ns; });
  if (caller.plan)
    for (const TrashRow& row : together)
      caller.plan->makes.push_back(fmt::format("snapshot {}@{}", owner.name, row.name));
  return core_->begin_machine("machine.undo", owner, owner.name, caller,
                              [core = core_.get(), owner, together](JobRun& run) {
                                return restore(*core, run, owner, together);
                              });
}

// What is past its time: expired snapshots go to the trash, states that returns left and trash go
// for good. Pinned ones stay. A machine that is busy is looked at again the next time.
void Core::expire(uint64_t now_ns) {
  // Asked every few seconds, so that it is the database that looks for what is due.
  const auto machines = inventory.database().query(
      "SELECT machine FROM snapshots s JOIN snapshot_marks m ON m.snapshot = s.uuid WHERE "
      "m.expires_ns <> 0 AND m.expires_ns <= ?1 AND m.pinned = 0 AND s.status = 'ok' "
      "UNION SELECT machine FROM snapshots s JOIN trash t ON t.snapshot = s.uuid WHERE "
      "t.until_ns <> 0 AND t.until_ns <= ?1",
      {sql(now_ns)});
  for (const Row& due_row : machines.value_or(std::vector<Row>{})) {
    const auto found = inventory.machine(due_row.text(0));
    if (!found) continue;
    const MachineRow& owner = *found;
    const auto past = past_time(*this, owner, now_ns);
    if (!past || past->is_nothing()) continue;
    const auto work = [this, owner, now_ns](JobRun& run) -> Result<json> {
      // Looked for again: before the lock was held, somebody may have pinned or restored one.
      const PastTime now = HOZON_TRY(past_time(*this, owner, now_ns));
      if (!now.due.empty()) HOZON_TRY(move_to_trash(*this, run, now.due, kTrashSeconds));
      return purge(*this, run, owner.uuid, now.gone);
    };
    const auto begun = begin_machine("snapshot.expire", owner, owner.name, {}, work);
    const bool later = !begun && (begun.error().code == Code::kBusy ||
                                  begun.error().code == Code::kWrongState);  // in preview
    if (!begun && !later) log_error("expire snapshots of '{}': {}", owner.name, begun.error().what);
  }
}

}  // namespace hozon::control
