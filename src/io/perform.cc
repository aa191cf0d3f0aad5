#include "io/perform.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace hozon {
namespace {

int32_t transfer(IoOp& op) {
  while (op.size > 0) {
    const size_t part = static_cast<size_t>(std::min(op.size, kTransferMax));
    const auto offset = static_cast<off_t>(op.offset);
    const ssize_t moved = op.kind == IoOp::Kind::kRead ? ::pread(op.fd, op.data, part, offset)
                                                       : ::pwrite(op.fd, op.data, part, offset);
    if (moved < 0) {
      if (errno == EINTR || errno == EAGAIN) continue;
      return -errno;
    }
    if (moved == 0) return -EIO;  // the file ends here
    op.data += moved;
    op.size -= static_cast<uint64_t>(moved);
    op.offset += static_cast<uint64_t>(moved);
  }
  return 0;
}

int32_t accept_now(int fd) {
  // accept4() has no flag for "do not wait", and another process may take the connection first.
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags < 0) return -errno;
  if ((flags & O_NONBLOCK) == 0 && ::fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0) return -errno;
  const int connection = ::accept4(fd, nullptr, nullptr, SOCK_CLOEXEC);
  return connection < 0 ? -errno : connection;
}

int32_t poll_now(int fd) {
  pollfd query{.fd = fd, .events = POLLIN, .revents = 0};
  const int ready = ::poll(&query, 1, 0);
  if (ready < 0) return -errno;
  if (ready == 0) return -EAGAIN;
  return query.revents;
}

}  // namespace

int32_t perform_storage(IoOp& op) {
  int result = 0;
  do {
    switch (op.kind) {
      case IoOp::Kind::kRead:
      case IoOp::Kind::kWrite: return transfer(op);
      case IoOp::Kind::kSync: result = ::fdatasync(op.fd); break;
      case IoOp::Kind::kPunch:
        result = ::fallocate(op.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                             static_cast<off_t>(op.offset), static_cast<off_t>(op.size));
        break;
      default: return -EINVAL;
    }
  } while (result < 0 && errno == EINTR);
  return result < 0 ? -errno : 0;
}

int32_t try_socket(const IoOp& op) {
  const size_t part = static_cast<size_t>(std::min(op.size, kTransferMax));
  for (;;) {
    ssize_t result = 0;
    switch (op.kind) {
      case IoOp::Kind::kAccept: result = accept_now(op.fd); break;
      case IoOp::Kind::kPollIn: result = poll_now(op.fd); break;
      case IoOp::Kind::kRecv: result = ::recv(op.fd, op.data, part, MSG_DONTWAIT); break;
      case IoOp::Kind::kSend:
        result = ::send(op.fd, op.data, part, MSG_DONTWAIT | MSG_NOSIGNAL);
        break;
      case IoOp::Kind::kSendMsg:
        result =
            ::sendmsg(op.fd, reinterpret_cast<const msghdr*>(op.data), MSG_DONTWAIT | MSG_NOSIGNAL);
        break;
      default: return -EINVAL;
    }
    if (result >= 0) return static_cast<int32_t>(result);
    const bool answered = op.kind == IoOp::Kind::kAccept || op.kind == IoOp::Kind::kPollIn;
    const int error = answered ? static_cast<int>(-result) : errno;
    if (error != EINTR) return -error;
  }
}

short socket_events(IoOp::Kind kind) {
  return kind == IoOp::Kind::kSend || kind == IoOp::Kind::kSendMsg ? POLLOUT : POLLIN;
}

}  // namespace hozon
