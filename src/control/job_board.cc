#include "control/job_board.h"

#include <algorithm>
#include <chrono>
#include <limits>

#include "base/log.h"
#include "control/explain.h"
#include "control/names.h"
#include "control/stop_point.h"

namespace hozon::control {
namespace {

using nlohmann::json;

constexpr auto kUndoPause = std::chrono::seconds(1);
constexpr uint64_t kTellBytesEveryUs = 500'000;
// Stays in the journal when the job has reached what it is for, until its end is recorded.
constexpr const char* kFinishedMark = "job.finished";

Job explained(Job job) {
  explain_job(job);
  return job;
}

bool may_succeed_later(Code code) { return code == Code::kUnavailable || code == Code::kBusy; }

}  // namespace

// ---- JobRun ----

void JobRun::plan_steps(uint64_t total) {
  board_.update(id_, [&](JobBoard::Running& running) { running.job.steps_total = total; });
}

void JobRun::step(const std::string& words) {
  board_.update(id_, [&](JobBoard::Running& running) {
    Job& job = running.job;
    if (!job.step.empty()) ++job.steps_done;
    if (job.steps_total > 0) job.steps_done = std::min(job.steps_done, job.steps_total - 1);
    job.step = words;
    board_.tell_({.job = job});
  });
}

void JobRun::progress(uint64_t done, uint64_t total) {
  board_.update(id_, [&](JobBoard::Running& running) {
    Job& job = running.job;
    const uint64_t now_us = monotonic_us();
    if (running.pace_began_us == 0 || done < running.pace_began_bytes) {
      running.pace_began_us = now_us;
      running.pace_began_bytes = done;
    }
    job.progress_done = done;
    job.progress_total = total;
    job.eta_ms.reset();
    if (now_us - running.told_us >= kTellBytesEveryUs) {
      running.told_us = now_us;
      board_.tell_({.job = job});
    }
    if (done <= running.pace_began_bytes || total < done) return;
    const double bytes_per_us = static_cast<double>(done - running.pace_began_bytes) /
                                static_cast<double>(now_us - running.pace_began_us + 1);
    job.eta_ms = static_cast<uint64_t>(static_cast<double>(total - done) / bytes_per_us / 1000);
  });
}

Status JobRun::check() const {
  const JobBoard::Guard guard(board_.mutex_);
  if (board_.ending_)
    return make_error(Code::kCancelled, "hozond is ending; the job is taken up at its next start");
  const auto found = board_.running_.find(id_.value);
  if (found != board_.running_.end() && found->second->cancel_wanted)
    return make_error(Code::kCancelled, "cancelled");
  return {};
}

bool JobRun::is_interrupted() const {
  const JobBoard::Guard guard(board_.mutex_);
  return board_.ending_;
}

Result<uint64_t> JobRun::journal(const std::string& action, const json& arguments) {
  stop_point(kind_);
  Result<uint64_t> step = board_.inventory_.add_step(id_.value, action, arguments);
  stop_point(kind_);
  return step;
}

Status JobRun::forget(uint64_t action) {
  stop_point(kind_);
  const Status forgotten = board_.inventory_.remove_step(action);
  stop_point(kind_);
  return forgotten;
}

Status JobRun::commit(const std::function<Status()>& change) {
  stop_point(kind_);
  {
    Transaction transaction = HOZON_TRY(Transaction::begin(board_.inventory_.database()));
    HOZON_TRY(board_.inventory_.clear_steps(id_.value));
    HOZON_TRY(board_.inventory_.add_step(id_.value, kFinishedMark, json::object()));
    HOZON_TRY(change());
    HOZON_TRY(transaction.commit());
  }
  stop_point(kind_);
  return {};
}

void JobRun::set_result(json result) {
  board_.update(id_, [&](JobBoard::Running& running) { running.job.result = std::move(result); });
}

// ---- JobBoard ----

JobBoard::JobBoard(Inventory& inventory, Undo undo, Tell tell)
    : inventory_(inventory), undo_(std::move(undo)), tell_(std::move(tell)) {}

JobBoard::~JobBoard() { end(); }

Status JobBoard::refuse_taken(const std::vector<std::string>& locks,
                              const std::string& subject) const {
  for (const std::string& lock : locks) {
    const auto taken = locks_.find(lock);
    if (taken == locks_.end()) continue;
    return make_error(
        Code::kBusy, "{} is busy: job {} ({}) works on it; `hozon job show {}` shows how far it is",
        subject, taken->second.job, taken->second.reason, taken->second.job);
  }
  return {};
}

Status JobBoard::take_locks(const std::vector<std::string>& locks, const Job& job,
                            const std::string& subject) {
  HOZON_TRY(refuse_taken(locks, subject));
  for (const std::string& lock : locks) locks_[lock] = Lock{job.kind, job.id.value};
  return {};
}

Status JobBoard::refuse_too_many() const {
  if (running_.size() < kRunningMax) return {};
  return make_error(Code::kResourceExhausted, "{} jobs are running, which is the limit",
                    running_.size());
}

Result<std::optional<JobId>> JobBoard::find_job(const Caller& caller) {
  std::optional<JobId> id;
  if (caller.key.empty()) return id;
  const auto found = HOZON_TRY(inventory_.job_of_key(caller.key));
  if (!found) return id;
  if (!caller.request.empty() && !found->request.empty() && caller.request != found->request)
    return make_error(Code::kInvalidArgument,
                      "idempotency key '{}' stands for job {}, which another request began: use a "
                      "new key",
                      caller.key, found->job);
  id = JobId{found->job};
  return id;
}

// Under the mutex. Refuses what begin() would, and leaves nothing behind.
Result<JobId> JobBoard::plan_only(const Begin& begin) {
  Plan& plan = *begin.caller.plan;
  plan.kind = begin.kind;
  plan.object = begin.object;
  HOZON_TRY(refuse_taken(begin.locks, begin.subject));
  HOZON_TRY(refuse_too_many());
  plan.duration_us = HOZON_TRY(usual_duration_us(plan));
  return JobId{0};
}

// As long as most jobs of the kind took, by the bytes that they moved if it moves any.
Result<uint64_t> JobBoard::usual_duration_us(const Plan& plan) {
  constexpr uint64_t kUnknownUs = 50'000;
  constexpr uint64_t kUnknownBytesPerUs = 100;
  const uint64_t bytes = plan.writes_bytes + plan.file_bytes;
  std::vector<double> took;  // microseconds, or microseconds for each byte
  for (const auto& [us, moved] : HOZON_TRY(inventory_.job_durations(plan.kind)))
    if (moved == 0)
      took.push_back(static_cast<double>(us));
    else if (bytes != 0)
      took.push_back(static_cast<double>(us) * static_cast<double>(bytes) /
                     static_cast<double>(moved));
  if (took.empty()) return kUnknownUs + bytes / kUnknownBytesPerUs;
  const auto middle = took.begin() + static_cast<std::ptrdiff_t>(took.size() / 2);
  std::ranges::nth_element(took, middle);
  return static_cast<uint64_t>(*middle);
}

Result<JobId> JobBoard::begin(const Begin& begin, Work work) {
  join_ended();
  const Hold alone = hold();
  const Guard guard(mutex_);
  if (ending_) return make_error(Code::kUnavailable, "hozond is ending: try again in a moment");
  if (begin.caller.plan) return plan_only(begin);
  if (const auto found = HOZON_TRY(find_job(begin.caller))) return *found;  // keeps J5
  HOZON_TRY(refuse_too_many());
  auto running = std::make_shared<Running>();
  running->job.kind = begin.kind;
  running->job.object = begin.object;
  running->job.owner = begin.caller.owner;
  running->job.created_ns = wall_clock_ns();
  running->locks = begin.locks;
  HOZON_TRY(take_locks(begin.locks, running->job, begin.subject));
  begin_stop_points(begin.kind);
  const Result<uint64_t> id = inventory_.insert_job({running->job, begin.caller, begin.locks});
  for (const std::string& lock : begin.locks) {
    if (id)
      locks_[lock].job = *id;
    else
      locks_.erase(lock);
  }
  if (!id) return std::unexpected(id.error());
  running->job.id = JobId{*id};
  running_[*id] = running;
  tell_({.job = running->job, .locks = begin.locks, .is_locked = true});
  running->thread = std::thread([this, running, work = std::move(work)] { run(running, work); });
  return running->job.id;
}

void JobBoard::run(const std::shared_ptr<Running>& running, const Work& work) {
  stop_point(running->job.kind);
  JobRun self(*this, running->job.id, running->job.kind);
  Result<json> result = work(self);
  stop_point(running->job.kind);
  if (!result) {
    // Interrupted by the end of this program: the next one undoes it, exactly as after a kill.
    if (result.error().code == Code::kCancelled && self.is_interrupted()) {
      const Guard guard(mutex_);
      running->ended = true;
      changed_.notify_all();
      return;
    }
    log_warning("job {} ({} {}): {}", running->job.id.value, running->job.kind, running->job.object,
                result.error().what);
    if (!undo_all(running)) return;
  }
  finish(running, std::move(result));
}

Result<Settled> JobBoard::undo_step(const Running& running, const StepRow& step) {
  const std::string point = "undo " + running.job.kind;
  json arguments = step.arguments;
  if (running.before_ns != 0) arguments["before_ns"] = running.before_ns;
  stop_point(point);
  Result<Settled> settled = undo_(step.op, arguments);
  stop_point(point);
  if (!settled && settled.error().code == Code::kNotFound) settled = Settled::kTakenBack;
  if (!settled) return settled;
  Transaction transaction = HOZON_TRY(Transaction::begin(inventory_.database()));
  HOZON_TRY(inventory_.remove_step(step.id));
  if (*settled == Settled::kFinished)
    HOZON_TRY(inventory_.add_step(running.job.id.value, kFinishedMark, json::object()));
  HOZON_TRY(transaction.commit());
  return settled;
}

bool JobBoard::undo_all(const std::shared_ptr<Running>& running) {
  const uint64_t id = running->job.id.value;
  begin_stop_points("undo " + running->job.kind);
  uint64_t newer_than_all = std::numeric_limits<int64_t>::max();
  for (;;) {
    Result<std::vector<StepRow>> steps = inventory_.steps(id);
    if (steps) {
      std::erase_if(*steps, [&](const StepRow& step) {
        const bool is_mark = step.op == kFinishedMark;
        // A job of this run that failed after its commit has said so itself.
        running->finished_by_undo |= is_mark && running->is_recovery;
        return is_mark || step.id >= newer_than_all;
      });
    }
    if (steps && steps->empty()) return true;
    const Result<Settled> settled =
        steps ? undo_step(*running, steps->back()) : std::unexpected(steps.error());
    if (settled) {
      running->finished_by_undo |= *settled == Settled::kFinished;
      continue;
    }
    if (steps && !may_succeed_later(settled.error().code)) {
      log_error("job {}: {} could not be undone: {}", id, steps->back().op, settled.error().what);
      running->undo_failures.push_back(
          fmt::format("{}: {}", steps->back().op, settled.error().what));
      newer_than_all = steps->back().id;
      continue;
    }
    update({id},
           [&](Running& self) { self.job.step = "waits to roll back: " + settled.error().what; });
    Guard guard(mutex_);
    changed_.wait_for(guard, kUndoPause, [this] { return ending_; });
    if (!ending_) continue;
    running->ended = true;
    changed_.notify_all();
    return false;
  }
}

void JobBoard::finish(const std::shared_ptr<Running>& running, Result<json> result) {
  Job ended;
  {
    const Guard guard(mutex_);
    ended = running->job;
  }
  ended.ended_ns = wall_clock_ns();
  ended.state = JobState::kDone;
  ended.eta_ms.reset();
  if (result) {
    ended.result = *std::move(result);
    if (ended.progress_total > 0) ended.progress_done = ended.progress_total;
    ended.steps_done = ended.steps_total;
  } else if (!running->undo_failures.empty()) {
    ended.state = JobState::kUndoFailed;
    ended.step = "could not be taken back: " + running->undo_failures.front();
    ended.error = std::move(result.error());
  } else if (running->finished_by_undo) {
    ended.step = "finished after it was interrupted: " + result.error().what;
    ended.error.reset();
  } else {
    ended.state =
        result.error().code == Code::kCancelled ? JobState::kCancelled : JobState::kFailed;
    ended.error = std::move(result.error());
  }
  const std::string point = (running->is_recovery ? "undo " : "") + running->job.kind;
  stop_point(point);
  if (const Status saved = inventory_.finish_job(ended); !saved)
    log_error("job {}: its end could not be recorded: {}", ended.id.value, saved.error().what);
  stop_point(point);
  // Who holds the board may be waiting for this very end: so not for ever.
  const Hold nobody_compares(begins_, std::chrono::milliseconds(kHoldMsMax));
  const Guard guard(mutex_);
  running->job = std::move(ended);
  running->ended = true;
  free_locks(*running);
  changed_.notify_all();
}

void JobBoard::free_locks(const Running& running) {
  for (const std::string& lock : running.locks) {
    const auto found = locks_.find(lock);
    if (found != locks_.end() && found->second.job == running.job.id.value) locks_.erase(found);
  }
  tell_({.job = running.job, .locks = running.locks, .is_locked = false});
}

Status JobBoard::recover() {
  for (JobRow& row : HOZON_TRY(inventory_.unfinished_jobs())) {
    auto running = std::make_shared<Running>();
    running->job = std::move(row.job);
    Error error{Code::kUnavailable,
                "hozond ended while the job ran; what it had begun was taken back", 0};
    if (running->job.state == JobState::kUndoFailed) {
      running->before_ns = running->job.ended_ns;
      if (running->job.error) error = *running->job.error;
    }
    running->job.state = JobState::kRunning;
    running->job.step = "rolling back after hozond was interrupted";
    running->locks = std::move(row.locks);
    running->is_recovery = true;
    const Guard guard(mutex_);
    (void)take_locks(running->locks, running->job, running->job.object);
    running_[running->job.id.value] = running;
    log_info("job {} ({} {}) was interrupted: settling it", running->job.id.value,
             running->job.kind, running->job.object);
    running->thread = std::thread([this, running, error] {
      if (!undo_all(running)) return;
      finish(running, std::unexpected(error));
    });
  }
  return inventory_.trim_jobs(kKept);
}

void JobBoard::end() {
  {
    const Guard guard(mutex_);
    ending_ = true;
    changed_.notify_all();
  }
  for (;;) {
    std::shared_ptr<Running> next;
    {
      const Guard guard(mutex_);
      if (running_.empty()) return;
      next = running_.begin()->second;
    }
    if (next->thread.joinable()) next->thread.join();
    const Guard guard(mutex_);
    running_.erase(next->job.id.value);
  }
}

// Threads of ended jobs are joined by whoever begins or asks next, so that none pile up.
void JobBoard::join_ended() {
  std::vector<std::shared_ptr<Running>> ended;
  {
    const Guard guard(mutex_);
    if (ending_) return;
    std::erase_if(running_, [&](const auto& entry) {
      if (entry.second->ended) ended.push_back(entry.second);
      return entry.second->ended;
    });
  }
  for (const auto& running : ended)
    if (running->thread.joinable()) running->thread.join();
}

Result<Job> JobBoard::job(JobId id) {
  {
    const Guard guard(mutex_);
    const auto found = running_.find(id.value);
    if (found != running_.end()) return explained(found->second->job);
  }
  Job job = HOZON_TRY(inventory_.job(id.value));
  return explained(std::move(job));
}

std::vector<Job> JobBoard::jobs(size_t most) {
  std::vector<Job> jobs = inventory_.jobs(most).value_or(std::vector<Job>{});
  const Guard guard(mutex_);
  for (Job& job : jobs)
    if (const auto found = running_.find(job.id.value); found != running_.end())
      job = found->second->job;
  for (Job& job : jobs) explain_job(job);
  return jobs;
}

Result<Job> JobBoard::wait(JobId id, int timeout_ms) {
  {
    Guard guard(mutex_);
    const auto found = running_.find(id.value);
    if (found != running_.end()) {
      const std::shared_ptr<Running> running = found->second;
      const auto has_ended = [&] { return running->ended || ending_; };
      if (timeout_ms < 0)
        changed_.wait(guard, has_ended);
      else
        changed_.wait_for(guard, std::chrono::milliseconds(timeout_ms), has_ended);
      return running->job;
    }
  }
  return inventory_.job(id.value);
}

Status JobBoard::cancel(JobId id) {
  {
    const Guard guard(mutex_);
    const auto found = running_.find(id.value);
    if (found != running_.end() && !found->second->ended) {
      if (found->second->is_recovery)
        return make_error(Code::kWrongState, "job {} is rolling back already", id.value);
      found->second->cancel_wanted = true;
      return {};
    }
  }
  HOZON_TRY(inventory_.job(id.value));
  return make_error(Code::kWrongState, "job {} has ended", id.value);
}

bool JobBoard::is_ending() {
  const Guard guard(mutex_);
  return ending_;
}

std::optional<Lock> JobBoard::lock_of(const std::string& lock) {
  const Guard guard(mutex_);
  const auto found = locks_.find(lock);
  if (found == locks_.end()) return std::nullopt;
  return found->second;
}

void JobBoard::update(JobId id, const std::function<void(Running&)>& change) {
  const Guard guard(mutex_);
  const auto found = running_.find(id.value);
  if (found != running_.end()) change(*found->second);
}

}  // namespace hozon::control
