// src/store/block_reader.h
// Reads many blocks of the pool: neighbours in one operation, several operations at a time. What
// opening a pool reads (bitmap, catalog, data named in the journal) lies in runs, because it was
// written in runs.
// Threading: the pool's thread.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/task.h"
#include "io/device.h"

namespace hozon {
class Executor;
}

namespace hozon::store {

struct WantedBlock {
  uint64_t block = 0;
  uint64_t index = 0;  // whatever the caller knows it by
};

// Calls `visit` for each, in the order in which they arrive. After the first error nothing new is
// read, and `visit` is not called any more. `what` names the blocks in errors of reading.
Task<Status> read_blocks(
    Executor& executor, Device& data, std::vector<WantedBlock> wanted, std::string what,
    std::function<Status(const WantedBlock& which, std::span<const std::byte> bytes)> visit);

}  // namespace hozon::store
