#include "client/unix_connect.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <chrono>
#include <limits>

namespace hozon::client {

Result<Fd> unix_connect(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path)
    return make_error(Code::kInvalidArgument,
                      "the socket path '{}' has {} bytes and at most {} are possible; use an "
                      "instance directory with a shorter path",
                      path, path.size(), sizeof address.sun_path - 1);
  path.copy(address.sun_path, path.size());
  Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket) return errno_error(errno, "open a socket");
  int result = 0;
  do {
    result = ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
  } while (result != 0 && errno == EINTR);
  if (result != 0) return errno_error(errno, "connect to '{}'", path);
  return socket;
}

int64_t monotonic_ms() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

Result<bool> wait_for(int fd, short events, int64_t deadline_ms) {
  while (true) {
    const int64_t left = deadline_ms - monotonic_ms();
    if (left <= 0) return false;
    pollfd entry{fd, events, 0};
    const int64_t bounded = std::min<int64_t>(left, std::numeric_limits<int>::max());
    const int ready = ::poll(&entry, 1, static_cast<int>(bounded));
    if (ready > 0) return true;
    if (ready < 0 && errno != EINTR) return errno_error(errno, "wait for a socket");
  }
}

}  // namespace hozon::client
