// src/store/run_verifier.h
// Reads data blocks from the disk and compares them with their checksums, a few runs at a time: for
// checks and scrubs, which must neither crawl nor keep guests waiting.
// Threading: the pool's thread. finish() before the destructor.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/sync.h"
#include "base/task.h"
#include "format/pointer.h"
#include "io/device.h"

namespace hozon::store {

// Blocks that are neighbours both in the volume, from block `index` on, and in the pool.
struct DataRun {
  uint64_t index = 0;
  std::vector<format::Pointer> blocks;
};

// What neighbouring addresses of a volume, from `first` on, lead to; null pointers are passed over.
std::vector<DataRun> runs_of(uint64_t first, std::span<const format::Pointer> pointers);

struct BadBlock {
  uint64_t index = 0;  // in the volume
  uint64_t block = 0;  // in the pool
  std::string reason;  // "is damaged (checksum differs)"
};

class RunVerifier {
 public:
  RunVerifier(Executor& executor, Device& data)
      : data_(data), running_(executor), one_done_(executor) {}
  // Begins with the run; waits before that while enough are being read.
  Task<void> add(DataRun run);
  // Waits for all, and tells what was wrong since the last time.
  Task<std::vector<BadBlock>> finish();

 private:
  Task<void> verify(DataRun run);

  Device& data_;
  Group running_;
  Event one_done_;
  std::vector<BadBlock> bad_;
};

}  // namespace hozon::store
