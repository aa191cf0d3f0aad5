#include "qemu/fuse_mount.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>

#include "qemu/command.h"

namespace hozon {
namespace {

constexpr const char* kHelper = "fusermount3";
constexpr const char* kRemedy =
    "install the package fuse3 and see that this user may open /dev/fuse";

std::unexpected<Error> no_fuse(const std::string& directory, const std::string& why) {
  return make_error(Code::kUnimplemented, "no file system can be mounted at '{}': {}; {}",
                    directory, why, kRemedy);
}

Result<Fd> mount_as_root(const std::string& directory) {
  Fd fuse(::open("/dev/fuse", O_RDWR | O_CLOEXEC));
  if (!fuse) return no_fuse(directory, std::strerror(errno));
  const std::string options = fmt::format("fd={},rootmode=40000,user_id={},group_id={}", fuse.get(),
                                          ::getuid(), ::getgid());
  if (::mount("hozon", directory.c_str(), "fuse", MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_NOATIME,
              options.c_str()) != 0)
    return no_fuse(directory, std::strerror(errno));
  return fuse;
}

// The helper sends the descriptor over the socket that _FUSE_COMMFD names.
Result<Fd> receive_descriptor(int socket) {
  char word = 0;
  iovec part{&word, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  ssize_t got = 0;
  while ((got = ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC)) < 0 && errno == EINTR) {
  }
  const cmsghdr* header = got > 0 ? CMSG_FIRSTHDR(&message) : nullptr;
  if (header == nullptr || header->cmsg_type != SCM_RIGHTS)
    return make_error(Code::kUnimplemented, "{} mounted nothing", kHelper);
  int fuse = -1;
  std::memcpy(&fuse, CMSG_DATA(header), sizeof(fuse));
  return Fd(fuse);
}

Result<Fd> mount_by_helper(const std::string& directory) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
    return errno_error(errno, "socket for {}", kHelper);
  const Fd ours(ends[0]);
  Fd theirs(ends[1]);
  const pid_t child = ::fork();
  if (child < 0) return errno_error(errno, "start {}", kHelper);
  if (child == 0) {
    ::fcntl(theirs.get(), F_SETFD, 0);
    ::setenv("_FUSE_COMMFD", std::to_string(theirs.get()).c_str(), 1);
    ::execlp(kHelper, kHelper, "-o", "nosuid,nodev,noatime,fsname=hozon", "--", directory.c_str(),
             nullptr);
    ::_exit(127);
  }
  theirs = Fd();
  Result<Fd> fuse = receive_descriptor(ours.get());
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (fuse) return fuse;
  return no_fuse(directory, WIFEXITED(status) && WEXITSTATUS(status) == 127
                                ? std::string(kHelper) + " is not installed"
                                : std::string(kHelper) + " refused");
}

bool is_mounted(const std::string& directory) {
  struct statfs about{};
  if (::statfs(directory.c_str(), &about) != 0) return errno == ENOTCONN;
  return about.f_type == FUSE_SUPER_MAGIC;
}

}  // namespace

Result<Fd> mount_fuse(const std::string& directory) {
  return ::geteuid() == 0 ? mount_as_root(directory) : mount_by_helper(directory);
}

Status unmount_fuse(const std::string& directory) {
  if (!is_mounted(directory)) return {};
  if (::geteuid() == 0) {
    if (::umount2(directory.c_str(), MNT_DETACH) == 0) return {};
    return errno_error(errno, "unmount '{}'", directory);
  }
  CommandRequest request;
  request.argv = {kHelper, "-u", "-z", "--", directory};
  const CommandOutcome ended = HOZON_TRY(run_command(request));
  if (ended.exit_status == 0) return {};
  return make_error(Code::kIo, "unmount '{}': {}", directory, ended.output);
}

bool is_fuse_served(const std::string& directory) {
  struct statfs about{};
  return ::statfs(directory.c_str(), &about) == 0 && about.f_type == FUSE_SUPER_MAGIC;
}

}  // namespace hozon
