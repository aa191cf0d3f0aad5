// Proves: when the reservoir prepares blocks and how many, when it asks for a flush, and that it
// leaves guests, a full filesystem and a failing disk alone. Method: the store's own core on
// simulated disks, with the reservoir as the only thing that runs in the background; every write to
// the data is noted and must go to blocks that nobody has.

#include "store/reservoir.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <functional>
#include <vector>

#include "base/units.h"
#include "sim_executor.h"
#include "sim_power.h"
#include "store/core.h"
#include "store/headroom.h"
#include "store/opener.h"

namespace hozon::sim {
namespace {

using store::kBlockSize;

constexpr uint64_t kBlocks = 256_MiB / kBlockSize;
constexpr uint64_t kWanted = kBlocks / 64;
constexpr uint64_t kRun = 1_MiB / kBlockSize;
constexpr uint64_t kRetiredMost = 256_MiB / kBlockSize;
constexpr uint64_t kPauseNs = 10'000'000'000;
static_assert(kWanted == 4 * kRun);

// Passes everything on and notes where was written to.
class WatchedDisk : public Device {
 public:
  explicit WatchedDisk(Device& below) : below_(below) {}
  uint64_t size_bytes() const override { return below_.size_bytes(); }
  void submit(IoOp& op) override {
    if (op.kind == IoOp::Kind::kWrite) {
      writes.push_back({op.offset / kBlockSize, op.size / kBlockSize});
      const std::span<const std::byte> bytes(op.data, op.size);
      are_zeros =
          are_zeros && std::ranges::all_of(bytes, [](std::byte b) { return b == std::byte{}; });
      if (on_write) on_write(writes.back());
    }
    below_.submit(op);
  }
  int write_now(uint64_t offset, std::span<const std::byte> from) override {
    return below_.write_now(offset, from);
  }
  std::vector<store::Run> writes;
  bool are_zeros = true;
  std::function<void(store::Run)> on_write;

 private:
  Device& below_;
};

class ReservoirTest : public testing::Test {
 protected:
  void SetUp() override {
    power_.attach(executor_);
    Status created;
    finish(store::Pool::create(disk_, power_.journal(), {}), created);
    ASSERT_TRUE(created);
    Result<std::unique_ptr<store::PoolCore>> core;
    finish(store::open_core(executor_, disk_, power_.journal(), {}), core);
    ASSERT_TRUE(core);
    core_ = *std::move(core);
    finish(store::begin_writing(*core_), created);
    ASSERT_TRUE(created);
    disk_.writes.clear();
    disk_.are_zeros = true;
    disk_.on_write = [this](store::Run run) {
      for (uint64_t i = 0; i < run.count; ++i)
        EXPECT_FALSE(core_->space.is_live(run.block + i)) << "block " << run.block + i;
      EXPECT_EQ(core_->space.in_flight() - taken_, run.count);
      EXPECT_EQ(core_->stats().preparing_bytes, run.count * kBlockSize);
    };
  }
  void TearDown() override {
    core_->closing = true;
    core_->wake_background();
    EXPECT_EQ(executor_.run_until([this] { return core_->background.running() == 0; }),
              SimExecutor::End::kDone);
    EXPECT_EQ(core_->space.in_flight(), taken_) << "something was never given back";
    EXPECT_EQ(power_.violations(), std::vector<std::string>{});
  }
  template <typename T>
  void finish(Task<T> task, T& into) {
    ASSERT_EQ(executor_.run(std::move(task), into), SimExecutor::End::kDone);
  }
  void start() {
    core_->background.start(core_->reservoir->loop());
    settle();
  }
  // Until nothing goes on any more.
  void settle() {
    EXPECT_EQ(executor_.run_until([] { return false; }, {.stall_turns = 100'000}),
              SimExecutor::End::kDeadlock);
    EXPECT_EQ(core_->stats().preparing_bytes, 0u);
  }
  void pass_time(uint64_t ns) {
    Status passed;
    finish(
        [](SimExecutor& executor, uint64_t delay_ns) -> Task<Status> {
          co_await executor.sleep(delay_ns);
          co_return Status{};
        }(executor_, ns),
        passed);
  }
  // As a guest's write does; the blocks stay in flight.
  void take(uint64_t count) {
    for (uint64_t left = count; left > 0;) {
      const auto run = core_->space.take(std::min(left, kRun));
      ASSERT_TRUE(run);
      left -= run->count;
      taken_ += run->count;
      core_->reservoir->note_taken();
    }
    settle();
  }
  uint64_t prepared() const { return core_->space.prepared(); }

  SimPower power_{kBlocks * kBlockSize, 1_MiB};
  WatchedDisk disk_{power_.data()};
  SimExecutor executor_{1, &power_};
  std::unique_ptr<store::PoolCore> core_;
  uint64_t taken_ = 0;
};

TEST_F(ReservoirTest, WritesZerosToFreeBlocksUntilThereIsEnough) {
  start();
  EXPECT_EQ(prepared(), kWanted);
  EXPECT_EQ(disk_.writes.size(), kWanted / kRun);
  EXPECT_TRUE(disk_.are_zeros);
  for (const store::Run run : disk_.writes) EXPECT_LE(run.count, kRun);
}

TEST_F(ReservoirTest, WaitsUntilHalfIsTakenAndThenFillsUp) {
  start();
  disk_.writes.clear();
  take(kWanted / 2);
  EXPECT_EQ(disk_.writes.size(), 0u) << "half is still there";
  EXPECT_EQ(prepared(), kWanted / 2);
  take(1);
  EXPECT_GE(prepared(), kWanted) << "to the full, not to a half";
  EXPECT_GT(disk_.writes.size(), 1u);
}

TEST_F(ReservoirTest, LeavesARefusingDiskAloneForAWhile) {
  for (const int error : {ENOSPC, EIO}) {
    disk_.writes.clear();
    power_.faults.assign(1,
                         {.kind = IoOp::Kind::kWrite, .disk = 0, .error = error, .sticky = true});
    if (error == ENOSPC) start();
    pass_time(kPauseNs);
    disk_.writes.clear();
    core_->reservoir->note_taken();
    settle();
    EXPECT_EQ(disk_.writes.size(), 1u);
    EXPECT_EQ(prepared(), 0u) << "what was not written is not prepared";
    EXPECT_EQ(core_->space.in_flight(), 0u);
    EXPECT_FALSE(core_->headroom->is_short()) << "no guest was refused anything";
    EXPECT_TRUE(core_->health);
    power_.faults.clear();
    for (int i = 0; i < 9; ++i) {
      core_->reservoir->note_taken();
      settle();
      pass_time(kPauseNs / 10);
    }
    EXPECT_EQ(disk_.writes.size(), 1u) << "it asks again at once";
  }
  pass_time(kPauseNs / 10);
  core_->reservoir->note_taken();
  settle();
  EXPECT_EQ(prepared(), kWanted) << "later it goes on";
}

TEST_F(ReservoirTest, AsksNothingOfAFullFilesystem) {
  core_->headroom->refused();  // of a guest
  start();
  take(1);
  EXPECT_EQ(disk_.writes.size(), 0u);
}

TEST_F(ReservoirTest, TakesNothingThatGuestsMayNeedSoon) {
  taken_ = 0;
  const uint64_t spare = core_->free_for_guests() - 4 * kRun;
  // Each block in flight keeps another one aside for its node.
  for (uint64_t left = spare / 2 + 1; left > 0;) {
    const auto run = core_->space.take(left);
    ASSERT_TRUE(run);
    left -= run->count;
    taken_ += run->count;
  }
  ASSERT_LE(core_->free_for_guests(), 4 * kRun);
  start();
  EXPECT_EQ(disk_.writes.size(), 0u);
}

// What guests freed can be used again only after a flush, and a guest may never ask for one.
TEST_F(ReservoirTest, HasWhatGuestsFreedMadeReusableBeforeMuchWaits) {
  start();
  const store::Run run = *core_->space.take(8);
  core_->space.make_live(run);
  core_->journal.append_empty();
  core_->space.retire(run, core_->journal.open_sequence(), 0);
  settle();
  ASSERT_GT(core_->space.pending(), 0u);
  const uint64_t pending = core_->space.pending();
  const uint64_t syncs = power_.counters().syncs;
  core_->reservoir->note_retired(kRetiredMost - 1);
  settle();
  EXPECT_EQ(power_.counters().syncs, syncs) << "too early";
  core_->reservoir->note_retired(1);
  settle();
  EXPECT_GT(power_.counters().syncs, syncs);
  EXPECT_EQ(core_->space.pending(), pending - run.count);
  const uint64_t after = power_.counters().syncs;
  core_->journal.append_empty();
  core_->reservoir->note_retired(kRetiredMost - 1);
  settle();
  EXPECT_EQ(power_.counters().syncs, after) << "it counts from the last time";
}

TEST_F(ReservoirTest, KeepsFreedBlocksInTheFileUntilASixteenthOfThePoolIsPrepared) {
  start();
  EXPECT_TRUE(core_->reservoir->keeps_freed());
  while (prepared() <= kBlocks / 16) {
    const store::Run run = *core_->space.take_unprepared(kRun);
    EXPECT_TRUE(core_->reservoir->keeps_freed());
    core_->space.give_back_prepared(run);
  }
  EXPECT_FALSE(core_->reservoir->keeps_freed());
}

TEST_F(ReservoirTest, EndsWithThePoolInTheMiddleOfAWrite) {
  core_->background.start(core_->reservoir->loop());
  ASSERT_EQ(disk_.writes.size(), 1u);
  EXPECT_EQ(core_->stats().preparing_bytes, kRun * kBlockSize);
  core_->closing = true;
  settle();
  EXPECT_EQ(disk_.writes.size(), 1u);
  EXPECT_EQ(core_->background.running(), 0u);
}

TEST_F(ReservoirTest, EndsWithAPoolThatFailed) {
  start();
  disk_.writes.clear();
  core_->fail(make_error(Code::kIo, "the disk is broken").error());
  settle();
  EXPECT_EQ(core_->background.running(), 0u);
  take(kWanted);
  EXPECT_EQ(disk_.writes.size(), 0u);
}

}  // namespace
}  // namespace hozon::sim
