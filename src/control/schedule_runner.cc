// A task is taken forward by one step at a time, and each step is written down before and after it
// touches anything: {waiting} -> making -> pruning -> done. The journal of the jobs does the rest.
#include "control/schedule_runner.h"

#include <algorithm>
#include <array>

#include "base/crc32c.h"
#include "control/names.h"

namespace hozon::control {
namespace {

constexpr uint64_t kSecondNs = 1'000'000'000;
constexpr uint64_t kAllWorkingMax = 32;  // the job board takes 64 jobs, people's included
constexpr uint64_t kClockSetBackNs = 3600 * kSecondNs;
// How long until it is tried again, after the first, second, ... failure; then always the last.
constexpr std::array<uint64_t, 5> kRetrySeconds = {5, 15, 60, 300, 900};

bool has(const std::vector<std::string>& words, const std::string& word) {
  return std::ranges::find(words, word) != words.end();
}

bool may_succeed_later(Code code) {
  return code != Code::kNotFound && code != Code::kInvalidArgument && code != Code::kUnimplemented;
}

std::string key_of(const ScheduleTask& task, const char* what) {
  return fmt::format("schedule/{}/{}/{}/{}", task.run, task.machine_uuid, what, task.attempts);
}

Caller caller_of(const OpenTask& open, const char* what) {
  return {.key = key_of(open.task, what), .request = "", .owner = "schedule " + open.schedule.name};
}

bool runs(const ScheduledMachine& machine) {
  return machine.state == "up" || machine.state == "paused";
}

SnapshotRequest request_of(const OpenTask& open, const ScheduledMachine& machine) {
  SnapshotRequest request;
  request.schedule_uuid = open.schedule.uuid;
  request.due_ns = open.due_ns;
  request.name_base = name_with_time(open.schedule.name + "-", open.due_ns);
  request.description = fmt::format("made by schedule '{}'", open.schedule.name);
  const std::string& kind = open.schedule.settings.kind;
  request.with_memory = kind == "memory" && runs(machine);
  if (kind == "quiesced" && machine.state != "down") request.quiesce = "require";
  return request;
}

}  // namespace

bool is_chosen(const ScheduledMachine& machine, const MachineChoice& choice) {
  const bool any = choice.names.empty() && choice.tags.empty() && choice.states.empty();
  if (any) return choice.all;
  const bool by_name =
      choice.names.empty() || has(choice.names, machine.name) || has(choice.names, machine.uuid);
  const bool by_tag =
      choice.tags.empty() ||
      std::ranges::any_of(machine.tags, [&](const auto& tag) { return has(choice.tags, tag); });
  return by_name && by_tag && (choice.states.empty() || has(choice.states, machine.state));
}

uint64_t jitter_ns(const std::string& schedule_uuid, const std::string& machine_uuid,
                   uint64_t due_ns, uint64_t jitter_s) {
  if (jitter_s == 0) return 0;
  const std::string text = fmt::format("{}/{}/{}", schedule_uuid, machine_uuid, due_ns);
  const uint64_t hash = crc32c(std::as_bytes(std::span(text)));
  return hash * 2'654'435'761ULL % (jitter_s * 1000) * 1'000'000;
}

Result<std::pair<ScheduleRule, TimeZone>> ScheduleRunner::rule_of(
    const ScheduleSettings& settings) {
  return std::pair{HOZON_TRY(ScheduleRule::parse(settings.rule)),
                   HOZON_TRY(TimeZone::of(settings.zone))};
}

Status ScheduleRunner::turn(uint64_t now_ns) {
  machines_.reset();
  Status outcome;
  for (const ScheduleRow& schedule : HOZON_TRY(table_.schedules())) {
    if (!schedule.enabled) continue;
    const Status advanced = advance(schedule, now_ns);
    if (!advanced) outcome = advanced;  // the others go on
  }
  auto open = HOZON_TRY(table_.open_tasks());
  working_.clear();
  for (const OpenTask& task : open)
    if (task.task.state != "waiting") ++working_[task.schedule.uuid];
  for (OpenTask& task : open) {
    const Status stepped = step(task, now_ns);
    if (!stepped) outcome = stepped;
  }
  if (!open.empty()) HOZON_TRY(table_.end_runs(now_ns));
  return outcome;
}

// Due times between the cursor and now: the last one becomes a run, those before it are counted.
Status ScheduleRunner::advance(const ScheduleRow& schedule, uint64_t now_ns) {
  if (schedule.cursor_ns > now_ns + kClockSetBackNs) {
    hands_.between_steps();
    return table_.set_cursor(schedule.uuid, now_ns);
  }
  const auto [rule, zone] = HOZON_TRY(rule_of(schedule.settings));
  const auto now_s = static_cast<int64_t>(now_ns / kSecondNs);
  std::optional<int64_t> due;
  uint64_t passed = 0;
  for (auto next = rule.next_after(static_cast<int64_t>(schedule.cursor_ns / kSecondNs), zone);
       next && *next <= now_s; next = rule.next_after(*next, zone), ++passed)
    due = next;
  if (!due) return {};
  ScheduleRun run;
  run.schedule_uuid = schedule.uuid;
  run.due_ns = static_cast<uint64_t>(*due) * kSecondNs;
  run.missed = passed - 1;
  const bool late = now_ns - run.due_ns > kPunctualNs;
  run.cause = !late ? "due" : schedule.settings.catch_up == "none" ? "missed" : "catch-up";
  const std::vector<ScheduledMachine>& machines = *HOZON_TRY(machines_now());
  for (const ScheduledMachine& machine : machines) {
    if (run.cause == "missed" || !is_chosen(machine, schedule.settings.machines)) continue;
    ScheduleTask task;
    task.machine_uuid = machine.uuid;
    task.machine = machine.name;
    task.at_ns =
        run.due_ns + jitter_ns(schedule.uuid, machine.uuid, run.due_ns, schedule.settings.jitter_s);
    run.tasks.push_back(std::move(task));
  }
  if (run.cause != "missed")
    for (const std::string& name : schedule.settings.machines.names)
      if (std::ranges::none_of(machines, [&](const ScheduledMachine& machine) {
            return machine.name == name || machine.uuid == name;
          })) {
        ScheduleTask task;
        task.machine_uuid = task.machine = name;
        task.state = "failed";
        task.code = code_name(Code::kNotFound);
        task.message = fmt::format("machine '{}' does not exist", name);
        hands_.report(schedule, task, 0);
        run.tasks.push_back(std::move(task));
      }
  hands_.between_steps();
  const bool nothing_open = std::ranges::none_of(
      run.tasks, [](const ScheduleTask& task) { return task.state == "waiting"; });
  if (nothing_open) run.ended_ns = now_ns;
  const auto inserted = table_.insert_due_run(run, schedule);
  hands_.between_steps();
  // Somebody made a run of the very same second by hand: that is this one.
  if (!inserted && inserted.error().code == Code::kAlreadyExists)
    return table_.set_cursor(schedule.uuid, run.due_ns);
  HOZON_TRY(inserted);
  return {};
}

// Asked for once in a turn, and only when something is to be done.
Result<const std::vector<ScheduledMachine>*> ScheduleRunner::machines_now() {
  if (!machines_) machines_ = HOZON_TRY(hands_.machines());
  return &*machines_;
}

Result<const ScheduledMachine*> ScheduleRunner::machine_of(const OpenTask& open) {
  const std::vector<ScheduledMachine>& machines = *HOZON_TRY(machines_now());
  const auto found = std::ranges::find(machines, open.task.machine_uuid, &ScheduledMachine::uuid);
  return found == machines.end() ? nullptr : &*found;
}

Status ScheduleRunner::end(OpenTask& open, const std::string& state) {
  open.task.state = state;
  return table_.update_task(open.task);
}

Status ScheduleRunner::fail(OpenTask& open, const Error& error, uint64_t now_ns,
                            const std::string& retry_state) {
  ScheduleTask& task = open.task;
  task.code = code_name(error.code);
  task.message = error.what;
  const bool again = may_succeed_later(error.code) && task.attempts < kAttemptsMax;
  const size_t nth =
      std::min<size_t>(task.attempts == 0 ? 0 : task.attempts - 1, kRetrySeconds.size() - 1);
  task.at_ns = now_ns + kRetrySeconds.at(nth) * kSecondNs;
  hands_.report(open.schedule, task, again ? task.at_ns : 0);
  // A snapshot that was made stays made, even if what should go could not go.
  if (!again) return end(open, "failed");
  return end(open, retry_state);
}

Status ScheduleRunner::step(OpenTask& open, uint64_t now_ns) {
  if (open.task.state == "making") return look_at_making(open, now_ns);
  if (open.task.state == "pruning") return look_at_pruning(open, now_ns);
  if (open.task.at_ns > now_ns) return {};
  const ScheduledMachine* machine = HOZON_TRY(machine_of(open));
  if (machine == nullptr || machine->state == "suspended") {
    open.task.code = code_name(machine == nullptr ? Code::kNotFound : Code::kWrongState);
    open.task.message = machine == nullptr ? "the machine is gone"
                                           : "the machine is suspended: its disks do not change";
    return end(open, "skipped");
  }
  // The run after this one has come: this one's turn is over.
  if (open.schedule.cursor_ns / kSecondNs > open.due_ns / kSecondNs) {
    if (open.task.message.empty()) open.task.message = "its turn had not come before the next run";
    hands_.report(open.schedule, open.task, 0);
    return end(open, open.task.attempts == 0 ? "skipped" : "failed");
  }
  uint64_t all = 0;
  for (const auto& [schedule, count] : working_) all += count;
  if (all >= kAllWorkingMax || working_[open.schedule.uuid] >= open.schedule.settings.parallel)
    return {};
  return begin_making(open, now_ns);
}

Status ScheduleRunner::begin_making(OpenTask& open, uint64_t now_ns) {
  ++open.task.attempts;
  ++working_[open.schedule.uuid];
  hands_.between_steps();
  HOZON_TRY(end(open, "making"));
  hands_.between_steps();
  return look_at_making(open, now_ns);
}

Status ScheduleRunner::look_at_making(OpenTask& open, uint64_t now_ns) {
  auto job = HOZON_TRY(hands_.job_of(key_of(open.task, "make")));
  if (!job) {
    const ScheduledMachine* machine = HOZON_TRY(machine_of(open));
    if (machine == nullptr) {
      open.task.message = "the machine is gone";
      return end(open, "skipped");
    }
    const auto begun = hands_.begin_snapshot(open.task.machine_uuid, request_of(open, *machine),
                                             caller_of(open, "make"));
    hands_.between_steps();
    if (!begun) {
      // A quota is kept by dropping first what the new one would drop.
      if (begun.error().code == Code::kResourceExhausted) {
        const DeleteRequest drop = HOZON_TRY(to_drop(open, true));
        if (!drop.snapshots.empty())
          (void)hands_.begin_delete(open.task.machine_uuid, drop, caller_of(open, "room"));
      }
      return fail(open, begun.error(), now_ns, "waiting");
    }
    job = HOZON_TRY(hands_.job_of(key_of(open.task, "make")));
  }
  if (!job || !job->is_ended()) return {};
  if (job->state != JobState::kDone)
    return fail(open, job->error.value_or(Error{Code::kCancelled, "somebody cancelled its job", 0}),
                now_ns, "waiting");
  open.task.code.clear();
  open.task.message.clear();
  if (job->result.is_object()) open.task.snapshot = job->result.value("name", "");
  open.task.attempts = 1;  // of the next step
  hands_.between_steps();
  HOZON_TRY(end(open, "pruning"));
  hands_.between_steps();
  return look_at_pruning(open, now_ns);
}

Result<DeleteRequest> ScheduleRunner::to_drop(const OpenTask& open, bool with_next) {
  const TimeZone zone = HOZON_TRY(TimeZone::of(open.schedule.settings.zone));
  const auto snapshots = HOZON_TRY(table_.snapshots(open.schedule.uuid, open.task.machine_uuid));
  std::vector<RetentionItem> items;
  for (const ScheduledSnapshot& snapshot : snapshots)
    items.push_back({static_cast<int64_t>(snapshot.due_ns / kSecondNs), snapshot.pinned});
  if (with_next) items.push_back({static_cast<int64_t>(open.due_ns / kSecondNs), false});
  const auto reasons = retain(items, open.schedule.settings.retention, zone);
  DeleteRequest request;
  request.ttl_s = kPrunedTrashSeconds;
  for (size_t i = 0; i < snapshots.size(); ++i)
    if (reasons[i].empty()) request.snapshots.push_back(snapshots[i].uuid);
  return request;
}

Status ScheduleRunner::look_at_pruning(OpenTask& open, uint64_t now_ns) {
  auto job = HOZON_TRY(hands_.job_of(key_of(open.task, "prune")));
  if (!job) {
    if (open.task.at_ns > now_ns) return {};  // it failed a moment ago
    const DeleteRequest drop = HOZON_TRY(to_drop(open, false));
    if (drop.snapshots.empty()) return end(open, "done");
    const auto begun = hands_.begin_delete(open.task.machine_uuid, drop, caller_of(open, "prune"));
    hands_.between_steps();
    if (!begun) {
      ++open.task.attempts;
      return fail(open, begun.error(), now_ns, "pruning");
    }
    job = HOZON_TRY(hands_.job_of(key_of(open.task, "prune")));
  }
  if (!job || !job->is_ended()) return {};
  if (job->state != JobState::kDone) {
    const Error error =
        job->error.value_or(Error{Code::kCancelled, "somebody cancelled its job", 0});
    ++open.task.attempts;
    return fail(open, error, now_ns, "pruning");
  }
  open.task.code.clear();
  open.task.message.clear();
  if (job->result.is_object())
    open.task.removed = job->result.value("deleted", std::vector<std::string>());
  hands_.between_steps();
  return end(open, "done");
}

}  // namespace hozon::control
