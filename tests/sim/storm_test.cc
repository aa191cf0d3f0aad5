// Proves that no block is ever lost (docs/durability.md, P10 and P11): after each of 500 cycles
// that make and remove volumes, points, clones and returns in any order, what is in use is what a
// model of the history predicts. `sim_storm` does the same for as many cycles as one likes.

#include "storm.h"

#include <gtest/gtest.h>

namespace hozon::sim {
namespace {

TEST(Storm, LeavesNoBlockBehindInFiveHundredCycles) {
  constexpr uint64_t kCycles = 500;
  Storm storm(1);
  ASSERT_EQ(storm.begin(), "");
  for (uint64_t i = 0; i < kCycles; ++i) ASSERT_EQ(storm.cycle(), "");
  ASSERT_EQ(storm.end(), "");
  const StormCounters& done = storm.counters();
  EXPECT_EQ(done.cycles, kCycles);
  EXPECT_GT(done.snapshots, kCycles);
  EXPECT_GT(done.clones, kCycles);
  EXPECT_GT(done.returns, kCycles);
  EXPECT_GT(done.deletes, 4 * kCycles);
  EXPECT_GT(done.exact, 20u);
  EXPECT_GT(done.bounded, 20u);
  EXPECT_GT(done.reopened, 20u);
  EXPECT_GT(done.killed, 20u);
}

}  // namespace
}  // namespace hozon::sim
