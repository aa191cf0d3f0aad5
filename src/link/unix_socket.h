// src/link/unix_socket.h
// Unix stream sockets by path, and descriptors passed by a supervisor the systemd way
// (LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES). Header-only, so that the supervisor stays small.
#pragma once

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <string_view>

#include "base/fd.h"
#include "base/result.h"

namespace hozon::link {

inline constexpr size_t kUnixPathMax = sizeof(sockaddr_un::sun_path) - 1;  // 107

// kInvalidArgument says by how much the path is too long and what to do about it.
inline Status check_unix_path(std::string_view path) {
  if (path.size() <= kUnixPathMax) return {};
  return make_error(Code::kInvalidArgument,
                    "socket path '{}' has {} bytes, and the system allows {}: use a directory "
                    "whose path is at least {} bytes shorter",
                    path, path.size(), kUnixPathMax, path.size() - kUnixPathMax);
}

inline Result<sockaddr_un> unix_address(std::string_view path) {
  HOZON_TRY(check_unix_path(path));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, kUnixPathMax);
  return address;
}

// A listening socket with mode 0600. A file of that name that is a socket is replaced: the caller
// makes sure that no one else listens there.
inline Result<Fd> listen_unix(const std::string& path, int backlog = 128) {
  const sockaddr_un address = HOZON_TRY(unix_address(path));
  struct stat existing{};
  if (::lstat(path.c_str(), &existing) == 0) {
    if (!S_ISSOCK(existing.st_mode))
      return make_error(Code::kAlreadyExists, "'{}' is in the way of a socket: remove it", path);
    ::unlink(path.c_str());
  }
  Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket) return errno_error(errno, "make a socket for '{}'", path);
  ::fchmod(socket.get(), 0600);
  if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0)
    return errno_error(errno, "bind socket '{}'", path);
  if (::chmod(path.c_str(), 0600) != 0) return errno_error(errno, "protect socket '{}'", path);
  if (::listen(socket.get(), backlog) != 0) return errno_error(errno, "listen on '{}'", path);
  return socket;
}

// kUnavailable when nobody listens there. Blocks while the listener's queue is full.
inline Result<Fd> connect_unix(const std::string& path) {
  const sockaddr_un address = HOZON_TRY(unix_address(path));
  Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket) return errno_error(errno, "make a socket for '{}'", path);
  int result = 0;
  do {
    result = ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address));
  } while (result != 0 && errno == EINTR);
  if (result == 0) return socket;
  if (errno == ENOENT || errno == ECONNREFUSED)
    return std::unexpected(
        Error{Code::kUnavailable, fmt::format("nobody listens on '{}'", path), errno});
  return errno_error(errno, "connect to '{}'", path);
}

// The listening sockets that a supervisor passed to this process, by name; empty when there are
// none. Takes them once: the variables are removed and the descriptors are not inherited further.
inline std::map<std::string, Fd> take_listening_sockets() {
  constexpr int kFirst = 3;
  constexpr int kCountMax = 16;
  std::map<std::string, Fd> sockets;
  const char* const pid = std::getenv("LISTEN_PID");
  const char* const count_text = std::getenv("LISTEN_FDS");
  const char* const names_text = std::getenv("LISTEN_FDNAMES");
  if (pid != nullptr && count_text != nullptr && std::to_string(::getpid()) == pid) {
    int count = 0;
    std::from_chars(count_text, count_text + std::strlen(count_text), count);
    std::string_view names = names_text == nullptr ? "" : names_text;
    for (int i = 0; i < count && i < kCountMax; ++i) {
      const size_t colon = names.find(':');
      std::string name(names.substr(0, colon));
      names.remove_prefix(colon == std::string_view::npos ? names.size() : colon + 1);
      if (name.empty()) name = std::to_string(i);
      Fd fd(kFirst + i);
      ::fcntl(fd.get(), F_SETFD, FD_CLOEXEC);
      sockets[name] = std::move(fd);
    }
  }
  ::unsetenv("LISTEN_PID");
  ::unsetenv("LISTEN_FDS");
  ::unsetenv("LISTEN_FDNAMES");
  return sockets;
}

}  // namespace hozon::link
