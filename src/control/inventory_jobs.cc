#include "control/inventory.h"

namespace hozon::control {
namespace {

using nlohmann::json;

constexpr const char* kSelectJob =
    "SELECT id, kind, object, state, step, progress_done, progress_total, created_ns, ended_ns, "
    "error_code, error, result, locks, owner, steps_done, steps_total FROM jobs WHERE id = ?";
constexpr const char* kSelectJobs =
    "SELECT id, kind, object, state, step, progress_done, progress_total, created_ns, ended_ns, "
    "error_code, error, result, locks, owner, steps_done, steps_total FROM jobs "
    "ORDER BY id DESC LIMIT ?";
constexpr const char* kSelectUnfinished =
    "SELECT id, kind, object, state, step, progress_done, progress_total, created_ns, ended_ns, "
    "error_code, error, result, locks, owner, steps_done, steps_total FROM jobs "
    "WHERE state IN ('running', 'undo_failed') ORDER BY id";

std::string text_of(const json& object) {
  return object.dump(-1, ' ', false, json::error_handler_t::replace);
}

json json_of(const std::string& text) {
  json object = json::parse(text, nullptr, false);
  return object.is_discarded() ? json(nullptr) : object;
}

JobState state_of(const std::string& text) {
  for (const JobState state :
       {JobState::kDone, JobState::kFailed, JobState::kCancelled, JobState::kUndoFailed})
    if (job_state_name(state) == text) return state;
  return JobState::kRunning;
}

Job job_of(const Row& row) {
  Job job;
  job.id = {row.number(0)};
  job.kind = row.text(1);
  job.object = row.text(2);
  job.state = state_of(row.text(3));
  job.step = row.text(4);
  job.progress_done = row.number(5);
  job.progress_total = row.number(6);
  job.created_ns = row.number(7);
  job.ended_ns = row.number(8);
  if (!row.text(9).empty()) job.error = Error{code_from_name(row.text(9)), row.text(10), 0};
  job.result = json_of(row.text(11));
  job.owner = row.text(13);
  job.steps_done = row.number(14);
  job.steps_total = row.number(15);
  return job;
}

}  // namespace

Result<uint64_t> Inventory::insert_job(const JobRow& row) {
  Transaction transaction = HOZON_TRY(Transaction::begin(database_));
  HOZON_TRY(database_.run(
      "INSERT INTO jobs (key, request, owner, kind, object, locks, state, step, progress_done, "
      "progress_total, created_ns, ended_ns, result) "
      "VALUES (?, ?, ?, ?, ?, ?, 'running', '', 0, 0, ?, 0, 'null')",
      {sql_or_null(row.caller.key), sql(row.caller.request), sql(row.caller.owner),
       sql(row.job.kind), sql(row.job.object), sql(text_of(row.locks)), sql(row.job.created_ns)}));
  const auto id = static_cast<uint64_t>(database_.last_id());
  HOZON_TRY(transaction.commit());
  return id;
}

Result<std::optional<KeyRow>> Inventory::job_of_key(const std::string& key) {
  const auto rows =
      HOZON_TRY(database_.query("SELECT id, request FROM jobs WHERE key = ?", {sql(key)}));
  std::optional<KeyRow> found;
  if (!rows.empty()) found = KeyRow{rows.front().number(0), rows.front().text(1)};
  return found;
}

Status Inventory::finish_job(const Job& job) {
  Transaction transaction = HOZON_TRY(Transaction::begin(database_));
  HOZON_TRY(database_.run(
      "UPDATE jobs SET state = ?, step = ?, progress_done = ?, progress_total = ?, ended_ns = ?, "
      "error_code = ?, error = ?, result = ?, steps_done = ?, steps_total = ? WHERE id = ?",
      {sql(job_state_name(job.state)), sql(job.step), sql(job.progress_done),
       sql(job.progress_total), sql(job.ended_ns),
       job.error ? Value(std::string(code_name(job.error->code))) : Value(nullptr),
       job.error ? Value(job.error->what) : Value(nullptr), sql(text_of(job.result)),
       sql(job.steps_done), sql(job.steps_total), sql(job.id.value)}));
  if (job.state != JobState::kUndoFailed) HOZON_TRY(clear_steps(job.id.value));
  return transaction.commit();
}

Result<Job> Inventory::job(uint64_t id) {
  const auto rows = HOZON_TRY(database_.query(kSelectJob, {sql(id)}));
  if (rows.empty()) return make_error(Code::kNotFound, "job {} does not exist", id);
  return job_of(rows.front());
}

Result<std::vector<std::pair<uint64_t, uint64_t>>> Inventory::job_durations(
    const std::string& kind) {
  std::vector<std::pair<uint64_t, uint64_t>> durations;
  for (const Row& row : HOZON_TRY(database_.query(
           "SELECT ended_ns - created_ns, progress_done FROM jobs WHERE kind = ? AND state = "
           "'done' AND ended_ns > created_ns ORDER BY id DESC LIMIT 15",
           {sql(kind)})))
    durations.emplace_back(row.number(0) / 1000, row.number(1));
  return durations;
}

Result<std::vector<Job>> Inventory::jobs(size_t most) {
  std::vector<Job> jobs;
  for (const Row& row : HOZON_TRY(database_.query(kSelectJobs, {sql(uint64_t{most})})))
    jobs.push_back(job_of(row));
  return jobs;
}

Result<std::vector<JobRow>> Inventory::unfinished_jobs() {
  std::vector<JobRow> unfinished;
  for (const Row& row : HOZON_TRY(database_.query(kSelectUnfinished))) {
    JobRow job{job_of(row), {}, {}};
    const json locks = json_of(row.text(12));
    if (locks.is_array())
      for (const json& lock : locks)
        if (lock.is_string()) job.locks.push_back(lock.get<std::string>());
    unfinished.push_back(std::move(job));
  }
  return unfinished;
}

Result<uint64_t> Inventory::add_step(uint64_t job, const std::string& op, const json& arguments) {
  const auto rows = HOZON_TRY(
      database_.query("INSERT INTO job_steps (job, op, arguments) VALUES (?, ?, ?) RETURNING id",
                      {sql(job), sql(op), sql(text_of(arguments))}));
  return rows.front().number(0);
}

Status Inventory::remove_step(uint64_t step) {
  return database_.run("DELETE FROM job_steps WHERE id = ?", {sql(step)});
}

Status Inventory::clear_steps(uint64_t job) {
  return database_.run("DELETE FROM job_steps WHERE job = ?", {sql(job)});
}

Result<std::vector<StepRow>> Inventory::steps(uint64_t job) {
  std::vector<StepRow> steps;
  for (const Row& row : HOZON_TRY(database_.query(
           "SELECT id, op, arguments FROM job_steps WHERE job = ? ORDER BY id", {sql(job)})))
    steps.push_back({row.number(0), row.text(1), json_of(row.text(2))});
  return steps;
}

Status Inventory::trim_jobs(size_t keep) {
  return database_.run(
      "DELETE FROM jobs WHERE state NOT IN ('running', 'undo_failed') AND id NOT IN "
      "(SELECT id FROM jobs ORDER BY id DESC LIMIT ?)",
      {sql(uint64_t{keep})});
}

}  // namespace hozon::control
