// src/control/schedule_table.h
// Schedules, their runs and tasks in the inventory.
//
// Invariants
//   T1  A schedule has at most one run for a due time.
//   T2  The cursor of a schedule is the last due time that became a run (or was left out on
//       purpose); both change in one transaction, so that no due time is lost or comes twice.
// Threading: any thread.
#pragma once

#include "control/inventory.h"
#include "control/schedule.h"

namespace hozon::control {

struct ScheduleRow {
  std::string uuid;
  std::string name;
  bool enabled = true;
  ScheduleSettings settings;
  uint64_t cursor_ns = 0;
  uint64_t created_ns = 0;
};

// A task that has not ended, with what it belongs to.
struct OpenTask {
  ScheduleTask task;
  ScheduleRow schedule;
  uint64_t due_ns = 0;
};

// A snapshot that a schedule made.
struct ScheduledSnapshot {
  std::string uuid;
  std::string name;
  uint64_t due_ns = 0;
  bool pinned = false;
};

class ScheduleTable {
 public:
  explicit ScheduleTable(Inventory& inventory) : database_(inventory.database()) {}

  Result<std::vector<ScheduleRow>> schedules();                // by name
  Result<ScheduleRow> schedule(const std::string& reference);  // name or uuid
  Status insert(const ScheduleRow& row);
  Status update(const ScheduleRow& row);  // everything but uuid and time of creation
  Status remove(const std::string& uuid);

  // One run with its tasks; its number. kAlreadyExists: it is there (T1). The oldest runs go, so
  // that kRunsKept stay.
  Result<uint64_t> insert_run(const ScheduleRun& run);
  // A run that came due, and the cursor behind it (T2). False, and nothing is done: meanwhile
  // somebody set the cursor of `seen` or disabled it, and what it would do now is another thing.
  Result<bool> insert_due_run(const ScheduleRun& run, const ScheduleRow& seen);
  // The rest of the schedule stays what it is by now.
  Status set_cursor(const std::string& uuid, uint64_t cursor_ns);
  Status update_task(const ScheduleTask& task);
  Result<std::vector<OpenTask>> open_tasks();  // in the order in which they are due
  // Their turn does not come any more.
  Status skip_waiting(const std::string& schedule_uuid, const std::string& why);
  // Marks runs without open tasks as ended.
  Status end_runs(uint64_t now_ns);
  Result<std::vector<ScheduleRun>> runs(const std::string& schedule_uuid, uint64_t most);
  Result<ScheduleRun> run(uint64_t id);
  static constexpr uint64_t kRunsKept = 200;

  // Complete ones outside of the trash, in the order of their due times.
  Result<std::vector<ScheduledSnapshot>> snapshots(const std::string& schedule_uuid,
                                                   const std::string& machine_uuid);
  Result<uint64_t> snapshot_count(const std::string& schedule_uuid);

 private:
  Result<ScheduleRun> run_of(const Row& row);

  Database& database_;
};

}  // namespace hozon::control
