#include "qemu/stream_buffer.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace hozon {
namespace {

constexpr size_t kSegmentBytes = 1 << 20;
constexpr int kPipeBytes = 1 << 20;

}  // namespace

StreamBuffer::StreamBuffer(Input input, Limits limits)
    : input_(std::move(input)), limits_(std::move(limits)) {
  reader_ = std::thread([this] { read_loop(); });
}

StreamBuffer::~StreamBuffer() {
  discard();
  reader_.join();
}

void StreamBuffer::wait_gate() const {
  if (!input_.gate) return;
  for (char ignored = 0;;) {
    const ssize_t got = ::read(input_.gate.get(), &ignored, 1);
    if (got == 0 || (got < 0 && errno != EINTR)) return;
  }
}

void StreamBuffer::read_loop() {
  wait_gate();
  // Only a help; sockets and old kernels refuse.
  ::fcntl(input_.stream.get(), F_SETPIPE_SZ, kPipeBytes);
  std::vector<std::byte> piece(kSegmentBytes);
  uint64_t filler = input_.filler_bytes;
  for (;;) {
    const size_t wanted = filler > 0 ? std::min(filler, kSegmentBytes) : kSegmentBytes;
    const ssize_t got = ::read(input_.stream.get(), piece.data(), wanted);
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) {
      if (errno == EAGAIN) ::usleep(1000);  // somebody made it non-blocking
      continue;
    }
    if (got <= 0) break;
    if (filler > 0) {
      filler -= static_cast<uint64_t>(got);
      continue;
    }
    store(std::span(piece).first(static_cast<size_t>(got)));
  }
  const std::lock_guard lock(mutex_);
  ended_ = true;
  changed_.notify_all();
}

void StreamBuffer::store(std::span<const std::byte> data) {
  const std::lock_guard lock(mutex_);
  received_ += data.size();
  if (discarding_ || !lost_.what.empty()) return;
  if (in_memory_ + data.size() > limits_.memory_bytes) {
    if (Status spilled = spill(data); !spilled) lose(spilled.error());
  } else {
    in_memory_ += data.size();
    // Small reads share a segment, so that their bookkeeping stays small too.
    const bool share = !segments_.empty() && !segments_.back().memory.empty() &&
                       segments_.back().memory.size() + data.size() <= kSegmentBytes;
    if (!share) {
      segments_.emplace_back();
      segments_.back().memory.reserve(std::max(kSegmentBytes, data.size()));
    }
    Segment& segment = segments_.back();
    segment.memory.insert(segment.memory.end(), data.begin(), data.end());
    segment.length += data.size();
  }
  changed_.notify_all();
}

Status StreamBuffer::spill(std::span<const std::byte> data) {
  if (in_spill_ + data.size() > limits_.spill_bytes)
    return make_error(Code::kResourceExhausted,
                      "the store was too slow: more than {} of the memory stream waited for it",
                      format_bytes(limits_.memory_bytes + limits_.spill_bytes));
  if (!spill_file_)
    spill_file_ = Fd(::open(limits_.spill_directory.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  if (!spill_file_) return errno_error(errno, "spill file in '{}'", limits_.spill_directory);
  if (in_spill_ == 0) spill_end_ = 0;  // all of it was consumed: use the room again
  for (size_t done = 0; done < data.size();) {
    const ssize_t put = ::pwrite(spill_file_.get(), data.data() + done, data.size() - done,
                                 static_cast<off_t>(spill_end_ + done));
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0)
      return errno_error(errno, "write the spill file in '{}'", limits_.spill_directory);
    done += static_cast<size_t>(put);
  }
  segments_.push_back({{}, spill_end_, data.size(), 0});
  spill_end_ += data.size();
  in_spill_ += data.size();
  return {};
}

void StreamBuffer::lose(Error why) {
  lost_ = std::move(why);
  segments_.clear();
  in_memory_ = in_spill_ = 0;
  spill_file_ = Fd();
}

Result<size_t> StreamBuffer::read_some(std::span<std::byte> into) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return !segments_.empty() || ended_ || !lost_.what.empty(); });
  if (!lost_.what.empty()) return std::unexpected(lost_);
  if (segments_.empty()) return 0;
  Segment& segment = segments_.front();
  const size_t size = std::min<uint64_t>(into.size(), segment.length - segment.taken);
  if (!segment.memory.empty()) {
    std::copy_n(segment.memory.begin() + static_cast<ptrdiff_t>(segment.taken), size, into.begin());
  } else {
    const ssize_t got = ::pread(spill_file_.get(), into.data(), size,
                                static_cast<off_t>(segment.spill_offset + segment.taken));
    if (got != static_cast<ssize_t>(size)) {
      lose(errno_to_error(got < 0 ? errno : EIO, "read the spill file"));
      return std::unexpected(lost_);
    }
  }
  segment.taken += size;
  if (segment.taken < segment.length) return size;
  (segment.memory.empty() ? in_spill_ : in_memory_) -= segment.length;
  segments_.pop_front();
  return size;
}

void StreamBuffer::discard() {
  const std::lock_guard lock(mutex_);
  discarding_ = true;
  segments_.clear();
  in_memory_ = in_spill_ = 0;
  spill_file_ = Fd();
}

void StreamBuffer::wait_end() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return ended_; });
}

uint64_t StreamBuffer::received_bytes() const {
  const std::lock_guard lock(mutex_);
  return received_;
}

uint64_t StreamBuffer::buffered_bytes() const {
  const std::lock_guard lock(mutex_);
  return in_memory_ + in_spill_;
}

bool StreamBuffer::has_ended() const {
  const std::lock_guard lock(mutex_);
  return ended_;
}

}  // namespace hozon
