// tests/sim/sequences_test.cc
// Proves, for every sequence of one operation, that a crash at any event of it loses nothing, and
// that the failure of any device call is answered cleanly and survived. `sim_sequences` does the
// same for longer sequences.

#include "sequences.h"

#include <gtest/gtest.h>

#include <cerrno>

#include "cut_count.h"
#include "share.h"

namespace hozon::sim {
namespace {

constexpr uint64_t kCutsLeast = 10'000 / kShare;

CutCount& g_count = count_cuts(kCutsLeast);

TEST(Sequences, OfOneOperationSurviveACrashAtEveryEvent) {
  TrialCounters total;
  for (uint64_t index = 0; index < kStepKinds; ++index) {
    TrialCounters counters;
    const std::string wrong =
        run_trial({.steps = sequence(index, 1), .each_write = true}, counters);
    ASSERT_EQ(wrong, "");
    EXPECT_GT(counters.crashes.cuts, 100u) << step_name(static_cast<Step>(index));
    total += counters;
  }
  // A suite that injects nothing is green, too.
  EXPECT_EQ(total.steps, kStepKinds);
  EXPECT_EQ(total.refused, 0u);
  EXPECT_GT(total.crashes.cuts, 3000u);
  EXPECT_GT(total.crashes.kills, 100u);
  EXPECT_GT(total.crashes.torn, 500u);
  g_count.add(total.crashes);
}

TEST(Sequences, OfOneOperationSurviveACrashAtEveryEventOfTheirRecovery) {
  TrialCounters total;
  for (uint64_t index = 0; index < kStepKinds; ++index) {
    const std::string wrong = run_trial({.steps = sequence(index, 1),
                                         .random_fates = 1,
                                         .depth = 1,
                                         .nested_percent = 100 / kShare},
                                        total);
    ASSERT_EQ(wrong, "");
  }
  EXPECT_GT(total.crashes.during_recovery, 5000 / (kShare * kShare));
  g_count.add(total.crashes);
}

TEST(Sequences, SurviveACrashInTheRecoveryFromTheRecoveryOfARecovery) {
  TrialCounters total;
  const std::vector<Step> steps = {Step::kWrite, Step::kReturn, Step::kDeletePoint};
  const std::string wrong = run_trial(
      {.steps = steps, .random_fates = 4, .depth = 3, .nested_percent = 30 / kShare}, total);
  ASSERT_EQ(wrong, "");
  EXPECT_GT(total.crashes.during_recovery, 1000 / (kShare * kShare));
  g_count.add(total.crashes);
}

// Four workloads; together they have every operation, and every pair that matters twice.
const std::vector<std::vector<Step>>& workloads() {
  using enum Step;
  static const std::vector<std::vector<Step>> kAll = {
      {kWrite, kWritePartial, kWriteSpanning, kFlush, kDiscard, kZero, kWriteFua, kReopen},
      {kSnapshot, kWrite, kGroupSnapshot, kWritePartial, kReturn, kWriteFua, kDeletePoint},
      {kClone, kResize, kWriteSpanning, kDeletePoint, kResize, kDiscard, kReopen, kClone},
      {kDeletePoint, kDeletePoint, kWrite, kReturn, kSnapshot, kZero, kDeletePoint, kFlush},
  };
  return kAll;
}

struct Failing {
  IoOp::Kind kind;
  int disk;
  int error;
};

// Fails the first, the second, ... call until the workload has no more of them.
void fail_every_call(const Failing& failing, bool sticky) {
  constexpr uint64_t kMost = 4000;
  TrialCounters total;
  for (const std::vector<Step>& steps : workloads()) {
    uint64_t nth = 1, fired = 1;
    for (; fired > 0 && nth < kMost; nth += kShare) {
      TrialCounters counters;
      const FaultRule rule{failing.kind, failing.disk, nth, failing.error, sticky, 0, 0};
      const std::string wrong =
          run_trial({.steps = steps, .seed = nth, .crash = false, .fault = rule}, counters);
      ASSERT_EQ(wrong, "") << "call " << nth << " failed with " << failing.error
                           << (sticky ? " and all later ones" : "");
      fired = counters.crashes.faults;
      total += counters;
    }
    EXPECT_LT(nth, kMost);
  }
  EXPECT_GT(total.crashes.faults, kShare == 1 ? 3u : 0u) << "nothing was made to fail";
  g_count.add(total.crashes);
}

class FailEveryCall : public testing::TestWithParam<std::tuple<Failing, bool>> {};

TEST_P(FailEveryCall, IsAnsweredCleanlyAndSurvived) {
  fail_every_call(std::get<0>(GetParam()), std::get<1>(GetParam()));
}

INSTANTIATE_TEST_SUITE_P(All, FailEveryCall,
                         testing::Combine(testing::Values(Failing{IoOp::Kind::kRead, 0, EIO},
                                                          Failing{IoOp::Kind::kRead, 1, EIO},
                                                          Failing{IoOp::Kind::kWrite, 0, EIO},
                                                          Failing{IoOp::Kind::kWrite, 0, ENOSPC},
                                                          Failing{IoOp::Kind::kWrite, 1, EIO},
                                                          Failing{IoOp::Kind::kWrite, 1, ENOSPC},
                                                          Failing{IoOp::Kind::kSync, 0, EIO},
                                                          Failing{IoOp::Kind::kSync, 1, EIO},
                                                          Failing{IoOp::Kind::kSync, 0, ENOSPC}),
                                          testing::Bool()));

}  // namespace
}  // namespace hozon::sim
