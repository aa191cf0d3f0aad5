// src/store/core.h
// The state of one open pool, shared by the parts that work on it: data path (DataPath), flushes
// (Flusher), checkpoints (Checkpointer), reclaiming (Reclaimer), defragmenting (Defragmenter),
// preparing space (Reservoir), checking (Checker), opening (Opener). Pool (pool.h) is the face.
//
// Invariants: those of pool.h and space.h.
//   Changes of the state happen between two waits: whoever needs several things changed together
//   does not co_await in between, and nobody sees half of it.
// Threading: the pool's thread.
#pragma once

#include <algorithm>
#include <functional>
#include <memory>
#include <string>

#include "io/part_device.h"
#include "store/catalog.h"
#include "store/damage_log.h"
#include "store/early_writes.h"
#include "store/head_map.h"
#include "store/journal.h"
#include "store/meta_tree.h"
#include "store/node_cache.h"
#include "store/pool.h"
#include "store/range_locks.h"
#include "store/space.h"

namespace hozon::store {

class Flusher;
class Checkpointer;
class Headroom;
class Reclaimer;
class Scrubber;
class Defragmenter;
class Reservoir;

// Holds back the reuse of every block that was reachable when it was made.
class ReaderGuard {
 public:
  explicit ReaderGuard(Space& space) : space_(&space), ticket_(space.reader_began()) {}
  ReaderGuard(const ReaderGuard&) = delete;
  ReaderGuard& operator=(const ReaderGuard&) = delete;
  ~ReaderGuard() { space_->reader_ended(ticket_); }

 private:
  Space* space_;
  uint64_t ticket_;
};

class PoolCore : public BlockOwner, public Executor::TurnHook {
 public:
  PoolCore(Executor& executor, Device& data, Device& journal_device, const OpenOptions& options,
           const format::Superblock& superblock);
  ~PoolCore() override;

  // --- parts ---
  Executor& executor;
  Device& data;
  std::unique_ptr<PartDevice> journal_part;  // of `data`, when the journal stands there
  Device& journal_device;
  const OpenOptions options;
  format::Superblock superblock;  // the last durable one
  Space space;
  Journal journal;
  Catalog catalog;
  MetaTree catalog_tree;
  MetaTree bitmap_tree;
  NodeCache cache;
  HeadMap head_map;
  RangeLocks locks;
  EarlyWrites early;
  std::unique_ptr<Flusher> flusher;
  std::unique_ptr<Checkpointer> checkpointer;
  std::unique_ptr<Reclaimer> reclaimer;
  std::unique_ptr<Scrubber> scrubber;
  DamageLog damage;
  std::unique_ptr<Defragmenter> defragmenter;
  std::unique_ptr<Headroom> headroom;
  std::unique_ptr<Reservoir> reservoir;
  Group background;  // loops, punches

  // --- state ---
  uint64_t nodes_in_memory = 0;
  uint64_t parked_writes = 0;
  bool closing = false;
  bool replaying = false;
  bool replay_under_mark = false;  // the frame that is replayed is covered by the largest mark
  Status replay_fault;             // what replay cannot believe: trees and bitmap disagree
  Status health;                   // why the pool is read-only, once it is
  Event space_freed;               // blocks became free, or the pool failed or closes
  Event journal_freed;             // the journal's tail moved, or the pool failed or closes
  std::function<void(const PoolStats&)> listener;

  // Ok while changes are accepted.
  Status usable() const;
  // P6: from now on nothing is accepted.
  void fail(const Error& reason);
  void wake_background();
  PoolStats stats() const;
  void notify() const;

  // Frees what Space says may be reused, and tells those who wait: OpenOptions::release_blocks of
  // it at once, the rest in turns of their own.
  void release_space();
  // The same; returns when all is free.
  Task<void> release_all_space();
  // Gives blocks, on which begin_punch() was called, back to the filesystem.
  Task<void> punch(Run run);
  // Blocks that guest writes may take now.
  uint64_t free_for_guests() const;
  uint64_t reserve_blocks() const;
  // Whether changes of maps by metadata operations leave room for the next checkpoint.
  bool has_room_for_nodes() const;

  // Syncs the data device, and with it the journal that stands there. One at a time: of two that
  // run together only one may be told of a lost write, and the other would build upon it. After a
  // failure the pool has failed (D3, P6).
  Task<Status> sync_data();
  Task<Status> sync_journal();
  // Whether one sync covers data and journal.
  bool has_one_file() const { return journal_part != nullptr; }

  // Appends logical records (in one frame) and applies them; waits for room in the journal first.
  // `build` makes the records from the state at that moment, and may refuse. Durable on return.
  using BuildRecords = std::function<Result<std::vector<format::Record>>()>;
  Task<Status> commit(BuildRecords build);
  // Returns when `bytes` of records fit into the journal; at once in most cases.
  Task<Status> wait_journal_room(uint64_t bytes);
  // Reads a node that a change found missing; the block is not reused meanwhile.
  Task<Status> load_missing(MissingNode missing);

  // Data blocks replaced from now on are freed by journal frame `sequence`.
  // An earlier one than before counts as the same: waiting longer is never wrong.
  void set_retire_sequence(uint64_t sequence) {
    retire_sequence_ = std::max(retire_sequence_, sequence);
  }
  // Reclaiming finished something that only the next checkpoint makes durable: until then, what
  // guests free may still be reachable from the state that replay would restore.
  void raise_barrier() { barrier_generation_ = next_generation(); }
  // The checkpoint that the present state will be part of.
  uint64_t next_generation() const;

  // BlockOwner
  void retire_data(uint64_t block) override;
  void retire_node(uint64_t block) override;
  void note_unshared(Point& parent, uint8_t level, uint64_t index, Edge edge) override;
  // TurnHook
  void end_of_turn() override;

 private:
  void replay_retire(uint64_t block, bool under_mark);
  // True: there is more.
  bool release_some_space();
  Task<void> release_rest();
  Mutex sync_mutex_;
  bool releases_rest_ = false;
  uint64_t retire_sequence_ = 0;
  uint64_t barrier_generation_ = 0;
};

// A sentence's name for a volume or point.
std::string describe(const Point& point, const Catalog& catalog);

}  // namespace hozon::store
