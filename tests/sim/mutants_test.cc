// tests/sim/mutants_test.cc
// Proves that the simulation is not blind: with each bug that is planted in the store it turns red
// within a bounded number of worlds, and without them it is green.
// Method: one child process for each bug, because a planted bug may also trip a check and abort.

#include "store/mutants.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "world.h"

namespace hozon::sim {
namespace {

constexpr uint64_t kSeedsMost = 120;
constexpr int kCaught = 3;

// Workloads that are hard on different promises.
enum class Shape { kMixed, kFaults, kCrowded, kCrashUponCrash };

WorldOptions options_for(Shape shape, uint64_t seed) {
  WorldOptions options;
  options.seed = seed * 4 + static_cast<uint64_t>(shape);
  options.probes_per_life = 24;
  options.faults = shape == Shape::kFaults;
  if (shape == Shape::kCrowded) {  // freed blocks are soon taken again
    options.data_bytes = 1_MiB;
    options.big_volumes = false;
    options.volumes_max = 1;
    options.points_max = 2;
    options.steps_per_life = 300;
    options.probes_per_life = 60;
    options.crowded = true;
    options.admin_rest_ns = 100'000'000;
  }
  if (shape == Shape::kCrashUponCrash) {  // the journal holds remains of many lives
    options.lives = 40;
    options.steps_per_life = 16;
    options.big_volumes = false;
    options.volumes_max = 1;
    options.points_max = 2;
    options.recovery_depth = 0;
    options.probes_per_life = 40;
    options.fua_percent = 80;
    options.admin_rest_ns = 100'000'000;
  }
  return options;
}

// Where a bug shows soonest; the others show everywhere.
std::vector<Shape> shapes_for(store::Mutant mutant) {
  switch (mutant) {
    case store::Mutant::kNone:
      return {Shape::kMixed, Shape::kFaults, Shape::kCrowded, Shape::kCrashUponCrash};
    case store::Mutant::kReuseBeforeMark: return {Shape::kCrowded};
    case store::Mutant::kStaleEpoch: return {Shape::kCrashUponCrash};
    default: return {Shape::kMixed, Shape::kCrowded};
  }
}

// In a child: exits with kCaught when a world is red, aborts when a check fails, else exits with 0.
[[noreturn]] void hunt(store::Mutant mutant, uint64_t seeds) {
  const int nowhere = ::open("/dev/null", O_WRONLY);
  ::dup2(nowhere, 2);
  store::set_active_mutant(mutant);
  for (uint64_t seed = 1; seed <= seeds; ++seed) {
    for (const Shape shape : shapes_for(mutant)) {
      const std::string red = World(options_for(shape, seed)).run();
      if (red.empty()) continue;
      fmt::print("red: {:.200}\n", red);
      std::fflush(stdout);
      ::_exit(kCaught);
    }
  }
  ::_exit(0);
}

bool is_caught(store::Mutant mutant, uint64_t seeds) {
  const pid_t child = ::fork();
  if (child == 0) hunt(mutant, seeds);
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFSIGNALED(status) || WEXITSTATUS(status) == kCaught;
}

TEST(Mutants, NoneIsGreen) { EXPECT_FALSE(is_caught(store::Mutant::kNone, 4)); }

class Mutants : public testing::TestWithParam<int> {};

TEST_P(Mutants, IsCaught) {
  EXPECT_TRUE(is_caught(static_cast<store::Mutant>(GetParam()), kSeedsMost));
}

INSTANTIATE_TEST_SUITE_P(All, Mutants,
                         testing::Range(1, static_cast<int>(store::Mutant::kStaleEpoch) + 1));

}  // namespace
}  // namespace hozon::sim
