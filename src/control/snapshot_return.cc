// Going back: the disks become clones of the snapshot's points in one step of the data plane, which
// also keeps the state that was left; the settings follow in one transaction; then QEMU starts.
//
// Before that step everything can be refused and the machine goes on (or is started again) as it
// was. After it the return has happened, whatever becomes of QEMU: the result says so.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <thread>

#include "control/after_load.h"
#include "control/core.h"
#include "control/json.h"
#include "control/names.h"
#include "control/settings.h"
#include "control/snapshot_gate.h"
#include "control/suspend.h"
#include "qemu/ram_save.h"

namespace hozon::control {
namespace {

using nlohmann::json;

constexpr int kLoadMs = 600'000;
constexpr int kContinueMs = 60'000;
constexpr int kHelperEndMs = 10'000;

bool is_running(PowerState state) {
  return state == PowerState::kUp || state == PowerState::kPaused;
}

// What a return found and decided before it changed anything.
struct Plan {
  MachineRow before;
  MachineRow after;
  SnapshotRow target;
  SnapshotRow kept;
  std::vector<link::ReturnItem> items;
  PowerState state = PowerState::kDown;   // before
  PowerState wanted = PowerState::kDown;  // in the end
  bool with_memory = false;               // that is loaded
};

bool goes_on(const SnapshotRow& target) {
  return target.memory.value("state_after_load", "up") == "up";
}

// In which state the machine shall be in the end.
Result<PowerState> final_state(const Plan& plan, const std::string& wanted) {
  if (wanted == "running") return PowerState::kUp;
  if (wanted == "paused") return PowerState::kPaused;
  if (wanted == "down") return PowerState::kDown;
  if (wanted == "suspended") {
    if (plan.with_memory) return PowerState::kSuspended;
    return make_error(
        Code::kInvalidArgument,
        "only a return with memory can end suspended: choose running, paused or down");
  }
  if (!wanted.empty() && wanted != "as-captured")
    return make_error(Code::kInvalidArgument,
                      "state '{}' is not one of as-captured, running, paused, suspended, down",
                      wanted);
  if (plan.with_memory) return goes_on(plan.target) ? PowerState::kUp : PowerState::kPaused;
  // Disks hold no power state: the machine is as it is.
  return is_running(plan.state) ? plan.state : PowerState::kDown;
}

Result<Plan> make_plan(Core& core, const std::string& machine_uuid,
                       const std::string& snapshot_uuid, const ReturnRequest& how) {
  Plan plan;
  plan.before = HOZON_TRY(core.inventory.machine(machine_uuid));
  plan.target = HOZON_TRY(core.usable_snapshot(plan.before, snapshot_uuid));
  plan.with_memory = plan.target.memory.is_object() && !how.disks_only;
  plan.state = core.guests.state(machine_uuid).state;
  plan.wanted = HOZON_TRY(final_state(plan, how.state));
  if (plan.wanted == PowerState::kDown) plan.with_memory = false;
  if (plan.state != PowerState::kDown && !is_running(plan.state))
    return make_error(Code::kWrongState, "machine '{}' is {}: wait until it is up, paused or down",
                      plan.before.name, power_state_name(plan.state));
  plan.after = HOZON_TRY(with_settings(plan.before, plan.target.settings));
  plan.after.current_parent = plan.target.uuid;
  plan.after.vmgenid = new_uuid();
  plan.kept.uuid = new_uuid();
  plan.kept.machine_uuid = machine_uuid;
  plan.kept.kind = "system";
  plan.kept.created_ns = wall_clock_ns();
  plan.kept.name = HOZON_TRY(core.free_snapshot_name(
      machine_uuid, name_with_time("before-return-", plan.kept.created_ns)));
  plan.kept.marks.expires_ns = plan.kept.created_ns + kTrashSeconds * 1'000'000'000;
  plan.kept.description = fmt::format("what returning to '{}' left", plan.target.name);
  plan.kept.parent = plan.before.current_parent;
  plan.kept.machine_state = power_state_name(plan.state);
  plan.kept.settings = settings_of(plan.before);
  for (const SnapshotDisk& disk : plan.target.disks) {
    HOZON_TRY(core.storage.point(disk.pool, disk.volume, disk.point));
    if (disk.disk == kMemoryDisk) continue;
    plan.items.push_back({disk.volume, disk.volume, disk.point});
    const uint64_t bytes = HOZON_TRY(core.storage.volume(disk.pool, disk.volume)).size_bytes;
    plan.kept.disks.push_back({disk.disk, disk.volume, disk.pool, plan.kept.uuid, bytes, {}});
  }
  if (plan.with_memory) HOZON_TRY(check_memory_gate(core, plan.after, plan.target));
  return plan;
}

Result<std::array<Fd, 2>> make_pipe() {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return errno_error(errno, "make a pipe");
  return std::array<Fd, 2>{Fd(ends[0]), Fd(ends[1])};
}

// Until QEMU has taken in the whole stream, and says so.
Status wait_loaded(Core& core, const MachineRow& machine) {
  const uint64_t deadline = monotonic_us() + uint64_t{kLoadMs} * 1000;
  while (monotonic_us() < deadline) {
    const GuestHandle guest = HOZON_TRY(core.guests.handle(machine.uuid));
    const json status = HOZON_TRY(guest.qmp->call("query-status"));
    if (status.value("status", "") != "inmigrate") return {};
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return make_error(Code::kUnavailable, "QEMU did not take in the memory in time");
}

Status feed_memory(Core& core, const MachineRow& machine, const SnapshotRow& target) {
  auto pipe = HOZON_TRY(make_pipe());
  HOZON_TRY(core.boot(machine, StartMode::kIncoming, pipe[0].get()));
  pipe[0] = Fd();
  const std::string name = "load-" + new_uuid();
  RamHelper helper = HOZON_TRY(start_ram_load(
      {.program = core.options.program_directory + "/hozon-ram",
       .directory = core.machine_directory(machine.uuid),
       .name = name,
       .uri =
           core.storage.uri(machine.pool, volume_of_disk(machine.name, kMemoryDisk), target.uuid),
       .ram_bytes = machine.memory_bytes},
      pipe[1].get()));
  pipe[1] = Fd();
  const RamStatus verdict = HOZON_TRY(wait_ram_helper(helper, kLoadMs));
  if (verdict.phase != RamPhase::kDone)
    return add_context(verdict.error, "the saved memory could not be given to QEMU");
  HOZON_TRY(wait_loaded(core, machine));
  (void)helper.process.wait_end(kHelperEndMs);  // its last words go into the status file
  core.remove_helper_files(machine.uuid, name);
  return {};
}

Status continue_loaded(Core& core, const MachineRow& machine) {
  const GuestHandle guest = HOZON_TRY(core.guests.handle(machine.uuid));
  HOZON_TRY(guest.qmp->call("cont", json::object(), kContinueMs));
  return {};
}

}  // namespace

Status Core::load_memory(const MachineRow& machine, const SnapshotRow& target, bool run) {
  Status loaded;
  if (const auto guest = guests.handle(machine.uuid)) {
    const auto status = guest->qmp->call("query-status");
    if (!status || status->value("status", "") == "inmigrate")
      HOZON_TRY(guests.kill(machine.uuid, ""));
  }
  if (guests.state(machine.uuid).state == PowerState::kDown)
    loaded = feed_memory(*this, machine, target);
  if (loaded && target.memory.value("is_foreign", false)) loaded = set_links(*this, machine, false);
  if (loaded && run) loaded = continue_loaded(*this, machine);
  if (loaded) return guests.settle(machine.uuid);
  (void)guests.kill(machine.uuid, "the saved memory could not be loaded");
  return loaded;
}

namespace {

// What the next hozond does when this one ends before the machine is up again.
Result<uint64_t> journal_start(JobRun& run, const Plan& plan) {
  if (plan.with_memory)
    return run.journal("guest.load", {{"machine", plan.after.uuid},
                                      {"target", plan.target.uuid},
                                      {"run", plan.wanted == PowerState::kUp}});
  return run.journal("guest.start", {{"machine", plan.after.uuid},
                                     {"paused", plan.wanted == PowerState::kPaused}});
}

// What the caller is told about the machine after its disks were switched.
struct Story {
  std::vector<std::string> steps;
  json renewed = json::array();
};

Status load_again(Core& core, JobRun& run, const Plan& plan, Story& story) {
  const bool runs = plan.wanted == PowerState::kUp;
  run.step("loading memory");
  HOZON_TRY(core.load_memory(plan.after, plan.target, runs));
  story.steps.push_back(runs ? "memory loaded; the machine goes on where it was"
                             : "memory loaded; the machine is paused there");
  if (!runs) return {};
  const bool foreign = plan.target.memory.value("is_foreign", false);
  for (const Renewal& renewal : renew_guest(core, plan.after, !foreign)) {
    story.steps.push_back(sentence_of(renewal));
    story.renewed.push_back(to_json(renewal));
  }
  return {};
}

Status start_again(Core& core, JobRun& run, const Plan& plan, Story& story) {
  if (plan.with_memory) return load_again(core, run, plan, story);
  const bool paused = plan.wanted == PowerState::kPaused;
  run.step("starting QEMU");
  HOZON_TRY(core.boot(plan.after, paused ? StartMode::kPaused : StartMode::kRun));
  story.steps.push_back(paused ? "started from its disks, and paused"
                               : "started from its disks, as after a power cut");
  return {};
}

}  // namespace

Status Core::record_return(const std::string& machine_uuid, const std::string& target_uuid,
                           const std::string& kept_uuid) {
  const SnapshotRow target = HOZON_TRY(inventory.snapshot(machine_uuid, target_uuid));
  const MachineRow before = HOZON_TRY(inventory.machine(machine_uuid));
  MachineRow row = HOZON_TRY(with_settings(before, target.settings));
  row.current_parent = target_uuid;
  row.vmgenid = new_uuid();
  Transaction transaction = HOZON_TRY(Transaction::begin(inventory.database()));
  HOZON_TRY(inventory.update_machine(row));
  HOZON_TRY(inventory.set_snapshot_status(kept_uuid, "ok"));
  HOZON_TRY(inventory.end_suspend(machine_uuid));
  return transaction.commit();
}

Result<json> Core::do_return(JobRun& run, const std::string& machine_uuid,
                             const std::string& snapshot_uuid, const ReturnRequest& how) {
  const Plan plan = HOZON_TRY(make_plan(*this, machine_uuid, snapshot_uuid, how));
  HOZON_TRY(run.journal("snapshot.forget", {{"snapshot", plan.kept.uuid}}));
  HOZON_TRY(inventory.insert_snapshot(plan.kept));
  if (is_running(plan.state)) {
    HOZON_TRY(run.journal("guest.start", {{"machine", machine_uuid},
                                          {"paused", plan.state == PowerState::kPaused},
                                          {"unless_returned", plan.kept.uuid}}));
    run.step("stopping QEMU");
    HOZON_TRY(guests.end(machine_uuid, ""));
  }
  const bool start = plan.wanted != PowerState::kDown;
  HOZON_TRY(run.journal("return.settle", {{"machine", machine_uuid},
                                          {"target", plan.target.uuid},
                                          {"kept", plan.kept.uuid},
                                          {"start", start},
                                          {"paused", plan.wanted == PowerState::kPaused},
                                          {"memory", plan.with_memory},
                                          {"run", plan.wanted == PowerState::kUp}}));
  run.step("switching the disks");
  HOZON_TRY(storage.return_to(plan.before.pool, plan.items, plan.kept.uuid));
  uint64_t start_step = 0;
  const auto record = [&]() -> Status {
    HOZON_TRY(inventory.update_machine(plan.after));
    HOZON_TRY(inventory.set_snapshot_status(plan.kept.uuid, "ok"));
    HOZON_TRY(inventory.end_suspend(machine_uuid));  // it stands on other disks now
    if (start) start_step = HOZON_TRY(journal_start(run, plan));
    return {};
  };
  HOZON_TRY(run.commit(record));

  Story story{.steps = {fmt::format("disks and settings are those of '{}'", plan.target.name),
                        fmt::format("the state that was left is kept as '{}'", plan.kept.name),
                        "new VM generation id"}};
  Status started = start ? start_again(*this, run, plan, story) : Status();
  if (start) HOZON_TRY(run.forget(start_step));
  if (!start) story.steps.push_back("the machine stays down");
  if (started && plan.wanted == PowerState::kSuspended) {
    const auto suspended = suspend_machine(*this, run, machine_uuid, goes_on(plan.target));
    if (!suspended) return std::unexpected(suspended.error());
    story.steps.push_back("and was suspended");
  }
  json result = {{"machine", HOZON_TRY(machine_json(machine_uuid))},
                 {"snapshot", HOZON_TRY(snapshot_json(machine_uuid, plan.target.uuid))},
                 {"kept", plan.kept.name},
                 {"restarted", start && started.has_value()},
                 {"steps", story.steps},
                 {"renewed", story.renewed}};
  if (started) return result;
  run.set_result(std::move(result));
  return make_error(started.error().code,
                    "machine '{}' was returned to '{}' but is down, because it could not be "
                    "started: {}; its disks are those of '{}'",
                    plan.before.name, plan.target.name, started.error().what, plan.target.name);
}

Result<JobId> Control::start_snapshot_return(const std::string& machine,
                                             const std::string& snapshot, const Caller& caller,
                                             const ReturnRequest& how) {
  if (const auto found = HOZON_TRY(core_->jobs.find_job(caller))) return *found;
  const MachineRow owner = HOZON_TRY(core_->inventory.machine(machine));
  const SnapshotRow row = HOZON_TRY(core_->inventory.snapshot(owner.uuid, snapshot));
  if (!core_->jobs.lock_of(Core::machine_lock(owner.uuid)))
    HOZON_TRY(make_plan(*core_, owner.uuid, row.uuid, how));
  return core_->begin_machine(
      "snapshot.return", owner, owner.name + "@" + row.name, caller,
      [core = core_.get(), machine_uuid = owner.uuid, uuid = row.uuid, how](JobRun& run) {
        return core->do_return(run, machine_uuid, uuid, how);
      });
}

}  // namespace hozon::control
