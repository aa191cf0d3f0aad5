// src/qemu/stream_writer.h
// Writes a stream to QEMU on a thread of its own, so that what comes next is read and verified
// meanwhile: QEMU takes a memory in with one thread that is busy most of the time.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <mutex>
#include <thread>
#include <vector>

#include "base/result.h"

namespace hozon {

constexpr size_t kStreamWriterPieces = 8;  // that wait at most

class StreamWriter {
 public:
  // `written` counts the bytes that `stream` has taken.
  StreamWriter(int stream, std::atomic<uint64_t>& written);
  // What was not written yet is dropped; a write that is under way is waited for.
  ~StreamWriter();
  StreamWriter(const StreamWriter&) = delete;
  StreamWriter& operator=(const StreamWriter&) = delete;

  // By one thread. Waits for room; reports a write that failed earlier.
  Status put(std::vector<std::byte> piece);
  Status finish();  // until everything is written

 private:
  void run();
  Status write_all(const std::vector<std::byte>& piece);

  const int stream_;
  std::atomic<uint64_t>& written_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::vector<std::byte>> pieces_;  // the first is being written
  Status failed_;
  bool ending_ = false;
  std::thread thread_;
};

}  // namespace hozon
