// Tags, expiry and pins of snapshots, and the quota of a machine.
#include <algorithm>

#include "control/core.h"
#include "control/json.h"
#include "control/names.h"

namespace hozon::control {
namespace {

using nlohmann::json;

// One change of one snapshot's marks, as a job.
Result<JobId> change_marks(Core& core, const std::string& kind, const std::string& machine,
                           const std::string& snapshot, const Caller& caller,
                           const std::function<void(SnapshotMarks&)>& change) {
  if (const auto found = HOZON_TRY(core.jobs.find_job(caller))) return *found;
  const MachineRow owner = HOZON_TRY(core.inventory.machine(machine));
  const SnapshotRow row = HOZON_TRY(core.listed_snapshot(owner, snapshot));
  const auto work = [&core, owner, row, change](JobRun& run) -> Result<json> {
    const auto write = [&]() -> Status {
      SnapshotMarks marks = HOZON_TRY(core.inventory.marks(row.uuid));
      change(marks);
      return core.inventory.set_marks(row.uuid, marks);
    };
    HOZON_TRY(run.commit(write));
    return core.snapshot_json(owner.uuid, row.uuid);
  };
  return core.begin_machine(kind, owner, owner.name + "@" + row.name, caller, work);
}

}  // namespace

Status check_tags(const std::vector<std::string>& tags) {
  if (tags.size() > kTagsMax)
    return make_error(Code::kInvalidArgument, "at most {} tags are possible", kTagsMax);
  for (const std::string& tag : tags) HOZON_TRY(check_name("tag", tag, kTagMax));
  return {};
}

Status Core::refuse_over_quota(const MachineRow& machine) {
  const uint64_t quota = HOZON_TRY(inventory.quota(machine.uuid));
  if (quota == 0) return {};
  auto rows = HOZON_TRY(inventory.snapshots(machine.uuid));
  // The state in which a machine sleeps is no snapshot that anybody made.
  std::erase_if(rows, [](const SnapshotRow& row) { return row.kind == "suspend"; });
  if (rows.size() < quota) return {};
  const auto system = std::ranges::count_if(rows, [](const SnapshotRow& row) {
    return row.kind != "user" || !row.schedule_uuid.empty();
  });
  return make_error(Code::kResourceExhausted,
                    "machine '{}' has {} snapshots ({} made by people, {} by the system) and a "
                    "quota of {}: `hozon snapshot delete {} NAME` makes room, `hozon machine quota "
                    "{} {}` allows more",
                    machine.name, rows.size(), rows.size() - static_cast<size_t>(system), system,
                    quota, machine.name, machine.name, rows.size() + 10);
}

Result<JobId> Control::start_snapshot_tag(const std::string& machine, const std::string& snapshot,
                                          const std::vector<std::string>& tags,
                                          const Caller& caller) {
  HOZON_TRY(check_tags(tags));
  return change_marks(*core_, "snapshot.tag", machine, snapshot, caller,
                      [tags](SnapshotMarks& marks) { marks.tags = tags; });
}

Result<JobId> Control::start_snapshot_expire(const std::string& machine,
                                             const std::string& snapshot, uint64_t in_s,
                                             const Caller& caller) {
  if (in_s > kExpirySecondsMax)
    return make_error(Code::kInvalidArgument, "an expiry is at most 100 years away");
  const uint64_t at_ns = in_s == 0 ? 0 : wall_clock_ns() + in_s * 1'000'000'000;
  return change_marks(*core_, "snapshot.keep_for", machine, snapshot, caller,
                      [at_ns](SnapshotMarks& marks) { marks.expires_ns = at_ns; });
}

Result<JobId> Control::start_snapshot_pin(const std::string& machine, const std::string& snapshot,
                                          const std::string& reason, const Caller& caller) {
  if (reason.empty())
    return make_error(Code::kInvalidArgument,
                      "a pin needs a reason, which is shown to whoever "
                      "wants to delete the snapshot");
  HOZON_TRY(check_description(reason));
  return change_marks(*core_, "snapshot.pin", machine, snapshot, caller,
                      [reason](SnapshotMarks& marks) {
                        marks.pinned = true;
                        marks.pin_reason = reason;
                      });
}

Result<JobId> Control::start_snapshot_unpin(const std::string& machine, const std::string& snapshot,
                                            const Caller& caller) {
  if (const auto found = HOZON_TRY(core_->jobs.find_job(caller))) return *found;
  const MachineRow owner = HOZON_TRY(core_->inventory.machine(machine));
  const SnapshotRow row = HOZON_TRY(core_->listed_snapshot(owner, snapshot));
  if (!row.marks.pinned)
    return make_error(Code::kWrongState, "snapshot '{}' of machine '{}' is not pinned", row.name,
                      owner.name);
  return change_marks(*core_, "snapshot.unpin", machine, snapshot, caller,
                      [](SnapshotMarks& marks) {
                        marks.pinned = false;
                        marks.pin_reason.clear();
                      });
}

Result<JobId> Control::start_machine_tag(const std::string& machine,
                                         const std::vector<std::string>& tags,
                                         const Caller& caller) {
  if (const auto found = HOZON_TRY(core_->jobs.find_job(caller))) return *found;
  HOZON_TRY(check_tags(tags));
  const MachineRow owner = HOZON_TRY(core_->inventory.machine(machine));
  const auto work = [core = core_.get(), owner, tags](JobRun& run) -> Result<json> {
    HOZON_TRY(run.commit([&] { return core->inventory.set_tags(owner.uuid, tags); }));
    return core->machine_json(owner.uuid);
  };
  return core_->begin_machine("machine.tag", owner, owner.name, caller, work);
}

Result<JobId> Control::start_machine_quota(const std::string& machine, uint64_t snapshots,
                                           const Caller& caller) {
  if (const auto found = HOZON_TRY(core_->jobs.find_job(caller))) return *found;
  const MachineRow owner = HOZON_TRY(core_->inventory.machine(machine));
  const auto work = [core = core_.get(), owner, snapshots](JobRun& run) -> Result<json> {
    HOZON_TRY(run.commit([&] { return core->inventory.set_quota(owner.uuid, snapshots); }));
    return core->machine_json(owner.uuid);
  };
  return core_->begin_machine("machine.quota", owner, owner.name, caller, work);
}

}  // namespace hozon::control
