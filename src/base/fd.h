// src/base/fd.h
// Ownership of one file descriptor. An empty Fd holds -1.
#pragma once

#include <unistd.h>

#include <utility>

namespace hozon {

class Fd {
 public:
  Fd() = default;
  explicit Fd(int raw) : raw_(raw) {}
  Fd(Fd&& other) noexcept : raw_(std::exchange(other.raw_, -1)) {}
  Fd& operator=(Fd other) noexcept {
    std::swap(raw_, other.raw_);
    return *this;
  }
  ~Fd() {
    if (raw_ >= 0) ::close(raw_);
  }
  explicit operator bool() const { return raw_ >= 0; }
  int get() const { return raw_; }
  int release() { return std::exchange(raw_, -1); }

 private:
  int raw_ = -1;
};

}  // namespace hozon
