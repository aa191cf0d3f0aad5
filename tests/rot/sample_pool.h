// tests/rot/sample_pool.h
// A small pool that has everything: volumes with trees of several heights, snapshots, a clone, a
// fork, a deleted volume's points, more catalog records than one block holds, and a journal that
// the next opening must replay. It was left by a kill. Of an earlier time there is an image too,
// for damage that brings back old content.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/task.h"
#include "sim_executor.h"
#include "sim_power.h"
#include "store/pool.h"

namespace hozon::rot {

inline constexpr uint64_t kDataBytes = 4 << 20;
inline constexpr uint64_t kJournalBytes = 256 << 10;
// The last writes, each flushed: this block of this volume holds the number of the last one.
inline constexpr std::string_view kCounterVolume = "counter";
inline constexpr uint64_t kCounterWrites = 6;

// One opening of a pool. What it returns as text is empty when all is well.
class Opening {
 public:
  explicit Opening(sim::SimPower& power, uint64_t seed = 1)
      : executor(seed, &power), power_(power) {
    power.attach(executor);
  }
  ~Opening();
  template <typename T>
  T run(Task<T> task) {
    T result{};
    HOZON_CHECK(executor.run(std::move(task), result) == sim::SimExecutor::End::kDone);
    return result;
  }
  Status open(bool read_only);
  Status close();

  sim::SimExecutor executor;
  std::unique_ptr<store::Pool> pool;

 private:
  sim::SimPower& power_;
};

// A volume, or a point of one, as a reader names it.
struct Export {
  std::string volume;
  std::string point;  // empty: the head
  auto operator<=>(const Export&) const = default;
};
std::string to_text(const Export& one);

struct Sample {
  std::unique_ptr<sim::SimPower> now;
  std::unique_ptr<sim::SimPower> old;
  // What must be read, by block index: the blocks that are mapped, and some that are not.
  std::map<Export, std::map<uint64_t, std::vector<std::byte>>> content;
  // Blocks of `data` that the checkpoint uses and that replaying the journal makes unused.
  std::set<uint64_t> replaced;
};
Sample make_sample();

}  // namespace hozon::rot
