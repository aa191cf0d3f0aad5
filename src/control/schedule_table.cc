#include "control/schedule_table.h"

namespace hozon::control {
namespace {

using nlohmann::json;

std::string text_of(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

json object_of(const std::string& text) {
  json object = json::parse(text, nullptr, false);
  return object.is_object() ? object : json::object();
}

std::vector<std::string> texts_of(const std::string& text) {
  std::vector<std::string> texts;
  const json list = json::parse(text, nullptr, false);
  if (!list.is_array()) return texts;
  for (const json& item : list)
    if (item.is_string()) texts.push_back(item.get<std::string>());
  return texts;
}

// Columns: uuid, name, enabled, settings, cursor_ns, created_ns.
ScheduleRow schedule_of(const Row& row, size_t first = 0) {
  return {.uuid = row.text(first),
          .name = row.text(first + 1),
          .enabled = row.flag(first + 2),
          .settings = schedule_settings_of(object_of(row.text(first + 3))),
          .cursor_ns = row.number(first + 4),
          .created_ns = row.number(first + 5)};
}

// Columns: run, machine, machine_name, state, attempts, at_ns, snapshot, removed, code, message.
ScheduleTask task_of(const Row& row) {
  return {.run = row.number(0),
          .machine_uuid = row.text(1),
          .machine = row.text(2),
          .state = row.text(3),
          .attempts = row.number(4),
          .at_ns = row.number(5),
          .snapshot = row.text(6),
          .removed = texts_of(row.text(7)),
          .code = row.text(8),
          .message = row.text(9)};
}

}  // namespace

Result<std::vector<ScheduleRow>> ScheduleTable::schedules() {
  std::vector<ScheduleRow> rows;
  for (const Row& row :
       HOZON_TRY(database_.query("SELECT uuid, name, enabled, settings, cursor_ns, created_ns "
                                 "FROM schedules ORDER BY name")))
    rows.push_back(schedule_of(row));
  return rows;
}

Result<ScheduleRow> ScheduleTable::schedule(const std::string& reference) {
  const auto rows = HOZON_TRY(
      database_.query("SELECT uuid, name, enabled, settings, cursor_ns, created_ns FROM schedules "
                      "WHERE uuid = ?1 OR name = ?1 ORDER BY uuid = ?1",
                      {sql(reference)}));
  if (rows.empty())
    return make_error(Code::kNotFound,
                      "there is no schedule '{}'; `hozon schedule list` shows them", reference);
  return schedule_of(rows.front());
}

Status ScheduleTable::insert(const ScheduleRow& row) {
  const Status inserted = database_.run(
      "INSERT INTO schedules (uuid, name, enabled, settings, cursor_ns, created_ns) "
      "VALUES (?, ?, ?, ?, ?, ?)",
      {sql(row.uuid), sql(row.name), sql(row.enabled), sql(text_of(settings_json(row.settings))),
       sql(row.cursor_ns), sql(row.created_ns)});
  if (!inserted && inserted.error().code == Code::kAlreadyExists)
    return make_error(Code::kAlreadyExists, "a schedule named '{}' exists", row.name);
  return inserted;
}

Status ScheduleTable::update(const ScheduleRow& row) {
  return database_.run(
      "UPDATE schedules SET name = ?, enabled = ?, settings = ?, cursor_ns = ? WHERE uuid = ?",
      {sql(row.name), sql(row.enabled), sql(text_of(settings_json(row.settings))),
       sql(row.cursor_ns), sql(row.uuid)});
}

Status ScheduleTable::remove(const std::string& uuid) {
  return database_.run("DELETE FROM schedules WHERE uuid = ?", {sql(uuid)});
}

Status ScheduleTable::set_cursor(const std::string& uuid, uint64_t cursor_ns) {
  return database_.run("UPDATE schedules SET cursor_ns = ? WHERE uuid = ?",
                       {sql(cursor_ns), sql(uuid)});
}

Result<bool> ScheduleTable::insert_due_run(const ScheduleRun& run, const ScheduleRow& seen) {
  Transaction transaction = HOZON_TRY(Transaction::begin(database_));
  HOZON_TRY(database_.run(
      "UPDATE schedules SET cursor_ns = ? WHERE uuid = ? AND cursor_ns = ? AND enabled <> 0",
      {sql(run.due_ns), sql(seen.uuid), sql(seen.cursor_ns)}));
  if (database_.changes() == 0) return false;
  HOZON_TRY(insert_run(run));
  HOZON_TRY(transaction.commit());
  return true;
}

Result<uint64_t> ScheduleTable::insert_run(const ScheduleRun& run) {
  Transaction transaction = HOZON_TRY(Transaction::begin(database_));
  HOZON_TRY(
      database_.run("INSERT INTO schedule_runs (schedule, due_ns, cause, missed, ended_ns) VALUES "
                    "(?, ?, ?, ?, ?)",
                    {sql(run.schedule_uuid), sql(run.due_ns), sql(run.cause), sql(run.missed),
                     sql(run.ended_ns)}));
  const auto id = static_cast<uint64_t>(database_.last_id());
  for (const ScheduleTask& task : run.tasks)
    HOZON_TRY(database_.run(
        "INSERT INTO schedule_tasks (run, machine, machine_name, state, attempts, at_ns, snapshot, "
        "removed, code, message) VALUES (?, ?, ?, ?, 0, ?, '', '[]', ?, ?)",
        {sql(id), sql(task.machine_uuid), sql(task.machine), sql(task.state), sql(task.at_ns),
         sql(task.code), sql(task.message)}));
  HOZON_TRY(database_.run(
      "DELETE FROM schedule_runs WHERE schedule = ?1 AND ended_ns <> 0 AND due_ns < (SELECT due_ns "
      "FROM schedule_runs WHERE schedule = ?1 ORDER BY due_ns DESC LIMIT 1 OFFSET ?2)",
      {sql(run.schedule_uuid), sql(kRunsKept - 1)}));
  HOZON_TRY(transaction.commit());
  return id;
}

Status ScheduleTable::update_task(const ScheduleTask& task) {
  return database_.run(
      "UPDATE schedule_tasks SET state = ?, attempts = ?, at_ns = ?, snapshot = ?, removed = ?, "
      "code = ?, message = ? WHERE run = ? AND machine = ?",
      {sql(task.state), sql(task.attempts), sql(task.at_ns), sql(task.snapshot),
       sql(text_of(json(task.removed))), sql(task.code), sql(task.message), sql(task.run),
       sql(task.machine_uuid)});
}

Status ScheduleTable::skip_waiting(const std::string& schedule_uuid, const std::string& why) {
  return database_.run(
      "UPDATE schedule_tasks SET state = 'skipped', message = ? WHERE state = 'waiting' AND run IN "
      "(SELECT id FROM schedule_runs WHERE schedule = ?)",
      {sql(why), sql(schedule_uuid)});
}

Result<std::vector<OpenTask>> ScheduleTable::open_tasks() {
  std::vector<OpenTask> open;
  for (const Row& row : HOZON_TRY(database_.query(
           "SELECT t.run, t.machine, t.machine_name, t.state, t.attempts, t.at_ns, t.snapshot, "
           "t.removed, t.code, t.message, s.uuid, s.name, s.enabled, s.settings, s.cursor_ns, "
           "s.created_ns, r.due_ns FROM schedule_tasks t JOIN schedule_runs r ON r.id = t.run "
           "JOIN schedules s ON s.uuid = r.schedule "
           "WHERE t.state IN ('waiting', 'making', 'pruning') ORDER BY t.at_ns, t.run, t.machine")))
    open.push_back({task_of(row), schedule_of(row, 10), row.number(16)});
  return open;
}

Status ScheduleTable::end_runs(uint64_t now_ns) {
  return database_.run(
      "UPDATE schedule_runs SET ended_ns = ? WHERE ended_ns = 0 AND NOT EXISTS (SELECT 1 FROM "
      "schedule_tasks t WHERE t.run = schedule_runs.id AND t.state IN ('waiting', 'making', "
      "'pruning'))",
      {sql(now_ns)});
}

Result<ScheduleRun> ScheduleTable::run_of(const Row& row) {
  ScheduleRun run{.id = row.number(0),
                  .schedule_uuid = row.text(1),
                  .due_ns = row.number(2),
                  .cause = row.text(3),
                  .missed = row.number(4),
                  .ended_ns = row.number(5),
                  .tasks = {}};
  for (const Row& task : HOZON_TRY(database_.query(
           "SELECT run, machine, machine_name, state, attempts, at_ns, snapshot, removed, code, "
           "message FROM schedule_tasks WHERE run = ? ORDER BY machine_name",
           {sql(run.id)})))
    run.tasks.push_back(task_of(task));
  return run;
}

Result<std::vector<ScheduleRun>> ScheduleTable::runs(const std::string& schedule_uuid,
                                                     uint64_t most) {
  std::vector<ScheduleRun> runs;
  for (const Row& row : HOZON_TRY(database_.query(
           "SELECT id, schedule, due_ns, cause, missed, ended_ns FROM schedule_runs "
           "WHERE schedule = ? ORDER BY due_ns DESC LIMIT ?",
           {sql(schedule_uuid), sql(most)})))
    runs.push_back(HOZON_TRY(run_of(row)));
  return runs;
}

Result<ScheduleRun> ScheduleTable::run(uint64_t id) {
  const auto rows = HOZON_TRY(database_.query(
      "SELECT id, schedule, due_ns, cause, missed, ended_ns FROM schedule_runs WHERE id = ?",
      {sql(id)}));
  if (rows.empty()) return make_error(Code::kNotFound, "run {} of a schedule is not kept", id);
  return run_of(rows.front());
}

Result<std::vector<ScheduledSnapshot>> ScheduleTable::snapshots(const std::string& schedule_uuid,
                                                                const std::string& machine_uuid) {
  std::vector<ScheduledSnapshot> snapshots;
  for (const Row& row : HOZON_TRY(database_.query(
           "SELECT s.uuid, s.name, s.due_ns, COALESCE(m.pinned, 0) FROM snapshots s "
           "LEFT JOIN snapshot_marks m ON m.snapshot = s.uuid "
           "WHERE s.machine = ? AND s.schedule = ? AND s.status = 'ok' AND s.kind = 'user' "
           "ORDER BY s.due_ns, s.uuid",
           {sql(machine_uuid), sql(schedule_uuid)})))
    snapshots.push_back({row.text(0), row.text(1), row.number(2), row.flag(3)});
  return snapshots;
}

Result<uint64_t> ScheduleTable::snapshot_count(const std::string& schedule_uuid) {
  const auto rows = HOZON_TRY(
      database_.query("SELECT COUNT(*) FROM snapshots WHERE schedule = ? AND status <> 'trashed'",
                      {sql(schedule_uuid)}));
  return rows.front().number(0);
}

}  // namespace hozon::control
