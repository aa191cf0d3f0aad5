// tests/sim/mutant_hunt.cc
// The child tells of its progress in memory that it shares with its parent, so that even a history
// that ends in an abort or in no end at all is counted.

#include "mutant_hunt.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>

#include "plots.h"
#include "sequences.h"
#include "storm.h"
#include "world.h"

namespace hozon::sim {
namespace {

using store::Mutant;

constexpr time_t kHistorySecondsMost = 60;  // of one core
constexpr std::array<std::string_view, 12> kShapeNames = {
    "mixed",           "faults",        "sync faults",
    "crowded",         "small journal", "crash upon crash",
    "every event",     "sequences",     "sequence crashes",
    "sequence faults", "by hand",       "storm"};

struct Progress {
  uint64_t histories, crashes;
  Shape shape;
  bool red;
  std::array<char, 480> text;
};

WorldOptions options_for(Shape shape, uint64_t seed) {
  WorldOptions options;
  options.seed = seed * 16 + static_cast<uint64_t>(shape);
  options.layout = seed % 2 == 0 ? SimPower::Layout::kOneDisk : SimPower::Layout::kTwoDisks;
  options.probes_per_life = 24;
  options.audit_every = 0;
  options.faults = shape == Shape::kFaults;
  if (shape == Shape::kSyncFaults)
    options.fault = FaultRule{IoOp::Kind::kSync, 0, 1 + seed % 24, EIO, false, 0, 0};
  if (shape == Shape::kEveryEvent) {
    options.lives = 2;
    options.steps_per_life = 60;
    options.big_volumes = false;
    options.volumes_max = 1;
    options.points_max = 3;
    options.recovery_depth = 0;
    options.admin_rest_ns = 300'000;
    options.walk = true;
  }
  if (shape == Shape::kCrowded) {
    options.data_bytes = 1_MiB;
    options.big_volumes = false;
    options.volumes_max = 1;
    options.points_max = 2;
    options.steps_per_life = 300;
    options.probes_per_life = 60;
    options.crowded = true;
    options.admin_rest_ns = 100'000'000;
  }
  if (shape == Shape::kSmallJournal) {
    options.data_bytes = 4_MiB;
    options.journal_bytes = 128_KiB;
    options.steps_per_life = 300;
    options.points_max = 6;
    options.probes_per_life = 40;
  }
  if (shape == Shape::kCrashUponCrash) {
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

Trial trial_for(Shape shape, uint64_t seed) {
  const uint64_t threes = kStepKinds * kStepKinds * kStepKinds;
  Trial trial{.steps = sequence(mix(seed) % threes, 3), .seed = seed, .random_fates = 6};
  trial.depth = 1;
  trial.nested_percent = 10;
  if (shape == Shape::kSequenceCrashes) return trial;
  trial.crash = false;
  if (shape == Shape::kSequences) {
    trial.steps = sequence(seed, 2);
    return trial;
  }
  Random random(seed);
  using enum IoOp::Kind;
  trial.fault = FaultRule{random.pick({kWrite, kWrite, kSync}),
                          static_cast<int>(random.below(2)),
                          random.between(1, 30),
                          random.pick({EIO, ENOSPC}),
                          random.chance(1, 2),
                          0,
                          0};
  return trial;
}

std::string run_storm(uint64_t seed) {
  constexpr uint64_t kCycles = 20;
  Storm storm(seed);
  std::string wrong = storm.begin();
  for (uint64_t i = 0; i < kCycles && wrong.empty(); ++i) wrong = storm.cycle();
  return wrong.empty() ? storm.end() : wrong;
}

std::string run_history(Shape shape, uint64_t seed, uint64_t& crashes) {
  if (shape < Shape::kSequences) {
    World world(options_for(shape, seed));
    std::string wrong = world.run();
    crashes += world.counters().crashes.cuts + world.counters().crashes.kills;
    return wrong;
  }
  if (shape == Shape::kByHand) return run_plots(seed, crashes);
  if (shape == Shape::kStorm) return run_storm(seed);
  TrialCounters counters;
  std::string wrong = run_trial(trial_for(shape, seed), counters);
  crashes += counters.crashes.cuts + counters.crashes.kills;
  return wrong;
}

// Of this process's own time: the machine may be busy with other things.
void allow_seconds(time_t seconds) {
  const itimerval limit{.it_interval = {}, .it_value = {.tv_sec = seconds, .tv_usec = 0}};
  ::setitimer(ITIMER_VIRTUAL, &limit, nullptr);
}

[[noreturn]] void run_child(const Quarry& quarry, uint64_t seeds_most, Progress& progress) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  const int nowhere = ::open("/dev/null", O_WRONLY);
  ::dup2(nowhere, 2);
  store::set_active_mutant(quarry.mutant);
  for (uint64_t seed = 1; seed <= seeds_most; ++seed) {
    for (const Shape shape : quarry.shapes) {
      allow_seconds(kHistorySecondsMost);
      progress.shape = shape;
      ++progress.histories;
      const std::string wrong = run_history(shape, seed, progress.crashes);
      if (wrong.empty()) continue;
      progress.red = true;
      std::strncpy(progress.text.data(), wrong.c_str(), progress.text.size() - 1);
      ::_exit(0);
    }
  }
  ::_exit(0);
}

// How the failure reads without the way to it: "seed 4 life 1 step 2: crash tried on a copy:
// [cut ...] volume 'v1' is missing".
std::string essence(std::string_view text) {
  if (const size_t end = text.rfind("] "); end != std::string_view::npos)
    text.remove_prefix(end + 2);
  return std::string(text.substr(0, 90));
}

}  // namespace

std::span<const Quarry> quarries() {
  using enum Shape;
  static const std::vector<Quarry> kAll = {
      {Mutant::kNone,
       "none",
       "nothing",
       {kMixed, kFaults, kSyncFaults, kCrowded, kSmallJournal, kCrashUponCrash, kEveryEvent,
        kSequences, kSequenceCrashes, kSequenceFaults, kByHand, kStorm}},
      {Mutant::kForgottenDataSync,
       "forgotten data sync",
       "flush syncs the journal only",
       {kMixed, kSequenceCrashes}},
      {Mutant::kForgottenJournalSync,
       "forgotten journal sync",
       "flush syncs the data only",
       {kMixed, kSequenceCrashes}},
      {Mutant::kForgottenCheckpointSync,
       "forgotten checkpoint sync",
       "superblocks are written before their children are durable",
       {kMixed, kSequenceCrashes}},
      {Mutant::kSingleSuperblockSlot,
       "single superblock slot",
       "checkpoints write slot 0 only",
       {kCrashUponCrash}},
      {Mutant::kEarlyReuse,
       "early reuse",
       "freed blocks are handed out at once",
       {kMixed, kSequenceCrashes}},
      {Mutant::kReuseBeforeMark,
       "reuse before mark",
       "reuse does not wait for a durable mark",
       {kCrowded},
       true},
      {Mutant::kIgnoredReaders,
       "ignored readers",
       "reuse does not wait for readers",
       {kCrowded, kCrashUponCrash},
       true},
      {Mutant::kSkippedChecksum,
       "skipped checksum",
       "reads do not verify",
       {kMixed, kSequenceCrashes}},
      {Mutant::kSkippedReplayCheck,
       "skipped replay check",
       "replay believes records whose data may be missing",
       {kMixed, kSequenceCrashes}},
      {Mutant::kEarlyAcknowledge,
       "early acknowledge",
       "writes are answered before their journal record is in the kernel",
       {kMixed, kSequenceCrashes}},
      {Mutant::kWalkIgnoresParent,
       "walk ignores parent",
       "deleting a point frees what its parent shares",
       {kMixed, kSequenceCrashes}},
      {Mutant::kWalkIgnoresChild,
       "walk ignores child",
       "... what its first child shares",
       {kMixed, kSequenceCrashes}},
      {Mutant::kOwnedSurvivesSnapshot,
       "owned survives snapshot",
       "a snapshot does not take ownership away from the head",
       {kMixed, kSequenceCrashes}},
      {Mutant::kStaleEpoch, "stale epoch", "replay accepts frames of an earlier epoch", {kByHand}},
      {Mutant::kSuperblockFirst,
       "superblock first",
       "superblocks are written before what they lead to",
       {kMixed, kSequenceCrashes}},
      {Mutant::kTailTooEarly,
       "tail too early",
       "replay begins behind frames written while the checkpoint ran",
       {kMixed, kSequenceCrashes}},
      {Mutant::kBitmapBitLost,
       "bitmap bit lost",
       "a checkpoint writes a live block as free",
       {kMixed, kSequenceCrashes}},
      {Mutant::kIgnoredWriteError,
       "ignored write error",
       "data that could not be written is mapped",
       {kSequenceFaults}},
      {Mutant::kIgnoredJournalError,
       "ignored journal error",
       "a journal write that failed counts as done",
       {kSequenceFaults}},
      {Mutant::kIgnoredSyncError,
       "ignored sync error",
       "a failed sync of the data counts as done",
       {kSequenceFaults, kFaults},
       true},
      {Mutant::kConcurrentSyncs,
       "concurrent syncs",
       "two syncs of the data run at once; only one hears of a loss",
       {kSyncFaults},
       true},
      {Mutant::kMergeIntoOtherHead,
       "merge into other head",
       "a partial write merges with the state before a return",
       {kMixed, kEveryEvent},
       true},
      {Mutant::kNoRangeLock,
       "no range lock",
       "writes to one block do not wait for each other",
       {kMixed, kSequenceCrashes}},
      {Mutant::kZeroEdgesSkipped,
       "zero edges skipped",
       "zeroes and discards leave the parts of blocks at their ends",
       {kMixed, kSequenceCrashes}},
      {Mutant::kOldEndDiscarded,
       "old end discarded",
       "a discard takes the end of the volume for what it was at its call",
       {kByHand}},
      {Mutant::kUnloggedDiscard,
       "unlogged discard",
       "discards leave no journal record",
       {kMixed, kSequenceCrashes}},
      {Mutant::kIdleAnswerEarly,
       "idle answer early",
       "what needs no change does not wait for what it relies on",
       {kByHand}},
      {Mutant::kFlushJoinsRunning,
       "flush joins running",
       "a flush takes part in a sync that began before it",
       {kMixed, kSequenceCrashes}},
      {Mutant::kUnflushedCommit,
       "unflushed commit",
       "operations on volumes and points are answered before they are durable",
       {kMixed, kSequenceCrashes}},
      {Mutant::kMarkTooHigh,
       "mark too high",
       "the mark covers frames that the sync did not",
       {kMixed, kSequenceCrashes}},
      {Mutant::kSharedJournalPage,
       "shared journal page",
       "frames go into pages that hold durable ones",
       {kMixed, kSequenceCrashes}},
      {Mutant::kIgnoredBarrier,
       "ignored barrier",
       "reuse does not wait for the checkpoint that ends a reclaiming",
       {kMixed, kSmallJournal},
       true},
      {Mutant::kStaleNode,
       "stale node",
       "the node cache keeps what a reused block held before",
       {kCrowded}},
      {Mutant::kLostRetire,
       "lost retire",
       "replaced map nodes are never freed",
       {kMixed, kSequenceCrashes}},
      {Mutant::kSharedBlockFreed,
       "shared block freed",
       "overwriting frees a block that the parent shares",
       {kMixed, kSequenceCrashes}},
      {Mutant::kUnsharedForgotten,
       "unshared forgotten",
       "what heads stop sharing while the walk runs is not looked at",
       {kByHand}},
      {Mutant::kForkDroppedEarly,
       "fork dropped early",
       "a point with two branches is removed as if it had one",
       {kMixed, kSequenceCrashes}},
      {Mutant::kWalkOffByOne,
       "walk off by one",
       "the walk leaves out the last slot of each node",
       {kMixed, kSequenceCrashes}},
      {Mutant::kWalkIgnoresLowerTree,
       "walk ignores lower tree",
       "... and what a neighbour with a lower tree shares",
       {kByHand}},
      {Mutant::kReplayGoesOn,
       "replay goes on",
       "replay drops the incomplete frame and applies the later ones",
       {kMixed, kSequenceCrashes}},
      {Mutant::kReplayFreesEarly,
       "replay frees early",
       "what replay frees may be reused although replay may need it again",
       {kCrowded}},
      {Mutant::kSlotsNotMadeEqual,
       "slots not made equal",
       "an opening leaves a damaged superblock slot as it is",
       {kByHand}},
      {Mutant::kEpochKept, "epoch kept", "an opening does not begin a new epoch", {kByHand}},
      {Mutant::kUnsyncedOpening,
       "unsynced opening",
       "an opening builds upon what may be in the page cache only",
       {kMixed, kCrashUponCrash, kSequenceCrashes},
       true},
      {Mutant::kReusedId,
       "reused id",
       "ids of deleted objects are given out again after an opening",
       {kMixed},
       true},
      {Mutant::kOwnedSurvivesClone,
       "owned survives clone",
       "a clone's head believes that it owns what it shares",
       {kMixed, kSequences}},
      {Mutant::kOwnedSurvivesReturn,
       "owned survives return",
       "... and so does the head that a return makes",
       {kMixed, kSequences}},
      {Mutant::kGrowthForgetsTree,
       "growth forgets tree",
       "a tree that becomes higher loses what it held",
       {kMixed, kSequenceCrashes}},
      {Mutant::kShrinkLeavesMapping,
       "shrink leaves mapping",
       "a shrink does not look for mapped blocks",
       {kMixed, kSequenceCrashes}},
      {Mutant::kEarlyAnswers,
       "early answers",
       "others are answered while a record waits for its data",
       {kMixed, kEveryEvent}},
      {Mutant::kEarlyMarked,
       "early marked",
       "a sync counts for a record whose data is being written",
       {kMixed, kEveryEvent}},
      {Mutant::kEarlyFrozen,
       "early frozen",
       "a checkpoint begins between a record and its effect",
       {kMixed, kEveryEvent}},
      {Mutant::kEarlyCommitted,
       "early committed",
       "a change of volumes or points begins between a record and its effect",
       {kMixed, kEveryEvent},
       true},
      {Mutant::kEarlyKept,
       "early kept",
       "the record of a write that failed stays in the journal",
       {kByHand}},
      {Mutant::kSplitSnapshot,
       "split snapshot",
       "the points of a set are made one after the other",
       {kMixed, kSequenceCrashes}},
  };
  return kAll;
}

Catch hunt(const Quarry& quarry, uint64_t seeds_most) {
  void* shared =
      ::mmap(nullptr, sizeof(Progress), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  HOZON_CHECK(shared != MAP_FAILED);
  auto& progress = *new (shared) Progress{};
  const auto start = std::chrono::steady_clock::now();
  const pid_t child = ::fork();
  HOZON_CHECK(child >= 0);
  if (child == 0) run_child(quarry, seeds_most, progress);
  int status = 0;
  ::waitpid(child, &status, 0);
  Catch result;
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  result.histories = progress.histories;
  result.crashes = progress.crashes;
  result.caught = progress.red || WIFSIGNALED(status);
  const auto shape = kShapeNames[static_cast<size_t>(progress.shape)];
  if (progress.red)
    result.by = fmt::format("{}: {}", shape, essence(progress.text.data()));
  else if (WIFSIGNALED(status) && WTERMSIG(status) == SIGVTALRM)
    result.by = fmt::format("{}: a history did not end", shape);
  else if (WIFSIGNALED(status))
    result.by =
        fmt::format("{}: one of the store's own checks (signal {})", shape, WTERMSIG(status));
  ::munmap(shared, sizeof(Progress));
  return result;
}

}  // namespace hozon::sim
