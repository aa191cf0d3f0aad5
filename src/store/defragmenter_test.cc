// Proves: defragmenting changes where blocks lie and nothing else. Content stays what it was, also
// while guests write and snapshots are taken; what a point shares is not moved; no block is lost.
// Method: a pool in two files of a temporary directory; a second pass finds nothing to do exactly
// when the first one has put everything side by side. The simulator does the same with power cuts.
#include "store/defragmenter.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <random>

#include "base/bytes.h"
#include "base/units.h"
#include "io/file_device.h"
#include "store/pool.h"

namespace hozon::store {
namespace {

constexpr uint64_t kSize = 4_MiB;
constexpr uint64_t kBlocks = kSize / kBlockSize;

class DefragmenterTest : public testing::Test {
 public:  // the tests are coroutines beside it
  void SetUp() override {
    loop_ = *Loop::create();
    std::string pattern = testing::TempDir() + "hozon-defragment-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
    ASSERT_TRUE(FileDevice::create_file(directory_ + "/data", 64_MiB, 0));
    ASSERT_TRUE(FileDevice::create_file(directory_ + "/journal", 4_MiB, 4_MiB));
    data_ = *FileDevice::open(*loop_, directory_ + "/data", {});
    journal_ = *FileDevice::open(*loop_, directory_ + "/journal", {});
    run(open());
  }
  void TearDown() override {
    run(close());
    std::filesystem::remove_all(directory_);
  }

  void run(Task<void> task) {
    spawn([](Loop& loop, Task<void> inner) -> Task<void> {
      co_await loop.yield();
      co_await std::move(inner);
      loop.stop();
    }(*loop_, std::move(task)));
    loop_->run();
  }
  Task<void> open() {
    const CreateOptions create;
    EXPECT_TRUE(co_await Pool::create(*data_, *journal_, create));
    const OpenOptions options;
    auto opened = co_await Pool::open(*loop_, *data_, *journal_, options);
    EXPECT_TRUE(opened);
    pool_ = *std::move(opened);
    EXPECT_TRUE(co_await pool_->create_volume("v", kSize));
    target_ = *pool_->target("v");
  }
  Task<void> close() { EXPECT_TRUE(co_await pool_->close()); }

  Task<void> write_block(uint64_t index) {
    std::vector<std::byte> bytes(kBlockSize, std::byte(++written_ % 255 + 1));
    model_[index] = bytes[0];
    EXPECT_TRUE(co_await pool_->write(target_, index * kBlockSize, bytes, false));
  }
  Task<void> scatter() {
    std::vector<uint64_t> order(kBlocks);
    for (uint64_t i = 0; i < kBlocks; ++i) order[i] = i;
    std::shuffle(order.begin(), order.end(), random_);
    for (const uint64_t index : order) co_await write_block(index);
  }
  Task<void> expect_content(Target target, std::vector<std::byte> expected) {
    std::vector<std::byte> bytes(kSize);
    EXPECT_TRUE(co_await pool_->read(target, 0, bytes));
    for (uint64_t at = 0; at < kSize; at += 512)
      if (bytes[at] != expected[at / kBlockSize]) {
        ADD_FAILURE() << "block " << at / kBlockSize << " has another content";
        co_return;
      }
  }
  Task<void> snapshot(std::string name) {
    std::vector<std::string> volumes(1, "v");
    EXPECT_TRUE(co_await pool_->snapshot(volumes, name));
  }
  Task<void> return_to(std::string name) {
    std::vector<ReturnItem> items(1);
    items[0] = {"v", "v", name};
    EXPECT_TRUE(co_await pool_->return_to(items, ""));
  }
  Task<DefragmentReport> defragment() {
    const auto report = co_await pool_->defragment("v");
    EXPECT_TRUE(report) << report.error().what;
    co_return report.value_or(DefragmentReport{});
  }
  Task<void> expect_sound() {
    const auto report = co_await pool_->check(true);
    EXPECT_TRUE(report && report->errors.empty() && report->lost_blocks == 0);
  }

  std::unique_ptr<Loop> loop_;
  std::string directory_;
  std::unique_ptr<FileDevice> data_;
  std::unique_ptr<FileDevice> journal_;
  std::unique_ptr<Pool> pool_;
  Target target_;
  std::mt19937_64 random_{3};
  uint64_t written_ = 0;
  std::vector<std::byte> model_ = std::vector<std::byte>(kBlocks);
};

TEST_F(DefragmenterTest, PutsScatteredBlocksSideBySide) {
  run([](DefragmenterTest& t) -> Task<void> {
    co_await t.scatter();
    const DefragmentReport first = co_await t.defragment();
    EXPECT_EQ(first.bytes_examined, kSize);
    EXPECT_EQ(first.bytes_moved, kSize);
    const DefragmentReport second = co_await t.defragment();
    EXPECT_EQ(second.bytes_examined, kSize);
    EXPECT_EQ(second.bytes_moved, 0u);
    co_await t.expect_content(t.target_, t.model_);
    co_await t.expect_sound();
  }(*this));
}

TEST_F(DefragmenterTest, GoesOnWhereTheSliceBeforeEnded) {
  run([](DefragmenterTest& t) -> Task<void> {
    co_await t.scatter();
    DefragmentReport all;
    uint64_t slices = 0;
    do {
      const auto slice = co_await t.pool_->defragment("v", all.next_offset, 1_MiB);
      EXPECT_TRUE(slice);
      if (!slice) co_return;
      EXPECT_TRUE(slice->next_offset == 0 || slice->next_offset > all.next_offset);
      all.bytes_examined += slice->bytes_examined;
      all.bytes_moved += slice->bytes_moved;
      all.next_offset = slice->next_offset;
      ++slices;
    } while (all.next_offset != 0 && slices <= kSize / 1_MiB);
    EXPECT_GT(slices, 1u);
    EXPECT_EQ(all.next_offset, 0u);
    EXPECT_EQ(all.bytes_examined, kSize);
    EXPECT_EQ(all.bytes_moved, kSize);
    const auto beyond = co_await t.pool_->defragment("v", 2 * kSize);
    EXPECT_TRUE(beyond && beyond->bytes_examined == 0 && beyond->next_offset == 0);
    co_await t.expect_content(t.target_, t.model_);
    co_await t.expect_sound();
  }(*this));
}

TEST_F(DefragmenterTest, LeavesWhatASnapshotShares) {
  run([](DefragmenterTest& t) -> Task<void> {
    co_await t.scatter();
    co_await t.snapshot("s");
    EXPECT_EQ((co_await t.defragment()).bytes_moved, 0u);
    const std::vector<std::byte> then = t.model_;
    for (uint64_t i = 0; i < 64; ++i) co_await t.write_block(64 - i);  // neighbours, backwards
    const uint64_t live = t.pool_->stats().live_bytes;
    EXPECT_EQ((co_await t.defragment()).bytes_moved, 64 * kBlockSize);
    EXPECT_EQ(t.pool_->stats().live_bytes, live);
    co_await t.expect_content(t.target_, t.model_);
    co_await t.expect_content(*t.pool_->target("v", "s"), then);
    co_await t.expect_sound();
  }(*this));
}

TEST_F(DefragmenterTest, GivesBackTheRoomForWhatASnapshotTookMeanwhile) {
  run([](DefragmenterTest& t) -> Task<void> {
    co_await t.scatter();
    EXPECT_TRUE(co_await t.pool_->flush());
    DefragmentReport report;
    Group moving(*t.loop_);
    moving.start([](DefragmenterTest& in, DefragmentReport& into) -> Task<void> {
      into = co_await in.defragment();
    }(t, report));
    co_await t.snapshot("s");  // while the blocks are being copied
    co_await moving.wait();
    EXPECT_EQ(report.bytes_moved, 0u);
    EXPECT_EQ(report.bytes_left, kSize);
    // Blocks that the pool prepares or punches are in flight, too, but not for long.
    for (int i = 0; i < 1000 && t.pool_->stats().in_flight_bytes > 0; ++i)
      co_await t.loop_->sleep(10'000'000);
    EXPECT_EQ(t.pool_->stats().in_flight_bytes, 0u);
    co_await t.expect_content(t.target_, t.model_);
    co_await t.expect_sound();
  }(*this));
}

TEST_F(DefragmenterTest, GuestsWriteAndSnapshotMeanwhile) {
  run([](DefragmenterTest& t) -> Task<void> {
    for (int round = 0; round < 10; ++round) {
      co_await t.scatter();
      Group guests(*t.loop_);
      bool done = false;
      guests.start([](DefragmenterTest& in, bool& ended) -> Task<void> {
        (void)co_await in.defragment();
        ended = true;
      }(t, done));
      std::vector<std::byte> then;
      for (int i = 0; !done || i < 20; ++i) {
        co_await t.write_block(t.random_() % kBlocks);
        if (i == 5) {
          then = t.model_;
          co_await t.snapshot(fmt::format("s{}", round));
        }
      }
      co_await guests.wait();
      co_await t.expect_content(t.target_, t.model_);
      co_await t.expect_content(*t.pool_->target("v", fmt::format("s{}", round)), then);
      if (round % 2 == 0) {
        co_await t.return_to(fmt::format("s{}", round));
        t.model_ = then;
      }
      EXPECT_TRUE(co_await t.pool_->delete_point("v", fmt::format("s{}", round)));
    }
    EXPECT_TRUE(co_await t.pool_->drain_reclaim());
    co_await t.expect_content(t.target_, t.model_);
    co_await t.expect_sound();
  }(*this));
}

}  // namespace
}  // namespace hozon::store
