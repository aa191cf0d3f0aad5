// tests/sim/cut_count.h
// Counts what all tests of a program tried, says so at its end, and fails when that is less than
// docs/testing.md promises. A run of some of the tests only is not judged.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <ctime>

#include "session.h"

namespace hozon::sim {

class CutCount : public testing::Environment {
 public:
  explicit CutCount(uint64_t cuts_least) : cuts_least_(cuts_least) {}
  void add(const CrashCounters& crashes) { total_ += crashes; }
  void TearDown() override {
    const double seconds = processor_seconds();
    const uint64_t crashes = total_.cuts + total_.kills;
    fmt::print("{} power cuts and {} kills, {} of them during recovery; {:.0f}/s of one core\n",
               total_.cuts, total_.kills, total_.during_recovery,
               static_cast<double>(crashes) / seconds);
    const auto& tests = *testing::UnitTest::GetInstance();
    if (tests.test_to_run_count() == tests.total_test_count()) {
      EXPECT_GE(total_.cuts, cuts_least_);
    }
  }

 private:
  static double processor_seconds() {
    timespec spent{};
    ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &spent);
    return static_cast<double>(spent.tv_sec) + static_cast<double>(spent.tv_nsec) / 1e9;
  }

  uint64_t cuts_least_;
  CrashCounters total_;
};

// At namespace scope: `CutCount& g_count = count_cuts(20'000);`
inline CutCount& count_cuts(uint64_t cuts_least) {
  auto* const count = new CutCount(cuts_least);
  testing::AddGlobalTestEnvironment(count);
  return *count;
}

}  // namespace hozon::sim
