// tests/sim/mutants_test.cc
// Proves that the simulation is not blind: with each bug that is planted in the store it turns red
// within a bounded number of worlds, and without them it is green.
// Method: one child process for each bug, because a planted bug may also trip a check and abort.

#include "store/mutants.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "world.h"

namespace hozon::sim {
namespace {

constexpr uint64_t kSeedsMost = 400;
constexpr int kCaught = 3;

WorldOptions options_for(uint64_t seed) {
  WorldOptions options;
  options.seed = seed;
  options.probes_per_life = 24;
  options.faults = seed % 4 == 0;
  if (seed % 2 == 1) {  // little space is reused soon
    options.data_bytes = seed % 4 == 1 ? 1_MiB : 2_MiB;
    options.big_volumes = false;
    options.volumes_max = 2;
    options.points_max = 3;
    options.steps_per_life = 400;
    options.probes_per_life = 100;
  }
  return options;
}

// In a child: exits with kCaught when a world is red, aborts when a check fails, else exits with 0.
[[noreturn]] void hunt(store::Mutant mutant, uint64_t seeds) {
  const int nowhere = ::open("/dev/null", O_WRONLY);
  ::dup2(nowhere, 2);
  store::set_active_mutant(mutant);
  for (uint64_t seed = 1; seed <= seeds; ++seed)
    if (!World(options_for(seed)).run().empty()) ::_exit(kCaught);
  ::_exit(0);
}

bool is_caught(store::Mutant mutant, uint64_t seeds) {
  const pid_t child = ::fork();
  if (child == 0) hunt(mutant, seeds);
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFSIGNALED(status) || WEXITSTATUS(status) == kCaught;
}

TEST(Mutants, NoneIsGreen) { EXPECT_FALSE(is_caught(store::Mutant::kNone, 40)); }

class Mutants : public testing::TestWithParam<int> {};

TEST_P(Mutants, IsCaught) {
  EXPECT_TRUE(is_caught(static_cast<store::Mutant>(GetParam()), kSeedsMost));
}

INSTANTIATE_TEST_SUITE_P(All, Mutants,
                         testing::Range(1, static_cast<int>(store::Mutant::kStaleEpoch) + 1));

}  // namespace
}  // namespace hozon::sim
