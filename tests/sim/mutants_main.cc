// tests/sim/mutants_main.cc
// sim_mutants: plants each bug in turn and prints which history shows it. Ends with 1 when one of
// them was not noticed, or when the store without any is not green.

#include <fmt/format.h>

#include <cstdlib>
#include <string_view>

#include "mutant_hunt.h"

namespace {

constexpr std::string_view kHelp = R"(usage: sim_mutants [--seeds N] [--only NAME] [--list]
Hunts the bugs planted in the store; each must turn the simulation red.
  --seeds N      histories of each shape at most (default 400)
  --only NAME    this one
example: sim_mutants --only 'early reuse'
)";

struct Arguments {
  uint64_t seeds = 400;
  std::string_view only;
  bool list = false;
};

bool parse(int argc, char** argv, Arguments& args) {
  for (int i = 1; i < argc; ++i) {
    const std::string_view name = argv[i];
    if (name == "--seeds" && i + 1 < argc)
      args.seeds = std::strtoull(argv[++i], nullptr, 10);
    else if (name == "--only" && i + 1 < argc)
      args.only = argv[++i];
    else if (name == "--list")
      args.list = true;
    else
      return false;
  }
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  using hozon::sim::Catch;
  using hozon::sim::Quarry;
  Arguments args;
  if (!parse(argc, argv, args)) {
    fmt::print("{}", kHelp);
    return 2;
  }
  uint64_t hunted = 0, missed = 0;
  if (!args.list)
    fmt::print("{:<26} {:>9} {:>8} {:>7}  {}\n", "planted bug", "histories", "crashes", "seconds",
               "noticed by");
  for (const Quarry& quarry : hozon::sim::quarries()) {
    if (!args.only.empty() && quarry.name != args.only) continue;
    if (args.list) {
      fmt::print("{:<26} {}\n", quarry.name, quarry.breaks);
      continue;
    }
    const bool none = quarry.mutant == hozon::store::Mutant::kNone;
    const Catch seen = hunt(quarry, none ? 8 : args.seeds);
    const bool right = seen.caught != none;
    hunted += none ? 0 : 1;
    missed += right ? 0 : 1;
    fmt::print("{:<26} {:>9} {:>8} {:>7.1f}  {}\n", quarry.name, seen.histories, seen.crashes,
               seen.seconds,
               seen.caught ? seen.by
               : none      ? "nothing, rightly"
                           : "NOTHING");
    std::fflush(stdout);
  }
  if (args.list) return 0;
  fmt::print("{} planted bugs, {} not as it should be\n", hunted, missed);
  return missed == 0 ? 0 : 1;
}
