// src/store/data_path.h
// Guest I/O: reads, writes, discards and questions about what is mapped.
//
// A write: lock its blocks, complete partial ones, take space, write the data, then in one go for
// each leaf: journal record, map, ownership. It is answered when the record is in the kernel.
// Threading: the pool's thread.
#pragma once

#include <span>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "base/task.h"
#include "store/core.h"

namespace hozon::store {

class DataPath {
 public:
  explicit DataPath(PoolCore& core) : core_(core) {}

  Task<Status> read(Target target, uint64_t offset, std::span<std::byte> into);
  Task<Status> write(Target target, uint64_t offset, std::span<const std::byte> from, bool fua);
  // The range reads as zeros afterwards: whole blocks are unmapped, partial ones at its ends
  // written.
  Task<Status> unmap(Target target, uint64_t offset, uint64_t length, bool fua);
  Task<Result<std::vector<Extent>>> status(Target target, std::optional<Target> base,
                                           uint64_t offset, uint64_t length, uint32_t extents_max);
  Task<Result<uint64_t>> mapped_bytes(Target target);
  // The first mapped byte at or after `offset`, or `size` when there is none.
  Task<Result<uint64_t>> first_mapped(const Tree& tree, uint64_t offset, uint64_t size);
  Task<Status> read_tree(const Tree& tree, uint64_t offset, std::span<std::byte> into);

 private:
  static constexpr uint64_t kMapRecordBytes = 32 + 8;  // plus 4 per block
  // Neighbours in the volume that are neighbours in the pool. Most runs are one block.
  struct BlockRun {
    uint64_t volume_index;
    uint64_t block;
    uint32_t first_crc;
    std::vector<uint32_t> more_crcs;
    uint64_t count() const { return 1 + more_crcs.size(); }
    uint32_t crc(size_t i) const { return i == 0 ? first_crc : more_crcs[i - 1]; }
  };
  Result<const Point*> find(Target target, uint64_t offset, uint64_t length) const;
  Result<Point*> writable(Target target, uint64_t offset, uint64_t length) const;
  Task<Status> read_run(BlockRun run, uint64_t skip, std::span<std::byte> into);
  Task<Result<Run>> take_space(uint64_t count_max);
  Task<Status> wait_for_space();
  // One attempt of write(), under its lock. 0: the volume was returned meanwhile, try again.
  Task<Result<uint64_t>> write_once(Target target, uint64_t offset,
                                    std::span<const std::byte> from);
  // Returns the head whose content it used; 0 when the blocks needed none.
  Task<Result<uint64_t>> complete_blocks(Target target, uint64_t offset,
                                         std::span<const std::byte> from, AlignedBuffer& blocks);
  // store_data() and map_run() at once for a write that is one run of one leaf (early_writes.h). 0:
  // it could not be done like this.
  Task<Result<uint64_t>> write_early(Target target, uint64_t for_head, uint64_t index,
                                     std::span<const std::byte> blocks,
                                     std::span<const uint32_t> crcs);
  // Its parts: the head, once all that a change of it needs is in memory, and the space; neither
  // waits between being found and being used.
  Task<Result<uint64_t>> early_head(Target target, uint64_t for_head, uint64_t index,
                                    uint32_t count);
  std::optional<Run> take_early(uint32_t count);
  // The early record takes effect.
  Task<Status> land(uint64_t head_id, uint64_t index, Run run, uint64_t sequence,
                    std::span<const uint32_t> crcs);
  Task<Result<std::vector<Run>>> store_data(std::span<const std::byte> blocks);
  // `for_head`: the only head that the content fits, 0 for any. Return: journal frame, 0 when the
  // volume has another head by now.
  Task<Result<uint64_t>> map_run(Target target, uint64_t for_head, uint64_t index, Run run,
                                 std::span<const uint32_t> crcs);
  Task<Result<uint64_t>> map_piece(Target target, uint64_t for_head, uint64_t index, uint64_t block,
                                   std::span<const uint32_t> crcs);
  Task<Result<uint64_t>> unmap_blocks(Target target, uint64_t first, uint64_t end_offset,
                                      bool& is_tail_left);
  Task<Status> zero_part(Target target, uint64_t offset, uint64_t length);
  Task<Status> finish(uint64_t sequence, bool fua);

  PoolCore& core_;
};

}  // namespace hozon::store
