#include "control/job_board.h"

#include <chrono>

#include "base/log.h"
#include "control/names.h"

namespace hozon::control {
namespace {

using nlohmann::json;

constexpr auto kUndoPause = std::chrono::seconds(1);

bool may_succeed_later(Code code) { return code == Code::kUnavailable || code == Code::kBusy; }

}  // namespace

// ---- JobRun ----

void JobRun::step(const std::string& words) {
  board_.update(id_, [&](Job& job) { job.step = words; });
}

void JobRun::progress(uint64_t done, uint64_t total) {
  board_.update(id_, [&](Job& job) {
    job.progress_done = done;
    job.progress_total = total;
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
  return board_.inventory_.add_step(id_.value, action, arguments);
}

Status JobRun::forget(uint64_t action) { return board_.inventory_.remove_step(action); }

Status JobRun::commit(const std::function<Status()>& change) {
  Transaction transaction = HOZON_TRY(Transaction::begin(board_.inventory_.database()));
  HOZON_TRY(board_.inventory_.clear_steps(id_.value));
  HOZON_TRY(change());
  return transaction.commit();
}

void JobRun::set_result(json result) {
  board_.update(id_, [&](Job& job) { job.result = std::move(result); });
}

// ---- JobBoard ----

JobBoard::JobBoard(Inventory& inventory, Undo undo)
    : inventory_(inventory), undo_(std::move(undo)) {}

JobBoard::~JobBoard() { end(); }

Status JobBoard::take_locks(const std::vector<std::string>& locks, const Job& job,
                            const std::string& subject) {
  for (const std::string& lock : locks) {
    const auto taken = locks_.find(lock);
    if (taken == locks_.end()) continue;
    return make_error(
        Code::kBusy, "{} is busy: job {} ({}) works on it; `hozon job show {}` shows how far it is",
        subject, taken->second.job, taken->second.reason, taken->second.job);
  }
  for (const std::string& lock : locks) locks_[lock] = Lock{job.kind, job.id.value};
  return {};
}

Result<std::optional<JobId>> JobBoard::find_key(const std::string& key) {
  std::optional<JobId> id;
  if (key.empty()) return id;
  const std::optional<uint64_t> found = HOZON_TRY(inventory_.job_of_key(key));
  if (found) id = JobId{*found};
  return id;
}

Result<JobId> JobBoard::begin(const Begin& begin, Work work) {
  join_ended();
  const Guard guard(mutex_);
  if (ending_) return make_error(Code::kUnavailable, "hozond is ending: try again in a moment");
  if (running_.size() >= kRunningMax)
    return make_error(Code::kResourceExhausted, "{} jobs are running, which is the limit",
                      running_.size());
  auto running = std::make_shared<Running>();
  running->job.kind = begin.kind;
  running->job.object = begin.object;
  running->job.created_ns = wall_clock_ns();
  running->locks = begin.locks;
  HOZON_TRY(take_locks(begin.locks, running->job, begin.subject));
  const Result<uint64_t> id = inventory_.insert_job({running->job, begin.key, begin.locks});
  for (const std::string& lock : begin.locks) {
    if (id)
      locks_[lock].job = *id;
    else
      locks_.erase(lock);
  }
  if (!id) return std::unexpected(id.error());
  running->job.id = JobId{*id};
  running_[*id] = running;
  running->thread = std::thread([this, running, work = std::move(work)] { run(running, work); });
  return running->job.id;
}

void JobBoard::run(const std::shared_ptr<Running>& running, const Work& work) {
  JobRun self(*this, running->job.id);
  Result<json> result = work(self);
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

bool JobBoard::undo_all(const std::shared_ptr<Running>& running) {
  const uint64_t id = running->job.id.value;
  for (;;) {
    const Result<std::vector<StepRow>> steps = inventory_.steps(id);
    if (steps && steps->empty()) return true;
    Status undone = steps ? Status() : std::unexpected(steps.error());
    if (steps) {
      const StepRow& last = steps->back();
      undone = undo_(last.op, last.arguments);
      if (!undone &&
          (undone.error().code == Code::kNotFound || !may_succeed_later(undone.error().code))) {
        if (undone.error().code != Code::kNotFound)
          log_error("job {}: {} could not be undone: {}", id, last.op, undone.error().what);
        undone = {};
      }
      if (undone) undone = inventory_.remove_step(last.id);
    }
    if (undone) continue;
    update({id}, [&](Job& job) { job.step = "waits to roll back: " + undone.error().what; });
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
  if (result) {
    ended.result = *std::move(result);
    if (ended.progress_total > 0) ended.progress_done = ended.progress_total;
  } else {
    ended.state =
        result.error().code == Code::kCancelled ? JobState::kCancelled : JobState::kFailed;
    ended.error = std::move(result.error());
  }
  if (const Status saved = inventory_.finish_job(ended); !saved)
    log_error("job {}: its end could not be recorded: {}", ended.id.value, saved.error().what);
  const Guard guard(mutex_);
  running->job = std::move(ended);
  running->ended = true;
  for (const std::string& lock : running->locks) locks_.erase(lock);
  changed_.notify_all();
}

Status JobBoard::recover() {
  for (JobRow& row : HOZON_TRY(inventory_.unfinished_jobs())) {
    auto running = std::make_shared<Running>();
    running->job = std::move(row.job);
    running->job.step = "rolling back after hozond was interrupted";
    running->locks = std::move(row.locks);
    running->is_recovery = true;
    const Guard guard(mutex_);
    (void)take_locks(running->locks, running->job, running->job.object);
    running_[running->job.id.value] = running;
    log_info("job {} ({} {}) was interrupted: settling it", running->job.id.value,
             running->job.kind, running->job.object);
    running->thread = std::thread([this, running] {
      if (!undo_all(running)) return;
      finish(running, make_error(Code::kUnavailable,
                                 "hozond ended while the job ran; what it had begun was settled"));
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
    if (found != running_.end()) return found->second->job;
  }
  return inventory_.job(id.value);
}

std::vector<Job> JobBoard::jobs(size_t most) {
  std::vector<Job> jobs = inventory_.jobs(most).value_or(std::vector<Job>{});
  const Guard guard(mutex_);
  for (Job& job : jobs)
    if (const auto found = running_.find(job.id.value); found != running_.end())
      job = found->second->job;
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

std::optional<Lock> JobBoard::lock_of(const std::string& lock) {
  const Guard guard(mutex_);
  const auto found = locks_.find(lock);
  if (found == locks_.end()) return std::nullopt;
  return found->second;
}

void JobBoard::update(JobId id, const std::function<void(Job&)>& change) {
  const Guard guard(mutex_);
  const auto found = running_.find(id.value);
  if (found != running_.end()) change(found->second->job);
}

}  // namespace hozon::control
