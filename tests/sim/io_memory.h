// tests/sim/io_memory.h
// Memory for the requests of simulated guests. The store passes whole blocks on as they are when
// they lie at a block's boundary, and copies them otherwise: two paths, which do not fail at the
// same moments. Where the heap happens to put a vector must not decide between them, so the user
// does. It is zeroed, like a vector.
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>

#include "base/bytes.h"

namespace hozon::sim {

class IoMemory {
 public:
  // `aligned`: begins at a multiple of 4096; otherwise it never does.
  IoMemory(size_t size, bool aligned)
      : buffer_(kOff + size), bytes_(buffer_.span().subspan(aligned ? 0 : kOff, size)) {
    std::ranges::fill(bytes_, std::byte{0});
  }
  std::span<std::byte> span() const { return bytes_; }

 private:
  static constexpr size_t kOff = 64;
  AlignedBuffer buffer_;
  std::span<std::byte> bytes_;
};

}  // namespace hozon::sim
