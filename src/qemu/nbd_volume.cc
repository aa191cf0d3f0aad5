#include "qemu/nbd_volume.h"

#include <libnbd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/log.h"
#include "base/units.h"
#include "qemu/files.h"

namespace hozon {
namespace {

constexpr int kRetryMs = 100;
constexpr uint64_t kGoodbyeMs = 1000;
constexpr uint64_t kZeroBytesMax = 1ULL << 30;
constexpr uint64_t kMillisecond = 1'000'000;

std::string nbd_reason() {
  const char* text = ::nbd_get_error();
  return text != nullptr ? text : "unknown error";
}

}  // namespace

NbdVolume::~NbdVolume() {
  if (handle_ == nullptr) return;
  // A polite end when that is quick; some servers (nbdkit 1.32) fall over one in mid-request.
  const uint64_t deadline = monotonic_ns() + kGoodbyeMs * kMillisecond;
  for (const NbdRequestPtr& request : requests_) request->then = nullptr;
  while (!requests_.empty() && !is_broken() && monotonic_ns() < deadline && retire() &&
         ::nbd_poll(handle_, kRetryMs) >= 0) {
  }
  if (requests_.empty() && ::nbd_aio_is_ready(handle_) > 0) ::nbd_shutdown(handle_, 0);
  ::nbd_close(handle_);
}

Result<std::unique_ptr<NbdVolume>> NbdVolume::open(std::string uri, int patience_ms) {
  std::unique_ptr<NbdVolume> volume(new NbdVolume(std::move(uri), patience_ms));
  volume->last_progress_ns_ = monotonic_ns();
  if (Status connected = volume->connect(); !connected) return std::unexpected(connected.error());
  const int64_t size = ::nbd_get_size(volume->handle_);
  if (size < 0) return make_error(Code::kIo, "size of '{}': {}", volume->uri_, nbd_reason());
  volume->size_bytes_ = static_cast<uint64_t>(size);
  return volume;
}

Status NbdVolume::connect_once(uint64_t deadline_ns) {
  if (handle_ != nullptr) ::nbd_close(handle_);
  handle_ = ::nbd_create();
  if (handle_ == nullptr) return make_error(Code::kResourceExhausted, "{}", nbd_reason());
  ::nbd_add_meta_context(handle_, LIBNBD_CONTEXT_BASE_ALLOCATION);
  // The asynchronous form: a server that accepts and then says nothing must not hold us.
  int result = ::nbd_aio_connect_uri(handle_, uri_.c_str());
  while (result == 0 && ::nbd_aio_is_connecting(handle_) > 0) {
    const uint64_t now = monotonic_ns();
    if (now >= deadline_ns)
      return make_error(Code::kUnavailable, "NBD server of '{}' does not answer", uri_);
    result =
        ::nbd_poll(handle_, static_cast<int>((deadline_ns - now) / kMillisecond + 1)) < 0 ? -1 : 0;
  }
  if (result == 0 && ::nbd_aio_is_ready(handle_) > 0) return {};
  return make_error(Code::kUnavailable, "connect to '{}': {}", uri_, nbd_reason());
}

Status NbdVolume::connect() {
  const uint64_t deadline = last_progress_ns_ + static_cast<uint64_t>(patience_ms_) * kMillisecond;
  for (;;) {
    Status connected = connect_once(deadline);
    if (connected || monotonic_ns() >= deadline) return connected;
    ::usleep(kRetryMs * 1000);
  }
}

Status NbdVolume::reconnect(const std::string& cause) {
  log_warning("connection to '{}' broke ({}), connecting again", uri_, cause);
  if (Status connected = connect(); !connected)
    return make_error(Code::kUnavailable, "the NBD server went away and was not back in {} ms: {}",
                      patience_ms_, connected.error().what);
  const int64_t size = ::nbd_get_size(handle_);
  if (size < 0 || static_cast<uint64_t>(size) != size_bytes_)
    return make_error(Code::kIo, "'{}' came back with another size", uri_);
  last_progress_ns_ = monotonic_ns();
  for (const NbdRequestPtr& request : requests_)
    if (Status issued = issue(*request); !issued) return issued;
  return {};
}

bool NbdVolume::is_broken() const {
  return ::nbd_aio_is_dead(handle_) > 0 || ::nbd_aio_is_closed(handle_) > 0;
}

Status NbdVolume::issue(NbdRequest& request) {
  const size_t size = request.data.size();
  switch (request.kind) {
    case NbdRequest::Kind::kRead:
      request.cookie = ::nbd_aio_pread(handle_, request.data.data(), size, request.offset,
                                       NBD_NULL_COMPLETION, 0);
      break;
    case NbdRequest::Kind::kWrite:
      request.cookie = ::nbd_aio_pwrite(handle_, request.data.data(), size, request.offset,
                                        NBD_NULL_COMPLETION, 0);
      break;
    case NbdRequest::Kind::kZero:
      request.cookie =
          ::nbd_aio_zero(handle_, request.length, request.offset, NBD_NULL_COMPLETION, 0);
      break;
    case NbdRequest::Kind::kFlush:
      request.cookie = ::nbd_aio_flush(handle_, NBD_NULL_COMPLETION, 0);
      break;
  }
  // A dead connection is seen by the next pump(), which sends the request again.
  if (request.cookie > 0 || is_broken()) return {};
  return make_error(Code::kIo, "request to '{}': {}", uri_, nbd_reason());
}

Status NbdVolume::submit(NbdRequestPtr request) {
  while (!in_callback_ && requests_.size() >= kNbdInflightMax)
    if (Status pumped = pump(kRetryMs); !pumped) return pumped;
  if (requests_.empty()) last_progress_ns_ = monotonic_ns();
  requests_.push_back(request);
  return issue(*request);
}

Status NbdVolume::retire() {
  for (;;) {
    const int64_t cookie = ::nbd_aio_peek_command_completed(handle_);
    if (cookie <= 0) return {};
    const auto at =
        std::ranges::find(requests_, cookie, [](const NbdRequestPtr& r) { return r->cookie; });
    const bool failed = ::nbd_aio_command_completed(handle_, static_cast<uint64_t>(cookie)) < 0;
    if (at == requests_.end()) continue;
    if (failed && is_broken()) return {};  // not the server's verdict: the request goes out again
    const NbdRequestPtr request = *at;
    if (failed) {
      const int sys_errno = ::nbd_get_errno();
      return std::unexpected(errno_to_error(
          sys_errno, fmt::format("the NBD server refused {} bytes at {} of '{}'",
                                 std::max<uint64_t>(request->length, request->data.size()),
                                 request->offset, uri_)));
    }
    requests_.erase(at);
    request->done = true;
    last_progress_ns_ = monotonic_ns();
    if (!request->then) continue;
    in_callback_ = true;
    Status continued = request->then(*request);
    in_callback_ = false;
    if (!continued) return continued;
  }
}

Status NbdVolume::check_patience() const {
  if (requests_.empty()) return {};
  const uint64_t waited_ms = (monotonic_ns() - last_progress_ns_) / kMillisecond;
  if (waited_ms < static_cast<uint64_t>(patience_ms_)) return {};
  return make_error(Code::kUnavailable, "the NBD server of '{}' did not answer for {} ms", uri_,
                    waited_ms);
}

Status NbdVolume::pump(int wait_ms) {
  if (requests_.empty()) return {};
  if (Status retired = retire(); !retired) return retired;
  if (requests_.empty()) return {};
  if (!is_broken() && ::nbd_poll(handle_, wait_ms) < 0 && !is_broken())
    return make_error(Code::kIo, "'{}': {}", uri_, nbd_reason());
  if (Status retired = retire(); !retired) return retired;
  if (is_broken() && !requests_.empty()) return reconnect(nbd_reason());
  return check_patience();
}

Status NbdVolume::wait_for(const NbdRequestPtr& request) {
  while (!request->done)
    if (Status pumped = pump(kRetryMs); !pumped) return pumped;
  return {};
}

Status NbdVolume::drain() {
  while (!requests_.empty())
    if (Status pumped = pump(kRetryMs); !pumped) return pumped;
  return {};
}

Status NbdVolume::flush() {
  if (Status drained = drain(); !drained) return drained;
  if (::nbd_can_flush(handle_) == 0) return {};
  auto request = std::make_shared<NbdRequest>();
  request->kind = NbdRequest::Kind::kFlush;
  if (Status submitted = submit(request); !submitted) return submitted;
  return wait_for(request);
}

Status NbdVolume::read(uint64_t offset, std::span<std::byte> into) {
  for (size_t done = 0; done < into.size();) {
    auto request = std::make_shared<NbdRequest>();
    request->offset = offset + done;
    const size_t part = std::min(kNbdRequestBytesMax, into.size() - done);
    request->data.resize(round_up(part, kNbdUnit));
    if (Status submitted = submit(request); !submitted) return submitted;
    if (Status finished = wait_for(request); !finished) return finished;
    std::ranges::copy(std::span(request->data).first(part),
                      into.begin() + static_cast<ptrdiff_t>(done));
    done += part;
  }
  return {};
}

Status NbdVolume::write(uint64_t offset, std::span<const std::byte> from) {
  for (size_t done = 0; done < from.size();) {
    const auto part = from.subspan(done, std::min(kNbdRequestBytesMax, from.size() - done));
    auto request = std::make_shared<NbdRequest>();
    request->kind = NbdRequest::Kind::kWrite;
    request->offset = offset + done;
    request->data.assign(part.begin(), part.end());
    request->data.resize(round_up(part.size(), kNbdUnit));
    if (Status submitted = submit(request); !submitted) return submitted;
    done += part.size();
  }
  return {};
}

Status NbdVolume::zero(uint64_t offset, uint64_t length) {
  if (::nbd_can_zero(handle_) == 0) {
    const std::vector<std::byte> zeros(std::min<uint64_t>(length, kNbdRequestBytesMax));
    for (uint64_t done = 0; done < length; done += zeros.size()) {
      const auto part = std::span(zeros).first(std::min<uint64_t>(zeros.size(), length - done));
      if (Status written = write(offset + done, part); !written) return written;
    }
    return {};
  }
  for (uint64_t done = 0; done < length;) {
    auto request = std::make_shared<NbdRequest>();
    request->kind = NbdRequest::Kind::kZero;
    request->offset = offset + done;
    request->length = std::min(kZeroBytesMax, length - done);
    done += request->length;
    if (Status submitted = submit(std::move(request)); !submitted) return submitted;
  }
  return {};
}

Result<std::vector<NbdVolume::Extent>> NbdVolume::data_extents(uint64_t offset, uint64_t length) {
  if (::nbd_can_meta_context(handle_, LIBNBD_CONTEXT_BASE_ALLOCATION) <= 0)
    return std::vector<Extent>{{offset, length}};
  struct Answer {
    std::vector<Extent> data;
    uint64_t at;
    uint64_t end;
  } answer{{}, offset, offset + length};
  const auto take = [](void* user, const char*, uint64_t, uint32_t* entries, size_t count, int*) {
    auto& into = *static_cast<Answer*>(user);
    for (size_t i = 0; i + 1 < count && into.at < into.end; i += 2) {
      const uint64_t size = std::min<uint64_t>(entries[i], into.end - into.at);
      const bool zero = (entries[i + 1] & LIBNBD_STATE_ZERO) != 0;
      if (!zero && !into.data.empty() &&
          into.data.back().offset + into.data.back().length == into.at)
        into.data.back().length += size;
      else if (!zero)
        into.data.push_back({into.at, size});
      into.at += size;
    }
    return 0;
  };
  while (answer.at < answer.end) {
    const uint64_t before = answer.at;
    const uint64_t ask = std::min<uint64_t>(answer.end - answer.at, kZeroBytesMax);
    nbd_extent_callback callback{take, &answer, nullptr};
    if (::nbd_block_status(handle_, ask, answer.at, callback, 0) != 0 || answer.at == before)
      return make_error(Code::kIo, "block status of '{}': {}", uri_, nbd_reason());
  }
  return std::move(answer.data);
}

}  // namespace hozon
