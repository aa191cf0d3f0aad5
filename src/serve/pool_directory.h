// src/serve/pool_directory.h
// A pool as a directory with the file `data`. Pools of earlier versions have their journal in a
// second one, `journal`.
#pragma once

#include <memory>
#include <string>

#include "io/file_device.h"
#include "store/pool.h"

namespace hozon::serve {

inline constexpr uint64_t kPoolBytesMin = 64 << 20;
inline constexpr uint64_t kJournalBytesMin = 4 << 20;
inline constexpr uint64_t kJournalBytesMax = 64 << 20;

// Makes the directory, its file and an empty pool of `size_bytes` in it; the journal is added. All
// of it appears under its final name at once, or nothing does. Runs `loop`. kAlreadyExists,
// kInvalidArgument (size), kBusy (somebody else is making it), kResourceExhausted (host disk full).
Status create_pool_directory(Loop& loop, const std::string& path, uint64_t size_bytes);

struct PoolFiles {
  std::unique_ptr<FileDevice> data;
  std::unique_ptr<FileDevice> own_journal;  // empty: the journal stands in `data`
  Device& journal() const { return own_journal ? *own_journal : *data; }
};
// Opens and locks what is there. Each refusal names the pool and the remedy. Waits up to
// `patience_ms` for the lock: the kernel ends the io_uring requests of a killed process, and drops
// its locks, a little after the process is gone. Whoever has the lock knows that no old write is
// under way.
Result<PoolFiles> open_pool_files(Loop& loop, const std::string& path, unsigned patience_ms);

}  // namespace hozon::serve
