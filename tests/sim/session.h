// tests/sim/session.h
// One opening of a pool on simulated disks, and the trial of a crash on a copy of them.
//
// Every function that returns a string returns an empty one when all is well, else the first thing
// that is wrong. A session that went wrong leaks its pool, because its coroutines may be stuck.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "auditor.h"
#include "model.h"
#include "sim_executor.h"
#include "sim_power.h"
#include "store/pool.h"

namespace hozon::sim {

struct CrashCounters {
  uint64_t cuts = 0, kills = 0;  // crashes after which the pool was opened and compared
  uint64_t during_recovery = 0;  // of these, crashes while the pool was being opened
  uint64_t kept = 0, dropped = 0, torn = 0;
  uint64_t faults = 0;
  CrashCounters& operator+=(const CrashCounters& other);
};

class Session {
 public:
  Session(SimPower& power, uint64_t seed);
  ~Session();
  std::string create();
  std::string open(const store::OpenOptions& options);
  std::string audit(Model& model, const Audit& what);
  std::string close();
  // Runs until `done`; a deadlock or stall is an error that says what was running.
  std::string run_until(const std::function<bool()>& done, std::string_view what,
                        SimExecutor::Limits limits = {});
  template <typename T>
  std::string run(Task<T> task, T& into, std::string_view what) {
    return judge(executor.run(std::move(task), into), what);
  }
  std::string violations() const;

  SimPower& power;
  SimExecutor executor;
  std::unique_ptr<store::Pool> pool;

 private:
  std::string judge(SimExecutor::End end, std::string_view what);
};

// How a crash is tried.
struct Probe {
  Fate fate;
  Model::After after = Model::After::kCut;
  store::OpenOptions open;
  bool garbage = true;
  unsigned depth = 0;           // crashes during the recovery, one within the other, at most
  uint64_t nested_percent = 0;  // how many of the recovery's events are tried
  bool check = true;
  bool reclaim = false;
  bool reopen = false;  // close, open and compare a second time
};

// Copies the disks as a crash at this instant could leave them, opens the pool there and compares.
std::string try_crash(const SimPower& power, const Model& model, const Probe& probe,
                      CrashCounters& counters);
// A fate chosen by `random`, of every kind that is legal.
// `garbage`: a sector that was being written at a cut may hold garbage.
Fate random_fate(Random& random, CrashKind kind, const SimPower& power, bool garbage);

}  // namespace hozon::sim
