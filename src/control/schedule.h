// src/control/schedule.h
// Schedules as plain values: rules that make and expire snapshots of machines. Times are
// nanoseconds since 1970 UTC (0: never).
//
// A run    is what a schedule does at one due time: a task for each machine that it chooses then.
// A task   is  waiting    for its turn, or to be tried again
//              making     its job makes the snapshot
//              pruning    its job moves what is not kept any more to the trash
//              done | failed | skipped   (a machine that is gone or sleeps, a turn that never came)
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "control/retention.h"
#include "control/types.h"

namespace hozon::control {

inline constexpr uint64_t kJitterSecondsMax = 12 * 3600;
inline constexpr uint64_t kParallelMax = 32;
inline constexpr size_t kScheduleNameMax = 48;
inline constexpr size_t kSchedulesMax = 1000;
inline constexpr uint64_t kPrunedTrashSeconds = 24 * 3600;  // what retention drops can come back

// A machine is chosen when each list that is not empty has it. All empty: only with `all`.
struct MachineChoice {
  std::vector<std::string> names;
  std::vector<std::string> tags;    // one of them is enough
  std::vector<std::string> states;  // "up", "down", ...
  bool all = false;
  bool operator==(const MachineChoice&) const = default;
};

struct ScheduleSettings {
  std::string description;
  std::string rule;  // schedule_rule.h
  std::string zone;  // empty: that of the host, when the schedule is made
  MachineChoice machines;
  std::string kind = "disk";  // "disk", "quiesced" (or none), "memory" (of machines that run)
  Retention retention;
  uint64_t jitter_s = 0;  // each machine's turn comes up to so much later
  uint64_t parallel = 4;  // machines at a time
  // What to do about due times that passed while nobody was there: "latest" makes up for the last
  // one, "none" for none.
  std::string catch_up = "latest";
};

// What is present changes; the machines and the retention as a whole.
struct ScheduleChange {
  std::optional<std::string> description, rule, zone, kind, catch_up;
  std::optional<MachineChoice> machines;
  std::optional<Retention> retention;
  std::optional<uint64_t> jitter_s, parallel;
};

struct ScheduleRequest {
  std::string name;
  bool enabled = true;
  ScheduleChange settings;
};

struct ScheduleTask {
  uint64_t run = 0;
  std::string machine_uuid;
  std::string machine;  // its name at that time
  std::string state = "waiting";
  uint64_t attempts = 0;
  uint64_t at_ns = 0;                // when it is tried next
  std::string snapshot;              // name of what it made
  std::vector<std::string> removed;  // names of what retention dropped
  std::string code, message;         // of the last failure, or why it was skipped
};

struct ScheduleRun {
  uint64_t id = 0;
  std::string schedule_uuid;
  uint64_t due_ns = 0;
  std::string cause;    // "due", "catch-up", "missed" (made up for by nobody), "manual"
  uint64_t missed = 0;  // due times before it that nobody made up for
  uint64_t ended_ns = 0;
  std::vector<ScheduleTask> tasks;
};

struct Schedule {
  std::string uuid;
  std::string name;
  bool enabled = true;
  ScheduleSettings settings;
  uint64_t created_ns = 0;
  uint64_t next_ns = 0;               // 0 while it is disabled
  uint64_t snapshot_count = 0;        // that it made and that are there
  std::vector<ScheduleRun> runs;      // newest first, in schedule() only
  std::optional<ScheduleRun> latest;  // without its tasks
  uint64_t failed = 0;                // tasks of the latest run
  std::vector<std::string> allowed_operations;
  std::vector<BlockedOperation> blocked_operations;
};

// What a schedule is going to do.
struct PreviewedSnapshot {
  std::string name;  // empty: of a run that is still to come
  uint64_t due_ns = 0;
  std::vector<std::string> reasons;  // rules that keep it
  uint64_t dropped_ns = 0;           // of a dropped one: with which run it goes
};
struct PreviewedMachine {
  std::string machine;
  std::vector<PreviewedSnapshot> kept, dropped;  // oldest first
};
struct SchedulePreview {
  std::string schedule, zone;
  std::vector<std::pair<uint64_t, std::string>> runs;  // due time, and in words of the zone
  uint64_t until_ns = 0;                               // 0: only the runs were asked for
  std::vector<PreviewedMachine> machines;
};
struct SchedulePreviewRequest {
  uint64_t runs = 10;
  uint64_t until_ns = 0;
  std::string machine;  // only this one
};
inline constexpr uint64_t kPreviewRunsMax = 1000;

nlohmann::json settings_json(const ScheduleSettings& settings);
ScheduleSettings schedule_settings_of(const nlohmann::json& object);
nlohmann::json to_json(const ScheduleTask& task);
nlohmann::json to_json(const ScheduleRun& run);
nlohmann::json to_json(const Schedule& schedule);
nlohmann::json to_json(const SchedulePreview& preview);

}  // namespace hozon::control
