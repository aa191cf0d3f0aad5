// tests/sim/main.cc
// sim: runs worlds, one seed after the other, and says how to repeat what fails.

#include <fmt/format.h>

#include <chrono>
#include <cstdlib>
#include <string>
#include <string_view>

#include "world.h"

namespace {

using hozon::sim::World;
using hozon::sim::WorldCounters;
using hozon::sim::WorldOptions;

constexpr std::string_view kHelp = R"(usage: sim [options]
Simulates a pool, its users, and crashes; every choice follows from the seed.
  --seed N        the first seed (default 1); with --seeds 1 it repeats one history
  --seeds N       how many seeds (default 100)
  --seconds N     stop after this time instead
  --cuts N        stop after this many crashes instead
  --lives N       openings of the pool per seed     --steps N   operations per life
  --probes N      crashes tried per life            --depth N   crashes during recovery
  --small         only small volumes                --faults    devices fail, too
  --data BYTES    size of the data device           --journal BYTES
  --guests N      guests at most                    --admins N  administrators at most
  --no-garbage    sectors are atomic
  --crowded       guests take the last free block
  --fua-percent N of writes                         --admin-rest NS
  --volumes N     at most                           --points N  at most
  --paranoid      check after each administration
  --verbose       print each operation              --twice     run each seed twice and compare
  --keep-going    go on after a failure
example: sim --seed 17 --seeds 1 --verbose
)";

struct Arguments {
  WorldOptions world;
  uint64_t seeds = 100;
  double seconds = 1e18;
  uint64_t cuts = UINT64_MAX;
  bool twice = false;
  bool keep_going = false;
};

bool parse(int argc, char** argv, Arguments& args) {
  for (int i = 1; i < argc; ++i) {
    const std::string_view name = argv[i];
    const auto number = [&]() -> uint64_t {
      return i + 1 < argc ? std::strtoull(argv[++i], nullptr, 10) : 0;
    };
    if (name == "--seed")
      args.world.seed = number();
    else if (name == "--seeds")
      args.seeds = number();
    else if (name == "--seconds")
      args.seconds = static_cast<double>(number()), args.seeds = UINT64_MAX;
    else if (name == "--cuts")
      args.cuts = number(), args.seeds = UINT64_MAX;
    else if (name == "--lives")
      args.world.lives = number();
    else if (name == "--steps")
      args.world.steps_per_life = number();
    else if (name == "--probes")
      args.world.probes_per_life = number();
    else if (name == "--depth")
      args.world.recovery_depth = static_cast<unsigned>(number());
    else if (name == "--data")
      args.world.data_bytes = number();
    else if (name == "--journal")
      args.world.journal_bytes = number();
    else if (name == "--small")
      args.world.big_volumes = false;
    else if (name == "--faults")
      args.world.faults = true;
    else if (name == "--verbose")
      args.world.verbose = true;
    else if (name == "--paranoid")
      args.world.paranoid = true;
    else if (name == "--guests")
      args.world.guests_max = number();
    else if (name == "--admins")
      args.world.admins_max = number();
    else if (name == "--no-garbage")
      args.world.garbage = false;
    else if (name == "--crowded")
      args.world.crowded = true;
    else if (name == "--fua-percent")
      args.world.fua_percent = number();
    else if (name == "--admin-rest")
      args.world.admin_rest_ns = number();
    else if (name == "--volumes")
      args.world.volumes_max = number();
    else if (name == "--points")
      args.world.points_max = number();
    else if (name == "--twice")
      args.twice = true;
    else if (name == "--keep-going")
      args.keep_going = true;
    else
      return false;
  }
  return true;
}

double now_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

void print_summary(const WorldCounters& c, uint64_t seeds, uint64_t failures, double seconds) {
  const uint64_t crashes = c.crashes.cuts + c.crashes.kills;
  fmt::print(
      "{} seeds, {} failures, {:.1f} s: {} cuts + {} kills = {:.0f}/s ({} during recovery)\n",
      seeds, failures, seconds, c.crashes.cuts, c.crashes.kills,
      static_cast<double>(crashes) / seconds, c.crashes.during_recovery);
  fmt::print("unstable writes: {} kept, {} dropped, {} torn; {} operations made to fail\n",
             c.crashes.kept, c.crashes.dropped, c.crashes.torn, c.crashes.faults);
  fmt::print("{} damages: {} refused at opening, {} at reading; {} times a full pool\n",
             c.rot.tried, c.rot.refused_opening, c.rot.refused_reads, c.parked);
  fmt::print(
      "{} lives, {} steps: {} writes, {} reads, {} flushes, {} admin ({} refused): "
      "{} snapshots, {} returns, {} clones, {} deletes\n",
      c.lives, c.steps, c.writes, c.reads, c.flushes, c.admin, c.refused, c.snapshots, c.returns,
      c.clones, c.deletes);
}

}  // namespace

int main(int argc, char** argv) {
  Arguments args;
  if (!parse(argc, argv, args)) {
    fmt::print("{}", kHelp);
    return 2;
  }
  const double start = now_seconds();
  WorldCounters total;
  uint64_t seeds = 0, failures = 0;
  for (; seeds < args.seeds && now_seconds() - start < args.seconds &&
         total.crashes.cuts + total.crashes.kills < args.cuts;
       ++seeds, ++args.world.seed) {
    World world(args.world);
    std::string wrong = world.run();
    total += world.counters();
    if (wrong.empty() && args.twice) {
      World again(args.world);
      (void)again.run();
      if (again.trace_hash() != world.trace_hash())
        wrong = fmt::format("seed {}: two runs differ", args.world.seed);
    }
    if (wrong.empty()) continue;
    ++failures;
    if (!args.keep_going) fmt::print("{}", world.story());
    fmt::print("FAILED {}\n", wrong);
    if (!args.keep_going) break;
  }
  print_summary(total, seeds, failures, now_seconds() - start);
  return failures == 0 ? 0 : 1;
}
