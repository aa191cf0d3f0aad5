// src/store/journal.h
// The ring of frames that makes changes survive before a checkpoint holds them.
//
// Records of one turn of the reactor share a frame, which goes to the kernel in one write when the
// turn ends. Offsets here are absolute (they only grow); the place in the ring is offset % ring.
// Invariants
//   J1  A frame is in the kernel before anybody waiting for its sequence goes on.
//   J2  Frames never wrap and never overwrite [tail, head).
//   J3  After begin_sync() the next frame starts a new 4096-byte page: pages with durable frames
//   are
//       never written again.
// On disk: docs/format.md, "journal". Threading: the pool's thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/sync.h"
#include "base/task.h"
#include "format/journal_frame.h"
#include "format/superblock.h"
#include "io/device.h"

namespace hozon::store {

class Journal {
 public:
  Journal(Executor& executor, Device& device, const format::PoolId& pool_id, uint64_t ring_bytes);

  // Begins at ring position `offset` with an empty ring.
  void start(uint64_t epoch, uint64_t offset, uint64_t sequence);

  // Whether records of `bytes` in all fit into the ring now.
  bool has_room(uint64_t bytes) const;
  // Adds encoded records, which stay together in one frame; returns the frame's sequence.
  uint64_t append(std::string_view records, uint32_t count);
  // The same for one MAP record whose data is still being written: the device writes both at a
  // time. Until one of the two below is called, which end this, there is no other (early_writes.h).
  uint64_t append_early(std::string_view record);
  void early_arrived() { early_.reset(); }
  // The data never came: the record counts nowhere, in the kernel either. After an error the
  // journal is dead.
  Status void_early();
  // The sequence that append() would return now.
  uint64_t open_sequence() const { return next_sequence_; }
  bool has_open_records() const { return !open_.empty(); }
  // Of the newest frame, in the kernel or not yet: who waits for it has seen everything that was
  // changed in memory so far reach the kernel.
  uint64_t newest_sequence() const {
    return open_.empty() ? written_sequence_ : open_.back().sequence;
  }
  // Hands what was appended to the kernel. After an error the journal is dead.
  Status write_out();
  // Adds a frame without records, to carry the mark.
  void append_empty();
  // Returns when the frame is in the kernel, or the journal is dead.
  Task<Status> wait_written(uint64_t sequence);
  uint64_t written_sequence() const { return written_sequence_; }
  // The mark that the last written frame carries.
  uint64_t written_mark() const { return written_mark_; }

  // Called right before a sync of the journal is submitted (keeps J3).
  void begin_sync();
  // Frames with sequence <= `sequence` and their data are durable; later frames will say so.
  void set_mark(uint64_t sequence) { mark_ = std::max(mark_, sequence); }
  uint64_t mark() const { return mark_; }

  // For a checkpoint: where the next frame will stand.
  uint64_t head() const { return head_; }
  uint64_t ring_offset(uint64_t absolute) const { return absolute % ring_bytes_; }
  void advance_tail(uint64_t absolute) { tail_ = absolute; }
  void set_epoch(uint64_t epoch) { epoch_ = epoch; }
  uint64_t used_bytes() const { return head_ - tail_; }
  uint64_t ring_bytes() const { return ring_bytes_; }
  void die(const Error& reason);

  // --- reading at open ---
  struct FoundFrame {
    format::FrameHeader header;
    std::vector<format::Record> records;
  };
  struct Scan {
    std::vector<FoundFrame> frames;
    uint64_t end_offset = 0;  // ring offset behind the last frame
    uint64_t next_sequence = 0;
  };
  static Task<Result<Scan>> scan(Device& device, const format::PoolId& pool_id, uint64_t ring_bytes,
                                 uint64_t epoch, uint64_t offset, uint64_t sequence);

 private:
  struct OpenFrame {
    uint64_t sequence;
    uint32_t records;
    std::string bytes;
  };
  // The early record, and its frame as it was written (empty: not yet).
  struct Early {
    uint64_t sequence;
    size_t offset;  // of the record in the frame
    std::string frame;
    uint64_t place = 0;  // on the device
  };
  OpenFrame& frame_for(uint64_t bytes);
  Status write_frame(OpenFrame& frame);
  uint64_t frame_bytes_max() const;

  Executor& executor_;
  Device& device_;
  format::PoolId pool_id_;
  uint64_t ring_bytes_;
  uint64_t epoch_ = 0;
  uint64_t head_ = 0;
  uint64_t tail_ = 0;
  uint64_t next_sequence_ = 1;
  uint64_t written_sequence_ = 0;
  uint64_t mark_ = 0;
  uint64_t written_mark_ = 0;
  std::vector<OpenFrame> open_;
  std::optional<Early> early_;
  Event written_;
  Status state_;
};

}  // namespace hozon::store
