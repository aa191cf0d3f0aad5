// Proves: what a set of points would give back is what deleting them together gives back, to the
// block of data. Method: random histories of several volumes (writes, snapshots, clones, returns,
// deletions that leave forks); for a random set of points, and for whole volumes, the prediction is
// compared with the data blocks that a check of the pool counts before and after the deletion.
#include "store/freed_walk.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <random>

#include "base/units.h"
#include "io/file_device.h"
#include "store/pool.h"

namespace hozon::store {
namespace {

constexpr uint64_t kSize = 4_MiB;

class FreedWalkTest : public testing::Test {
 public:
  void SetUp() override {
    loop_ = *Loop::create();
    std::string pattern = testing::TempDir() + "hozon-freed-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
    ASSERT_TRUE(FileDevice::create_file(directory_ + "/data", 128_MiB, false));
    ASSERT_TRUE(FileDevice::create_file(directory_ + "/journal", 4_MiB, true));
    data_ = *FileDevice::open(*loop_, directory_ + "/data", {});
    journal_ = *FileDevice::open(*loop_, directory_ + "/journal", {});
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  void run(Task<void> task) {
    spawn([](Loop& loop, Task<void> inner) -> Task<void> {
      co_await loop.yield();
      co_await std::move(inner);
      loop.stop();
    }(*loop_, std::move(task)));
    loop_->run();
  }

  uint64_t below(uint64_t n) { return random_() % n; }

  Task<void> open(uint64_t seed) {
    random_.seed(seed);
    names_ = 0;
    const CreateOptions create;
    EXPECT_TRUE(co_await Pool::create(*data_, *journal_, create));
    OpenOptions options;
    options.background = false;
    auto opened = co_await Pool::open(*loop_, *data_, *journal_, options);
    EXPECT_TRUE(opened);
    pool_ = *std::move(opened);
    const std::string first = "v0";
    EXPECT_TRUE(co_await pool_->create_volume(first, kSize));
  }
  Task<void> close() {
    EXPECT_TRUE(co_await pool_->close());
    pool_.reset();
  }

  std::string some_volume() {
    const auto volumes = pool_->volumes();
    return volumes[below(volumes.size())].name;
  }
  std::string some_point(const std::string& volume) {
    const auto points = *pool_->points(volume);
    return points.empty() ? "" : points[below(points.size())].name;
  }

  // Each thing that can happen to a history.
  Task<void> step() {
    // What is handed to a coroutine has a name: GCC 12 destroys some temporaries twice.
    const std::string volume = some_volume();
    const std::string point = some_point(volume);
    const std::string name = fmt::format("n{}", ++names_);
    const std::vector<std::string> one(1, volume);
    std::vector<ReturnItem> items(1);
    items[0] = {volume, volume, point};
    const uint64_t kind = below(10);
    if (kind <= 1) (void)co_await pool_->snapshot(one, name);
    if (kind == 2 && pool_->volumes().size() < 6) (void)co_await pool_->clone(volume, point, name);
    if (kind == 3 && !point.empty()) {
      const std::string keep = below(2) == 0 ? std::string() : name;
      (void)co_await pool_->return_to(items, keep);
    }
    if (kind == 4 && !point.empty()) {
      const Status deleted = co_await pool_->delete_point(volume, point);
      EXPECT_TRUE(deleted);
    }
    if (kind == 4) {
      const Status drained = co_await pool_->drain_reclaim();
      EXPECT_TRUE(drained);
    }
    if (kind < 5) co_return;
    const Target target = *pool_->target(volume);
    const std::vector<std::byte> bytes((1 + below(40)) * kBlockSize, std::byte(1 + below(200)));
    const uint64_t at = below(kSize / kBlockSize - 40) * kBlockSize;
    const uint64_t discarded = below(4) == 0 ? bytes.size() / 2 : 0;
    EXPECT_TRUE(co_await pool_->write(target, at, bytes, false));
    if (discarded == 0) co_return;
    const Status gone = co_await pool_->discard(target, at, discarded, false);
    EXPECT_TRUE(gone);
  }

  Task<uint64_t> data_bytes() {
    const auto report = co_await pool_->check(false);
    EXPECT_TRUE(report && report->errors.empty() && report->lost_blocks == 0);
    co_return report ? report->data_blocks* kBlockSize : 0;
  }
  // Forks may hold what their branches gave up; now they hold only what they share.
  Task<void> settle() {
    EXPECT_TRUE(co_await pool_->drain_reclaim());
    EXPECT_TRUE(co_await pool_->checkpoint());
  }

  std::unique_ptr<Loop> loop_;
  std::string directory_;
  std::unique_ptr<FileDevice> data_, journal_;
  std::unique_ptr<Pool> pool_;
  std::mt19937_64 random_;
  uint64_t names_ = 0;
};

Task<void> compare_a_set(FreedWalkTest& t, uint64_t seed, uint64_t& freed_so_far) {
  co_await t.open(seed);
  for (int i = 0; i < 120; ++i) co_await t.step();
  co_await t.settle();
  std::vector<std::pair<std::string, std::string>> chosen;
  std::vector<Target> targets;
  const uint64_t one_in = 1 + t.below(3);
  for (const VolumeInfo& volume : t.pool_->volumes()) {
    const std::vector<PointInfo> points = *t.pool_->points(volume.name);
    for (const PointInfo& point : points) {
      if (t.below(one_in) != 0) continue;
      chosen.emplace_back(volume.name, point.name);
      targets.push_back(*t.pool_->target(volume.name, point.name));
    }
  }
  const bool with_volume = t.below(2) == 0 && t.pool_->volumes().size() > 1;
  const std::string volume = t.some_volume();
  if (with_volume) {
    targets.push_back(*t.pool_->target(volume));
    const std::vector<PointInfo> points = *t.pool_->points(volume);
    for (const PointInfo& point : points) targets.push_back(*t.pool_->target(volume, point.name));
  }
  if (!targets.empty()) {
    const auto freed = co_await t.pool_->freed_bytes(targets);
    EXPECT_TRUE(freed) << freed.error().what;
    const uint64_t before = co_await t.data_bytes();
    for (const auto& [name, point] : chosen)
      EXPECT_TRUE(co_await t.pool_->delete_point(name, point));
    if (with_volume) {
      EXPECT_TRUE(co_await t.pool_->delete_volume(volume, true));
    }
    co_await t.settle();
    co_await t.settle();
    const uint64_t after = co_await t.data_bytes();
    EXPECT_EQ(freed->data_bytes, before - after) << "seed " << seed;
    freed_so_far += freed->data_bytes;
  }
  co_await t.close();
}

TEST_F(FreedWalkTest, ASetGivesBackWhatWasPredicted) {
  uint64_t freed = 0;
  for (uint64_t seed = 1; seed <= 25; ++seed) run(compare_a_set(*this, seed, freed));
  EXPECT_GT(freed, 10_MiB);
}

TEST_F(FreedWalkTest, WhatOnlyTheMembersShareCountsForTheSet) {
  run([](FreedWalkTest& t) -> Task<void> {
    co_await t.open(1);
    const Target head = *t.pool_->target("v0");
    const std::vector<std::string> all(1, "v0");
    const std::string first = "a", second = "b";
    const std::vector<std::byte> bytes(1_MiB, std::byte{7});
    EXPECT_TRUE(co_await t.pool_->write(head, 0, bytes, false));
    EXPECT_TRUE(co_await t.pool_->snapshot(all, first));
    EXPECT_TRUE(co_await t.pool_->snapshot(all, second));
    EXPECT_TRUE(co_await t.pool_->write(head, 0, bytes, false));
    const std::vector<Target> a(1, *t.pool_->target("v0", "a"));
    const std::vector<Target> b(1, *t.pool_->target("v0", "b"));
    std::vector<Target> both = a;
    both.push_back(b[0]);
    std::vector<Target> everything = both;
    everything.push_back(head);
    everything.push_back(head);  // named twice, counted once
    EXPECT_EQ((co_await t.pool_->freed_bytes(a))->data_bytes, 0u);
    EXPECT_EQ((co_await t.pool_->freed_bytes(b))->data_bytes, 0u);
    EXPECT_EQ((co_await t.pool_->freed_bytes(both))->data_bytes, 1_MiB);
    EXPECT_EQ((co_await t.pool_->freed_bytes(everything))->data_bytes, 2_MiB);
    const std::vector<Target> none;
    const auto refused = co_await t.pool_->freed_bytes(none);
    EXPECT_EQ(refused.error().code, Code::kInvalidArgument);
    co_await t.close();
  }(*this));
}

}  // namespace
}  // namespace hozon::store
