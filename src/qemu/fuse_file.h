// src/qemu/fuse_file.h
// A file system with one file that can only be read, as the kernel's FUSE protocol (linux/fuse.h)
// asks for it. Pure: request bytes in, reply bytes out; mount and descriptor are in fuse_mount.h.
//
// The protocol is spoken here and not through libfuse, because the server of a guest's memory must
// be replaceable at any instant: a request that one process has read is answered by another one
// that never saw the mount being made (ram_serve.h). libfuse ties a mount to the process that made
// it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"

namespace hozon {

inline constexpr const char* kFuseFileName = "ram";
// The longest request: the kernel insists on room for a write although there are none.
constexpr size_t kFuseRequestMax = 64 << 10;
constexpr size_t kFuseReadMax = 1 << 20;

class FuseContent {
 public:
  virtual ~FuseContent() = default;
  virtual uint64_t size_bytes() const = 0;
  // `offset` and size are multiples of 4096 and inside.
  virtual Status read(uint64_t offset, std::span<std::byte> into) = 0;
};

// The reply to one request; empty when it wants none. A failed read becomes EIO.
std::vector<std::byte> answer_fuse(std::span<const std::byte> request, FuseContent& content);

}  // namespace hozon
