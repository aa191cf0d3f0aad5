// src/serve/payload.h
// Memory for the data of requests: page-aligned, reused, and bounded for the whole server.
//
// Invariants
//   M1  What connections hold beyond their reserve of kReserveBytes each is at most the budget's
//       limit in all, so a client that does not read its replies cannot starve small requests of
//       others.
// Threading: the loop's thread.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "base/bytes.h"
#include "base/sync.h"
#include "base/units.h"

namespace hozon::serve {

// Keeps freed buffers for the next request, by size class.
class BufferPool {
 public:
  static constexpr uint64_t kSmallest = 4_KiB;
  static constexpr size_t kClasses = 10;  // 4 KiB ... 2 MiB; larger ones are not kept
  static constexpr uint64_t kKeptBytesMax = 32_MiB;

  // A buffer of at least `size` bytes, its content not set.
  AlignedBuffer take(uint64_t size);
  void give(AlignedBuffer buffer);

 private:
  std::array<std::vector<AlignedBuffer>, kClasses> free_;
  uint64_t kept_bytes_ = 0;
};

// Bytes that all connections may hold beyond their reserves.
class MemoryBudget {
 public:
  MemoryBudget(Executor& executor, uint64_t limit_bytes)
      : released_(executor), limit_bytes_(limit_bytes) {}
  Task<void> take(uint64_t bytes) {
    while (held_bytes_ != 0 && held_bytes_ + bytes > limit_bytes_) co_await released_;
    held_bytes_ += bytes;
  }
  void give(uint64_t bytes) {
    held_bytes_ -= bytes;
    released_.pulse();
  }
  bool has_waiters() const { return released_.has_waiters(); }
  uint64_t held_bytes() const { return held_bytes_; }

 private:
  Event released_;
  uint64_t limit_bytes_;
  uint64_t held_bytes_ = 0;
};

class PayloadAccount;

// The memory of one request; goes back when it is destroyed.
class Payload {
 public:
  Payload() = default;
  Payload(Payload&& other) noexcept
      : account_(std::exchange(other.account_, nullptr)),
        buffer_(std::move(other.buffer_)),
        size_(std::exchange(other.size_, 0)),
        shared_(other.shared_) {}
  Payload& operator=(Payload&& other) noexcept;
  ~Payload() { release(); }
  explicit operator bool() const { return account_ != nullptr; }
  std::span<std::byte> span() { return buffer_.span().first(size_); }

 private:
  friend class PayloadAccount;
  void release();
  PayloadAccount* account_ = nullptr;
  AlignedBuffer buffer_;
  uint64_t size_ = 0;
  bool shared_ = false;  // counts against the budget, not against the reserve
};

// What one connection holds. Outlives its payloads.
class PayloadAccount {
 public:
  static constexpr uint64_t kReserveBytes = 1_MiB;
  static constexpr uint64_t kConnectionBytesMax = 64_MiB;

  PayloadAccount(Executor& executor, BufferPool& pool, MemoryBudget& budget)
      : released_(executor), pool_(pool), budget_(budget) {}
  ~PayloadAccount() { HOZON_CHECK(held_bytes_ == 0); }
  PayloadAccount(const PayloadAccount&) = delete;
  PayloadAccount& operator=(const PayloadAccount&) = delete;

  // At once when the reserve allows it; waits for memory otherwise. One caller at a time.
  bool fits_reserve(uint64_t size) const { return reserve_used_ + size <= kReserveBytes; }
  Payload take_from_reserve(uint64_t size);
  Task<Payload> take(uint64_t size);
  uint64_t shared_bytes() const { return held_bytes_ - reserve_used_; }

 private:
  friend class Payload;
  Payload make(uint64_t size, bool shared);
  void give(AlignedBuffer buffer, uint64_t size, bool shared);

  Event released_;
  BufferPool& pool_;
  MemoryBudget& budget_;
  uint64_t held_bytes_ = 0;
  uint64_t reserve_used_ = 0;
};

}  // namespace hozon::serve
