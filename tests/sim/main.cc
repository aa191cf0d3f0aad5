// tests/sim/main.cc
// sim: runs worlds, one seed after the other, and says how to repeat what fails.

#include <fmt/format.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <string>
#include <string_view>

#include "shrink.h"
#include "world.h"

namespace {

using hozon::sim::World;
using hozon::sim::WorldCounters;
using hozon::sim::WorldOptions;

constexpr std::string_view kHelp = R"(usage: sim [options]
Simulates a pool, its users, and crashes; every choice follows from the seed. Runs until it is
stopped (Ctrl-C, SIGTERM), a seed fails, or one of the bounds is met; then prints a summary.
  --seed N        the first seed (default 1); with --seeds 1 it repeats one history
  --seeds N       so many seeds at most
  --seconds N     so long at most
  --cuts N        so many crashes at most
  --shrink        makes a failing history shorter, and prints how to repeat it
  --away BITS     these actors stay away          --skip A-B,... steps to leave out
  --lives N       openings of the pool per seed     --steps N   operations per life
  --probes N      crashes tried per life            --depth N   crashes during recovery
  --small         only small volumes                --faults    devices fail, too
  --data BYTES    size of the data device           --journal BYTES
  --guests N      guests at most                    --admins N  administrators at most
  --no-garbage    sectors are atomic
  --crowded       guests take the last free block
  --fua-percent N of writes                         --admin-rest NS
  --volumes N     at most                           --points N  at most
  --audit-every N everything is audited after each administration, in one seed of N (4)
  --paranoid      the pool checks itself after each administration
  --verbose       print each operation              --twice     run each seed twice and compare
  --keep-going    go on after a failure
example: sim --seed 17 --seeds 1 --verbose
)";

struct Arguments {
  WorldOptions world;
  uint64_t seeds = UINT64_MAX;
  double seconds = 1e18;
  uint64_t cuts = UINT64_MAX;
  bool twice = false;
  bool keep_going = false;
  bool shrink = false;
};

constexpr uint64_t kTwiceEvery = 20;  // seeds: one in so many is run twice, to see that it repeats
constexpr uint64_t kShrinkTries = 400;
constexpr double kReportSeconds = 30;

volatile std::sig_atomic_t g_stopped = 0;

std::vector<std::pair<uint64_t, uint64_t>> parse_ranges(const char* text) {
  std::vector<std::pair<uint64_t, uint64_t>> ranges;
  for (char* end = nullptr; *text != 0; text = *end == ',' ? end + 1 : end) {
    const uint64_t first = std::strtoull(text, &end, 10);
    const uint64_t last = *end == '-' ? std::strtoull(end + 1, &end, 10) : first;
    ranges.emplace_back(first, last);
    if (*end != ',' && *end != 0) break;
  }
  return ranges;
}

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
      args.seconds = static_cast<double>(number());
    else if (name == "--cuts")
      args.cuts = number();
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
    else if (name == "--audit-every")
      args.world.audit_every = number();
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
    else if (name == "--shrink")
      args.shrink = true;
    else if (name == "--away")
      args.world.actors_away = number();
    else if (name == "--skip")
      args.world.skipped = parse_ranges(i + 1 < argc ? argv[++i] : "");
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
      "{} lives, {} steps: {} writes, {} reads, {} flushes, {} admin ({} refused, {} followed by a "
      "whole audit): "
      "{} snapshots ({} of several volumes), {} returns, {} clones, {} deletes\n",
      c.lives, c.steps, c.writes, c.reads, c.flushes, c.admin, c.refused, c.audited, c.snapshots,
      c.groups, c.returns, c.clones, c.deletes);
}

// Empty, or what is wrong.
std::string run_seed(const Arguments& args, WorldCounters& total, std::string& story) {
  World world(args.world);
  std::string wrong = world.run();
  total += world.counters();
  story = world.story();
  if (!wrong.empty() || (!args.twice && args.world.seed % kTwiceEvery != 0)) return wrong;
  World again(args.world);
  (void)again.run();
  if (again.trace_hash() != world.trace_hash())
    wrong = fmt::format("seed {}: two runs differ", args.world.seed);
  return wrong;
}

void print_shrunk(const WorldOptions& failing, int argc, char** argv) {
  fmt::print("making it shorter ...\n");
  std::fflush(stdout);
  const hozon::sim::Shrunk shrunk = hozon::sim::shrink(failing, kShrinkTries);
  std::string command = argv[0];
  for (int i = 1; i < argc; ++i) {
    const std::string_view name = argv[i];
    const bool bound = name == "--seed" || name == "--seeds" || name == "--seconds" ||
                       name == "--cuts" || name == "--away" || name == "--skip";
    if (bound) ++i;
    if (!bound && name != "--shrink") command += fmt::format(" {}", name);
  }
  fmt::print(
      "{} steps of {} are left after {} tries; repeat with\n  {} --seed {} --seeds 1{} --verbose\n",
      shrunk.steps_left, shrunk.steps_asked, shrunk.tries, command, failing.seed,
      hozon::sim::shrunk_arguments(shrunk.options));
}

}  // namespace

int main(int argc, char** argv) {
  Arguments args;
  if (!parse(argc, argv, args)) {
    fmt::print("{}", kHelp);
    return 2;
  }
  std::signal(SIGINT, [](int) { g_stopped = 1; });
  std::signal(SIGTERM, [](int) { g_stopped = 1; });
  const double start = now_seconds();
  double reported = start;
  WorldCounters total;
  uint64_t seeds = 0, failures = 0;
  const auto crashes = [&] { return total.crashes.cuts + total.crashes.kills; };
  for (; g_stopped == 0 && seeds < args.seeds && now_seconds() - start < args.seconds &&
         crashes() < args.cuts;
       ++args.world.seed) {
    std::string story;
    const std::string wrong = run_seed(args, total, story);
    ++seeds;
    if (now_seconds() - reported > kReportSeconds) {
      reported = now_seconds();
      fmt::print("{} seeds, {} crashes, {:.0f}/s\n", seeds, crashes(),
                 static_cast<double>(crashes()) / (reported - start));
      std::fflush(stdout);
    }
    if (wrong.empty()) continue;
    ++failures;
    if (!args.keep_going) fmt::print("{}", story);
    fmt::print("FAILED {}\n", wrong);
    if (args.shrink) print_shrunk(args.world, argc, argv);
    if (!args.keep_going) break;
  }
  print_summary(total, seeds, failures, now_seconds() - start);
  return failures == 0 ? 0 : 1;
}
