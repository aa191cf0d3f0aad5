// src/control/schedule_runner.h
// Does what schedules say: turns due times into runs, runs into jobs, and looks after the jobs.
//
// Everything that must survive is in the inventory, so that a turn may end anywhere: the next one,
// of this process or of the one after a kill, goes on. A job is begun with an idempotency key made
// of run, machine and attempt; whoever finds a task that was making something asks for the job of
// that key first, so that nothing is made twice and nothing is left out.
// Time comes as an argument. What touches machines is behind ScheduleHands, so that a test can run
// a year in a second and die between any two steps. Threading: one thread.
#pragma once

#include <functional>
#include <map>
#include <optional>

#include "control/schedule_rule.h"
#include "control/schedule_table.h"

namespace hozon::control {

struct ScheduledMachine {
  std::string uuid;
  std::string name;
  std::vector<std::string> tags;
  std::string state;  // "up", "down", ...
};

bool is_chosen(const ScheduledMachine& machine, const MachineChoice& choice);

class ScheduleHands {
 public:
  virtual ~ScheduleHands() = default;
  virtual Result<std::vector<ScheduledMachine>> machines() = 0;
  virtual Result<JobId> begin_snapshot(const std::string& machine_uuid,
                                       const SnapshotRequest& request, const Caller& caller) = 0;
  virtual Result<JobId> begin_delete(const std::string& machine_uuid, const DeleteRequest& request,
                                     const Caller& caller) = 0;
  // The job that an idempotency key stands for.
  virtual Result<std::optional<Job>> job_of(const std::string& key) = 0;
  // A task failed: for good, or (`again_ns`) until it is tried again.
  virtual void report(const ScheduleRow& schedule, const ScheduleTask& task, uint64_t again_ns) = 0;
  virtual void between_steps() {}  // where a test may end the program
};

class ScheduleRunner {
 public:
  // Later than this a run is one that is made up for.
  static constexpr uint64_t kPunctualNs = 60'000'000'000;
  static constexpr uint64_t kAttemptsMax = 8;

  ScheduleRunner(Inventory& inventory, ScheduleHands& hands) : table_(inventory), hands_(hands) {}
  // One look at everything. Call it every second or so.
  Status turn(uint64_t now_ns);

 private:
  Status advance(const ScheduleRow& schedule, uint64_t now_ns);
  Status step(OpenTask& open, uint64_t now_ns);
  Status begin_making(OpenTask& open, uint64_t now_ns);
  Status look_at_making(OpenTask& open, uint64_t now_ns);
  Status begin_pruning(OpenTask& open, uint64_t now_ns);
  Status look_at_pruning(OpenTask& open, uint64_t now_ns);
  // The names and uuids of what retention drops; `with_next`: as if the next one was there.
  Result<DeleteRequest> to_drop(const OpenTask& open, bool with_next);
  Status fail(OpenTask& open, const Error& error, uint64_t now_ns, const std::string& retry_state);
  Status end(OpenTask& open, const std::string& state);
  Result<const std::vector<ScheduledMachine>*> machines_now();
  Result<const ScheduledMachine*> machine_of(const OpenTask& open);
  Result<std::pair<ScheduleRule, TimeZone>> rule_of(const ScheduleSettings& settings);

  ScheduleTable table_;
  ScheduleHands& hands_;
  std::optional<std::vector<ScheduledMachine>> machines_;  // of this turn
  std::map<std::string, uint64_t> working_;                // schedule: its tasks at work
};

// When the machine's turn comes, counted from the due time: always the same for the same run.
uint64_t jitter_ns(const std::string& schedule_uuid, const std::string& machine_uuid,
                   uint64_t due_ns, uint64_t jitter_s);

// Sets what has to be set, and refuses what makes no sense (kInvalidArgument).
Status check_schedule(ScheduleSettings& settings);
// What the schedule is going to do after `now_ns` to these machines, found out without doing it.
Result<SchedulePreview> preview_schedule(
    const ScheduleRow& schedule, const SchedulePreviewRequest& request, uint64_t now_ns,
    const std::vector<std::pair<std::string, std::vector<ScheduledSnapshot>>>& machines);

}  // namespace hozon::control
