#include "client/unix_connect.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <limits>

namespace hozon::client {

Result<Fd> unix_connect(const std::string& path) {
  // By way of the directory's descriptor, so that the length of the path does not matter.
  const size_t slash = path.rfind('/');
  const std::string directory = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  const std::string name = slash == std::string::npos ? path : path.substr(slash + 1);
  const Fd parent(::open(directory.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!parent) return errno_error(errno, "connect to '{}'", path);
  const std::string short_path = fmt::format("/proc/self/fd/{}/{}", parent.get(), name);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (short_path.size() >= sizeof address.sun_path)
    return make_error(Code::kInvalidArgument, "the name of socket '{}' is too long", path);
  short_path.copy(address.sun_path, short_path.size());
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
