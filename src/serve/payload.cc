#include "serve/payload.h"

#include <bit>

namespace hozon::serve {
namespace {

// The class whose buffers have at least `size` bytes; may be beyond the last one.
size_t class_of(uint64_t size) {
  if (size <= BufferPool::kSmallest) return 0;
  return static_cast<size_t>(std::bit_width(size - 1)) -
         static_cast<size_t>(std::bit_width(BufferPool::kSmallest - 1));
}

}  // namespace

AlignedBuffer BufferPool::take(uint64_t size) {
  const size_t index = class_of(size);
  if (index >= kClasses) return AlignedBuffer(size);
  std::vector<AlignedBuffer>& buffers = free_[index];
  if (buffers.empty()) return AlignedBuffer(kSmallest << index);
  AlignedBuffer buffer = std::move(buffers.back());
  buffers.pop_back();
  kept_bytes_ -= buffer.size();
  return buffer;
}

void BufferPool::give(AlignedBuffer buffer) {
  const size_t index = class_of(buffer.size());
  const bool fits = index < kClasses && buffer.size() == kSmallest << index;
  if (!fits || kept_bytes_ + buffer.size() > kKeptBytesMax) return;
  kept_bytes_ += buffer.size();
  free_[index].push_back(std::move(buffer));
}

Payload& Payload::operator=(Payload&& other) noexcept {
  if (this == &other) return *this;
  release();
  account_ = std::exchange(other.account_, nullptr);
  buffer_ = std::move(other.buffer_);
  size_ = std::exchange(other.size_, 0);
  shared_ = other.shared_;
  return *this;
}

void Payload::release() {
  if (account_ == nullptr) return;
  std::exchange(account_, nullptr)->give(std::move(buffer_), size_, shared_);
}

Payload PayloadAccount::make(uint64_t size, bool shared) {
  held_bytes_ += size;
  if (!shared) reserve_used_ += size;
  Payload payload;
  payload.account_ = this;
  payload.buffer_ = pool_.take(size);
  payload.size_ = size;
  payload.shared_ = shared;
  return payload;
}

Payload PayloadAccount::take_from_reserve(uint64_t size) {
  HOZON_CHECK(fits_reserve(size));
  return make(size, false);
}

Task<Payload> PayloadAccount::take(uint64_t size) {
  while (held_bytes_ != 0 && held_bytes_ + size > kConnectionBytesMax) co_await released_;
  if (fits_reserve(size)) co_return make(size, false);
  co_await budget_.take(size);
  co_return make(size, true);
}

void PayloadAccount::give(AlignedBuffer buffer, uint64_t size, bool shared) {
  held_bytes_ -= size;
  if (shared)
    budget_.give(size);
  else
    reserve_used_ -= size;
  pool_.give(std::move(buffer));
  released_.pulse();
}

}  // namespace hozon::serve
