// tests/sim/sequences_main.cc
// sim_sequences: tries every sequence of operations of one length, with a crash at each event of it
// or with each device call failing.

#include <fmt/format.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <string_view>

#include "sequences.h"

namespace {

using hozon::IoOp;
using hozon::sim::FaultRule;
using hozon::sim::Trial;
using hozon::sim::TrialCounters;

constexpr std::string_view kHelp = R"(usage: sim_sequences [options]
Tries every sequence of operations on a small pool.
  --length N      operations of a sequence (default 2: 196 sequences)
  --fates N       random fates at each event (default 62), besides all, none and each single write
  --depth N       crashes during the recovery, one within the other (default 1)
  --nested N      percent of the events of a recovery that are tried (default 3)
  --first N       begin with this sequence        --count N   so many
  --faults        instead of crashes: fails each device call, once and for good, with each error
example: sim_sequences --length 1 --faults
)";

struct Arguments {
  unsigned length = 2;
  Trial trial{.steps = {}, .each_write = true, .depth = 1, .nested_percent = 3};
  uint64_t first = 0, count = UINT64_MAX;
  bool faults = false;
};

bool parse(int argc, char** argv, Arguments& args) {
  for (int i = 1; i < argc; ++i) {
    const std::string_view name = argv[i];
    const auto number = [&]() -> uint64_t {
      return i + 1 < argc ? std::strtoull(argv[++i], nullptr, 10) : 0;
    };
    if (name == "--length")
      args.length = static_cast<unsigned>(number());
    else if (name == "--fates")
      args.trial.random_fates = number();
    else if (name == "--depth")
      args.trial.depth = static_cast<unsigned>(number());
    else if (name == "--nested")
      args.trial.nested_percent = number();
    else if (name == "--first")
      args.first = number();
    else if (name == "--count")
      args.count = number();
    else if (name == "--faults")
      args.faults = true;
    else
      return false;
  }
  return args.length >= 1 && args.length <= 5;
}

// Fails the first, second, ... call of a kind until there are no more of them.
std::string fail_each_call(Trial trial, FaultRule rule, TrialCounters& total) {
  trial.crash = false;
  for (rule.nth = 1;; ++rule.nth) {
    trial.fault = rule;
    TrialCounters counters;
    const std::string wrong = run_trial(trial, counters);
    total += counters;
    if (!wrong.empty())
      return fmt::format("{} (kind {} disk {} call {} error {}{})", wrong,
                         static_cast<int>(rule.kind), rule.disk, rule.nth, rule.error,
                         rule.sticky ? " sticky" : "");
    if (counters.crashes.faults == 0) return "";
  }
}

std::string fail_every_call(const Trial& trial, TrialCounters& total) {
  for (const IoOp::Kind kind :
       {IoOp::Kind::kRead, IoOp::Kind::kWrite, IoOp::Kind::kSync, IoOp::Kind::kPunch})
    for (const int disk : {0, 1})
      for (const int error : {EIO, ENOSPC, EINTR, EAGAIN, ENOMEM})
        for (const bool sticky : {false, true}) {
          const FaultRule rule{kind, disk, 1, error, sticky, 0, 0};
          if (std::string wrong = fail_each_call(trial, rule, total); !wrong.empty()) return wrong;
        }
  return "";
}

double now_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

int main(int argc, char** argv) {
  Arguments args;
  if (!parse(argc, argv, args)) {
    fmt::print("{}", kHelp);
    return 2;
  }
  uint64_t all = 1;
  for (unsigned i = 0; i < args.length; ++i) all *= hozon::sim::kStepKinds;
  const double start = now_seconds();
  TrialCounters total;
  std::string wrong;
  for (uint64_t i = args.first; i < all && i - args.first < args.count && wrong.empty(); ++i) {
    args.trial.steps = hozon::sim::sequence(i, args.length);
    args.trial.seed = i + 1;
    wrong = args.faults ? fail_every_call(args.trial, total) : run_trial(args.trial, total);
    if (!wrong.empty()) fmt::print("FAILED sequence {}: {}\n", i, wrong);
  }
  const double seconds = now_seconds() - start;
  const uint64_t crashes = total.crashes.cuts + total.crashes.kills;
  fmt::print(
      "{} trials of {} operations, {:.1f} s: {} cuts + {} kills = {:.0f}/s ({} during recovery)\n",
      total.trials, total.steps, seconds, total.crashes.cuts, total.crashes.kills,
      static_cast<double>(crashes) / seconds, total.crashes.during_recovery);
  fmt::print(
      "{} events; unstable writes: {} kept, {} dropped, {} torn; {} calls made to fail, {} "
      "operations refused, {} parked\n",
      total.events, total.crashes.kept, total.crashes.dropped, total.crashes.torn,
      total.crashes.faults, total.refused, total.parked);
  const bool injected = args.faults ? total.crashes.faults > 0 : total.crashes.cuts > 0;
  if (!injected) fmt::print("FAILED: nothing was injected\n");
  return wrong.empty() && injected ? 0 : 1;
}
