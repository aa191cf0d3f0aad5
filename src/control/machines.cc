// The life of a machine: start, pause, resume, shutdown, kill, delete. Creation: machine_create.cc.
#include <filesystem>

#include "control/clone_disks.h"
#include "control/firmware_state.h"
#include "control/json.h"
#include "control/names.h"
#include "control/plans.h"
#include "control/return_plan.h"
#include "control/settings.h"
#include "control/snapshot_gate.h"

namespace hozon::control {
namespace {

using nlohmann::json;

constexpr int kPoolPatienceMs = 8000;
constexpr int kStopMs = 90'000;  // `stop` flushes, and waits for a pool that is being restarted
constexpr int kPressAgainMs = 15'000;
constexpr int kCancelPatienceMs = 10'000;

Status refuse_asleep(Core& core, const MachineRow& machine) {
  const auto slept = HOZON_TRY(core.inventory.suspend_of(machine.uuid));
  if (!slept) return {};
  return make_error(Code::kWrongState,
                    "machine '{}' is suspended: `hozon machine resume {}` wakes it; to boot it "
                    "instead, give its memory up with `hozon snapshot delete {} {}`",
                    machine.name, machine.name, machine.name, slept->name);
}

// A kill takes the place of a shutdown that waits, so the lock of that is no refusal.
Result<JobId> begin_plan(Core& core, const char* kind, const MachineRow& row,
                         const Caller& caller) {
  return core.jobs.begin(
      {.kind = kind, .object = row.name, .caller = caller, .locks = {}, .subject = row.name}, {});
}

std::unexpected<Error> wrong_state(const MachineRow& machine, PowerState state,
                                   std::string_view remedy) {
  return make_error(Code::kWrongState, "machine '{}' is {}: {}", machine.name,
                    power_state_name(state), remedy);
}

// How a machine with an initial state is started that was started before and has not gone back
// since: it went down a moment ago.
std::optional<ReturnRequest> way_back(const MachineRow& machine, bool paused) {
  if (machine.initial_snapshot.empty() || !machine.left_initial) return std::nullopt;
  ReturnRequest how;
  how.state = paused ? "paused" : "running";
  how.keep_s = kInitialKeepSeconds;
  return how;
}

}  // namespace

Status Core::boot(const MachineRow& machine, StartMode mode, int incoming_fd,
                  const std::string& memory_file) {
  // QEMU waits without an end for a pool that does not answer: ask first.
  for (const Disk& disk : attached_disks(machine)) {
    const auto stats = storage.stats(disk.pool, kPoolPatienceMs);
    if (!stats)
      return add_context(stats.error(), fmt::format("machine '{}' cannot start", machine.name));
  }
  const AcceleratorChoice choice = HOZON_TRY(accelerator());
  MachineSpec spec = spec_of(machine, storage, machine_directory(machine.uuid), choice.accelerator);
  spec.memory_file = memory_file;
  if (memory_file.empty()) images.forget(machine.uuid);
  HOZON_TRY(validate_spec(spec));
  HOZON_TRY(check_firmware(spec.firmware));
  HOZON_TRY(prepare_tpm(*this, machine));
  // Before it runs: whatever becomes of this program, it goes back when it is down.
  if (!machine.initial_snapshot.empty()) HOZON_TRY(inventory.set_left_initial(machine.uuid, true));
  const Status started = guests.start(spec, machine_directory(machine.uuid), mode, incoming_fd);
  if (!started)
    return add_context(started.error(), fmt::format("machine '{}' cannot start", machine.name));
  HOZON_TRY(inventory.set_started(machine.uuid, wall_clock_ns()));
  return mode == StartMode::kIncoming ? Status() : guests.settle(machine.uuid);
}

Status Core::journal_power(JobRun& run, const std::string& uuid, std::vector<std::string> states) {
  HOZON_TRY(run.journal("machine.settle", {{"machine", uuid}, {"states", std::move(states)}}));
  return {};
}

Status Core::delete_machine(const std::string& uuid) {
  const auto machine = inventory.machine(uuid);
  if (!machine)
    return machine.error().code == Code::kNotFound ? Status() : std::unexpected(machine.error());
  HOZON_TRY(guests.kill(uuid, ""));
  std::vector<Disk> volumes = machine->disks;
  volumes.push_back(
      {kMemoryDisk, volume_of_disk(machine->name, kMemoryDisk), machine->pool, 0, true});
  for (const Disk& disk : volumes) {
    const Status deleted = storage.delete_volume(disk.pool, disk.volume, true);
    if (!deleted && deleted.error().code != Code::kNotFound) return deleted;
  }
  HOZON_TRY(inventory.delete_machine(uuid));
  std::error_code error;
  std::filesystem::remove_all(machine_directory(uuid), error);
  return {};
}

Result<json> Core::do_shutdown(JobRun& run, const MachineRow& machine, int timeout_ms) {
  const GuestHandle guest = HOZON_TRY(guests.handle(machine.uuid));
  const uint64_t deadline_us = monotonic_us() + static_cast<uint64_t>(timeout_ms) * 1000;
  uint64_t press_again_us = 0;
  HOZON_TRY(journal_power(run, machine.uuid, {"down"}));
  guests.set_stopping(machine.uuid, true);
  run.step("waiting for the guest to switch itself off");
  while (!guests.wait_down(machine.uuid, 200)) {
    const uint64_t now = monotonic_us();
    const Status wanted = run.check();
    if (!wanted || now > deadline_us) {
      guests.set_stopping(machine.uuid, false);
      HOZON_TRY(wanted);
      return make_error(Code::kUnavailable,
                        "the guest of machine '{}' did not switch itself off within {} s; "
                        "`hozon machine kill {}` ends it",
                        machine.name, timeout_ms / 1000, machine.name);
    }
    // A guest that is still booting misses the first press.
    if (now < press_again_us) continue;
    press_again_us = now + kPressAgainMs * 1000;
    (void)guest.qmp->call("system_powerdown");
  }
  return machine_json(machine.uuid);
}

// What the inventory says is of one instant; the board and the guests are asked when its lock is
// free again.
Result<std::vector<Machine>> Control::machines(const Members& wanted) const {
  std::vector<MachineRow> rows;
  std::unordered_map<std::string, MachineFacts> facts;
  {
    const Transaction instant = HOZON_TRY(Transaction::begin(core_->inventory.database()));
    rows = HOZON_TRY(core_->inventory.machines());
    facts = HOZON_TRY(core_->inventory.facts());
  }
  std::vector<Machine> machines;
  machines.reserve(rows.size());
  for (const MachineRow& row : rows)
    machines.push_back(core_->view(row, facts.at(row.uuid), wanted));
  return machines;
}

Result<Machine> Control::machine(const std::string& machine) const {
  const MachineRow row = HOZON_TRY(core_->inventory.machine(machine));
  HOZON_TRY(refuse_template(row));
  Machine shown = HOZON_TRY(core_->view(row));
  shown.live_memory_obstacles = live_memory_obstacles(*core_, row.uuid);
  return shown;
}

Result<JobId> Control::start_machine_start(const std::string& machine, bool paused,
                                           const Caller& caller) {
  if (const auto found = HOZON_TRY(core_->jobs.find_job(caller))) return *found;
  const MachineRow row = HOZON_TRY(core_->inventory.machine(machine));
  const auto work = [core = core_.get(), row, paused](JobRun& run) -> Result<json> {
    const PowerState state = core->guests.state(row.uuid).state;
    if (state != PowerState::kDown) return wrong_state(row, state, "it runs already");
    HOZON_TRY(refuse_asleep(*core, row));
    // Read again: another job may have started and ended it before this one had the lock.
    const MachineRow now = HOZON_TRY(core->inventory.machine(row.uuid));
    if (const auto how = way_back(now, paused)) {
      HOZON_TRY(core->do_return(run, now.uuid, now.initial_snapshot, *how));
      return core->machine_json(now.uuid);
    }
    HOZON_TRY(core->journal_power(run, now.uuid, {"up", "paused"}));
    run.step("starting QEMU");
    HOZON_TRY(core->boot(now, paused ? StartMode::kPaused : StartMode::kRun));
    return core->machine_json(now.uuid);
  };
  const PowerState state = core_->guests.state(row.uuid).state;
  const auto lock = core_->jobs.lock_of(Core::machine_lock(row.uuid));
  if (!lock && state != PowerState::kDown) return wrong_state(row, state, "it runs already");
  if (!lock) HOZON_TRY(refuse_asleep(*core_, row));
  const auto how = way_back(row, paused);
  if (!lock && how) {
    const ReturnPlan plan = HOZON_TRY(plan_return(*core_, row.uuid, row.initial_snapshot, *how));
    if (caller.plan) describe_return(plan, *caller.plan);
  }
  return core_->begin_machine("machine.start", row, row.name, caller, work);
}

Result<JobId> Control::start_machine_pause(const std::string& machine, const Caller& caller) {
  if (const auto found = HOZON_TRY(core_->jobs.find_job(caller))) return *found;
  const MachineRow row = HOZON_TRY(core_->inventory.machine(machine));
  const PowerState state = core_->guests.state(row.uuid).state;
  const auto lock = core_->jobs.lock_of(Core::machine_lock(row.uuid));
  if (!lock && state != PowerState::kUp)
    return wrong_state(row, state, "only a machine that is up can be paused");
  const auto work = [core = core_.get(), row](JobRun& run) -> Result<json> {
    const GuestHandle guest = HOZON_TRY(core->guests.handle(row.uuid));
    HOZON_TRY(core->journal_power(run, row.uuid, {"paused"}));
    HOZON_TRY(guest.qmp->call("stop", json::object(), kStopMs));
    HOZON_TRY(core->guests.settle(row.uuid));
    return core->machine_json(row.uuid);
  };
  if (caller.plan) {
    caller.plan->guest = "pause";
    caller.plan->notes.push_back("the guest stands still until `hozon machine resume`");
  }
  return core_->begin_machine("machine.pause", row, row.name, caller, work);
}

Result<JobId> Control::start_machine_resume(const std::string& machine, const Caller& caller,
                                            const ResumeRequest& how) {
  if (const auto found = HOZON_TRY(core_->jobs.find_job(caller))) return *found;
  const MachineRow row = HOZON_TRY(core_->inventory.machine(machine));
  const PowerState state = core_->guests.state(row.uuid).state;
  const auto lock = core_->jobs.lock_of(Core::machine_lock(row.uuid));
  if (state == PowerState::kDown && HOZON_TRY(core_->inventory.suspend_of(row.uuid)))
    return core_->begin_machine("machine.resume", row, row.name, caller,
                                [core = core_.get(), uuid = row.uuid, how](JobRun& run) {
                                  return core->do_resume(run, uuid, how);
                                });
  if (how.instant)
    return make_error(Code::kInvalidArgument,
                      "machine '{}' is {}, so its memory is there: leave out --instant", row.name,
                      power_state_name(state));
  if (!lock && state != PowerState::kPaused && state != PowerState::kSuspended)
    return wrong_state(row, state,
                       state == PowerState::kDown ? "`hozon machine start` starts it"
                                                  : "only a paused machine can be resumed");
  const auto work = [core = core_.get(), row, state](JobRun& run) -> Result<json> {
    const GuestHandle guest = HOZON_TRY(core->guests.handle(row.uuid));
    HOZON_TRY(core->journal_power(run, row.uuid, {"up"}));
    HOZON_TRY(guest.qmp->call(state == PowerState::kSuspended ? "system_wakeup" : "cont",
                              json::object(), kStopMs));
    HOZON_TRY(core->guests.settle(row.uuid));
    return core->machine_json(row.uuid);
  };
  return core_->begin_machine("machine.resume", row, row.name, caller, work);
}

Result<JobId> Control::start_machine_shutdown(const std::string& machine, int timeout_ms,
                                              const Caller& caller) {
  if (const auto found = HOZON_TRY(core_->jobs.find_job(caller))) return *found;
  const MachineRow row = HOZON_TRY(core_->inventory.machine(machine));
  const PowerState state = core_->guests.state(row.uuid).state;
  const auto lock = core_->jobs.lock_of(Core::machine_lock(row.uuid));
  if (!lock && state != PowerState::kUp)
    return wrong_state(row, state,
                       state == PowerState::kDown
                           ? "there is nothing to shut down"
                           : "resume it first, or end it with `hozon machine kill`");
  if (caller.plan) caller.plan->guest = "end";
  return core_->begin_machine("machine.shutdown", row, row.name, caller,
                              [core = core_.get(), row, timeout_ms](JobRun& run) {
                                return core->do_shutdown(run, row, timeout_ms);
                              });
}

Result<JobId> Control::start_machine_kill(const std::string& machine, const Caller& caller) {
  if (const auto found = HOZON_TRY(core_->jobs.find_job(caller))) return *found;
  const MachineRow row = HOZON_TRY(core_->inventory.machine(machine));
  // A shutdown that waits for a deaf guest must not be in the way of the remedy.
  const auto lock = core_->jobs.lock_of(Core::machine_lock(row.uuid));
  if (caller.plan) {
    caller.plan->guest = "end";
    caller.plan->unreachable.emplace_back("the memory of the guest, and what it had not flushed");
  }
  if (lock && lock->reason == "machine.shutdown") {
    if (caller.plan) return begin_plan(*core_, "machine.kill", row, caller);
    (void)core_->jobs.cancel({lock->job});
    (void)core_->jobs.wait({lock->job}, kCancelPatienceMs);
  } else if (!lock && core_->guests.state(row.uuid).state == PowerState::kDown) {
    return wrong_state(row, PowerState::kDown, "there is nothing to end");
  }
  const auto work = [core = core_.get(), row](JobRun& run) -> Result<json> {
    HOZON_TRY(core->journal_power(run, row.uuid, {"down"}));
    HOZON_TRY(core->guests.kill(row.uuid, ""));
    return core->machine_json(row.uuid);
  };
  return core_->begin_machine("machine.kill", row, row.name, caller, work);
}

Result<JobId> Control::start_machine_delete(const std::string& machine, const Caller& caller) {
  if (const auto found = HOZON_TRY(core_->jobs.find_job(caller))) return *found;
  const MachineRow row = HOZON_TRY(core_->inventory.machine(machine));
  const auto refusal = [row](PowerState state) {
    return wrong_state(row, state, "shut it down first, or end it with `hozon machine kill`");
  };
  const auto lock = core_->jobs.lock_of(Core::machine_lock(row.uuid));
  const PowerState state_now = core_->guests.state(row.uuid).state;
  if (!lock && state_now != PowerState::kDown) return refusal(state_now);
  if (caller.plan && !lock) HOZON_TRY(plan_machine_delete(*core_, row, *caller.plan));
  const auto work = [core = core_.get(), row, refusal](JobRun& run) -> Result<json> {
    const PowerState state = core->guests.state(row.uuid).state;
    if (state != PowerState::kDown) return refusal(state);
    // From here on it only goes forward.
    HOZON_TRY(run.journal("machine.delete", {{"machine", row.uuid}}));
    run.step("deleting its volumes");
    HOZON_TRY(core->delete_machine(row.uuid));
    HOZON_TRY(run.commit([] { return Status(); }));
    return json{{"deleted", row.name}};
  };
  return core_->begin_machine("machine.delete", row, row.name, caller, work);
}

}  // namespace hozon::control
