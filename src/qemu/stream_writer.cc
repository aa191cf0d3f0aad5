#include "qemu/stream_writer.h"

#include <unistd.h>

#include <cerrno>
#include <span>
#include <utility>

namespace hozon {

StreamWriter::StreamWriter(int stream, std::atomic<uint64_t>& written)
    : stream_(stream), written_(written), thread_([this] { run(); }) {}

StreamWriter::~StreamWriter() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

Status StreamWriter::put(std::vector<std::byte> piece) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return pieces_.size() < kStreamWriterPieces || !failed_; });
  if (!failed_) return failed_;
  pieces_.push_back(std::move(piece));
  changed_.notify_all();
  return {};
}

Status StreamWriter::finish() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return pieces_.empty() || !failed_; });
  return failed_;
}

void StreamWriter::run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [&] { return !pieces_.empty() || ending_; });
    if (ending_) return;
    const std::vector<std::byte>& piece = pieces_.front();  // stays where it is while others come
    lock.unlock();
    Status written = write_all(piece);
    lock.lock();
    pieces_.pop_front();
    if (!written) failed_ = std::move(written);
    changed_.notify_all();
    if (!failed_) return;
  }
}

Status StreamWriter::write_all(const std::vector<std::byte>& piece) {
  for (std::span<const std::byte> data(piece); !data.empty();) {
    const ssize_t put = ::write(stream_, data.data(), data.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0 && errno == EPIPE)
      return make_error(Code::kUnavailable, "QEMU closed the incoming stream");
    if (put <= 0) return errno_error(errno, "write the incoming stream of QEMU");
    data = data.subspan(static_cast<size_t>(put));
    written_ += static_cast<uint64_t>(put);
  }
  return {};
}

}  // namespace hozon
