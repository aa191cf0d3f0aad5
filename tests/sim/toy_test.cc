// tests/sim/toy_test.cc
// Proves the harness: with a pool that is trivially right, hundreds of worlds are green; with each
// of its flaws one of a few worlds is red; and a seed replays its history exactly.

#include <gtest/gtest.h>

#include "shrink.h"
#include "toy/toy_pool.h"
#include "world.h"

namespace hozon::sim {
namespace {

WorldOptions toy_options(uint64_t seed) {
  WorldOptions options;
  options.seed = seed;
  options.journal_bytes = 4_MiB;  // the toy keeps everything there
  options.lives = 4;
  options.layout = SimPower::Layout::kTwoDisks;  // it has no superblock that could say otherwise
  options.garbage = false;                       // the toy's log writes to a sector more than once
  options.faults = seed % 2 == 0;
  return options;
}

// The first seed of `seeds` that fails with the flaw; 0: none does.
uint64_t first_red_seed(ToyFlaw flaw, uint64_t seeds) {
  set_toy_flaw(flaw);
  uint64_t red = 0;
  for (uint64_t seed = 1; seed <= seeds && red == 0; ++seed)
    if (!World(toy_options(seed)).run().empty()) red = seed;
  set_toy_flaw(ToyFlaw::kNone);
  return red;
}

TEST(Toy, IsGreenWhenItIsRight) {
  WorldCounters total;
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    World world(toy_options(seed));
    ASSERT_EQ(world.run(), "") << world.story();
    total += world.counters();
  }
  // A suite that injects nothing is green, too.
  EXPECT_GT(total.crashes.cuts, 100u);
  EXPECT_GT(total.crashes.kills, 30u);
  EXPECT_GT(total.crashes.kept, 100u);
  EXPECT_GT(total.crashes.dropped, 100u);
  EXPECT_GT(total.crashes.torn, 20u);
  EXPECT_GT(total.crashes.faults, 20u);
  EXPECT_GT(total.snapshots, 100u);
  EXPECT_GT(total.returns, 50u);
  EXPECT_GT(total.deletes, 100u);
}

TEST(Toy, RepeatsItsHistoryWithTheSameSeed) {
  for (uint64_t seed = 1; seed <= 4; ++seed) {
    World first(toy_options(seed)), second(toy_options(seed));
    ASSERT_EQ(first.run(), "");
    ASSERT_EQ(second.run(), "");
    EXPECT_EQ(first.trace_hash(), second.trace_hash());
    EXPECT_EQ(first.counters().steps, second.counters().steps);
  }
}

// What is left of a failing history still fails, and is a small part of it.
TEST(Toy, ShrinksAFailingHistory) {
  const uint64_t red = first_red_seed(ToyFlaw::kFlushWithoutSync, 20);
  ASSERT_NE(red, 0u);
  set_toy_flaw(ToyFlaw::kFlushWithoutSync);
  const Shrunk shrunk = shrink(toy_options(red), 200);
  const bool still_red = !World(shrunk.options).run().empty();
  set_toy_flaw(ToyFlaw::kNone);
  EXPECT_TRUE(still_red);
  EXPECT_GT(shrunk.steps_asked, 0u);
  EXPECT_LE(shrunk.steps_left * 2, shrunk.steps_asked);
  EXPECT_TRUE(World(shrunk.options).run().empty()) << "green without the flaw";
}

TEST(Toy, IsRedWithEachFlaw) {
  for (int flaw = static_cast<int>(ToyFlaw::kFlushWithoutSync);
       flaw <= static_cast<int>(ToyFlaw::kTrustsSecondSync); ++flaw) {
    const uint64_t red = first_red_seed(static_cast<ToyFlaw>(flaw), 150);
    EXPECT_NE(red, 0u) << "flaw " << flaw << " was not noticed";
    RecordProperty(fmt::format("flaw_{}", flaw), static_cast<int>(red));
    fmt::print("flaw {} noticed with seed {}\n", flaw, red);
  }
}

}  // namespace
}  // namespace hozon::sim
