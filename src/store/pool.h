// src/store/pool.h
// One pool: volumes, their points, and the blocks that hold them. The heart of Hozon.
//
// On disk: docs/format.md. What an answer promises: docs/durability.md.
// Invariants
//   P1  A write is acknowledged only when data and journal record are in the kernel.
//   P2  flush() covers every write of the whole pool that was answered before it was called.
//   P3  No block reachable from a durable root, a journal record that replay may need, or a running
//       reader is ever overwritten.
//   P4  live + pending + in flight + free == total whenever a call returns.
//   P5  Connected sharing: the points that map one block at one address are connected in the
//       history tree.
//   P6  After a failed sync or journal write nothing is accepted any more; reads go on.
// Threading: everything on the thread of its Executor.
// Buffers need no alignment. Offsets and lengths are bytes, any granularity, within the volume.
// Errors: kNotFound (volume or point), kAlreadyExists (name), kInvalidArgument (range, name),
//   kWrongState, kResourceExhausted (metadata operations on a full pool), kCorruption (checksum),
//   kIo, kUnavailable (read-only after a failure, or closing).
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/sync.h"
#include "base/task.h"
#include "io/device.h"
#include "store/types.h"

namespace hozon::store {

class PoolCore;

// What create() writes. Sizes in bytes.
struct CreateOptions {
  std::array<uint8_t, 16> pool_id{};  // random, from the caller
  uint64_t journal_bytes = 0;         // at the end of `data`, when `journal` is the same device
};

struct OpenOptions {
  uint64_t node_cache_bytes = 64 << 20;
  bool read_only = false;  // replay in memory, write nothing
  bool background = true;  // checkpoints and reclaiming run by themselves
  uint64_t checkpoint_idle_ns = 5'000'000'000;
  // So many flushes after one write each make a habit; one that is broken ends it (flusher.h).
  uint64_t flush_habit = 8;
  // Blocks that become free in one go before others get their turn (64 MiB).
  uint64_t release_blocks = 16384;
};

struct ReturnItem {
  std::string volume;
  std::string point_volume;  // usually the same
  std::string point;
};

struct CheckReport {
  std::vector<std::string> errors;    // one sentence each; empty: the pool is sound
  std::vector<std::string> warnings;  // e.g. one superblock slot damaged, the other one used
  uint64_t points = 0;
  uint64_t map_blocks = 0;
  uint64_t data_blocks = 0;
  uint64_t lost_blocks = 0;           // marked as used, reachable from nowhere
  std::vector<DamagedPlace> damaged;  // those of the errors that are about damage of one block
};

struct RepairReport {
  std::vector<std::string> changes;  // what was changed, one sentence each; empty: nothing
  CheckReport remaining;             // what is found now
};

struct ScrubOptions {
  uint64_t bytes_per_second = 0;  // 0: as fast as the disk allows
};

// Identifies a volume, or one of its points, for I/O. Stays valid across snapshots and returns;
// after the object's deletion calls answer kNotFound.
struct Target {
  uint64_t volume_id = 0;
  uint64_t point_id = 0;  // 0: the volume's head, else a read-only point
};

class Pool {
 public:
  // Formats `data` and `journal`, whose content is lost. Both are synced when this returns. Where
  // they are one device the journal takes the end of it, and one sync covers both.
  static Task<Status> create(Device& data, Device& journal, CreateOptions options);
  // For a pool that nobody has open: repairs what can be repaired without guessing (repairer.h).
  static Task<Result<RepairReport>> repair(Executor& executor, Device& data, Device& journal);
  // Opens and replays. Executor and devices outlive the pool. `journal` is `data` itself when there
  // is no other; a pool that has its journal in `data` does not look at another one.
  static Task<Result<std::unique_ptr<Pool>>> open(Executor& executor, Device& data, Device& journal,
                                                  OpenOptions options);
  // Ends background work, writes a last checkpoint. The pool accepts nothing afterwards. Required
  // before destruction, unless the executor never runs again.
  Task<Status> close();
  ~Pool();

  // --- volumes and points. Durable when they return. ---
  Task<Result<VolumeInfo>> create_volume(std::string name, uint64_t size_bytes);
  // Shrinks only with `allow_shrink` and when nothing is mapped past the new end.
  Task<Status> resize_volume(std::string name, uint64_t size_bytes, bool allow_shrink);
  Task<Status> rename_volume(std::string name, std::string new_name);
  // kWrongState while it has snapshots, unless `with_points`.
  Task<Status> delete_volume(std::string name, bool with_points);
  // One instant for all; either every point exists afterwards or none.
  Task<Result<std::vector<PointInfo>>> snapshot(std::vector<std::string> volumes,
                                                std::string point_name);
  // A new volume whose content is that of the point (or, with an empty name, of the head).
  Task<Result<VolumeInfo>> clone(std::string volume, std::string point, std::string new_volume);
  // All volumes at once: each head becomes a clone of its point; the state that was left stays as a
  // point named `keep_name` of the volume, or is deleted when the name is empty.
  Task<Status> return_to(std::vector<ReturnItem> items, std::string keep_name);
  Task<Status> delete_point(std::string volume, std::string point);
  Task<Status> rename_point(std::string volume, std::string point, std::string new_name);

  std::vector<VolumeInfo> volumes() const;
  Result<VolumeInfo> volume(std::string_view name) const;
  // All points of the volume, in order of creation. `all`: heads, forks and reclaiming ones too.
  Result<std::vector<PointInfo>> points(std::string_view volume, bool all = false) const;
  // The ancestors of a point (its parent first), nameless ones included.
  std::vector<PointInfo> ancestors(uint64_t point_id) const;
  Result<Target> target(std::string_view volume, std::string_view point = {}) const;
  Result<uint64_t> size_bytes(Target target) const;

  // --- data ---
  Task<Status> read(Target target, uint64_t offset, std::span<std::byte> into);
  // `fua`: durable when it returns.
  Task<Status> write(Target target, uint64_t offset, std::span<const std::byte> from, bool fua);
  // Ranges read as zeros afterwards; whole blocks give their space back.
  Task<Status> write_zeroes(Target target, uint64_t offset, uint64_t length, bool fua);
  Task<Status> discard(Target target, uint64_t offset, uint64_t length, bool fua);
  Task<Status> flush();
  // Extents that cover [offset, offset + length), merged, at most `extents_max` (then shorter).
  Task<Result<std::vector<Extent>>> block_status(Target target, uint64_t offset, uint64_t length,
                                                 uint32_t extents_max);
  // As block_status, with `changed` set where the target differs from `base` (any related point).
  Task<Result<std::vector<Extent>>> changed_status(Target target, Target base, uint64_t offset,
                                                   uint64_t length, uint32_t extents_max);

  // --- service ---
  PoolStats stats() const;
  // Bytes that deleting this point alone would give back.
  Task<Result<uint64_t>> exclusive_bytes(std::string volume, std::string point);
  // Of many points of a volume, in their order; nothing for those that are gone.
  Task<Result<std::vector<std::optional<uint64_t>>>> exclusive_bytes(
      std::string volume, std::vector<std::string> points);
  // Bytes that deleting all of these together would give back. kInvalidArgument: none.
  Task<Result<FreedBytes>> freed_bytes(std::vector<Target> targets);
  // Bytes of blocks that the target maps (shared ones included).
  Task<Result<uint64_t>> mapped_bytes(Target target);
  Task<Status> checkpoint();
  // Waits until nothing is left to reclaim.
  Task<Status> drain_reclaim();
  // Puts scattered blocks that only the volume's head has side by side, while I/O goes on: from
  // `offset` on (bytes), until about `most_bytes` of mapped data were looked at.
  Task<Result<DefragmentReport>> defragment(std::string volume, uint64_t offset = 0,
                                            uint64_t most_bytes = ~uint64_t{0});
  // Verifies reachability against the bitmap, every checksum (data too when `verify_data`) and
  // connected sharing of the state at the instant of the call, while I/O goes on.
  Task<Result<CheckReport>> check(bool verify_data);
  // Reads and verifies everything in the background, at a bounded rate, while the pool is used. One
  // at a time (kBusy). Returns its number, by which its report is known.
  Result<uint64_t> start_scrub(ScrubOptions options);
  // Of the scrub that runs, or ran last since the pool was opened.
  const ScrubReport& scrub_report() const;
  void cancel_scrub();
  // What reads, checks and scrubs found damaged and is still in use (docs/durability.md, P5).
  const std::vector<DamagedPlace>& damaged_places() const;
  // Called (on the pool's thread) when guest writes begin or end to wait for space, on failure,
  // and when damage was found.
  void on_event(std::function<void(const PoolStats&)> listener);

 private:
  explicit Pool(std::unique_ptr<PoolCore> core);
  std::unique_ptr<PoolCore> core_;
};

}  // namespace hozon::store
