#include "store/repairer.h"

#include <algorithm>

#include "store/checker.h"
#include "store/checkpointer.h"
#include "store/core.h"
#include "store/opener.h"

namespace hozon::store {
namespace {

// Makes the bitmap in memory agree with what the trees reach, before the journal is replayed on it.
class BitmapRepair {
 public:
  BitmapRepair(PoolCore& core, const TreeProblems& problems) : core_(core), problems_(problems) {}

  Task<Status> run(std::vector<std::string>& changes) {
    Checker checker(core_, false);
    HOZON_CO_CHECK(co_await checker.examine());
    for (const std::string& problem : problems_.sentences)
      changes.push_back(problem + ": rebuilt from what the volumes and points reach");
    for (const uint64_t group : problems_.leaves) core_.space.touch_group(group);
    for (uint64_t block = format::kFirstUsableBlock; block < core_.space.total(); ++block)
      settle(block, checker.seen().test(block), checker.has_damaged_nodes());
    if (marked_used_ > 0)
      changes.push_back(fmt::format(
          "bitmap: {} blocks that are in use were marked as free; they are marked as used",
          marked_used_));
    if (freed_ > 0)
      changes.push_back(fmt::format(
          "bitmap: {} blocks that belong to nothing were marked as used; they are free", freed_));
    co_return Status{};
  }

 private:
  void settle(uint64_t block, bool is_reached, bool has_damaged_nodes) {
    const bool is_live = core_.space.is_live(block);
    const bool is_known = !problems_.leaves.contains(block / format::kBitsPerBlock);
    if (is_reached && !is_live) {
      core_.space.repair_live(block);
      marked_used_ += is_known ? 1 : 0;
    } else if (!is_reached && is_live && !has_damaged_nodes) {
      core_.space.repair_free(block);
      ++freed_;
    } else if (!is_reached && !is_live && !is_known && has_damaged_nodes) {
      core_.space.repair_live(block);  // it may belong to what is damaged
    }
  }

  PoolCore& core_;
  const TreeProblems& problems_;
  uint64_t marked_used_ = 0;
  uint64_t freed_ = 0;
};

struct Opened {
  std::unique_ptr<PoolCore> core;
  std::vector<std::string> changes;
};

Task<Result<Opened>> open_for_repair(Executor& executor, Device& data, Device& journal,
                                     OpenOptions options) {
  Opened opened;
  HOZON_CO_TRY(const SuperblockSlots slots, co_await read_superblocks(data));
  for (const std::string& problem : slots.problems)
    opened.changes.push_back(
        fmt::format("superblock {}: written anew from the other slot", problem));
  TreeProblems problems;
  const auto before_replay = [&](PoolCore& core) -> Task<Status> {
    BitmapRepair repair(core, problems);
    co_return co_await repair.run(opened.changes);
  };
  const RepairOpening repair{&problems, before_replay};
  HOZON_CO_TRY(opened.core, co_await open_core(executor, data, journal, options, &repair));
  co_return opened;
}

}  // namespace

Task<Result<RepairReport>> repair_pool(Executor& executor, Device& data, Device& journal) {
  RepairReport report;
  OpenOptions options;
  options.background = false;
  options.read_only = true;
  {
    HOZON_CO_TRY(const Opened looked, co_await open_for_repair(executor, data, journal, options));
    report.changes = looked.changes;
    if (report.changes.empty()) {
      Checker checker(*looked.core, true);
      HOZON_CO_TRY(report.remaining, co_await checker.run());
      co_return report;
    }
  }
  options.read_only = false;
  HOZON_CO_TRY(const Opened opened, co_await open_for_repair(executor, data, journal, options));
  HOZON_CO_CHECK(co_await begin_writing(*opened.core));
  Checker checker(*opened.core, true);
  HOZON_CO_TRY(report.remaining, co_await checker.run());
  co_return report;
}

}  // namespace hozon::store
