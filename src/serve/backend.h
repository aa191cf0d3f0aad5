// src/serve/backend.h
// What the data plane asks of whatever keeps the bytes: a list of exports, and a session on one.
// PoolBackend serves a pool; MemoryBackend keeps everything in memory, for tests.
//
// Threading: everything on the loop's thread. A session lives until its last task has ended.
// Error codes carry meaning for the client; docs/architecture.md and nbd_protocol.h map them.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/task.h"
#include "store/types.h"

namespace hozon::serve {

using store::Extent;

struct ExportInfo {
  std::string name;
  std::string description;
};

class Session {
 public:
  virtual ~Session() = default;
  // The size now: it may change while the session lasts. kNotFound when the object is gone.
  virtual Result<uint64_t> size_bytes() const = 0;
  virtual bool read_only() const = 0;
  virtual std::string description() const = 0;

  // Ranges are within size_bytes(), as it was when the request came. Buffers need no alignment, but
  // are aligned to 4096 bytes when the server owns them.
  virtual Task<Status> read(uint64_t offset, std::span<std::byte> into) = 0;
  virtual Task<Status> write(uint64_t offset, std::span<const std::byte> from, bool fua) = 0;
  virtual Task<Status> write_zeroes(uint64_t offset, uint64_t length, bool fua) = 0;
  virtual Task<Status> discard(uint64_t offset, uint64_t length, bool fua) = 0;
  // Covers every write of every session of the backend that was answered before the call.
  virtual Task<Status> flush() = 0;
  virtual Task<Result<std::vector<Extent>>> block_status(uint64_t offset, uint64_t length,
                                                         uint32_t extents_max) = 0;

  // Names of the points that this export can be compared with.
  virtual std::vector<std::string> comparable_points() const = 0;
  // A number that stands for the point in changed_status().
  virtual Result<uint64_t> comparable_point(std::string_view name) const = 0;
  virtual Task<Result<std::vector<Extent>>> changed_status(uint64_t point, uint64_t offset,
                                                           uint64_t length,
                                                           uint32_t extents_max) = 0;
};

class Backend {
 public:
  virtual ~Backend() = default;
  // At most `exports_max`, in order of name.
  virtual std::vector<ExportInfo> list(size_t exports_max) const = 0;
  // kNotFound for a name that is not an export.
  virtual Result<std::unique_ptr<Session>> open(std::string_view name) = 0;
};

}  // namespace hozon::serve
