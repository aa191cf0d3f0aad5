// src/io/reserve_file.h
// A file that holds nothing but its place: room on a filesystem that can be given away when the
// filesystem is full, and taken again when it is not.
//
// The file is   whole   it has its size, and blocks for all of it
//               used    it is empty: given away and not made whole again yet
//               absent  it could not be made (no room on the day of the opening, or a filesystem
//                       that cannot keep room); then there is nothing to give
#pragma once

#include <cstdint>
#include <string>

#include "base/fd.h"
#include "base/result.h"

namespace hozon {

class ReserveFile {
 public:
  ReserveFile() = default;  // absent, of no size
  // Opens or makes the file. That it cannot be made is no error.
  static Result<ReserveFile> open(const std::string& path, uint64_t size_bytes);
  bool release();  // true when there was something to give
  int renew();     // 0 when whole and there is room beside it, else -errno
  bool is_used() const { return state_ == State::kUsed; }

 private:
  enum class State : uint8_t { kAbsent, kUsed, kWhole };
  Status make();
  std::string path_;
  Fd file_;
  uint64_t size_bytes_ = 0;
  State state_ = State::kAbsent;
};

}  // namespace hozon
