// tests/sim/storm.h
// Cycles that make and remove volumes, points, clones and returns in any order, and predict from
// the history alone how many blocks are in use. A block that is lost stays lost: so each cycle ends
// where it began, and what is in use must be what was in use then.
//
// The history is a tree of states. A state is a head, a point, or a fork: a state nobody can name
// that is kept because two or more branches come from it. Each block that was written has a number
// of its own; the data blocks in use are the different numbers in the tree.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "random.h"
#include "session.h"

namespace hozon::sim {

struct StormCounters {
  uint64_t cycles = 0;
  uint64_t snapshots = 0, clones = 0, returns = 0, deletes = 0, writes = 0, discards = 0;
  uint64_t exact = 0;     // comparisons in the middle of a cycle that were exact
  uint64_t bounded = 0;   // ... with forks, which may hold what their branches gave up
  uint64_t reopened = 0;  // cycles after a clean end
  uint64_t killed = 0;    // ... after a kill
};

class Storm {
 public:
  explicit Storm(uint64_t seed);
  // Empty, or what is wrong. A storm that was wrong is over.
  std::string begin();
  std::string cycle();
  std::string end() { return session_->close(); }
  const StormCounters& counters() const { return counters_; }

 private:
  static constexpr uint64_t kBlocks = 300;  // of a volume: two leaves of the map
  using Blocks = std::vector<uint64_t>;     // numbers; 0: nothing is mapped
  struct State {
    uint64_t parent = 0;  // 0: none
    Blocks blocks = Blocks(kBlocks);
    bool fork = false;
  };
  struct Volume {
    uint64_t head = 0;
    std::map<std::string, uint64_t> points;
  };

  // --- one operation on pool and history ---
  std::string one();
  std::string create_volume();
  std::string write(const std::string& volume, uint64_t first, uint64_t count);
  std::string discard(const std::string& volume);
  std::string snapshot();
  std::string clone();
  std::string return_to();
  std::string delete_point(const std::string& volume, const std::string& point);
  std::string delete_volume(const std::string& volume);
  std::string stretch_catalog();
  std::string wind_down();
  std::string reopen();
  // --- the history ---
  uint64_t add_state(State state);
  uint64_t freeze(Volume& volume, bool fork);  // the head's state stays, the head goes on
  void remove_state(uint64_t id);
  std::vector<uint64_t> children(uint64_t id) const;
  uint64_t distinct_blocks(bool with_forks) const;
  bool has_forks() const;
  // --- comparing ---
  std::string settle(store::CheckReport& report);
  std::string compare();
  std::string compare_at_rest();
  std::string does(Task<Status> task, std::string_view what);
  template <typename T>
  std::string does(Task<Result<T>> task, std::string_view what);
  std::string new_name(char kind) { return fmt::format("{}{}", kind, ++names_); }
  const std::string& any_volume();
  store::Pool& pool() { return *session_->pool; }

  Random random_;
  std::unique_ptr<SimPower> power_;
  std::unique_ptr<Session> session_;
  std::map<std::string, Volume> volumes_;
  std::map<uint64_t, State> states_;
  uint64_t next_state_ = 1;
  uint64_t next_block_ = 1;
  uint64_t names_ = 0;
  std::optional<uint64_t> live_bytes_;  // at rest
  StormCounters counters_;
};

}  // namespace hozon::sim
