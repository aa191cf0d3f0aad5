// src/control/job_board.h
// Runs jobs, each on a thread of its own, with locks, a journal and a way back.
//
// A job is   running   its thread works, or undoes what it did
//            done | failed | cancelled   final; the record says so and its locks are free
//            undo_failed   final for this run of the program: an action of its journal failed for
//                      another reason than that somebody is away. The journal keeps that action,
//                      and recover() of the next run tries it again.
// Invariants
//   J1  A job holds its locks from before its record exists until after it has ended. Locks are
//       memory only: a lock without a living job cannot exist. begin() refuses when one is taken.
//   J2  What a job is about to change outside the inventory is journaled first, with an action that
//       takes it back or finishes it. A job that fails runs these actions, newest first; so does
//       the next start of this program for jobs that it finds unfinished.
//   J3  Actions may be repeated: one that finds its work done succeeds. One that fails because
//       somebody does not answer is repeated until it succeeds; the locks are held meanwhile. One
//       that fails otherwise stays in the journal, and the older ones are run all the same.
//   J4  An action that finishes the job instead of taking it back says so; then the job is done.
//   J5  One idempotency key makes one job, however many calls come at once.
// Threading: any thread.
#pragma once

#include <condition_variable>
#include <functional>
#include <map>
#include <thread>

#include "control/inventory.h"

namespace hozon::control {

class JobBoard;

// What a running job sees of itself. Used by the job's thread only.
class JobRun {
 public:
  JobId id() const { return id_; }
  void plan_steps(uint64_t total);  // how often step() is going to be called
  void step(const std::string& words);
  void progress(uint64_t done, uint64_t total);
  // kCancelled when somebody asked for an end (or this program ends: then nothing is undone now).
  Status check() const;
  bool is_interrupted() const;
  // J2. The action is one of those that the JobBoard's owner knows (undo.cc).
  Result<uint64_t> journal(const std::string& action, const nlohmann::json& arguments);
  // Forgets one action, or with `change` all of them in one transaction with that change: what was
  // done so far will not be undone any more, and a job that is interrupted from here on is done.
  // `change` may journal what has to follow.
  Status forget(uint64_t action);
  Status commit(const std::function<Status()>& change);
  // Shown with the job even when it fails.
  void set_result(nlohmann::json result);

 private:
  friend class JobBoard;
  JobRun(JobBoard& board, JobId id, std::string kind)
      : board_(board), id_(id), kind_(std::move(kind)) {}
  JobBoard& board_;
  JobId id_;
  std::string kind_;
};

// What an action of the journal did.
enum class Settled { kTakenBack, kFinished };

class JobBoard {
 public:
  using Work = std::function<Result<nlohmann::json>(JobRun&)>;
  // An action that is tried again after "undo_failed" finds "before_ns" among its arguments: what
  // was made after that time is not the job's.
  using Undo =
      std::function<Result<Settled>(const std::string& action, const nlohmann::json& arguments)>;
  static constexpr size_t kRunningMax = 64;
  static constexpr size_t kKept = 5000;
  static constexpr int kHoldMsMax = 1000;

  // What changed beyond the inventory: a step or the bytes of a job, or locks that were taken or
  // given back (then `locks`). Called under the board's mutex, and must not wait.
  struct News {
    const Job& job;
    std::vector<std::string> locks = {};
    bool is_locked = false;
  };
  using Tell = std::function<void(const News&)>;

  JobBoard(Inventory& inventory, Undo undo, Tell tell = [](const News&) {});
  ~JobBoard();  // end() first

  struct Begin {
    std::string kind;
    std::string object;
    Caller caller;
    std::vector<std::string> locks;  // "machine:<uuid>", "volume:<pool>/<name>", ...
    std::string subject;             // for people, of a refusal: "machine 'web'"
  };
  // kBusy when a lock is taken; kResourceExhausted when too many jobs run. With caller.plan: only
  // these refusals, no job, the number 0.
  Result<JobId> begin(const Begin& begin, Work work);
  // The job that an idempotency key stands for. kInvalidArgument: of another request.
  Result<std::optional<JobId>> find_job(const Caller& caller);
  // Takes up what the last run of this program left unfinished (J2).
  Status recover();
  // Refuses new jobs, interrupts the running ones, waits for their threads.
  void end();

  // As long as the result lives no job begins, and none that ends gives its locks back (for
  // kHoldMsMax at most); but the thread that holds it may begin one. So what a record shows can be
  // compared, and a job begun, as one step.
  using Hold = std::unique_lock<std::recursive_timed_mutex>;
  Hold hold() { return Hold(begins_); }

  Result<Job> job(JobId id);
  std::vector<Job> jobs(size_t most);
  Result<Job> wait(JobId id, int timeout_ms);
  Status cancel(JobId id);
  std::optional<Lock> lock_of(const std::string& lock);
  bool is_ending();

 private:
  friend class JobRun;
  struct Running {
    Job job;
    std::vector<std::string> locks;
    bool cancel_wanted = false;
    bool is_recovery = false;
    bool ended = false;
    bool finished_by_undo = false;           // J4
    std::vector<std::string> undo_failures;  // sentences
    uint64_t before_ns = 0;                  // when its undo failed in an earlier run
    uint64_t pace_began_us = 0;              // of the bytes that progress() counts
    uint64_t pace_began_bytes = 0;
    uint64_t told_us = 0;  // when the bytes were last told
    std::thread thread;
  };
  using Guard = std::unique_lock<std::mutex>;
  Status refuse_taken(const std::vector<std::string>& locks, const std::string& subject) const;
  Status refuse_too_many() const;
  Result<JobId> plan_only(const Begin& begin);
  Result<uint64_t> usual_duration_us(const Plan& plan);
  Status take_locks(const std::vector<std::string>& locks, const Job& job,
                    const std::string& subject);
  void run(const std::shared_ptr<Running>& running, const Work& work);
  // False when this program ends before everything is undone.
  bool undo_all(const std::shared_ptr<Running>& running);
  Result<Settled> undo_step(const Running& running, const StepRow& step);
  void free_locks(const Running& running);
  void finish(const std::shared_ptr<Running>& running, Result<nlohmann::json> result);
  void update(JobId id, const std::function<void(Running&)>& change);
  void join_ended();

  Inventory& inventory_;
  Undo undo_;
  Tell tell_;
  std::recursive_timed_mutex begins_;  // taken before mutex_
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<uint64_t, std::shared_ptr<Running>> running_;
  std::map<std::string, Lock> locks_;
  bool ending_ = false;
};

}  // namespace hozon::control
