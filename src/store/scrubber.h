// src/store/scrubber.h
// Reads everything that the pool holds and compares it with its checksums, at a bounded rate, while
// guests write and snapshots come and go.
//
// First the pool's own metadata: superblocks, journal header, catalog, bitmap; all of it is in
// memory too, so what is damaged on the disk is written anew at once and the report says so. Then
// the tree of every point, parents first (scrub_walk.h). Points that were made meanwhile are walked
// in further rounds; what was written after the scrub began may be left out.
// Invariants
//   B1  Between two steps (one leaf, at most 1 MiB of data) nothing is held: no space waits for a
//       scrub, no checkpoint longer than it takes to read kMetadataBlocksPerStep blocks.
//   B2  Memory: some bytes per point, and a few nodes and buffers, whatever the pool's size.
//   B3  Changes nothing but metadata that is damaged on the disk and good in memory.
// Threading: the pool's thread.
#pragma once

#include <functional>
#include <unordered_set>

#include "base/result.h"
#include "base/task.h"
#include "store/pool.h"

namespace hozon::store {

class PoolCore;
class MetaTree;
struct ScrubStep;

class Scrubber {
 public:
  explicit Scrubber(PoolCore& core) : core_(core) {}
  // Starts one in the background. kBusy while one runs.
  Result<uint64_t> start(ScrubOptions options);
  void cancel() { is_cancelled_ = true; }
  const ScrubReport& report() const { return report_; }

 private:
  Task<void> run();
  Task<Status> scrub();
  Task<Status> check_superblocks();
  Task<Status> check_journal_header();
  // `heal` marks what must be written anew to replace the block at that place of the tree.
  using Heal = std::function<void(uint8_t level, uint64_t index)>;
  Task<Status> check_tree(const MetaTree& tree, std::string name, Heal heal);
  Task<Status> walk_points(uint64_t& bound);
  Task<Status> walk_point(uint64_t id);
  std::vector<uint64_t> parents_first(uint64_t bound) const;
  void add_metadata_damage(std::string object, uint64_t block, std::string what);
  void add(DamagedPlace place);
  Status may_go_on() const;
  // Counts what was read, and waits as the rate asks.
  Task<Status> pace(uint64_t bytes);

  PoolCore& core_;
  ScrubOptions options_;
  ScrubReport report_;
  bool is_cancelled_ = false;
  bool must_write_metadata_ = false;
  uint64_t due_ns_ = 0;  // when the next read may begin
  std::unordered_set<uint64_t> walked_;
};

}  // namespace hozon::store
