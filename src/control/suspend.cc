// Suspend: the memory is kept in the pool as a snapshot of kind "suspend" and QEMU ends. Resume: a
// new QEMU loads it, and the snapshot goes.
//
// A machine sleeps exactly as long as it is down and has such a snapshot. Resume gives the kind up
// before the guest runs its first instruction: from then on its disks change, and that memory must
// never meet them again.
#include "control/suspend.h"

#include "control/after_load.h"
#include "control/core.h"
#include "control/json.h"
#include "control/names.h"
#include "control/plans.h"
#include "control/snapshot_gate.h"

namespace hozon::control {
namespace {

using nlohmann::json;

std::unexpected<Error> not_running(const MachineRow& machine, PowerState state) {
  return make_error(Code::kWrongState, "machine '{}' is {}, so it has no memory to keep",
                    machine.name, power_state_name(state));
}

}  // namespace

Result<json> suspend_machine(Core& core, JobRun& run, const std::string& machine_uuid,
                             bool goes_on) {
  const MachineRow machine = HOZON_TRY(core.inventory.machine(machine_uuid));
  SnapshotRequest request;
  request.with_memory = true;
  SnapshotRow row = HOZON_TRY(core.new_snapshot_row(machine, request));
  row.kind = "suspend";
  row.name = HOZON_TRY(
      core.free_snapshot_name(machine_uuid, name_with_time("suspended-", row.created_ns)));
  row.description = "the state in which the machine sleeps";
  HOZON_TRY(core.save_memory(run, machine, row));
  row.memory["state_after_load"] = goes_on ? "up" : "paused";
  uint64_t step = 0;
  const auto record = [&]() -> Status {
    HOZON_TRY(core.inventory.update_snapshot(row));
    step = HOZON_TRY(run.journal("guest.end", {{"machine", machine_uuid}}));
    return {};
  };
  HOZON_TRY(run.commit(record));
  run.step("ending QEMU");
  HOZON_TRY(core.guests.end(machine_uuid, ""));
  HOZON_TRY(run.forget(step));
  return core.machine_json(machine_uuid);
}

Result<json> Core::do_suspend(JobRun& run, const std::string& machine_uuid) {
  return suspend_machine(*this, run, machine_uuid,
                         guests.state(machine_uuid).state == PowerState::kUp);
}

Result<json> Core::do_resume(JobRun& run, const std::string& machine_uuid,
                             const ResumeRequest& how) {
  const MachineRow machine = HOZON_TRY(inventory.machine(machine_uuid));
  const auto found = HOZON_TRY(inventory.suspend_of(machine_uuid));
  if (!found)
    return make_error(Code::kWrongState, "machine '{}' does not sleep any more", machine.name);
  const SnapshotRow& slept = *found;
  HOZON_TRY(check_memory_gate(*this, machine, slept));
  const bool foreign = slept.memory.value("is_foreign", false);
  run.step("loading memory");
  HOZON_TRY(run.journal("resume.settle", {{"machine", machine_uuid}}));
  const MemoryLoad load = HOZON_TRY(load_memory(machine, slept, false, how.instant));
  if (foreign && how.connect) HOZON_TRY(set_links(*this, machine, true));
  uint64_t step = 0;
  const auto record = [&]() -> Status {
    HOZON_TRY(inventory.end_suspend(machine_uuid));
    step = HOZON_TRY(
        run.journal("snapshot.delete", {{"machine", machine_uuid}, {"snapshot", slept.uuid}}));
    return {};
  };
  HOZON_TRY(run.commit(record));
  std::vector<Renewal> renewals;
  const bool goes_on = slept.memory.value("state_after_load", "up") == "up";
  if (goes_on) {
    const GuestHandle guest = HOZON_TRY(guests.handle(machine_uuid));
    HOZON_TRY(guest.qmp->call("cont"));
    HOZON_TRY(guests.settle(machine_uuid));
    renewals = renew_guest(*this, machine, !foreign || how.connect);
  }
  run.step("giving the kept memory back");
  HOZON_TRY(delete_snapshot(machine_uuid, slept.uuid));
  HOZON_TRY(run.forget(step));
  json result = HOZON_TRY(machine_json(machine_uuid));
  result["load"] = to_json(load);
  result["steps"] = json::array({sentence_of(load, goes_on)});
  result["renewed"] = json::array();
  for (const Renewal& renewal : renewals) {
    result["steps"].push_back(sentence_of(renewal));
    result["renewed"].push_back(to_json(renewal));
  }
  return result;
}

// A QEMU whose guest has not run yet is of no use to anybody.
Status Core::settle_resume(const std::string& machine_uuid) {
  if (!HOZON_TRY(inventory.suspend_of(machine_uuid))) return {};
  return guests.kill(machine_uuid, "");
}

Result<JobId> Control::start_machine_suspend(const std::string& machine, const Caller& caller) {
  if (const auto found = HOZON_TRY(core_->jobs.find_job(caller))) return *found;
  const MachineRow row = HOZON_TRY(core_->inventory.machine(machine));
  const PowerState state = core_->guests.state(row.uuid).state;
  if (!core_->jobs.lock_of(Core::machine_lock(row.uuid)) && state != PowerState::kUp &&
      state != PowerState::kPaused)
    return not_running(row, state);
  if (caller.plan) {
    HOZON_TRY(plan_memory_save(*core_, row, *caller.plan));
    caller.plan->guest = "end";
    caller.plan->notes.push_back(fmt::format("`hozon machine resume {}` goes on there", row.name));
  }
  return core_->begin_machine(
      "machine.suspend", row, row.name, caller,
      [core = core_.get(), uuid = row.uuid](JobRun& run) { return core->do_suspend(run, uuid); });
}

Result<JobId> Control::start_machine_connect(const std::string& machine, const Caller& caller) {
  if (const auto found = HOZON_TRY(core_->jobs.find_job(caller))) return *found;
  const MachineRow row = HOZON_TRY(core_->inventory.machine(machine));
  const PowerState state = core_->guests.state(row.uuid).state;
  if (state == PowerState::kDown)
    return make_error(Code::kWrongState,
                      "machine '{}' is down: its network is plugged in when it starts", row.name);
  return core_->begin_machine("machine.connect", row, row.name, caller,
                              [core = core_.get(), row](JobRun&) -> Result<json> {
                                HOZON_TRY(set_links(*core, row, true));
                                return core->machine_json(row.uuid);
                              });
}

}  // namespace hozon::control
