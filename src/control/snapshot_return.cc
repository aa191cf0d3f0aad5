// Going back: the disks become clones of the snapshot's points in one step of the data plane, which
// also keeps the state that was left; the settings follow in one transaction; then QEMU starts.
//
// Before that step everything can be refused and the machine goes on (or is started again) as it
// was. After it the return has happened, whatever becomes of QEMU: the result says so.
#include <fmt/ranges.h>

#include <algorithm>

#include "control/after_load.h"
#include "control/core.h"
#include "control/firmware_state.h"
#include "control/json.h"
#include "control/memory_load.h"
#include "control/names.h"
#include "control/return_plan.h"
#include "control/settings.h"
#include "control/suspend.h"

namespace hozon::control {
namespace {

using nlohmann::json;

// What the next hozond does when this one ends before the machine is up again.
Result<uint64_t> journal_start(JobRun& run, const ReturnPlan& plan) {
  if (plan.with_memory)
    return run.journal("guest.load", {{"machine", plan.after.uuid},
                                      {"target", plan.target.uuid},
                                      {"instant", plan.instant},
                                      {"run", plan.wanted == PowerState::kUp}});
  return run.journal("guest.start", {{"machine", plan.after.uuid},
                                     {"paused", plan.wanted == PowerState::kPaused}});
}

// What the caller is told about the machine after its disks were switched.
struct Story {
  std::vector<std::string> steps;
  json renewed = json::array();
  json load = nullptr;  // null: no memory was loaded
};

Status load_again(Core& core, JobRun& run, const ReturnPlan& plan, Story& story) {
  const bool runs = plan.wanted == PowerState::kUp;
  run.step("loading memory");
  const MemoryLoad load = HOZON_TRY(core.load_memory(plan.after, plan.target, runs, plan.instant));
  story.steps.push_back(sentence_of(load, runs));
  story.load = to_json(load);
  if (!runs) return {};
  const bool foreign = plan.target.memory.value("is_foreign", false);
  for (const Renewal& renewal : renew_guest(core, plan.after, !foreign)) {
    story.steps.push_back(sentence_of(renewal));
    story.renewed.push_back(to_json(renewal));
  }
  return {};
}

Status start_again(Core& core, JobRun& run, const ReturnPlan& plan, Story& story) {
  if (plan.with_memory) return load_again(core, run, plan, story);
  const bool paused = plan.wanted == PowerState::kPaused;
  run.step("starting QEMU");
  HOZON_TRY(core.boot(plan.after, paused ? StartMode::kPaused : StartMode::kRun));
  story.steps.push_back(paused ? "started from its disks, and paused"
                               : "started from its disks, as after a power cut");
  return {};
}

// Which parts of the machine are those of the snapshot now.
std::string parts_sentence(const ReturnPlan& plan) {
  const std::string& name = plan.target.name;
  const std::string disks = fmt::format("{}", fmt::join(plan.record.disks, ", "));
  if (disks.empty()) return fmt::format("settings are those of '{}'", name);
  if (plan.record.is_whole && plan.record.settings)
    return fmt::format("disks and settings are those of '{}'", name);
  if (plan.record.settings) return fmt::format("{} and settings are those of '{}'", disks, name);
  if (plan.record.disks.size() > 1) return fmt::format("{} are those of '{}'", disks, name);
  return fmt::format("{} is that of '{}'", disks, name);
}

std::vector<std::string> names_of(const std::vector<SnapshotRow>& rows) {
  std::vector<std::string> names;
  for (const SnapshotRow& row : rows) names.push_back(row.name);
  return names;
}

std::vector<std::string> first_sentences(const ReturnPlan& plan) {
  std::vector<std::string> steps = {
      parts_sentence(plan), fmt::format("the state that was left is kept as '{}'", plan.kept.name)};
  if (!plan.discarded.empty())
    steps.push_back(fmt::format("in the trash: {}", fmt::join(names_of(plan.discarded), ", ")));
  if (!plan.record.disks.empty()) steps.emplace_back("new VM generation id");
  if (plan.record.reset_nvram) steps.emplace_back("firmware variables as of a new machine");
  return steps;
}

}  // namespace

Status Core::settle_firmware(const MachineRow& machine, const ReturnRecord& record) {
  if (std::ranges::find(record.disks, kTpmDisk) != record.disks.end())
    HOZON_TRY(forget_tpm(*this, machine));
  return record.reset_nvram ? reset_nvram(*this, machine) : Status();
}

Status Core::record_return(const std::string& machine_uuid, const ReturnRecord& record) {
  const SnapshotRow target = HOZON_TRY(inventory.snapshot(machine_uuid, record.target));
  const SnapshotRow kept = HOZON_TRY(inventory.snapshot(machine_uuid, record.kept));
  const MachineRow before = HOZON_TRY(inventory.machine(machine_uuid));
  const MachineRow after = HOZON_TRY(returned_machine(before, target, record));
  Transaction transaction = HOZON_TRY(Transaction::begin(inventory.database()));
  HOZON_TRY(inventory.update_machine(after));
  HOZON_TRY(inventory.set_snapshot_status(record.kept, "ok"));
  if (record.target == before.initial_snapshot && record.is_whole)
    HOZON_TRY(inventory.set_left_initial(machine_uuid, false));
  HOZON_TRY(inventory.end_suspend(machine_uuid));  // it stands on other disks now
  // The time is that of the return, so that one undo takes back both.
  for (const std::string& uuid : record.discard)
    HOZON_TRY(inventory.trash_snapshot(uuid, kept.created_ns,
                                       kept.created_ns + kTrashSeconds * 1'000'000'000));
  std::vector<TrashRow> back;
  for (TrashRow& row : HOZON_TRY(inventory.trash(machine_uuid)))
    if (row.trashed_ns == record.restores_trash_ns) back.push_back(std::move(row));
  HOZON_TRY(restore_trash(machine_uuid, std::move(back)));
  return transaction.commit();
}

Result<json> Core::do_return(JobRun& run, const std::string& machine_uuid,
                             const std::string& snapshot_uuid, const ReturnRequest& how) {
  const ReturnPlan plan = HOZON_TRY(plan_return(*this, machine_uuid, snapshot_uuid, how));
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
  json settle = to_json(plan.record);
  settle.update({{"machine", machine_uuid},
                 {"start", start},
                 {"paused", plan.wanted == PowerState::kPaused},
                 {"memory", plan.with_memory},
                 {"instant", plan.instant},
                 {"run", plan.wanted == PowerState::kUp}});
  HOZON_TRY(run.journal("return.settle", settle));
  if (!plan.items.empty()) {
    run.step("switching the disks");
    HOZON_TRY(keep_tpm(*this, plan.before));
    HOZON_TRY(storage.return_to(plan.before.pool, plan.items, plan.kept.uuid));
  }
  HOZON_TRY(settle_firmware(plan.before, plan.record));
  uint64_t start_step = 0;
  const auto record = [&]() -> Status {
    HOZON_TRY(record_return(machine_uuid, plan.record));
    if (start) start_step = HOZON_TRY(journal_start(run, plan));
    return {};
  };
  HOZON_TRY(run.commit(record));

  Story story{.steps = first_sentences(plan)};
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
                 {"discarded", names_of(plan.discarded)},
                 {"settings_changes",
                  to_json(settings_changes(settings_of(plan.before), settings_of(plan.after)))},
                 {"restarted", start && started.has_value()},
                 {"steps", story.steps},
                 {"renewed", story.renewed},
                 {"load", story.load}};
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
  if (!core_->jobs.lock_of(Core::machine_lock(owner.uuid))) {
    const ReturnPlan plan = HOZON_TRY(plan_return(*core_, owner.uuid, row.uuid, how));
    if (caller.plan) describe_return(plan, *caller.plan);
  }
  return core_->begin_machine(
      "snapshot.return", owner, owner.name + "@" + row.name, caller,
      [core = core_.get(), machine_uuid = owner.uuid, uuid = row.uuid, how](JobRun& run) {
        return core->do_return(run, machine_uuid, uuid, how);
      });
}

}  // namespace hozon::control
