// src/serve/input.h
// The receiving side of a connection: reads what has come in big pieces, hands out exact sizes.
// Data of some size is received straight into its destination.
#pragma once

#include <cstring>
#include <vector>

#include "base/task.h"
#include "base/units.h"
#include "io/loop.h"

namespace hozon::serve {

class Input {
 public:
  static constexpr size_t kBufferBytes = 64_KiB;
  // From here on a rest is received without passing through the buffer.
  static constexpr size_t kDirectBytes = 8_KiB;

  Input(Loop& loop, int fd) : loop_(loop), fd_(fd), buffer_(kBufferBytes) {}

  // Bytes that can be taken without waiting.
  size_t available() const { return end_ - begin_; }
  // Copies what is there; requires available() >= into.size().
  void take(std::span<std::byte> into) {
    if (into.empty()) return;
    std::memcpy(into.data(), buffer_.data() + begin_, into.size());
    begin_ += into.size();
  }
  // Fills all of `into`; false when the peer is gone before that.
  Task<bool> read(std::span<std::byte> into);
  // Drops `count` bytes.
  Task<bool> skip(uint64_t count);

 private:
  Task<bool> receive_more();

  Loop& loop_;
  int fd_;
  std::vector<std::byte> buffer_;
  size_t begin_ = 0;
  size_t end_ = 0;
};

}  // namespace hozon::serve
