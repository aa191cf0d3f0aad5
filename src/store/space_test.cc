// Proves S1 and S2 of space.h on the smallest cases, and the run search of the bitmap against a
// plain scan. The simulator proves the same on whole histories.
#include "store/space.h"

#include <gtest/gtest.h>

#include <random>

namespace hozon::store {
namespace {

uint64_t sum(const Space& space) {
  return space.live() + space.pending() + space.in_flight() + space.free();
}

TEST(Space, CountsEveryBlockOnce) {
  Space space(1000);
  const store::Run run = *space.take(10);
  EXPECT_EQ(sum(space), 1000u);
  space.make_live(run);
  space.retire({run.block, 4}, 5, 0);
  EXPECT_EQ(space.pending(), 4u);
  EXPECT_EQ(sum(space), 1000u);
}

// A block freed by journal frame 5 must not come back before the mark that covers 5 is durable.
TEST(Space, ReuseWaitsForTheDurableMark) {
  Space space(1000);
  const store::Run run = *space.take(1);
  space.make_live(run);
  space.retire(run, 5, 0);
  std::vector<store::Run> freed;
  space.set_durable_mark(4);
  space.release(freed, 1000);
  EXPECT_TRUE(freed.empty());
  space.set_durable_mark(5);
  space.release(freed, 1000);
  ASSERT_EQ(freed.size(), 1u);
  EXPECT_EQ(freed[0].block, run.block);
}

TEST(Space, ReuseWaitsForTheCheckpointAndForReaders) {
  Space space(1000);
  const store::Run run = *space.take(1);
  space.make_live(run);
  const uint64_t before = space.reader_began();
  space.retire(run, 0, 3);
  const uint64_t after = space.reader_began();
  std::vector<store::Run> freed;
  space.set_durable_generation(2);
  space.reader_ended(before);
  space.release(freed, 1000);
  EXPECT_TRUE(freed.empty());
  space.set_durable_generation(3);
  space.release(freed, 1000);
  EXPECT_EQ(freed.size(), 1u);  // the reader that began later does not matter
  space.reader_ended(after);
}

// What was live lies written in the file: it is taken again before new ground is.
TEST(Space, TakesFreedBlocksBeforeNewOnes) {
  Space space(1000);
  const store::Run run = *space.take(8);
  space.make_live(run);
  space.retire(run, 1, 0);
  space.set_durable_mark(1);
  std::vector<store::Run> freed;
  space.release(freed, 1000);
  EXPECT_EQ(space.prepared(), 8u);
  EXPECT_EQ(space.take(3)->block, run.block);
  EXPECT_EQ(space.take(9)->count, 5u);
  EXPECT_EQ(space.prepared(), 0u);
  EXPECT_GE(space.take(8)->block, run.block + 8);
  EXPECT_EQ(sum(space), 1000u);
}

TEST(Space, PreparesOnlyWhatIsFreeAndNotPrepared) {
  Space space(200);
  space.make_live(*space.take(20));
  const store::Run first = *space.take_unprepared(50);
  EXPECT_GE(first.block, 20u);
  space.give_back_prepared(first);
  const store::Run second = *space.take_unprepared(50);
  EXPECT_TRUE(second.block >= first.block + first.count ||
              second.block + second.count <= first.block);
  space.give_back(second);  // the write failed
  EXPECT_EQ(space.prepared(), first.count);
  EXPECT_EQ(sum(space), 200u);
  space.begin_punch(first);
  space.end_punch(first);
  EXPECT_EQ(space.prepared(), 0u);
}

TEST(Space, KeepsLongWritesTogetherWhenOnlyScatteredBlocksArePrepared) {
  Space space(4000);
  const store::Run run = *space.take(400);
  space.make_live(run);
  for (uint64_t i = 0; i < run.count; i += 2) space.retire({run.block + i, 1}, 1, 0);
  space.set_durable_mark(1);
  std::vector<store::Run> freed;
  space.release(freed, 1000);
  EXPECT_EQ(space.prepared(), 200u);
  EXPECT_EQ(space.take(64)->count, 64u);
  EXPECT_EQ(space.prepared(), 200u);
  EXPECT_LT(space.take(1)->block, run.block + run.count);
}

TEST(Space, GivesBackInPortions) {
  Space space(1000);
  const store::Run run = *space.take(100);
  space.make_live(run);
  space.retire(run, 1, 0);
  std::vector<store::Run> freed;
  EXPECT_FALSE(space.release(freed, 30)) << "nothing is allowed yet";
  space.set_durable_mark(1);
  for (uint64_t left : {70U, 40U, 10U}) {
    EXPECT_TRUE(space.release(freed, 30));
    EXPECT_EQ(space.pending(), left);
    EXPECT_EQ(sum(space), 1000u);
  }
  EXPECT_FALSE(space.release(freed, 30));
  EXPECT_EQ(space.pending(), 0u);
  EXPECT_EQ(freed.size(), 4u);
}

// A reclaimed point may have held gigabytes in single blocks.
TEST(Space, BlocksOfAPointWaitTogetherAndComeBackInPortions) {
  constexpr uint64_t kTotal = 3 * format::kBitsPerBlock;
  Space space(kTotal);
  const store::Run run = *space.take(kTotal);
  space.make_live(run);
  (void)space.take_dirty_groups();
  Bitmap blocks(kTotal);
  for (uint64_t block = 2; block < kTotal; block += 2) blocks.set(block);
  const uint64_t count = blocks.set_count();
  const uint64_t reader = space.reader_began();
  space.retire(std::move(blocks), 7);
  EXPECT_EQ(space.take_dirty_groups().size(), 3u);
  EXPECT_EQ(space.pending(), count);
  EXPECT_FALSE(space.is_live(2));
  EXPECT_TRUE(space.is_live(3));
  std::vector<store::Run> freed;
  space.set_durable_generation(7);
  EXPECT_FALSE(space.release(freed, 1)) << "a reader may still need them";
  space.reader_ended(reader);
  int portions = 1;
  for (; space.release(freed, 1); ++portions) EXPECT_EQ(sum(space), kTotal);
  EXPECT_EQ(portions, 3);
  EXPECT_EQ(space.pending(), 0u);
  EXPECT_EQ(space.free(), count);
  EXPECT_EQ(freed.size(), count);
  EXPECT_EQ(space.prepared(), count);
}

TEST(Space, AReaderHoldsWhatWasFreedAfterItBegan) {
  Space space(1000);
  const store::Run run = *space.take(1);
  space.make_live(run);
  const uint64_t reader = space.reader_began();
  space.retire(run, 1, 0);
  space.set_durable_mark(1);
  std::vector<store::Run> freed;
  space.release(freed, 1000);
  EXPECT_TRUE(freed.empty());
  space.reader_ended(reader);
  space.release(freed, 1000);
  EXPECT_EQ(freed.size(), 1u);
}

TEST(Bitmap, FindsTheSameRunsAsAPlainScan) {
  std::mt19937_64 random(7);
  Bitmap bitmap(70000);
  std::vector<bool> plain(70000);
  for (int i = 0; i < 69000; ++i) {
    const uint64_t bit = random() % 70000;
    bitmap.set(bit);
    plain[bit] = true;
  }
  for (int round = 0; round < 2000; ++round) {
    const uint64_t from = random() % 70000;
    const uint64_t most = 1 + random() % 100;
    uint64_t first = from;
    for (uint64_t step = 0; step < 70000 && plain[first]; ++step) first = (first + 1) % 70000;
    uint64_t count = 0;
    while (count < most && first + count < 70000 && !plain[first + count] &&
           (first + count != from || count == 0))
      ++count;
    const auto found = bitmap.find_free(from, most);
    ASSERT_TRUE(found);
    EXPECT_EQ(found->block, first);
    EXPECT_EQ(found->count, count);
  }
}

// Groups without memory of their own (all bits equal) must be told from none else.
TEST(Bitmap, BehavesAsAPlainArrayWhileGroupsBecomeFullAndEmpty) {
  std::mt19937_64 random(2);
  const uint64_t bits = 3 * 32768 + 1000;
  Bitmap bitmap(bits);
  std::vector<bool> plain(bits, false);
  const auto runs_of = [&](const std::vector<bool>& without) {
    std::vector<bool> found(bits, false);
    for (uint64_t bit = 0; bit < bits; ++bit) found[bit] = plain[bit] && !without[bit];
    return found;
  };
  for (int i = 0; i < 3000; ++i) {
    // Long runs of one value, so that whole groups become equal again and again.
    const bool to = random() % 2 == 0;
    uint64_t bit = random() % bits;
    const uint64_t end = random() % 4 == 0 ? bits : std::min(bits, bit + random() % 40000);
    while (bit < end) {
      if (plain[bit] == to) {
        ++bit;
        continue;
      }
      store::Run run{bit, 0};
      while (bit < end && plain[bit] != to) plain[bit++] = to;
      run.count = bit - run.block;
      to ? bitmap.set_run(run) : bitmap.clear_run(run);
    }
    if (i % 100 != 0) continue;
    std::vector<bool> other_plain(bits, false);
    Bitmap other(bits);
    for (uint64_t at = random() % 50000; at < bits; at += 1 + random() % 3) {
      other_plain[at] = true;
      EXPECT_TRUE(other.set(at));
      EXPECT_FALSE(other.set(at));
    }
    const Bitmap copy(bitmap);
    EXPECT_EQ(copy.set_count(), static_cast<uint64_t>(std::ranges::count(plain, true)));
    for (const bool with : {false, true}) {
      std::vector<bool> seen(bits, false);
      copy.for_each_run(with ? &other : nullptr, [&](store::Run run) {
        for (uint64_t at = run.block; at < run.block + run.count; ++at) seen[at] = true;
      });
      ASSERT_EQ(seen, runs_of(with ? other_plain : std::vector<bool>(bits, false))) << i;
    }
    Bitmap both(bits);
    for (uint64_t at = 0; at < bits; ++at)
      if (plain[at] && other_plain[at]) both.set(at);
    Bitmap rest(bitmap);
    rest.subtract(both);
    const std::vector<bool> expected = runs_of(other_plain);
    EXPECT_EQ(rest.set_count(), static_cast<uint64_t>(std::ranges::count(expected, true)));
    for (uint64_t at = 0; at < bits; ++at) ASSERT_EQ(rest.test(at), expected[at]);
    rest.subtract(Bitmap(rest));
    EXPECT_EQ(rest.set_count(), 0u);
    Bitmap loaded(bits);
    std::vector<std::byte> bytes(4096);
    for (uint64_t group = 0; group < bitmap.group_count(); ++group) {
      bitmap.export_group(group, bytes);
      ASSERT_TRUE(loaded.import_group(group, bytes));
    }
    for (uint64_t at = 0; at < bits; ++at) {
      ASSERT_EQ(loaded.test(at), plain[at]);
      ASSERT_EQ(bitmap.test(at), plain[at]);
    }
  }
}

TEST(Bitmap, AFullBitmapHasNoFreeRun) {
  Bitmap bitmap(100);
  bitmap.set_run({0, 100});
  EXPECT_FALSE(bitmap.find_free(50, 1));
  bitmap.clear_run({99, 1});
  EXPECT_EQ(bitmap.find_free(0, 5)->block, 99u);
}

}  // namespace
}  // namespace hozon::store
