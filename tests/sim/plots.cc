// tests/sim/plots.cc
// A plot knows by itself what it must find, so that no model is needed: blocks are filled with one
// letter.

#include "plots.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <functional>
#include <memory>
#include <vector>

#include "base/units.h"
#include "io_memory.h"
#include "session.h"

namespace hozon::sim {
namespace {

constexpr uint64_t kBlock = 4096;
constexpr uint64_t kNodeBlocks = 256;  // that one leaf of the map holds

Task<void> store_end(Task<Status> task, Status& status, bool& ended) {
  status = co_await std::move(task);
  ended = true;
}

// One volume `v` on a pool of its own, and what can be done with it.
class Stage {
 public:
  Stage(std::unique_ptr<SimPower> power, uint64_t seed)
      : power_(std::move(power)), session_(*power_, seed) {}

  static std::unique_ptr<SimPower> disks(uint64_t data_bytes,
                                         SimPower::Layout layout = SimPower::Layout::kTwoDisks) {
    return std::make_unique<SimPower>(data_bytes, 256_KiB, layout);
  }

  bool create(uint64_t blocks) {
    note(session_.create());
    return open() && does(create_volume(blocks), "create volume");
  }
  bool open(store::OpenOptions options = {.background = false}) {
    note(wrong_.empty() ? session_.open(options) : "");
    return wrong_.empty();
  }
  bool close() {
    note(wrong_.empty() ? session_.close() : "");
    return wrong_.empty();
  }
  bool does(Task<Status> task, std::string_view what) {
    if (!wrong_.empty()) return false;
    Status status;
    note(session_.run(std::move(task), status, what));
    if (wrong_.empty() && !status) note(fmt::format("{}: {}", what, status.error().what));
    return wrong_.empty();
  }
  Task<Status> fill(uint64_t first, uint64_t count, char letter) {
    const IoMemory memory(count * kBlock, true);
    std::ranges::fill(memory.span(), static_cast<std::byte>(letter));
    co_return co_await pool().write(*pool().target("v"), first * kBlock, memory.span(), false);
  }
  bool write(uint64_t first, uint64_t count, char letter) {
    return does(fill(first, count, letter), "write");
  }
  // One call for each block, all at once: one frame of the journal.
  void discard_singly(uint64_t first, uint64_t count) {
    if (!wrong_.empty()) return;
    std::vector<Status> statuses(count);
    const auto ended = std::make_unique<bool[]>(count);
    const auto target = *pool().target("v");
    for (uint64_t i = 0; i < count; ++i)
      spawn(store_end(pool().discard(target, (first + i) * kBlock, kBlock, false), statuses[i],
                      ended[i]));
    note(session_.run_until([&] { return std::all_of(&ended[0], &ended[count], std::identity()); },
                            "discards"));
    if (wrong_.empty() && !std::ranges::all_of(statuses, &Status::has_value))
      note("a discard failed");
  }
  bool flush() { return does(pool().flush(), "flush"); }
  bool checkpoint() { return does(pool().checkpoint(), "checkpoint"); }
  bool snapshot(std::string name) { return does(take_snapshot(std::move(name)), "snapshot"); }
  // The letter that a block is filled with.
  char letter(uint64_t block) {
    const IoMemory memory(kBlock, true);
    const std::span<std::byte> bytes = memory.span();
    const auto target = pool().target("v");
    if (!does(pool().read(*target, block * kBlock, bytes), "read")) return '?';
    if (std::ranges::any_of(bytes, [&](std::byte b) { return b != bytes[0]; }))
      note(fmt::format("block {} is a mixture", block));
    return static_cast<char>(bytes[0]);
  }
  // After everything that was deleted has been given back.
  bool is_sound() {
    store::CheckReport report;
    if (!does(pool().drain_reclaim(), "drain") || !checkpoint()) return false;
    if (!does(check(report), "check")) return false;
    if (!report.errors.empty()) note("check: " + report.errors.front());
    if (report.lost_blocks > 0) note(fmt::format("{} blocks are lost", report.lost_blocks));
    return wrong_.empty();
  }

  void note(std::string wrong) {
    if (wrong_.empty()) wrong_ = std::move(wrong);
  }
  const std::string& wrong() const { return wrong_; }
  store::Pool& pool() { return *session_.pool; }
  SimPower& power() { return *power_; }
  Session& session() { return session_; }

 private:
  Task<Status> create_volume(uint64_t blocks) {
    const auto made = co_await pool().create_volume("v", blocks * kBlock);
    if (!made) co_return std::unexpected(made.error());
    co_return Status{};
  }
  Task<Status> take_snapshot(std::string name) {
    std::vector<std::string> volumes(1, "v");
    const auto made = co_await pool().snapshot(std::move(volumes), std::move(name));
    if (!made) co_return std::unexpected(made.error());
    co_return Status{};
  }
  Task<Status> check(store::CheckReport& report) {
    auto found = co_await pool().check(true);
    if (!found) co_return std::unexpected(found.error());
    report = *std::move(found);
    co_return Status{};
  }

  std::unique_ptr<SimPower> power_;
  Session session_;
  std::string wrong_;
};

// A point whose tree is higher than its parent's holds the parent's root in slot 0.
std::string delete_a_point_with_a_higher_tree(uint64_t seed, uint64_t&) {
  Stage stage(Stage::disks(2_MiB), seed);
  if (!stage.create(kNodeBlocks)) return stage.wrong();
  stage.write(0, 8, 'a');
  stage.snapshot("low");
  stage.checkpoint();
  stage.does(stage.pool().resize_volume("v", 2 * kNodeBlocks * kBlock, false), "resize");
  stage.write(kNodeBlocks + 1, 4, 'b');
  stage.snapshot("high");
  stage.write(0, 1, 'c');  // else the head shares it, too
  stage.checkpoint();
  stage.does(stage.pool().delete_point("v", "high"), "delete");
  if (stage.is_sound()) stage.close();
  return stage.wrong();
}

// While the walk of a deleted point reads one leaf after the other, the head stops sharing the last
// one, which the walk has seen to be shared.
std::string write_while_a_point_is_reclaimed(uint64_t seed, uint64_t&) {
  constexpr uint64_t kLeaves = 20;
  Stage stage(Stage::disks(4_MiB), seed);
  if (!stage.create(kLeaves * kNodeBlocks)) return stage.wrong();
  for (uint64_t leaf = 0; leaf < kLeaves; ++leaf) stage.write(leaf * kNodeBlocks, 2, 'a');
  stage.snapshot("s");
  for (uint64_t leaf = 0; leaf + 1 < kLeaves; ++leaf) stage.write(leaf * kNodeBlocks, 1, 'b');
  if (!stage.close() || !stage.open({.node_cache_bytes = 0})) return stage.wrong();
  stage.does(stage.pool().delete_point("v", "s"), "delete");
  stage.write((kLeaves - 1) * kNodeBlocks, 1, 'c');
  if (stage.is_sound()) stage.close();
  return stage.wrong();
}

// Two discards of one range at once: the second has nothing left to do, but a kill must not take
// back what it was answered.
std::string discard_twice_at_once(uint64_t seed, uint64_t& crashes) {
  Stage stage(Stage::disks(1_MiB), seed);
  if (!stage.create(16)) return stage.wrong();
  stage.write(0, 4, 'a');
  stage.flush();
  if (!stage.wrong().empty()) return stage.wrong();
  std::array<Status, 2> statuses;
  std::array<bool, 2> ended{};
  stage.power().before_event = [&] {
    if (!ended[0] && !ended[1]) return;
    ++crashes;
    Stage after(stage.power().fork({.kind = CrashKind::kKill, .choice = Fate::Choice::kNone}),
                seed);
    if (after.open() && after.letter(0) != 0) after.note("a discard was answered and is undone");
    stage.note(after.wrong());
  };
  for (size_t i = 0; i < 2; ++i)
    spawn(store_end(stage.pool().discard(*stage.pool().target("v"), 0, 4 * kBlock, false),
                    statuses[i], ended[i]));
  stage.note(stage.session().run_until([&] { return ended[0] && ended[1]; }, "discards"));
  stage.power().before_event = nullptr;
  if (stage.wrong().empty() && (!statuses[0] || !statuses[1])) stage.note("a discard failed");
  stage.close();
  return stage.wrong();
}

// A discard reaches the end of the volume, which lies inside of a block. While it waits for a write
// of its first block the volume grows, and the rest of its last block is written: that stays.
std::string discard_up_to_an_end_that_moves(uint64_t seed, uint64_t&) {
  constexpr uint64_t kBlocks = 16, kHalf = kBlock / 2, kEnd = kBlocks * kBlock - kHalf;
  Stage stage(Stage::disks(1_MiB), seed);
  if (!stage.create(kBlocks)) return stage.wrong();
  stage.does(stage.pool().resize_volume("v", kEnd, true), "shrink");
  stage.write(0, 1, 'a');
  if (!stage.wrong().empty()) return stage.wrong();
  const auto target = *stage.pool().target("v");
  const IoMemory half(kHalf, true);
  std::ranges::fill(half.span(), std::byte{'c'});
  std::array<Status, 2> statuses;
  std::array<bool, 2> ended{};
  spawn(store_end(stage.fill(0, 1, 'b'), statuses[0], ended[0]));
  spawn(store_end(stage.pool().discard(target, 512, kEnd - 512, false), statuses[1], ended[1]));
  stage.does(stage.pool().resize_volume("v", kBlocks * kBlock, false), "grow");
  stage.does(stage.pool().write(target, kEnd, half.span(), false), "write behind the old end");
  stage.note(stage.session().run_until([&] { return ended[0] && ended[1]; }, "discard"));
  if (stage.wrong().empty() && (!statuses[0] || !statuses[1])) stage.note("a request failed");
  stage.does(stage.pool().read(target, kEnd, half.span()), "read");
  if (std::ranges::any_of(half.span(), [](std::byte b) { return b != std::byte{'c'}; }))
    stage.note("a discard took what was written behind its end");
  stage.close();
  return stage.wrong();
}

// Every cut at every event while `work` runs, each with some fates; `judge` opens what is left.
template <typename Work, typename Judge>
void cut_at_every_event(Stage& stage, uint64_t fates, uint64_t seed, uint64_t& crashes, Work work,
                        Judge judge) {
  Random random(seed);
  stage.power().before_event = [&] {
    for (uint64_t i = 0; i < fates && stage.wrong().empty(); ++i) {
      ++crashes;
      Fate fate{.kind = CrashKind::kCut, .choice = Fate::Choice::kRandom, .seed = random.next()};
      fate.garbage = i % 2 == 0;
      Stage after(stage.power().fork(fate), random.next());
      if (after.open()) judge(after);
      stage.note(after.wrong());
    }
  };
  work();
  stage.power().before_event = nullptr;
}

// One slot of the superblock is damaged, and the first cut after the next opening damages the
// other.
std::string cut_with_one_good_superblock(uint64_t seed, uint64_t& crashes) {
  auto power = Stage::disks(1_MiB);
  {
    Stage stage(std::move(power), seed);
    stage.create(16);
    stage.write(0, 4, 'a');
    if (!stage.close()) return stage.wrong();
    power = stage.power().fork({.choice = Fate::Choice::kAll});
  }
  power->rot(0, kBlock + 40, 1);
  Stage stage(std::move(power), seed);
  cut_at_every_event(
      stage, 24, seed, crashes, [&] { stage.open() && stage.close(); },
      [](Stage& after) {
        if (after.letter(0) != 'a') after.note("flushed data is gone");
      });
  return stage.wrong();
}

// A cut loses a journal frame and keeps the one behind it. After the next opening a frame of the
// same size is written in the same place, and the process is killed: the one behind it, which was
// dropped before, must not count again.
std::string write_over_a_lost_frame(uint64_t seed, uint64_t& crashes) {
  // A header of 64 bytes and records of 32: a frame of one page. The second frame has a page of its
  // own, which writing the first one again does not fill with zeros.
  static constexpr uint64_t kMany = (kBlock - 64) / 32;
  Stage stage(Stage::disks(1_MiB), seed);
  if (!stage.create(kMany + 1)) return stage.wrong();
  stage.write(0, kMany + 1, 'a');
  stage.flush();
  stage.discard_singly(0, kMany);
  stage.discard_singly(kMany, 1);
  if (!stage.wrong().empty()) return stage.wrong();
  const uint64_t undecided = stage.power().undecided(CrashKind::kCut);
  for (uint64_t lost = 0; lost < undecided && stage.wrong().empty(); ++lost) {
    ++crashes;
    Stage second(stage.power().fork(
                     {.kind = CrashKind::kCut, .choice = Fate::Choice::kAllBut, .index = lost}),
                 seed);
    if (!second.open()) return second.wrong();
    const char before = second.letter(kMany);
    second.discard_singly(0, kMany);
    if (!second.wrong().empty()) return second.wrong();
    Stage third(second.power().fork({.kind = CrashKind::kKill, .choice = Fate::Choice::kAll}),
                seed);
    if (third.open() && third.letter(kMany) != before)
      third.note("a discard that a crash had dropped came back");
    stage.note(third.wrong());
  }
  return stage.wrong();
}

// The data of a write whose record went ahead of it cannot be written; the write is repeated, as
// every write is that another block can take, and answered. A kill must not take it back because of
// the record of the first attempt.
std::string fail_the_data_of_an_early_record(uint64_t seed, uint64_t& crashes) {
  Stage stage(Stage::disks(1_MiB, SimPower::Layout::kOneDisk), seed);
  if (!stage.create(16) || !stage.close()) return stage.wrong();
  if (!stage.open({.background = false, .flush_habit = 0})) return stage.wrong();
  stage.write(0, 1, 'a');
  stage.flush();
  // The first write from here on is the frame with the record, the second one the data.
  stage.power().faults.push_back(FaultRule{.kind = IoOp::Kind::kWrite, .disk = 0, .nth = 2});
  const uint64_t early_before = stage.wrong().empty() ? stage.pool().stats().early_writes : 0;
  stage.write(0, 1, 'b');
  if (!stage.wrong().empty()) return stage.wrong();
  if (stage.pool().stats().early_writes == early_before) return "no record went ahead";
  if (stage.power().faults[0].fired == 0) return "nothing failed";
  ++crashes;
  Stage after(stage.power().fork({.kind = CrashKind::kKill, .choice = Fate::Choice::kNone}), seed);
  if (after.open() && after.letter(0) != 'b') after.note("an answered write is gone");
  return after.wrong();
}

struct Plot {
  std::string_view name;
  std::string (*run)(uint64_t seed, uint64_t& crashes);
};
constexpr std::array<Plot, 7> kPlots = {{
    {"delete a point with a higher tree", delete_a_point_with_a_higher_tree},
    {"write while a point is reclaimed", write_while_a_point_is_reclaimed},
    {"discard twice at once", discard_twice_at_once},
    {"discard up to an end that moves", discard_up_to_an_end_that_moves},
    {"cut with one good superblock", cut_with_one_good_superblock},
    {"write over a lost frame", write_over_a_lost_frame},
    {"fail the data of an early record", fail_the_data_of_an_early_record},
}};

}  // namespace

std::string run_plots(uint64_t seed, uint64_t& crashes) {
  for (const Plot& plot : kPlots) {
    const std::string wrong = plot.run(seed, crashes);
    if (!wrong.empty()) return fmt::format("{}: {}", plot.name, wrong);
  }
  return "";
}

}  // namespace hozon::sim
