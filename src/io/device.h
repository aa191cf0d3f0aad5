// src/io/device.h
// All that the store asks of a disk. FileDevice is real; the simulator's device forgets, tears,
// fills up and fails.
//
// Offsets, sizes and buffer addresses are multiples of kDeviceAlignment, except for write_now().
// Invariants
//   D1  When a write has completed, it survives the death of this process.
//   D2  When a sync has completed with 0, every write that had completed before that sync was
//       submitted survives a power cut. Writes order nothing by themselves.
//   D3  A failed sync is final: nothing is known about unsynced writes, no later sync repairs that.
// Threading: one reactor thread.
#pragma once

#include <cstdint>
#include <span>

#include "io/op.h"

namespace hozon {

inline constexpr uint64_t kDeviceAlignment = 4096;

class Device {
 public:
  virtual ~Device() = default;
  virtual uint64_t size_bytes() const = 0;
  // Starts the operation; resumes op.waiter with op.result set, never from inside this call.
  virtual void submit(IoOp& op) = 0;
  // Writes any number of bytes at any offset before it returns (a buffered write: D1 holds when it
  // returns). 0 or -errno.
  virtual int write_now(uint64_t offset, std::span<const std::byte> from) = 0;
  // A sync that covers this range of earlier write_now() will follow: what it needs may begin.
  virtual void hasten(uint64_t offset, uint64_t size) { (void)offset, (void)size; }

  // Room that is kept aside on the filesystem below the device, so that what must be written can be
  // when it is full. A device without it behaves as if its reserve had no size.
  // Gives the reserve to whoever writes next; false when there is nothing to give.
  virtual bool release_reserve() { return false; }
  // Makes the reserve whole. 0 only if there was room for more than that; -errno.
  virtual int renew_reserve() { return 0; }
  // Whether it was given away and not made whole again, in this process or an earlier one.
  virtual bool is_reserve_used() const { return false; }

  struct Awaiter {
    Device& device;
    IoOp op;
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> handle) {
      op.waiter = handle;
      device.submit(op);
    }
    int await_resume() const noexcept { return op.result; }
  };
  // co_await each: 0 or -errno.
  Awaiter read(uint64_t offset, std::span<std::byte> into) {
    return {*this, {IoOp::Kind::kRead, -1, into.data(), into.size(), offset, 0, {}}};
  }
  Awaiter write(uint64_t offset, std::span<const std::byte> from) {
    return {
        *this,
        {IoOp::Kind::kWrite, -1, const_cast<std::byte*>(from.data()), from.size(), offset, 0, {}}};
  }
  Awaiter sync() { return {*this, {IoOp::Kind::kSync, -1, nullptr, 0, 0, 0, {}}}; }
  Awaiter punch(uint64_t offset, uint64_t size) {
    return {*this, {IoOp::Kind::kPunch, -1, nullptr, size, offset, 0, {}}};
  }
};

}  // namespace hozon
