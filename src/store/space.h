// src/store/space.h
// Who has which block of the pool.
//
// A block is   live       reachable from the present state (some point, or pool metadata)
//              in flight  handed out, not yet reachable: a running write
//              pending    no longer reachable, but a durable root, a journal record that replay may
//                         need, or a running reader may still lead to it
//              free       may be handed out; prepared when the file holds it written already
// Invariants
//   S1  live + pending + in_flight + free == total, whenever a member function returns.
//   S2  A pending block becomes free only when (a) the flush mark that covers the journal frame
//       which freed it is itself durable, (b) the checkpoint named with it is durable, and (c)
//       every reader that began before it was freed has ended.
//   S3  Blocks 0 and 1 (superblocks) are always live.
//   S4  Only free blocks are prepared. Which ones is known in memory only, and nothing but speed
//       depends on it: to write where the file has a hole or an extent that was never written, the
//       filesystem changes its own metadata, and the next sync pays for that.
// Why the mark must be durable (a): replay compares the data of every record after the last mark it
// finds. A record whose block was reused would look like a write that never reached the medium.
// Threading: the pool's thread. On disk: the live bits, docs/format.md "Bitmap".
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <vector>

#include "store/bitmap.h"
#include "store/dirty_set.h"

namespace hozon::store {

class Space {
 public:
  explicit Space(uint64_t total_blocks);

  uint64_t total() const { return taken_.size(); }
  uint64_t live() const { return live_.set_count(); }
  uint64_t pending() const { return pending_; }
  uint64_t in_flight() const { return in_flight_; }
  uint64_t free() const { return total() - taken_.set_count(); }

  // The first free run at or after `from`, or else from the start; cut to `count_max`.
  std::optional<Run> find_free(uint64_t from, uint64_t count_max) const {
    return taken_.find_free(from, count_max);
  }
  // Up to `count_max` neighbouring blocks; they are in flight then. Empty when nothing is free.
  // Prepared ones first; many are rather taken together than prepared.
  std::optional<Run> take(uint64_t count_max);
  // The same of blocks that are not prepared. Empty when a bounded search found none.
  std::optional<Run> take_unprepared(uint64_t count_max);
  // Exactly `count` neighbouring blocks, or none: the search is bounded and goes on where the last
  // one stopped.
  std::optional<Run> take_whole(uint64_t count);
  void make_live(Run run);           // in flight -> live
  void give_back(Run run);           // in flight -> free (nobody ever saw them)
  void give_back_prepared(Run run);  // the same, and the file holds all of them written
  uint64_t prepared() const { return total() - unprepared_.set_count(); }
  // live -> pending. `sequence`: journal frame that says so (0: none); `generation`: checkpoint
  // that must be durable first (0: none).
  void retire(Run run, uint64_t sequence, uint64_t generation);
  // The same of all blocks that a reclaimed point had alone, with `generation`.
  void retire(Bitmap blocks, uint64_t generation);
  bool is_live(uint64_t block) const { return live_.test(block); }

  // Readers. A reader keeps everything that is reachable when it begins.
  uint64_t reader_began();
  void reader_ended(uint64_t ticket);

  // What S2 waits for has advanced; both only grow.
  void set_durable_mark(uint64_t sequence);
  void set_durable_generation(uint64_t generation);
  // Moves pending blocks to free as far as S2 allows, about `blocks_max` of them; the freed blocks
  // are appended to `freed`. True: there are more that S2 allows to be freed now.
  bool release(std::vector<Run>& freed, uint64_t blocks_max);
  // While a released run is being punched out of the file it is pending again.
  void begin_punch(Run run);
  void end_punch(Run run);

  // Replay: marks a block as taken by a record, live from now on; it may be free or retired.
  void replay_live(Run run);
  // live -> not live, still taken. `under_mark`: data, freed by a frame that the largest mark
  // covers; S2(a) holds for it, so it may be free after replay.
  void replay_retire(Run run, bool under_mark);
  // After replay: the rest of what is taken but not live is pending until `generation` is durable.
  void end_replay(uint64_t generation);

  // Repair, before replay: corrects what the bitmap says of one block.
  void repair_live(uint64_t block);
  void repair_free(uint64_t block);

  // Live bits, for checkpoints and checks.
  Bitmap& live_bits() { return live_; }
  const Bitmap& live_bits() const { return live_; }
  // Groups of the bitmap that changed since the last call.
  std::vector<uint64_t> take_dirty_groups() { return dirty_groups_.take(); }
  // The group's block of the bitmap is written anew by the next checkpoint.
  void touch_group(uint64_t group) { dirty_groups_.insert(group); }
  // Loading: sets the bits of one group, live and taken.
  bool import_group(uint64_t group, std::span<const std::byte> bytes);

 private:
  struct Pending {
    Run run;
    uint64_t sequence;
    uint64_t generation;
    uint64_t reader;  // readers with smaller tickets may still use it
  };
  // Of a point that held gigabytes in small pieces these would be millions of entries.
  struct Reclaimed {
    Bitmap blocks;
    uint64_t generation;
    uint64_t reader;
    uint64_t group = 0;  // of the bitmap; those before it were released
  };
  bool is_releasable(uint64_t sequence, uint64_t generation, uint64_t reader) const;
  void touch(Run run);
  std::optional<Run> find(uint64_t count_max);
  void set_taken(Run run);
  void free_pending(Run run, std::vector<Run>& freed);
  bool release_from(std::deque<Pending>& queue, std::vector<Run>& freed, uint64_t& left);
  bool release_reclaimed(std::vector<Run>& freed, uint64_t& left);

  Bitmap taken_;
  Bitmap live_;
  Bitmap unprepared_;  // clear: free and prepared
  DirtySet dirty_groups_;
  std::deque<Pending> by_sequence_;    // freed by guest writes, in order
  std::deque<Pending> by_generation_;  // freed with metadata, in order
  std::deque<Reclaimed> reclaimed_;    // freed with points, in order
  uint64_t pending_ = 0;
  uint64_t in_flight_ = 0;
  uint64_t cursor_ = 0;
  uint64_t prepared_cursor_ = 0;
  uint64_t unprepared_cursor_ = 0;  // of take_unprepared()
  uint64_t whole_cursor_ = 0;       // of take_whole()
  uint64_t durable_mark_ = 0;
  uint64_t durable_generation_ = 0;
  uint64_t next_ticket_ = 1;
  uint64_t oldest_ticket_ = 1;
  std::deque<bool> ended_;  // of tickets from oldest_ticket_ on
  Bitmap replay_free_;      // blocks retired under the mark, during replay only
};

}  // namespace hozon::store
