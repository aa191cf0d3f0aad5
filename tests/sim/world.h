// tests/sim/world.h
// A pool and everybody who uses it, driven by one seed: guests that write, read, flush and discard,
// an administrator who makes and removes volumes and points, and a nemesis who kills the process,
// cuts the power (also during recovery), and makes operations fail. After each life the pool is
// opened again and compared completely; besides, crashes are tried on copies while the life goes
// on.
#pragma once

#include <array>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "base/units.h"
#include "rot.h"
#include "session.h"

namespace hozon::sim {

struct WorldOptions {
  uint64_t seed = 1;
  uint64_t data_bytes = 8_MiB;
  uint64_t journal_bytes = 512_KiB;
  // Empty: both forms of a pool in turns, by the seed.
  std::optional<SimPower::Layout> layout = {};
  uint64_t lives = 6;
  uint64_t steps_per_life = 150;  // operations of all actors together
  uint64_t guests_max = 4;
  uint64_t admins_max = 2;
  uint64_t volumes_max = 5;
  uint64_t points_max = 10;
  uint64_t probes_per_life = 12;        // crashes tried on copies
  unsigned recovery_depth = 2;          // crashes during the recovery from a crash ...
  bool big_volumes = true;              // some of up to a TiB, used at their ends
  bool faults = false;                  // some lives have failing devices
  std::optional<FaultRule> fault = {};  // the first life has exactly this failure
  bool garbage = true;                 // a cut may leave garbage in sectors that were being written
  bool crowded = false;                // guests overwrite much and take the last free block
  uint64_t fua_percent = 12;           // of writes
  uint64_t admin_rest_ns = 3'000'000;  // between operations of an administrator, at most
  uint64_t rot_trials = 6;             // damages tried on the resting pool at the end
  bool walk = false;                   // tries crashes of all kinds at every event
  // In one history of so many (0: none) everything is audited after each operation of an
  // administrator, not only what is listed.
  uint64_t audit_every = 4;
  bool paranoid = false;  // the pool checks itself after each operation of an administrator
  bool verbose = false;   // prints every operation
  // For shrinking a failure: actors that stay away, and steps that are left out.
  uint64_t actors_away = 0;                                 // a bit for each, administrators first
  std::vector<std::pair<uint64_t, uint64_t>> skipped = {};  // first and last step
};

struct WorldCounters {
  CrashCounters crashes;
  RotCounters rot;
  uint64_t lives = 0, steps = 0, writes = 0, reads = 0, flushes = 0, admin = 0, refused = 0;
  uint64_t groups = 0;  // snapshots of several volumes
  uint64_t snapshots = 0, returns = 0, clones = 0, deletes = 0, parked = 0;
  uint64_t early_writes = 0;
  uint64_t listed = 0, audited = 0;  // times that an administration was followed by a comparison
  WorldCounters& operator+=(const WorldCounters& other);
};

class World {
 public:
  explicit World(const WorldOptions& options);
  // Empty, or what went wrong, with seed, life and step.
  std::string run();
  const WorldCounters& counters() const { return counters_; }
  uint64_t trace_hash() const { return trace_hash_; }
  uint64_t steps_asked() const { return steps_asked_; }
  // The last operations, oldest first, one a line.
  std::string story() const;

 private:
  friend class Guest;
  friend class Admin;
  struct Plan {  // of one life
    bool crash = false;
    CrashKind kind = CrashKind::kCut;
    uint64_t at_event = 0;  // counted from the opening; 0: when the steps are used up
    bool faulty = false;
  };
  struct VolumeLock {
    bool admin = false;  // an operation on the volume runs
    bool still = false;  // ... that wants no guest I/O meanwhile
    uint64_t io = 0;     // guest operations that run
    uint64_t small = 0;  // of these, smaller than a sector
  };

  std::string live();
  Plan make_plan();
  store::OpenOptions open_options();
  void add_faults();
  bool end_shortage();
  void watch_events(const Plan& plan);
  void capture_crash(CrashKind kind);
  void try_probe();
  void try_all_fates();
  void try_one(const Probe& probe);
  bool audits_steps() const {
    return options_.audit_every != 0 && options_.seed % options_.audit_every == 0;
  }
  void audit_listed();
  void audit_copy();
  Task<void> count_end(Task<void> actor);
  std::string run_actors(const Plan& plan);
  Task<bool> make_room();
  std::string try_damages();
  std::string end_life(const Plan& plan, std::string wrong);
  bool actors_done() const { return actors_running_ == 0; }
  // For actors.
  bool step(std::string text);  // false: the life is over
  void note(std::string text);
  void fail(std::string text);
  bool tolerated(const Error& error) const;
  bool scarce(uint64_t blocks) const;  // fewer free blocks than that beyond the reserve
  std::string new_name(char kind) { return fmt::format("{}{}", kind, ++names_); }
  store::Pool& pool() { return *session_->pool; }

  WorldOptions options_;
  Random random_;
  std::unique_ptr<SimPower> power_;
  std::unique_ptr<SimPower> next_power_;  // what a crash left
  std::unique_ptr<Session> session_;
  Model model_;
  Model::After after_ = Model::After::kQuiet;
  bool dead_ = false;  // this life has crashed: what its actors still hear does not count
  std::string failure_;
  std::map<uint64_t, VolumeLock> locks_;
  std::set<std::pair<uint64_t, uint64_t>> small_sectors_;  // volume, sector: one writer at a time
  uint64_t actors_running_ = 0;
  uint64_t steps_left_ = 0;
  uint64_t steps_asked_ = 0;  // by all actors of all lives, left out or not
  uint64_t probes_left_ = 0;
  uint64_t events_left_ = 0;
  uint64_t names_ = 0;
  uint64_t trace_hash_ = 0;
  WorldCounters counters_;
  std::deque<std::string> story_;
};

// Who a crash of this very process (a failed HOZON_CHECK) is to be blamed on; printed on SIGABRT.
void blame(std::string text);

}  // namespace hozon::sim
