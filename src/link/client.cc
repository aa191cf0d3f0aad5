// Non-blocking descriptors and poll(), so that every wait has a deadline. Whether a call may be
// repeated is decided by what left this process: a line without its end cannot be executed.
#include "link/client.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <ctime>
#include <thread>

#include "link/protocol.h"
#include "link/unix_socket.h"

namespace hozon::link {
namespace {

constexpr uint64_t kNsPerMs = 1'000'000;

uint64_t monotonic_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

uint64_t deadline_after(int timeout_ms) {
  return monotonic_ns() + static_cast<uint64_t>(std::max(timeout_ms, 0)) * kNsPerMs;
}

}  // namespace

Result<LinkClient> LinkClient::connect(std::string path, int timeout_ms) {
  LinkClient client(std::move(path), timeout_ms);
  HOZON_TRY(client.reconnect());
  return client;
}

Status LinkClient::reconnect() {
  buffer_.clear();
  socket_ = Fd();
  const uint64_t deadline = deadline_after(connect_ms_);
  for (;;) {
    Result<Fd> made = connect_unix(path_);
    if (made) {
      socket_ = *std::move(made);
      ::fcntl(socket_.get(), F_SETFL, O_NONBLOCK);
      return {};
    }
    if (made.error().code != Code::kUnavailable || monotonic_ns() >= deadline)
      return std::unexpected(std::move(made.error()));
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

Status LinkClient::wait_ready(short events, uint64_t deadline_ns) {
  for (;;) {
    const uint64_t now = monotonic_ns();
    if (now >= deadline_ns)
      return make_error(Code::kUnavailable, "no answer on '{}' in time", path_);
    pollfd poller{socket_.get(), events, 0};
    const uint64_t left_ms = std::min<uint64_t>((deadline_ns - now) / kNsPerMs + 1, 60'000);
    const int ready = ::poll(&poller, 1, static_cast<int>(left_ms));
    if (ready > 0) return {};
    if (ready < 0 && errno != EINTR) return errno_error(errno, "wait for '{}'", path_);
  }
}

Status LinkClient::send_line(const std::string& line, uint64_t deadline_ns, bool& complete) {
  complete = false;
  size_t sent = 0;
  while (sent < line.size()) {
    const ssize_t moved =
        ::send(socket_.get(), line.data() + sent, line.size() - sent, MSG_NOSIGNAL);
    if (moved > 0) {
      sent += static_cast<size_t>(moved);
    } else if (moved < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
      HOZON_TRY(wait_ready(POLLOUT, deadline_ns));
    } else if (moved < 0 && errno != EINTR) {
      return std::unexpected(
          Error{Code::kUnavailable, fmt::format("the connection to '{}' broke", path_), errno});
    }
  }
  complete = true;
  return {};
}

Result<std::string> LinkClient::receive_line(uint64_t deadline_ns) {
  size_t searched = 0;
  for (;;) {
    const size_t end = buffer_.find('\n', searched);
    if (end != std::string::npos) {
      std::string line = buffer_.substr(0, end);
      buffer_.erase(0, end + 1);
      return line;
    }
    searched = buffer_.size();
    if (searched >= kLineBytesMax)
      return make_error(Code::kUnavailable, "the answer on '{}' is too long", path_);
    std::array<char, 65536> chunk;
    const ssize_t moved = ::recv(socket_.get(), chunk.data(), chunk.size(), 0);
    if (moved > 0) {
      buffer_.append(chunk.data(), static_cast<size_t>(moved));
    } else if (moved == 0) {
      return make_error(Code::kUnavailable, "'{}' was closed before it answered", path_);
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      HOZON_TRY(wait_ready(POLLIN, deadline_ns));
    } else if (errno != EINTR) {
      return std::unexpected(
          Error{Code::kUnavailable, fmt::format("the connection to '{}' broke", path_), errno});
    }
  }
}

Result<std::string> LinkClient::exchange(const std::string& line, int timeout_ms) {
  if (!socket_) HOZON_TRY(reconnect());
  bool complete = false;
  const uint64_t deadline = deadline_after(timeout_ms);
  HOZON_TRY(send_line(line + "\n", deadline, complete));
  return receive_line(deadline);
}

Result<nlohmann::json> LinkClient::call(const std::string& op, const nlohmann::json& parameters,
                                        int timeout_ms) {
  const uint64_t deadline = deadline_after(timeout_ms);
  for (int attempt = 0;; ++attempt) {
    if (!socket_) HOZON_TRY(reconnect());
    const uint64_t id = ++last_id_;
    const std::string line = encode_request(id, op, parameters);
    if (line.size() > kLineBytesMax)
      return make_error(Code::kInvalidArgument, "the request '{}' is too long", op);
    bool complete = false;
    const Status sent = send_line(line, deadline, complete);
    Result<std::string> answer = std::unexpected(Error{});
    if (sent) {
      answer = receive_line(deadline);
      if (answer) return decode_answer(*answer, id);
    } else {
      answer = std::unexpected(sent.error());
    }
    socket_ = Fd();  // a late answer must not be taken for that of the next call
    buffer_.clear();
    const bool may_repeat = !complete || is_read_only(op);
    if (may_repeat && attempt == 0 && monotonic_ns() < deadline) continue;
    Error error = std::move(answer.error());
    if (!may_repeat) error.what += fmt::format("; whether '{}' happened is not known", op);
    return std::unexpected(std::move(error));
  }
}

}  // namespace hozon::link
