// sim_storm: cycles of making and removing (storm.h), as many as asked for.

#include <fmt/format.h>

#include <chrono>
#include <cstdlib>
#include <string_view>

#include "storm.h"

namespace {

constexpr std::string_view kHelp = R"(usage: sim_storm [--cycles N] [--seed N]
Makes and removes volumes, points, clones and returns in any order; after each cycle what is in use
must be what a model predicts.
  --cycles N   so many (default 100000)       --seed N   of the storm (default 1)
example: sim_storm --cycles 2000 --seed 7
)";
constexpr uint64_t kReportEvery = 5000;

}  // namespace

int main(int argc, char** argv) {
  uint64_t cycles = 100'000, seed = 1;
  for (int i = 1; i < argc; ++i) {
    const std::string_view name = argv[i];
    if (i + 1 < argc && name == "--cycles")
      cycles = std::strtoull(argv[++i], nullptr, 10);
    else if (i + 1 < argc && name == "--seed")
      seed = std::strtoull(argv[++i], nullptr, 10);
    else {
      fmt::print("{}", kHelp);
      return 2;
    }
  }
  const auto start = std::chrono::steady_clock::now();
  hozon::sim::Storm storm(seed);
  std::string wrong = storm.begin();
  const auto& done = storm.counters();
  while (wrong.empty() && done.cycles < cycles) {
    wrong = storm.cycle();
    if (done.cycles > 0 && done.cycles % kReportEvery == 0) fmt::print("{} cycles\n", done.cycles);
  }
  if (wrong.empty()) wrong = storm.end();
  if (!wrong.empty()) fmt::print("FAILED seed {}: {}\n", seed, wrong);
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  fmt::print(
      "{} cycles in {:.1f} s: {} snapshots, {} clones, {} returns, {} deletes, {} writes, {} "
      "discards; {} clean ends, {} kills; in the middle {} exact comparisons, {} with forks\n",
      done.cycles, seconds, done.snapshots, done.clones, done.returns, done.deletes, done.writes,
      done.discards, done.reopened, done.killed, done.exact, done.bounded);
  return wrong.empty() ? 0 : 1;
}
