// Schedules as people see and change them. What they do: schedule_runner.cc.
#include <algorithm>
#include <thread>

#include "control/names.h"
#include "control/schedule_service.h"

namespace hozon::control {
namespace {

using nlohmann::json;

constexpr uint64_t kSecondNs = 1'000'000'000;
constexpr uint64_t kRunsShown = 20;

std::string schedule_lock(const std::string& uuid) { return "schedule:" + uuid; }

void apply(const ScheduleChange& change, ScheduleSettings& settings) {
  const auto set = [](const auto& from, auto& into) {
    if (from) into = *from;
  };
  set(change.description, settings.description);
  set(change.rule, settings.rule);
  set(change.zone, settings.zone);
  set(change.machines, settings.machines);
  set(change.kind, settings.kind);
  set(change.retention, settings.retention);
  set(change.jitter_s, settings.jitter_s);
  set(change.parallel, settings.parallel);
  set(change.catch_up, settings.catch_up);
}

void explain(Schedule& schedule) {
  schedule.allowed_operations = {"edit", "delete", "run", "preview"};
  schedule.allowed_operations.emplace_back(schedule.enabled ? "disable" : "enable");
  const std::string word = schedule.enabled ? "enable" : "disable";
  schedule.blocked_operations = {
      {word, Code::kWrongState, fmt::format("schedule '{}' is {}d already", schedule.name, word),
       fmt::format("hozon schedule {} {}", schedule.enabled ? "disable" : "enable",
                   schedule.name)}};
}

uint64_t next_run_ns(const ScheduleRow& row, uint64_t now_ns) {
  const auto rule = ScheduleRule::parse(row.settings.rule);
  const auto zone = TimeZone::of(row.settings.zone);
  if (!row.enabled || !rule || !zone) return 0;
  const auto next =
      rule->next_after(static_cast<int64_t>(std::max(now_ns, row.cursor_ns) / kSecondNs), *zone);
  return next ? static_cast<uint64_t>(*next) * kSecondNs : 0;
}

Result<Schedule> view(Core& core, const ScheduleRow& row, uint64_t now_ns, bool with_runs) {
  ScheduleTable table(core.inventory);
  Schedule schedule;
  schedule.uuid = row.uuid;
  schedule.name = row.name;
  schedule.enabled = row.enabled;
  schedule.settings = row.settings;
  schedule.created_ns = row.created_ns;
  schedule.next_ns = next_run_ns(row, now_ns);
  schedule.snapshot_count = HOZON_TRY(table.snapshot_count(row.uuid));
  schedule.runs = HOZON_TRY(table.runs(row.uuid, with_runs ? kRunsShown : 1));
  if (!schedule.runs.empty()) {
    schedule.latest = schedule.runs.front();
    schedule.failed = static_cast<uint64_t>(
        std::ranges::count(schedule.latest->tasks, "failed", &ScheduleTask::state));
    schedule.latest->tasks.clear();
  }
  if (!with_runs) schedule.runs.clear();
  explain(schedule);
  return schedule;
}

Result<JobId> begin(Core& core, const std::string& kind, const ScheduleRow& row,
                    const Caller& caller, JobBoard::Work work) {
  return core.jobs.begin({.kind = kind,
                          .object = row.name,
                          .caller = caller,
                          .locks = {schedule_lock(row.uuid), "schedule_name:" + row.name},
                          .subject = fmt::format("schedule '{}'", row.name)},
                         std::move(work));
}

// One change of a schedule's row, as a job.
using RowChange = std::function<Status(ScheduleTable&, ScheduleRow&)>;
Result<JobId> change_row(Core& core, ScheduleService& service, const std::string& kind,
                         const ScheduleRow& row, const Caller& caller, const RowChange& change) {
  const auto work = [&core, &service, uuid = row.uuid, change](JobRun& run) -> Result<json> {
    const auto write = [&]() -> Status {
      ScheduleTable table(core.inventory);
      ScheduleRow now = HOZON_TRY(table.schedule(uuid));
      HOZON_TRY(change(table, now));
      return table.update(now);
    };
    HOZON_TRY(run.commit(write));
    service.wake();
    ScheduleTable table(core.inventory);
    const ScheduleRow changed = HOZON_TRY(table.schedule(uuid));
    return to_json(HOZON_TRY(view(core, changed, service.now_ns(), true)));
  };
  return begin(core, kind, row, caller, work);
}

bool is_open(const ScheduleTask& task) {
  return task.state == "waiting" || task.state == "making" || task.state == "pruning";
}

// Follows a run until its tasks have ended.
Result<json> follow(ScheduleTable& table, JobRun& run, const ScheduleRow& schedule, uint64_t id) {
  for (;;) {
    const ScheduleRun now = HOZON_TRY(table.run(id));
    const auto open = static_cast<size_t>(std::ranges::count_if(now.tasks, is_open));
    run.step(
        fmt::format("{} of {} machines are through", now.tasks.size() - open, now.tasks.size()));
    run.set_result(to_json(now));
    if (const Status wanted = run.check(); !wanted) {
      if (!run.is_interrupted())
        HOZON_TRY(table.skip_waiting(schedule.uuid, "the run was cancelled"));
      return std::unexpected(wanted.error());
    }
    if (open != 0) {
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
      continue;
    }
    for (const ScheduleTask& task : now.tasks)
      if (task.state == "failed")
        return std::unexpected(Error{code_from_name(task.code),
                                     fmt::format("machine '{}': {}", task.machine, task.message),
                                     0});
    return to_json(now);
  }
}

}  // namespace

Result<std::vector<Schedule>> Control::schedules() const {
  ScheduleTable table(core_->inventory);
  std::vector<Schedule> schedules;
  for (const ScheduleRow& row : HOZON_TRY(table.schedules()))
    schedules.push_back(HOZON_TRY(view(*core_, row, schedules_->now_ns(), false)));
  return schedules;
}

Result<Schedule> Control::schedule(const std::string& schedule) const {
  ScheduleTable table(core_->inventory);
  return view(*core_, HOZON_TRY(table.schedule(schedule)), schedules_->now_ns(), true);
}

Result<SchedulePreview> Control::schedule_preview(const std::string& schedule,
                                                  const SchedulePreviewRequest& request) const {
  ScheduleTable table(core_->inventory);
  const ScheduleRow row = HOZON_TRY(table.schedule(schedule));
  std::vector<std::pair<std::string, std::vector<ScheduledSnapshot>>> machines;
  std::string wanted;
  if (!request.machine.empty()) wanted = HOZON_TRY(core_->inventory.machine(request.machine)).uuid;
  if (request.until_ns != 0)
    for (const MachineRow& machine : HOZON_TRY(core_->inventory.machines())) {
      if (!wanted.empty() && machine.uuid != wanted) continue;
      const ScheduledMachine candidate{machine.uuid, machine.name, machine.tags,
                                       power_state_name(core_->guests.state(machine.uuid).state)};
      auto present = HOZON_TRY(table.snapshots(row.uuid, machine.uuid));
      if (is_chosen(candidate, row.settings.machines) || !present.empty())
        machines.emplace_back(machine.name, std::move(present));
    }
  return preview_schedule(row, request, schedules_->now_ns(), machines);
}

Result<JobId> Control::start_schedule_create(const ScheduleRequest& request, const Caller& caller) {
  if (const auto found = HOZON_TRY(core_->jobs.find_job(caller))) return *found;
  HOZON_TRY(check_name("schedule", request.name, kScheduleNameMax));
  ScheduleRow row;
  apply(request.settings, row.settings);
  HOZON_TRY(check_schedule(row.settings));
  row.uuid = new_uuid();
  row.name = request.name;
  row.enabled = request.enabled;
  row.created_ns = row.cursor_ns = schedules_->now_ns();
  ScheduleTable table(core_->inventory);
  const auto all = HOZON_TRY(table.schedules());
  if (std::ranges::find(all, row.name, &ScheduleRow::name) != all.end())
    return make_error(Code::kAlreadyExists, "a schedule named '{}' exists", row.name);
  if (all.size() >= kSchedulesMax)
    return make_error(Code::kResourceExhausted, "there are {} schedules, which is the limit",
                      all.size());
  if (caller.plan) {
    caller.plan->makes.push_back("schedule " + row.name);
    const auto next =
        preview_schedule(row, {.runs = 1, .until_ns = 0, .machine = ""}, row.cursor_ns, {});
    if (next && !next->runs.empty())
      caller.plan->notes.push_back("its first run is at " + next->runs.front().second);
  }
  const auto work = [core = core_.get(), service = schedules_.get(),
                     row](JobRun& run) -> Result<json> {
    const auto write = [&] { return ScheduleTable(core->inventory).insert(row); };
    HOZON_TRY(run.commit(write));
    service->wake();
    return to_json(HOZON_TRY(view(*core, row, service->now_ns(), true)));
  };
  return begin(*core_, "schedule.create", row, caller, work);
}

Result<JobId> Control::start_schedule_edit(const std::string& schedule,
                                           const ScheduleChange& change, const Caller& caller) {
  if (const auto found = HOZON_TRY(core_->jobs.find_job(caller))) return *found;
  const ScheduleRow row = HOZON_TRY(ScheduleTable(core_->inventory).schedule(schedule));
  ScheduleSettings wanted = row.settings;
  apply(change, wanted);
  HOZON_TRY(check_schedule(wanted));
  if (caller.plan && !(wanted.retention == row.settings.retention))
    caller.plan->notes.emplace_back("the new retention is applied after the next run");
  const auto edit = [change, service = schedules_.get()](ScheduleTable&,
                                                         ScheduleRow& now) -> Status {
    const ScheduleSettings before = now.settings;
    apply(change, now.settings);
    HOZON_TRY(check_schedule(now.settings));
    if (before.rule != now.settings.rule || before.zone != now.settings.zone)
      now.cursor_ns = service->now_ns();
    return {};
  };
  return change_row(*core_, *schedules_, "schedule.edit", row, caller, edit);
}

Result<JobId> Control::start_schedule_enable(const std::string& schedule, bool enabled,
                                             const Caller& caller) {
  if (const auto found = HOZON_TRY(core_->jobs.find_job(caller))) return *found;
  const ScheduleRow row = HOZON_TRY(ScheduleTable(core_->inventory).schedule(schedule));
  if (row.enabled == enabled)
    return make_error(Code::kWrongState, "schedule '{}' is {} already", row.name,
                      enabled ? "enabled" : "disabled");
  const auto change = [enabled, service = schedules_.get()](ScheduleTable& table,
                                                            ScheduleRow& now) -> Status {
    now.enabled = enabled;
    now.cursor_ns = service->now_ns();
    return enabled ? Status() : table.skip_waiting(now.uuid, "the schedule was disabled");
  };
  return change_row(*core_, *schedules_, enabled ? "schedule.enable" : "schedule.disable", row,
                    caller, change);
}

Result<JobId> Control::start_schedule_delete(const std::string& schedule, const Caller& caller) {
  if (const auto found = HOZON_TRY(core_->jobs.find_job(caller))) return *found;
  ScheduleTable table(core_->inventory);
  const ScheduleRow row = HOZON_TRY(table.schedule(schedule));
  const uint64_t stay = HOZON_TRY(table.snapshot_count(row.uuid));
  if (caller.plan) {
    caller.plan->removes.push_back("schedule " + row.name);
    if (stay != 0)
      caller.plan->notes.push_back(
          fmt::format("its {} snapshots stay; nobody drops them any more", stay));
  }
  const auto work = [core = core_.get(), row](JobRun& run) -> Result<json> {
    ScheduleTable rows(core->inventory);
    const uint64_t left = HOZON_TRY(rows.snapshot_count(row.uuid));
    HOZON_TRY(run.commit([&] { return rows.remove(row.uuid); }));
    return json{{"schedule", row.name}, {"snapshots_left", left}};
  };
  return begin(*core_, "schedule.delete", row, caller, work);
}

Result<JobId> Control::start_schedule_run(const std::string& schedule, const Caller& caller) {
  if (const auto found = HOZON_TRY(core_->jobs.find_job(caller))) return *found;
  const ScheduleRow row = HOZON_TRY(ScheduleTable(core_->inventory).schedule(schedule));
  const auto chosen = [core = core_.get(), row]() -> Result<std::vector<ScheduleTask>> {
    std::vector<ScheduleTask> tasks;
    for (const MachineRow& machine : HOZON_TRY(core->inventory.machines())) {
      const ScheduledMachine candidate{machine.uuid, machine.name, machine.tags,
                                       power_state_name(core->guests.state(machine.uuid).state)};
      if (!is_chosen(candidate, row.settings.machines)) continue;
      tasks.emplace_back();
      tasks.back().machine_uuid = machine.uuid;
      tasks.back().machine = machine.name;
    }
    if (tasks.empty())
      return make_error(Code::kWrongState,
                        "no machine is as schedule '{}' wants it: `hozon schedule show {}` says "
                        "which it wants",
                        row.name, row.name);
    return tasks;
  };
  const auto tasks = HOZON_TRY(chosen());
  if (caller.plan)
    for (const ScheduleTask& task : tasks)
      caller.plan->makes.push_back(fmt::format(
          "snapshot {}@{}", task.machine, name_with_time(row.name + "-", schedules_->now_ns())));
  const auto work = [core = core_.get(), service = schedules_.get(), row,
                     chosen](JobRun& run) -> Result<json> {
    ScheduleTable table(core->inventory);
    ScheduleRun made;
    made.schedule_uuid = row.uuid;
    made.cause = "manual";
    made.due_ns = service->now_ns() / kSecondNs * kSecondNs;
    made.tasks = HOZON_TRY(chosen());
    uint64_t id = 0;
    const auto write = [&]() -> Status {
      id = HOZON_TRY(table.insert_run(made));
      return {};
    };
    HOZON_TRY(run.commit(write));
    service->wake();
    return follow(table, run, row, id);
  };
  return begin(*core_, "schedule.run", row, caller, work);
}

}  // namespace hozon::control
