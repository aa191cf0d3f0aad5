// src/qemu/stream_buffer.h
// Stands between QEMU, which freezes its guest when nobody reads, and a store that may stall.
//
// A thread reads the stream without ever waiting for anything else. What is not consumed yet stays
// in memory up to a bound, then in a nameless spill file up to a bound; beyond that it is thrown
// away and the save has failed, but reading goes on to the end of the stream all the same.
#pragma once

#include <condition_variable>
#include <deque>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/fd.h"
#include "qemu/ram_stream.h"

namespace hozon {

class StreamBuffer : public ByteSource {
 public:
  struct Limits {
    uint64_t memory_bytes = 256_MiB;
    uint64_t spill_bytes = 0;
    std::string spill_directory;
  };
  // With a gate nothing is read before its other end is closed, and `filler_bytes` at the beginning
  // of the stream are thrown away.
  struct Input {
    Fd stream;
    Fd gate{};
    uint64_t filler_bytes = 0;
  };
  StreamBuffer(Input input, Limits limits);
  ~StreamBuffer() override;  // waits for the end of the stream

  // By one consumer. Waits for data; an error when data had to be thrown away.
  Result<size_t> read_some(std::span<std::byte> into) override;
  // The consumer has given up: everything, also what still comes, is thrown away.
  void discard();
  void wait_end();

  uint64_t received_bytes() const;
  uint64_t buffered_bytes() const;
  bool has_ended() const;

 private:
  struct Segment {
    std::vector<std::byte> memory;  // empty when spilled
    uint64_t spill_offset = 0;
    uint64_t length = 0;
    uint64_t taken = 0;
  };
  void wait_gate() const;
  void read_loop();
  void store(std::span<const std::byte> data);
  Status spill(std::span<const std::byte> data);
  void lose(Error why);

  const Input input_;
  const Limits limits_;
  Fd spill_file_;
  std::thread reader_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Segment> segments_;
  uint64_t received_ = 0;
  uint64_t in_memory_ = 0;
  uint64_t in_spill_ = 0;
  uint64_t spill_end_ = 0;
  bool ended_ = false;
  bool discarding_ = false;
  Error lost_;
};

}  // namespace hozon
