// The return of a group: all of its machines or none, in one job.
//
// All disks of all machines are switched by one call to the data plane, as they were frozen by one,
// and the inventory learns of all returns in the transaction that ends the job. Until then the
// journal takes everything back: the guests that run on the returned disks end, one call switches
// all disks to what was left, and the guests that ran before are started again. So a machine that
// cannot be started takes the others back with it. Jobs of their own, one for each machine, would
// be two states of a group when the second of them fails.
#include <algorithm>

#include "control/firmware_state.h"
#include "control/json.h"
#include "control/names.h"
#include "control/preview.h"
#include "control/return_plan.h"
#include "control/stop_point.h"

namespace hozon::control {
namespace {

using nlohmann::json;

constexpr const char* kKind = "group.return";

ReturnRequest request_of(const std::string& state) {
  ReturnRequest how;
  how.state = state;
  how.disks_only = true;
  return how;
}

// What is left has one name on all disks: it was left at one instant.
Result<std::vector<ReturnPlan>> plan_members(Core& core, const GroupRow& group,
                                             const std::vector<GroupMemberRow>& members,
                                             const std::string& state) {
  std::vector<ReturnPlan> plans;
  const std::string kept_point = new_uuid();
  for (const GroupMemberRow& member : members) {
    plans.push_back(
        HOZON_TRY(plan_return(core, member.machine_uuid, member.snapshot_uuid, request_of(state))));
    for (SnapshotDisk& disk : plans.back().kept.disks) disk.point = kept_point;
  }
  if (!plans.empty()) return plans;
  return make_error(Code::kWrongState, "all snapshots of group '{}' are in the trash", group.name);
}

bool ends_running(const ReturnPlan& plan) { return plan.wanted != PowerState::kDown; }

Status stop_guest(Core& core, JobRun& run, const ReturnPlan& plan) {
  if (!is_running(plan.state)) return {};
  HOZON_TRY(run.journal("guest.start", {{"machine", plan.before.uuid},
                                        {"paused", plan.state == PowerState::kPaused},
                                        {"unless_returned", plan.kept.uuid}}));
  run.step(fmt::format("stopping '{}'", plan.before.name));
  return core.guests.end(plan.before.uuid, "");
}

Status switch_disks(Core& core, JobRun& run, const std::vector<ReturnPlan>& plans) {
  const std::string& pool = plans.front().before.pool;
  const std::string& kept_point = plans.front().kept.disks.front().point;
  std::vector<link::ReturnItem> items;
  std::vector<std::string> volumes;
  std::vector<std::string> machines;
  for (const ReturnPlan& plan : plans) {
    machines.push_back(plan.before.uuid);
    for (const link::ReturnItem& item : plan.items) {
      items.push_back(item);
      volumes.push_back(item.volume);
    }
  }
  HOZON_TRY(run.journal(
      "group.take_back",
      {{"pool", pool}, {"volumes", volumes}, {"machines", machines}, {"kept", kept_point}}));
  run.step("switching the disks of all machines");
  for (const ReturnPlan& plan : plans) HOZON_TRY(keep_tpm(core, plan.before));
  HOZON_TRY(core.storage.return_to(pool, items, kept_point));
  for (const ReturnPlan& plan : plans) HOZON_TRY(core.settle_firmware(plan.before, plan.record));
  return {};
}

Status start_guest(Core& core, JobRun& run, const ReturnPlan& plan) {
  if (!ends_running(plan)) return {};
  stop_point(kKind);
  run.step(fmt::format("starting '{}'", plan.after.name));
  const bool paused = plan.wanted == PowerState::kPaused;
  return core.boot(plan.after, paused ? StartMode::kPaused : StartMode::kRun);
}

Status record(Core& core, const ReturnPlan& plan) {
  HOZON_TRY(core.record_return(plan.before.uuid, plan.record));
  // It stands on its initial state by that record, but was started since.
  if (plan.before.initial_snapshot.empty() || !ends_running(plan)) return {};
  return core.inventory.set_left_initial(plan.before.uuid, true);
}

Status refuse_busy(Core& core, const GroupMemberRow& member) {
  const auto lock = core.jobs.lock_of(Core::machine_lock(member.machine_uuid));
  if (!lock) return {};
  return make_error(Code::kBusy,
                    "machine '{}' is busy: job {} ({}) works on it; `hozon job watch {}` follows "
                    "it",
                    member.machine, lock->job, lock->reason, lock->job);
}

// What a plan of the whole says of one machine.
void describe_member(const ReturnPlan& plan, Plan& into) {
  Plan one;
  describe_return(plan, one);
  const auto add = [&](const std::vector<std::string>& from, std::vector<std::string>& to) {
    for (const std::string& words : from) to.push_back(plan.before.name + ": " + words);
  };
  if (one.guest != "none") into.guest = one.guest;
  into.makes.insert(into.makes.end(), one.makes.begin(), one.makes.end());
  add(one.unreachable, into.unreachable);
  add(one.identity, into.identity);
}

}  // namespace

Result<json> Core::do_group_return(JobRun& run, const GroupRow& group, const std::string& state) {
  const auto members = HOZON_TRY(locked_members(run, group));
  const std::vector<ReturnPlan> plans = HOZON_TRY(plan_members(*this, group, members, state));
  for (const ReturnPlan& plan : plans) {
    HOZON_TRY(run.journal("snapshot.forget", {{"snapshot", plan.kept.uuid}}));
    HOZON_TRY(inventory.insert_snapshot(plan.kept));
  }
  for (const ReturnPlan& plan : plans) {
    HOZON_TRY(run.check());
    HOZON_TRY(stop_guest(*this, run, plan));
  }
  HOZON_TRY(run.check());
  HOZON_TRY(switch_disks(*this, run, plans));
  for (const ReturnPlan& plan : plans) {
    const Status started = start_guest(*this, run, plan);
    if (!started)
      return add_context(started.error(), fmt::format("group '{}' stays as it was", group.name));
  }
  const auto record_all = [&]() -> Status {
    for (const ReturnPlan& plan : plans) HOZON_TRY(record(*this, plan));
    return {};
  };
  HOZON_TRY(run.commit(record_all));
  json done = json::array();
  for (const ReturnPlan& plan : plans)
    done.push_back({{"machine", plan.before.name},
                    {"kept", plan.kept.name},
                    {"restarted", ends_running(plan)}});
  return json{{"group", group.name}, {"machines", done}};
}

Status Core::take_group_back(const std::string& pool, const std::vector<std::string>& volumes,
                             const std::vector<std::string>& machines, const std::string& kept) {
  for (const std::string& machine : machines) HOZON_TRY(guests.end(machine, ""));
  // Only if the disks were switched: then the TPM's state of before is on its disk.
  const auto forget_tpms = [&]() -> Status {
    for (const std::string& machine : machines) {
      const MachineRow row = HOZON_TRY(inventory.machine(machine));
      HOZON_TRY(forget_tpm(*this, row));
    }
    return {};
  };
  return take_preview_back(*this, pool, volumes, kept, forget_tpms);
}

Result<JobId> Control::start_group_return(const std::string& group, const std::string& state,
                                          const Caller& caller) {
  if (const auto found = HOZON_TRY(core_->jobs.find_job(caller))) return *found;
  const GroupRow row = HOZON_TRY(core_->inventory.group(group));
  std::vector<std::string> locks = {Core::group_lock(row.uuid)};
  const auto members = HOZON_TRY(core_->inventory.group_members(row.uuid));
  for (const GroupMemberRow& member : members) {
    HOZON_TRY(refuse_busy(*core_, member));
    locks.push_back(Core::machine_lock(member.machine_uuid));
  }
  // What cannot work is refused before there is a job.
  const std::vector<ReturnPlan> plans = HOZON_TRY(plan_members(*core_, row, members, state));
  if (caller.plan)
    for (const ReturnPlan& plan : plans) describe_member(plan, *caller.plan);
  return core_->jobs.begin({.kind = kKind,
                            .object = row.name,
                            .caller = caller,
                            .locks = locks,
                            .subject = fmt::format("group '{}' or one of its machines", row.name)},
                           [core = core_.get(), row, state](JobRun& run) {
                             return core->do_group_return(run, row, state);
                           });
}

}  // namespace hozon::control
