// tests/sim/sim_power_test.cc
// Proves that the simulated disks forget what a real disk may forget, keep what it must keep, and
// that a harness on them tells a correct user from broken ones.

#include "sim_power.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <set>

#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/units.h"

namespace hozon::sim {
namespace {

// A pair of disks with an executor, and plain calls.
struct Bench {
  Bench() : power(1_MiB, 64_KiB), executor(1, &power) { power.attach(executor); }
  static Task<int> await(Device::Awaiter awaiter) { co_return co_await awaiter; }
  int finish(Device::Awaiter awaiter) {
    int result = -1;
    EXPECT_EQ(executor.run(await(awaiter), result), SimExecutor::End::kDone);
    return result;
  }
  int write(uint64_t block, char letter) {
    AlignedBuffer buffer(kPageSize);
    std::memset(buffer.data(), letter, buffer.size());
    return finish(power.data().write(block * kPageSize, buffer.span()));
  }
  SimPower power;
  SimExecutor executor;
};

char letter_at(const SimPower& power, int disk, uint64_t offset) {
  std::byte byte{};
  power.image(disk).read(offset, {&byte, 1});
  return static_cast<char>(byte);
}

TEST(SimPower, KillKeepsWhatWasCompletedAndCutDropsWhatWasNotSynced) {
  Bench bench;
  ASSERT_EQ(bench.write(3, 'a'), 0);
  ASSERT_EQ(bench.finish(bench.power.data().sync()), 0);
  ASSERT_EQ(bench.write(3, 'b'), 0);
  ASSERT_EQ(bench.power.journal().write_now(5, std::as_bytes(std::span("xyz", 3))), 0);
  const auto killed = bench.power.fork({.kind = CrashKind::kKill});
  EXPECT_EQ(letter_at(*killed, 0, 3 * kPageSize), 'b');
  EXPECT_EQ(letter_at(*killed, 1, 6), 'y');
  const auto cut = bench.power.fork({.choice = Fate::Choice::kNone});
  EXPECT_EQ(letter_at(*cut, 0, 3 * kPageSize), 'a');
  EXPECT_EQ(letter_at(*cut, 1, 6), 0);
  const auto lucky = bench.power.fork({.choice = Fate::Choice::kAll});
  EXPECT_EQ(letter_at(*lucky, 0, 3 * kPageSize), 'b');
  EXPECT_EQ(letter_at(*lucky, 1, 6), 'y');
  // A cut after the kill can still drop what the kill kept.
  const auto cut_after_kill = killed->fork({.choice = Fate::Choice::kNone});
  EXPECT_EQ(letter_at(*cut_after_kill, 0, 3 * kPageSize), 'a');
  EXPECT_EQ(letter_at(bench.power, 0, 3 * kPageSize), 'b') << "the original is untouched";
}

TEST(SimPower, SyncCoversOnlyWritesThatHadCompletedBeforeItBegan) {
  Bench bench;
  AlignedBuffer buffer(kPageSize);
  std::memset(buffer.data(), 'w', buffer.size());
  // Write and sync are submitted together; whatever completes first, the sync promises nothing.
  int write_result = -1, sync_result = -1;
  const auto store = [](Device::Awaiter awaiter, int& into) -> Task<void> {
    into = co_await awaiter;
  };
  spawn(store(bench.power.data().write(0, buffer.span()), write_result));
  spawn(store(bench.power.data().sync(), sync_result));
  bench.executor.run_until([&] { return write_result == 0 && sync_result == 0; });
  EXPECT_EQ(letter_at(*bench.power.fork({.choice = Fate::Choice::kNone}), 0, 0), 0);
}

TEST(SimPower, TornWritesMixSectorsButNeverBytes) {
  Bench bench;
  ASSERT_EQ(bench.write(0, 'a'), 0);
  ASSERT_EQ(bench.finish(bench.power.data().sync()), 0);
  ASSERT_EQ(bench.write(0, 'b'), 0);
  std::set<std::string> seen;
  for (uint64_t seed = 0; seed < 400; ++seed) {
    const auto cut = bench.power.fork({.seed = seed});
    std::string sectors;
    for (uint64_t s = 0; s < kSectorsPerPage; ++s) {
      const char first = letter_at(*cut, 0, s * kSectorSize);
      for (uint64_t i = 0; i < kSectorSize; i += 73)
        ASSERT_EQ(letter_at(*cut, 0, s * kSectorSize + i), first);
      sectors += first;
    }
    seen.insert(sectors);
    const auto whole = bench.power.fork({.atom_bytes = kPageSize, .seed = seed});
    ASSERT_EQ(letter_at(*whole, 0, 0), letter_at(*whole, 0, kPageSize - 1));
  }
  EXPECT_TRUE(seen.contains("aaaaaaaa"));
  EXPECT_TRUE(seen.contains("bbbbbbbb"));
  EXPECT_GT(seen.size(), 20u);
}

TEST(SimPower, SectorShowsContentsThatThePageCacheHadAndNoOther) {
  // Three appends to one sector: after a cut it holds none, or the first few, never a hole.
  Bench bench;
  for (uint64_t i = 0; i < 3; ++i)
    ASSERT_EQ(bench.power.journal().write_now(i, std::as_bytes(std::span("z", 1))), 0);
  std::set<std::string> seen;
  for (uint64_t seed = 0; seed < 300; ++seed) {
    const auto cut = bench.power.fork({.seed = seed});
    std::string text;
    for (uint64_t i = 0; i < 3; ++i) text += letter_at(*cut, 1, i) == 'z' ? 'z' : '-';
    seen.insert(text);
  }
  EXPECT_EQ(seen, (std::set<std::string>{"---", "z--", "zz-", "zzz"}));
}

TEST(SimPower, FailedSyncLosesWritesForGood) {
  bool lost = false, survived = false;
  for (uint64_t round = 0; round < 2; ++round) {
    Bench bench;
    for (uint64_t block = 0; block < 32; ++block) ASSERT_EQ(bench.write(block, 'n'), 0);
    bench.power.faults.push_back({.kind = IoOp::Kind::kSync, .disk = 0, .nth = 1});
    ASSERT_EQ(bench.finish(bench.power.data().sync()), -EIO);
    ASSERT_EQ(bench.finish(bench.power.data().sync()), 0) << "the second one claims to be well";
    EXPECT_EQ(bench.power.faults[0].fired, 1u);
    const auto cut = bench.power.fork({.choice = Fate::Choice::kAll});
    for (uint64_t block = 0; block < 32; ++block) {
      lost |= letter_at(*cut, 0, block * kPageSize) == 0;
      survived |= letter_at(*cut, 0, block * kPageSize) == 'n';
    }
  }
  EXPECT_TRUE(lost);
  EXPECT_TRUE(survived);
}

TEST(SimPower, NamesMisuseOfTheDevice) {
  Bench bench;
  AlignedBuffer buffer(2 * kPageSize);
  (void)bench.finish(bench.power.data().read(0, buffer.span().subspan(512, 512)));
  ASSERT_FALSE(bench.power.violations().empty());
  EXPECT_NE(bench.power.violations()[0].find("not aligned"), std::string::npos);
}

// --- A small user of the device: one number, committed durably into two slots in turn. ---

struct Slot {
  uint64_t value;
  uint64_t generation;
  uint32_t crc;
  uint32_t reserved;
};

enum class Flaw { kNone, kNoSync, kOneSlot, kNoChecksum };

struct Counter {
  Bench& bench;
  Flaw flaw;
  uint64_t generation = 0;

  void commit(uint64_t value) {
    AlignedBuffer page(kPageSize);
    Slot slot{value, ++generation, 0, 0};
    slot.crc = crc32c(std::as_bytes(std::span(&slot, 1)));
    for (uint64_t s = 0; s < kSectorsPerPage; ++s)  // repeated, so that a torn write shows
      for (uint64_t at = 0; at + sizeof(slot) <= kSectorSize; at += sizeof(slot))
        std::memcpy(page.data() + s * kSectorSize + at, &slot, sizeof(slot));
    const uint64_t where = flaw == Flaw::kOneSlot ? 0 : generation % 2;
    ASSERT_EQ(bench.finish(bench.power.data().write(where * kPageSize, page.span())), 0);
    if (flaw == Flaw::kNoSync) return;
    ASSERT_EQ(bench.finish(bench.power.data().sync()), 0);
  }
  // The value that a crash left.
  static uint64_t load(const SimPower& power, Flaw flaw) {
    Slot best{};
    for (uint64_t where = 0; where < 2; ++where) {
      std::array<std::byte, kPageSize> page;
      power.image(0).read(where * kPageSize, page);
      Slot slot, last;
      std::memcpy(&slot, page.data(), sizeof(slot));
      std::memcpy(&last, page.data() + 7 * kSectorSize, sizeof(last));
      Slot unsummed = slot;
      unsummed.crc = 0;
      const bool good = crc32c(std::as_bytes(std::span(&unsummed, 1))) == slot.crc &&
                        last.generation == slot.generation;
      if (flaw != Flaw::kNoChecksum && !good) continue;
      if (slot.generation >= best.generation) best = {last.value, slot.generation, 0, 0};
    }
    return best.value;
  }
};

// How many of all crashes show another value than the last committed one or the one under way.
uint64_t wrong_after_crash(Flaw flaw) {
  Bench bench;
  uint64_t committed = 0, attempted = 0, wrong = 0;
  bench.power.before_event = [&] {
    for (uint64_t seed = 0; seed < 40; ++seed) {
      const uint64_t found = Counter::load(*bench.power.fork({.seed = seed}), flaw);
      if (found < committed || found > attempted) ++wrong;
    }
  };
  Counter counter{bench, flaw};
  for (uint64_t i = 1; i <= 20; ++i) {
    attempted = i;
    counter.commit(i);
    committed = i;
  }
  return wrong;
}

TEST(SimPower, TellsACorrectUserFromBrokenOnes) {
  EXPECT_EQ(wrong_after_crash(Flaw::kNone), 0u);
  EXPECT_GT(wrong_after_crash(Flaw::kNoSync), 0u);
  EXPECT_GT(wrong_after_crash(Flaw::kOneSlot), 0u);
  EXPECT_GT(wrong_after_crash(Flaw::kNoChecksum), 0u);
}

TEST(SimExecutor, FindsADeadlockAndRunsTimersInOrder) {
  SimExecutor executor(7);
  Event never(executor);
  std::string order;
  const auto wait = [](Event& event) -> Task<void> { co_await event; };
  const auto later = [](SimExecutor& on, uint64_t ns, char name, std::string& into) -> Task<void> {
    co_await on.sleep(ns);
    into += name;
  };
  spawn(later(executor, 300, 'c', order));
  spawn(later(executor, 100, 'a', order));
  spawn(later(executor, 100, 'b', order));
  EXPECT_EQ(executor.run_until([&] { return order.size() == 3; }), SimExecutor::End::kDone);
  EXPECT_EQ(order, "abc");
  spawn(wait(never));
  EXPECT_EQ(executor.run_until([&] { return false; }), SimExecutor::End::kDeadlock);
  never.set();
  executor.run_until([] { return false; });
}

TEST(SimExecutor, CallsTurnHooksWhenNothingIsReadyAndRunsWhatTheyPost) {
  SimExecutor executor(7);
  struct Hook : Executor::TurnHook {
    Hook(SimExecutor& on) : gate(on) {}
    void end_of_turn() override {
      ++calls;
      if (gate.has_waiters()) gate.pulse();
    }
    Event gate;
    int calls = 0;
  } hook(executor);
  executor.add_turn_hook(&hook);
  bool done = false;
  const auto wait = [](Event& event, bool& flag) -> Task<void> {
    co_await event;
    co_await event;
    flag = true;
  };
  spawn(wait(hook.gate, done));
  EXPECT_EQ(executor.run_until([&] { return done; }), SimExecutor::End::kDone);
  EXPECT_EQ(hook.calls, 3);
  EXPECT_EQ(executor.turns(), 1u) << "all in one turn";
  executor.remove_turn_hook(&hook);
}

}  // namespace
}  // namespace hozon::sim
