// src/control/schedule_world.h
// For tests of schedules: a real inventory, and machines and a clock that are simulated.
//
// A kill is an exception at one of the runner's steps: what was committed stays, a new runner goes
// on. Jobs outlive it, as those of the job board do.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>

#include "control/names.h"
#include "control/schedule_runner.h"
#include "qemu/spec.h"

#pragma GCC diagnostic ignored "-Wmissing-field-initializers"  // settings name what they change

namespace hozon::control {

inline constexpr uint64_t kSecond = 1'000'000'000;
inline constexpr uint64_t kHour = 3600 * kSecond;

struct Killed {};

inline uint64_t instant(int year, int month, int day, int hour = 0, int minute = 0) {
  return static_cast<uint64_t>(cctz::convert(cctz::civil_second(year, month, day, hour, minute, 0),
                                             cctz::utc_time_zone())
                                   .time_since_epoch()
                                   .count()) *
         kSecond;
}

class ScheduleWorld final : public ScheduleHands {
 public:
  ScheduleWorld() : inventory(*Inventory::open(":memory:")), table(inventory) { restart(); }

  void add_machine(const std::string& name, std::vector<std::string> tags = {},
                   const std::string& state = "up") {
    MachineRow row;
    row.uuid = "uuid-" + name;
    row.name = name;
    row.pool = "main";
    ASSERT_TRUE(inventory.insert_machine(row));
    world.push_back({row.uuid, name, std::move(tags), state});
  }

  ScheduleRow add_schedule(ScheduleSettings settings, uint64_t from_ns) {
    ScheduleRow row;
    row.uuid = "uuid-of-schedule";
    row.name = "nightly";
    if (settings.zone.empty()) settings.zone = "Europe/Berlin";
    const Status checked = check_schedule(settings);
    EXPECT_TRUE(checked) << checked.error().what;
    row.settings = std::move(settings);
    row.cursor_ns = row.created_ns = from_ns;
    EXPECT_TRUE(table.insert(row));
    return row;
  }

  void restart() { runner.emplace(inventory, *this); }

  // Turns every `step_ns` until `until_ns`, or at the next due time while nothing is open; after a
  // kill a new runner goes on at once.
  void run(uint64_t until_ns, uint64_t step_ns) {
    while (now_ns <= until_ns) {
      for (int turns = 0; turns < 4; ++turns) {  // so that what one turn began, the next one ends
        try {
          const Status turned = runner->turn(now_ns);
          ASSERT_TRUE(turned) << turned.error().what;
        } catch (const Killed&) {
          ++kills;
          restart();
        }
      }
      now_ns += step_ns;
      if (table.open_tasks()->empty())
        now_ns = std::max(now_ns, std::min(next_due(), until_ns + step_ns));
    }
  }

  uint64_t next_due() {
    const ScheduleRow row = *table.schedule("uuid-of-schedule");
    const auto next = ScheduleRule::parse(row.settings.rule)
                          ->next_after(static_cast<int64_t>(row.cursor_ns / kSecond),
                                       *TimeZone::of(row.settings.zone));
    return static_cast<uint64_t>(*next) * kSecond;
  }

  std::vector<uint64_t> dues(const std::string& machine) {
    const auto snapshots = table.snapshots("uuid-of-schedule", "uuid-" + machine);
    std::vector<uint64_t> found;
    for (const ScheduledSnapshot& snapshot : *snapshots) found.push_back(snapshot.due_ns);
    return found;
  }

  // --- hands ---
  Result<std::vector<ScheduledMachine>> machines() override { return world; }

  Result<JobId> begin_snapshot(const std::string& machine_uuid, const SnapshotRequest& request,
                               const Caller& caller) override {
    if (jobs.contains(caller.key)) return jobs[caller.key].id;
    if (refuse) return make_error(*refuse, "refused for the test");
    Job job = new_job();
    if (fails()) {
      job.state = JobState::kFailed;
      job.error = Error{Code::kUnavailable, "failed for the test", 0};
    } else {
      SnapshotRow row;
      row.uuid = new_uuid();
      row.machine_uuid = machine_uuid;
      row.name = request.name_base;
      row.status = "ok";
      row.created_ns = now_ns;
      row.schedule_uuid = request.schedule_uuid;
      row.due_ns = request.due_ns;
      row.marks.pinned = pins.contains(request.due_ns);
      HOZON_TRY(inventory.insert_snapshot(row));
      made.emplace_back(machine_uuid, request.due_ns, request.with_memory, request.quiesce, now_ns);
      job.result = {{"name", row.name}};
    }
    jobs[caller.key] = job;
    if (job_lasts_ns != 0) jobs[caller.key].ended_ns = now_ns + job_lasts_ns;
    most_at_work = std::max(most_at_work, at_work());
    return job.id;
  }

  Result<JobId> begin_delete(const std::string& machine_uuid, const DeleteRequest& request,
                             const Caller& caller) override {
    if (jobs.contains(caller.key)) return jobs[caller.key].id;
    Job job = new_job();
    nlohmann::json names = nlohmann::json::array();
    for (const std::string& uuid : request.snapshots) {
      names.push_back(HOZON_TRY(inventory.snapshot(machine_uuid, uuid)).name);
      HOZON_TRY(inventory.trash_snapshot(uuid, now_ns, now_ns + request.ttl_s * kSecond));
    }
    job.result = {{"deleted", names}};
    jobs[caller.key] = job;
    return job.id;
  }

  Result<std::optional<Job>> job_of(const std::string& key) override {
    std::optional<Job> job;
    if (const auto found = jobs.find(key); found != jobs.end()) {
      job = found->second;
      if (job->ended_ns > now_ns) job->state = JobState::kRunning;
    }
    return job;
  }

  void report(const ScheduleRow&, const ScheduleTask& task, uint64_t again_ns) override {
    reports.push_back(task.message);
    gave_up += again_ns == 0 ? 1 : 0;
  }

  void between_steps() override {
    if (at_step) at_step();
    if (kill_one_in != 0 && random() % kill_one_in == 0) throw Killed();
  }

  Inventory inventory;
  ScheduleTable table;
  std::optional<ScheduleRunner> runner;
  std::vector<ScheduledMachine> world;
  uint64_t now_ns = 0;
  std::mt19937_64 random{7};
  uint64_t kill_one_in = 0, fail_one_in = 0;
  std::optional<Code> refuse;
  std::function<void()> at_step;  // what somebody else does between two steps of the runner
  std::set<uint64_t> pins;
  uint64_t job_lasts_ns = 0;
  size_t most_at_work = 0, kills = 0, gave_up = 0;
  std::vector<std::string> reports;
  // machine, due, with memory, quiesce, when
  std::vector<std::tuple<std::string, uint64_t, bool, std::string, uint64_t>> made;
  std::map<std::string, Job> jobs;

 private:
  bool fails() { return fail_one_in != 0 && random() % fail_one_in == 0; }
  size_t at_work() const {
    return static_cast<size_t>(std::ranges::count_if(
        jobs, [this](const auto& entry) { return entry.second.ended_ns > now_ns; }));
  }
  Job new_job() {
    Job job;
    job.id = {jobs.size() + 1};
    job.state = JobState::kDone;
    return job;
  }
};

}  // namespace hozon::control
