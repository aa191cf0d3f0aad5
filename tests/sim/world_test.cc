// tests/sim/world_test.cc
// Proves the store's promises about kills, power cuts and failing devices (docs/durability.md) on
// simulated disks. A failure names the seed; `sim --seed N --seeds 1 --verbose` tells its story.

#include "world.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <cstring>

#include "cut_count.h"
#include "share.h"

namespace hozon::sim {
namespace {

constexpr uint64_t kTwiceEvery = 20;
constexpr uint64_t kCutsLeast = 20'000 / kShare;

CutCount& g_count = count_cuts(kCutsLeast);

// Runs `seeds` worlds made by `options`, one after the other.
template <typename MakeOptions>
WorldCounters run_worlds(uint64_t seeds, MakeOptions make_options) {
  WorldCounters total;
  for (uint64_t seed = 1; seed <= seeds; ++seed) {
    const WorldOptions options = make_options(seed);
    World world(options);
    std::string wrong = world.run();
    total += world.counters();
    g_count.add(world.counters().crashes);
    if (wrong.empty() &&
        seed % kTwiceEvery == 0) {  // a history that does not repeat explains nothing
      World again(options);
      wrong = again.run();
      if (again.trace_hash() != world.trace_hash()) wrong = "two runs of one seed differ";
    }
    if (wrong.empty()) continue;
    ADD_FAILURE() << wrong << "\nlast operations:\n" << world.story();
    break;
  }
  return total;
}

TEST(World, SurvivesKillsAndCutsAtRandomInstants) {
  const WorldCounters total =
      run_worlds(140 / kShare, [](uint64_t seed) { return WorldOptions{.seed = seed}; });
  // A suite that injects nothing is green, too.
  EXPECT_GT(total.crashes.cuts, 9000 / kShare);
  EXPECT_GT(total.crashes.kills, 2000 / kShare);
  EXPECT_GT(total.crashes.during_recovery, 1000 / kShare);
  EXPECT_GT(total.crashes.torn, 300 / kShare);
  EXPECT_GT(total.snapshots, 500 / kShare);
  EXPECT_GT(total.groups, 500 / kShare);
  EXPECT_GT(total.returns, 200 / kShare);
  EXPECT_GT(total.clones, 100 / kShare);
  EXPECT_GT(total.deletes, 800 / kShare);
  EXPECT_GT(total.listed, 10'000 / kShare);
  EXPECT_GT(total.audited, 3000 / kShare);
  EXPECT_GT(total.early_writes, 500 / kShare);
}

TEST(World, SurvivesWithASmallJournalAndASmallPool) {
  run_worlds(25 / kShare, [](uint64_t seed) {
    return WorldOptions{.seed = 10'000 + seed,
                        .data_bytes = 4_MiB,
                        .journal_bytes = 128_KiB,
                        .lives = 3,
                        .steps_per_life = 400,
                        .points_max = 6};
  });
}

TEST(World, SurvivesFailingDevices) {
  const WorldCounters total = run_worlds(60 / kShare, [](uint64_t seed) {
    return WorldOptions{.seed = 20'000 + seed, .faults = true};
  });
  EXPECT_GT(total.crashes.faults, kShare == 1 ? 100u : 0u);
}

TEST(World, SurvivesACrashAtEveryEventOfAWorkload) {
  const WorldCounters total = run_worlds(kShare == 1 ? 3 : 1, [](uint64_t seed) {
    return WorldOptions{
        .seed = 30'000 + seed, .lives = 2, .steps_per_life = 60, .recovery_depth = 1, .walk = true};
  });
  EXPECT_GT(total.crashes.cuts, 2000 / kShare);
}

TEST(World, RepeatsItsHistoryWithTheSameSeed) {
  for (uint64_t seed = 40'001; seed <= 40'005; ++seed) {
    World first(WorldOptions{.seed = seed, .faults = true});
    World second(WorldOptions{.seed = seed, .faults = true});
    ASSERT_EQ(first.run(), "");
    ASSERT_EQ(second.run(), "");
    EXPECT_EQ(first.trace_hash(), second.trace_hash()) << seed;
  }
}

// Fails the first, the second, ... operation of a kind, until the workload is too short to fail.
// Returns how many did fail: a workload may have no operation of the kind at all.
uint64_t fail_every_operation_of(uint64_t seed, IoOp::Kind kind, int disk, int error, bool sticky,
                                 uint64_t step) {
  constexpr uint64_t kMost = 2000;
  uint64_t nth = 1;
  for (; nth < kMost; nth += step * kShare) {
    World world(WorldOptions{.seed = seed,
                             .lives = 2,
                             .steps_per_life = 60,
                             .probes_per_life = 2,
                             .fault = FaultRule{kind, disk, nth, error, sticky, 0, 0}});
    const std::string wrong = world.run();
    g_count.add(world.counters().crashes);
    EXPECT_EQ(wrong, "") << "operation " << nth << " failed\n" << world.story();
    if (!wrong.empty()) return nth;
    if (world.counters().crashes.faults == 0) break;
  }
  EXPECT_LT(nth, kMost);
  return nth - 1;
}

void fail_every_operation(IoOp::Kind kind, int disk, int error, bool sticky, uint64_t step) {
  uint64_t failed = 0;
  for (uint64_t seed = 50'001; seed <= 50'000 + (kShare == 1 ? 4 : 1); ++seed)
    failed += fail_every_operation_of(seed, kind, disk, error, sticky, step);
  EXPECT_GT(failed, 0u) << "nothing was made to fail";
}

TEST(FailTheNth, DataWrite) {
  for (const bool sticky : {false, true})
    fail_every_operation(IoOp::Kind::kWrite, 0, EIO, sticky, 3);
}
TEST(FailTheNth, DataWriteWithoutSpace) {
  for (const bool sticky : {false, true})
    fail_every_operation(IoOp::Kind::kWrite, 0, ENOSPC, sticky, 3);
}
TEST(FailTheNth, JournalWrite) {
  for (const int error : {EIO, ENOSPC})
    fail_every_operation(IoOp::Kind::kWrite, 1, error, false, 3);
}
TEST(FailTheNth, DataSync) {
  for (const bool sticky : {false, true})
    fail_every_operation(IoOp::Kind::kSync, 0, EIO, sticky, 1);
}
TEST(FailTheNth, JournalSync) {
  for (const bool sticky : {false, true})
    fail_every_operation(IoOp::Kind::kSync, 1, EIO, sticky, 1);
}
TEST(FailTheNth, DataRead) {
  for (const bool sticky : {false, true})
    fail_every_operation(IoOp::Kind::kRead, 0, EIO, sticky, 7);
}

// A write past the end that a return brought back leaves no trace; the head is the point again.
TEST(Model, CountsNoBlockForAWriteThatAReturnCutOff) {
  const auto contents = std::make_shared<Contents>();
  Model model(contents);
  const auto apply = [&](AdminOp::Kind kind, std::vector<uint64_t> on, std::vector<uint64_t> points,
                         uint64_t size_bytes) {
    model.end_admin(model.begin_admin({kind, 0, std::move(on), std::move(points),
                                       kind == AdminOp::Kind::kReturn ? "" : "name", size_bytes}),
                    true);
  };
  apply(AdminOp::Kind::kCreate, {}, {}, 3 * kSectorSize);
  const uint64_t volume = model.volumes.begin()->first;
  apply(AdminOp::Kind::kSnapshot, {volume}, {}, 0);
  const uint64_t point = model.points.begin()->first;
  apply(AdminOp::Kind::kResize, {volume}, {}, 4 * kSectorSize);
  const Model::Io io = model.begin_write(volume, 0, 4, 1);
  apply(AdminOp::Kind::kReturn, {volume}, {point}, 0);
  model.end_write(io, true, false);
  model.crash();
  const std::vector<std::byte> zeros(kSectorSize);
  for (uint64_t sector = 0; sector < 3; ++sector)
    ASSERT_EQ(model.settle_head(volume, sector, zeros, Model::After::kKill), "");
  EXPECT_EQ(model.distinct_blocks(), 0u);
}

// A failed sync ends all changes, is reported with its reason, and reopening recovers.
TEST(FailedSync, MakesThePoolReadOnlyUntilItIsReopened) {
  SimPower power(8_MiB, 512_KiB);
  Model model(std::make_shared<Contents>());
  std::vector<std::byte> bytes(kPageSize, std::byte{'a'}), found(kPageSize);
  {
    Session session(power, 1);
    ASSERT_EQ(session.create(), "");
  }
  {
    Session session(power, 2);
    ASSERT_EQ(session.open({}), "");
    Result<store::VolumeInfo> made;
    ASSERT_EQ(session.run(session.pool->create_volume("v", 1_MiB), made, "create"), "");
    const auto target = session.pool->target("v");
    Status written, flushed;
    ASSERT_EQ(session.run(session.pool->write(*target, 0, bytes, true), written, "write"), "");
    ASSERT_TRUE(written);
    power.faults.push_back({.kind = IoOp::Kind::kSync, .disk = 0, .nth = 1});
    ASSERT_EQ(session.run(session.pool->write(*target, kPageSize, bytes, false), written, "write"),
              "");
    ASSERT_EQ(session.run(session.pool->flush(), flushed, "flush"), "");
    EXPECT_FALSE(flushed);
    EXPECT_TRUE(session.pool->stats().read_only);
    EXPECT_NE(session.pool->stats().failure, "");
    ASSERT_EQ(session.run(session.pool->write(*target, 0, bytes, false), written, "write"), "");
    ASSERT_FALSE(written);
    EXPECT_EQ(written.error().code, Code::kUnavailable);
    Status read;
    ASSERT_EQ(session.run(session.pool->read(*target, 0, found), read, "read"), "");
    EXPECT_TRUE(read) << "reads go on";
    EXPECT_EQ(found, bytes);
    (void)session.close();  // it may say again that the pool has failed
    ASSERT_FALSE(session.pool) << "but it ends";
  }
  const auto after = power.fork({.choice = Fate::Choice::kNone});
  Session session(*after, 3);
  ASSERT_EQ(session.open({}), "");
  EXPECT_FALSE(session.pool->stats().read_only);
  Status read;
  ASSERT_EQ(session.run(session.pool->read(*session.pool->target("v"), 0, found), read, "read"),
            "");
  EXPECT_TRUE(read);
  EXPECT_EQ(found, bytes) << "what was flushed before the failure is there";
  EXPECT_EQ(session.close(), "");
}

// What a checkpoint makes of writes that fail until somebody repairs the cause.
struct Refused {
  bool ended = false;  // before the repair
  store::PoolStats stats;
};

Refused checkpoint_with(SimPower& power, Session& session, int error) {
  Refused found;
  Status written, done;
  const std::vector<std::byte> bytes(kPageSize, std::byte{'a'});
  EXPECT_EQ(session.run(session.pool->write(*session.pool->target("v"), 0, bytes, true), written,
                        "write"),
            "");
  EXPECT_TRUE(written);
  power.faults.push_back(
      {.kind = IoOp::Kind::kWrite, .disk = 0, .nth = 1, .error = error, .sticky = true});
  bool ended = false;
  spawn([](store::Pool& pool, Status& status, bool& over) -> Task<void> {
    status = co_await pool.checkpoint();
    over = true;
  }(*session.pool, done, ended));
  const auto is_over = [&] { return ended; };
  found.ended = session.run_until(is_over, "wait", {.stall_ns = 5'000'000'000}).empty();
  found.stats = session.pool->stats();
  power.faults.clear();
  EXPECT_EQ(session.run_until(is_over, "go on", {.stall_ns = 5'000'000'000}), "");
  EXPECT_EQ(done.has_value(), error == ENOSPC);
  return found;
}

TEST(FullFilesystem, MakesACheckpointWaitWhereABrokenDiskFailsThePool) {
  for (const int error : {ENOSPC, EIO}) {
    SimPower power(8_MiB, 512_KiB);
    Session session(power, 1);
    ASSERT_EQ(session.create(), "");
    ASSERT_EQ(session.open({}), "");
    Result<store::VolumeInfo> made;
    ASSERT_EQ(session.run(session.pool->create_volume("v", 1_MiB), made, "create"), "");
    const Refused found = checkpoint_with(power, session, error);
    EXPECT_EQ(found.ended, error == EIO);
    EXPECT_EQ(found.stats.read_only, error == EIO);
    EXPECT_EQ(found.stats.filesystem_full, error == ENOSPC);
    (void)session.close();  // it may say again that the pool has failed
    ASSERT_FALSE(session.pool) << "but it ends";
  }
}

// How many pages of the data hold blocks that are full of `letter`.
uint64_t pages_of(const SimPower& power, char letter) {
  const std::vector<std::byte> bytes(kPageSize, static_cast<std::byte>(letter));
  uint64_t count = 0;
  for (uint64_t page = 0; page < power.image(0).size_bytes() / kPageSize; ++page)
    count += std::memcmp(power.image(0).page(page).data(), bytes.data(), kPageSize) == 0;
  return count;
}

Task<Status> write_and_discard(store::Pool& pool, uint64_t blocks) {
  const store::Target target = *pool.target("v");
  const std::vector<std::byte> gone(kPageSize, std::byte{'g'}), kept(kPageSize, std::byte{'k'});
  for (uint64_t i = 0; i < blocks; ++i)
    HOZON_CO_CHECK(co_await pool.write(target, i * kPageSize, i % 2 == 0 ? kept : gone, false));
  for (uint64_t i = 1; i < blocks; i += 2)
    HOZON_CO_CHECK(co_await pool.discard(target, i * kPageSize, kPageSize, false));
  HOZON_CO_CHECK(co_await pool.checkpoint());
  co_return co_await pool.checkpoint();
}

// Holes of single blocks are not made while there is room: they would cost more than they give.
TEST(FullFilesystem, GetsBackEveryFreeBlockOfThePoolHoweverScattered) {
  constexpr uint64_t kBlocks = 64;
  SimPower power(8_MiB, 512_KiB);
  Session session(power, 1);
  ASSERT_EQ(session.create(), "");
  ASSERT_EQ(session.open({}), "");
  Result<store::VolumeInfo> made;
  ASSERT_EQ(session.run(session.pool->create_volume("v", 1_MiB), made, "create"), "");
  Status status;
  ASSERT_EQ(session.run(write_and_discard(*session.pool, kBlocks), status, "fill"), "");
  ASSERT_TRUE(status) << status.error().what;
  ASSERT_GT(pages_of(power, 'g'), kBlocks / 4) << "nothing hides in the file";

  power.faults.push_back({.kind = IoOp::Kind::kWrite, .disk = 0, .error = ENOSPC, .sticky = true});
  bool answered = false;
  spawn([](store::Pool& pool, Status& into, bool& over) -> Task<void> {
    const std::vector<std::byte> bytes(kPageSize, std::byte{'n'});
    into = co_await pool.write(*pool.target("v"), 0, bytes, false);
    over = true;
  }(*session.pool, status, answered));
  const auto is_over = [&] { return answered; };
  EXPECT_NE(session.run_until(is_over, "wait", {.stall_ns = 2'000'000'000}), "") << "it waits";
  EXPECT_EQ(pages_of(power, 'g'), 0u);
  EXPECT_EQ(pages_of(power, 'k'), kBlocks / 2);
  power.faults.clear();
  // A disk of the simulator may be slow until the next timer is due: that of an idle checkpoint.
  EXPECT_EQ(session.run_until(is_over, "go on", {.stall_ns = 60'000'000'000}), "");
  EXPECT_TRUE(status);
  EXPECT_EQ(session.close(), "");
}

// Writes one after the other, each `per_flush`-th flushed.
Task<Status> write_blocks(store::Pool& pool, uint64_t count, uint64_t per_flush) {
  const std::vector<std::byte> bytes(kPageSize, std::byte{'w'});
  for (uint64_t i = 1; i <= count; ++i) {
    HOZON_CO_CHECK(co_await pool.write(*pool.target("v"), i * kPageSize, bytes, false));
    if (i % per_flush == 0) HOZON_CO_CHECK(co_await pool.flush());
  }
  co_return Status{};
}

TEST(Flush, IsBegunWithTheWriteForThoseWhoFlushAfterEachOne) {
  SimPower power(8_MiB, 512_KiB);
  Session session(power, 1);
  ASSERT_EQ(session.create(), "");
  ASSERT_EQ(session.open({.background = false}), "");
  Result<store::VolumeInfo> made;
  ASSERT_EQ(session.run(session.pool->create_volume("v", 1_MiB), made, "create"), "");
  const auto is_stable = [&] { return power.undecided(CrashKind::kCut) == 0; };
  Status status;
  const auto do_write = [&](uint64_t count, uint64_t per_flush) {
    EXPECT_EQ(session.run(write_blocks(*session.pool, count, per_flush), status, "write"), "");
    EXPECT_TRUE(status);
  };
  do_write(1, 2);
  EXPECT_NE(session.run_until(is_stable, "no habit yet"), "");
  do_write(20, 1);
  EXPECT_TRUE(is_stable());
  do_write(1, 2);
  EXPECT_EQ(session.run_until(is_stable, "the habit"), "");
  do_write(2, 2);  // two at once: no habit any more
  do_write(1, 2);
  EXPECT_NE(session.run_until(is_stable, "the habit is over"), "");
  EXPECT_EQ(session.close(), "");
}

}  // namespace
}  // namespace hozon::sim
