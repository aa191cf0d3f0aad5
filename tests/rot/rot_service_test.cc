// Proves what the users of a damaged pool see (docs/durability.md, P5): a refusal of that request
// alone, an event, a record that names the place for as long as it is in use; and that a scrub
// keeps to its rate, can be cancelled, and disturbs nobody.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>

#include "base/units.h"
#include "damage.h"

namespace hozon::rot {
namespace {

using store::kBlockSize;
using store::ScrubReport;

class RotService : public testing::Test {
 protected:
  RotService()
      : sample_(make_sample()),
        power_(
            sample_.now->fork({.kind = sim::CrashKind::kCut, .choice = sim::Fate::Choice::kAll})),
        opening_(*power_) {
    HOZON_CHECK(std::freopen("/dev/null", "w", stderr) != nullptr);
    HOZON_CHECK(opening_.open(false).has_value());
  }
  store::Pool& pool() { return *opening_.pool; }
  store::Target target(std::string_view volume, std::string_view point = {}) {
    return *pool().target(volume, point);
  }
  Status read(store::Target from, uint64_t block, uint64_t blocks = 1) {
    buffer_.assign(blocks * kBlockSize, std::byte{0x55});
    return opening_.run(pool().read(from, block * kBlockSize, buffer_));
  }
  Status write(store::Target to, uint64_t offset, uint64_t bytes) {
    const std::vector<std::byte> from(bytes, std::byte{0x77});
    return opening_.run(pool().write(to, offset, from, false));
  }
  // The block of the pool that holds that content.
  uint64_t find_block(const std::vector<std::byte>& content) {
    for (uint64_t page = 2; page < kDataBytes / kBlockSize; ++page)
      if (std::memcmp(power_->image(0).page(page).data(), content.data(), kBlockSize) == 0)
        return page;
    return 0;
  }
  void rot_block(const std::string& volume, const std::string& point, uint64_t index) {
    block_ = find_block(sample_.content.at({volume, point}).at(index));
    HOZON_CHECK(block_ != 0);
    power_->rot(0, block_ * kBlockSize + 100, 4);
  }
  void wait_for_scrub() {
    const auto end = opening_.executor.run_until(
        [this] { return pool().scrub_report().state != ScrubReport::State::kRunning; });
    HOZON_CHECK(end == sim::SimExecutor::End::kDone);
  }

  Sample sample_;
  std::unique_ptr<sim::SimPower> power_;
  Opening opening_;
  std::vector<std::byte> buffer_;
  uint64_t block_ = 0;
};

TEST_F(RotService, ADamagedReadIsRefusedAloneAndNamed) {
  int events = 0;
  pool().on_event([&](const store::PoolStats& stats) { events += stats.damaged > 0 ? 1 : 0; });
  rot_block("web", "monday", 0);  // never overwritten: the points of "web" and the clone share it
  for (int time = 1; time <= 2; ++time) {
    const Status refused = read(target("web"), 0, 2);
    ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(refused.error().code, Code::kCorruption);
    for (size_t i = 0; i < kBlockSize; ++i) ASSERT_EQ(buffer_[i], std::byte{0});
    ASSERT_EQ(pool().damaged_places().size(), 1u);
    EXPECT_EQ(pool().damaged_places()[0].times, static_cast<uint64_t>(time));
  }
  EXPECT_EQ(events, 1);  // the second time is no news
  EXPECT_TRUE(read(target("web"), 1).has_value());
  EXPECT_TRUE(read(target("db"), 0).has_value());
  EXPECT_EQ(pool().stats().damaged, 1u);
  const store::DamagedPlace& place = pool().damaged_places()[0];
  EXPECT_EQ(place.volume, "web");
  EXPECT_EQ(place.offset_bytes, 0u);
  EXPECT_EQ(place.length_bytes, kBlockSize);
  EXPECT_EQ(place.block, block_);
  EXPECT_GE(place.last_ns, place.first_ns);
  std::vector<std::string> touched;
  for (const auto& [volume, point] : place.touched) touched.push_back(to_text({volume, point}));
  std::ranges::sort(touched);
  EXPECT_EQ(fmt::format("{}", fmt::join(touched, " ")),
            "web web-test web@left web@monday web@tuesday");
}

TEST_F(RotService, AnOverwrittenDamageIsForgotten) {
  rot_block(std::string(kCounterVolume), "", 0);
  const store::Target counter = target(kCounterVolume);
  // Part of a block: the rest would be the damaged bytes.
  EXPECT_FALSE(write(counter, 512, 512).has_value());
  EXPECT_EQ(pool().stats().damaged, 1u);
  ASSERT_TRUE(write(counter, 0, kBlockSize).has_value());
  EXPECT_TRUE(read(counter, 0).has_value());
  ASSERT_TRUE(opening_.run(pool().checkpoint()).has_value());
  ASSERT_TRUE(opening_.run(pool().checkpoint()).has_value());
  EXPECT_EQ(pool().stats().damaged, 0u);
}

TEST_F(RotService, AnErrorOfTheMediumIsNotedAsWell) {
  power_->faults.push_back({.kind = IoOp::Kind::kRead, .disk = 0, .error = 5, .sticky = true});
  const Status refused = read(target("db"), 5000);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, Code::kIo);
  ASSERT_EQ(pool().damaged_places().size(), 1u);
  EXPECT_NE(pool().damaged_places()[0].what.find("cannot be read"), std::string::npos);
}

TEST_F(RotService, AWholeScrubForgetsWhatItDoesNotFindAgain) {
  rot_block("web", "monday", 0);
  EXPECT_FALSE(read(target("web"), 0).has_value());
  EXPECT_EQ(pool().stats().damaged, 1u);
  power_->rot(0, block_ * kBlockSize + 100, 4);  // the same bit back
  opening_.executor.run_until([n = 0]() mutable { return ++n > 3; });
  ASSERT_TRUE(pool().start_scrub({}).has_value());
  wait_for_scrub();
  EXPECT_EQ(pool().scrub_report().state, ScrubReport::State::kDone);
  EXPECT_EQ(pool().stats().damaged, 0u);
}

TEST_F(RotService, AScrubKeepsToItsRateAndCanBeCancelled) {
  const uint64_t rate = 64_KiB;
  const uint64_t begin = opening_.executor.now_ns();
  ASSERT_TRUE(pool().start_scrub({.bytes_per_second = rate}).has_value());
  EXPECT_EQ(pool().start_scrub({}).error().code, Code::kBusy);
  opening_.executor.run_until([&] { return pool().scrub_report().done_bytes > 100_KiB; });
  EXPECT_LT(pool().scrub_report().done_bytes, pool().scrub_report().total_bytes);
  wait_for_scrub();
  const ScrubReport whole = pool().scrub_report();
  EXPECT_EQ(whole.state, ScrubReport::State::kDone);
  const uint64_t took_ms = (opening_.executor.now_ns() - begin) / 1'000'000;
  EXPECT_GE(took_ms + 100, whole.done_bytes * 1000 / rate);
  EXPECT_LE(took_ms, whole.done_bytes * 1000 / rate + 1000);

  ASSERT_TRUE(pool().start_scrub({.bytes_per_second = 4096}).has_value());
  opening_.executor.run_until([&] { return pool().scrub_report().done_bytes > 0; });
  pool().cancel_scrub();
  wait_for_scrub();
  EXPECT_EQ(pool().scrub_report().state, ScrubReport::State::kCancelled);
  EXPECT_EQ(pool().scrub_report().id, whole.id + 1);
  // A pool can be closed under a scrub.
  ASSERT_TRUE(pool().start_scrub({.bytes_per_second = 4096}).has_value());
  EXPECT_TRUE(opening_.close().has_value());
}

Task<Status> change_everything(store::Pool& pool, int rounds) {
  std::vector<std::byte> bytes(3 * kBlockSize);
  std::vector<std::string> names(1, "web");
  for (int i = 0; i < rounds; ++i) {
    std::fill(bytes.begin(), bytes.end(), static_cast<std::byte>(i));
    for (const std::string_view volume : {"web", "db", "db-copy"}) {
      HOZON_CO_TRY(const store::Target target, pool.target(volume));
      HOZON_CO_CHECK(
          co_await pool.write(target, static_cast<uint64_t>(i % 40) * kBlockSize, bytes, false));
    }
    const std::string point = fmt::format("s{}", i);
    HOZON_CO_CHECK(co_await pool.snapshot(names, point));
    if (i % 3 == 1) HOZON_CO_CHECK(co_await pool.delete_point("web", point));
    if (i == 5) HOZON_CO_CHECK(co_await pool.delete_point("web", "monday"));
    if (i % 8 == 7) HOZON_CO_CHECK(co_await pool.drain_reclaim());
    if (i % 5 == 4) HOZON_CO_CHECK(co_await pool.checkpoint());
  }
  co_return Status{};
}

TEST_F(RotService, AScrubIsSilentWhileEverythingChanges) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    sim::SimPower& power = *power_;
    const auto copy = power.fork({.kind = sim::CrashKind::kKill, .seed = seed});
    Opening opening(*copy, seed);
    ASSERT_TRUE(opening.open(false).has_value());
    ASSERT_TRUE(opening.pool->start_scrub({}).has_value());
    const Status changed = opening.run(change_everything(*opening.pool, 30));
    ASSERT_TRUE(changed.has_value()) << changed.error().what;
    const auto end = opening.executor.run_until(
        [&] { return opening.pool->scrub_report().state != ScrubReport::State::kRunning; });
    ASSERT_EQ(end, sim::SimExecutor::End::kDone);
    const ScrubReport& report = opening.pool->scrub_report();
    EXPECT_EQ(report.state, ScrubReport::State::kDone) << report.failure;
    for (const store::DamagedPlace& place : report.damaged)
      ADD_FAILURE() << "seed " << seed << ": " << store::to_sentence(place);
    EXPECT_GT(report.points, 10u);
    EXPECT_TRUE(opening.close().has_value());
  }
}

}  // namespace
}  // namespace hozon::rot
