// src/io/part_device.h
// A part of a device that looks like a device of its own. A sync, and the reserve, are the whole's.
// Threading: the reactor thread of the whole.
#pragma once

#include "base/result.h"
#include "io/device.h"

namespace hozon {

class PartDevice : public Device {
 public:
  // Bytes [offset, offset + size_bytes) of `whole`, which outlives this. Both are multiples of
  // kDeviceAlignment.
  PartDevice(Device& whole, uint64_t offset, uint64_t size_bytes)
      : whole_(whole), offset_(offset), size_bytes_(size_bytes) {}

  uint64_t size_bytes() const override { return size_bytes_; }
  void submit(IoOp& op) override {
    if (op.kind != IoOp::Kind::kSync) {
      check(op.offset, op.size);
      op.offset += offset_;
    }
    whole_.submit(op);
  }
  int write_now(uint64_t offset, std::span<const std::byte> from) override {
    check(offset, from.size());
    return whole_.write_now(offset_ + offset, from);
  }
  void hasten(uint64_t offset, uint64_t size) override { whole_.hasten(offset_ + offset, size); }
  bool release_reserve() override { return whole_.release_reserve(); }
  int renew_reserve() override { return whole_.renew_reserve(); }
  bool is_reserve_used() const override { return whole_.is_reserve_used(); }

 private:
  void check(uint64_t offset, uint64_t size) const {
    HOZON_CHECK(offset <= size_bytes_ && size <= size_bytes_ - offset);
  }

  Device& whole_;
  uint64_t offset_;
  uint64_t size_bytes_;
};

}  // namespace hozon
