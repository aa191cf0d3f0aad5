// tests/sim/mutants_test.cc
// Proves that the simulation is not blind: with each bug that is planted in the store it turns red
// within a bounded number of histories, and without them it is green. Bugs that show rarely are
// left to `sim_mutants` (make mutants), which hunts all of them.

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "mutant_hunt.h"

namespace hozon::sim {
namespace {

constexpr uint64_t kSeedsMost = 150;

TEST(Mutants, NoneIsGreen) {
  const Catch seen = hunt(quarries()[0], 2);
  EXPECT_FALSE(seen.caught) << seen.by;
  EXPECT_GT(seen.crashes, 2000u);
}

TEST(Mutants, AllAreHuntedByTheirNames) {
  std::set<store::Mutant> planted;
  std::set<std::string_view> names;
  for (const Quarry& quarry : quarries()) {
    planted.insert(quarry.mutant);
    names.insert(quarry.name);
    EXPECT_FALSE(quarry.shapes.empty()) << quarry.name;
  }
  EXPECT_EQ(planted.size(), static_cast<size_t>(store::Mutant::kEnd));
  EXPECT_EQ(names.size(), planted.size());
}

// Of its own, because other shapes of history notice most of these, too.
TEST(Mutants, TheStormNoticesWhatLosesBlocksOrGivesAwayWhatIsInUse) {
  using enum store::Mutant;
  const std::set<store::Mutant> about_space = {
      kLostRetire,       kUnsharedForgotten,  kWalkOffByOne,       kForkDroppedEarly,
      kSharedBlockFreed, kOwnedSurvivesClone, kOwnedSurvivesReturn};
  uint64_t hunted = 0;
  for (Quarry quarry : quarries()) {
    if (!about_space.contains(quarry.mutant)) continue;
    ++hunted;
    quarry.shapes = {Shape::kStorm};
    EXPECT_TRUE(hunt(quarry, kSeedsMost).caught) << quarry.name;
  }
  EXPECT_EQ(hunted, about_space.size());
}

class PlantedBug : public testing::TestWithParam<Quarry> {};

TEST_P(PlantedBug, IsNoticed) {
  const Catch seen = hunt(GetParam(), kSeedsMost);
  EXPECT_TRUE(seen.caught) << GetParam().name << ": " << GetParam().breaks;
  fmt::print("{} histories, {} crashes: {}\n", seen.histories, seen.crashes, seen.by);
}

std::vector<Quarry> quick() {
  std::vector<Quarry> found;
  for (const Quarry& quarry : quarries().subspan(1))
    if (!quarry.slow) found.push_back(quarry);
  return found;
}

std::string test_name(const testing::TestParamInfo<Quarry>& info) {
  std::string name(info.param.name);
  std::ranges::replace(name, ' ', '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(Quick, PlantedBug, testing::ValuesIn(quick()), test_name);

}  // namespace
}  // namespace hozon::sim
