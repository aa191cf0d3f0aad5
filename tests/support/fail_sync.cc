// A library for LD_PRELOAD that makes fdatasync() answer EIO, as after a failed write-back, while a
// file exists: HOZON_FAIL_SYNC names it, and the file's content says for which file name ("data" or
// "journal"). Only calls through libc are caught, so the program must run with HOZON_LOOP=threads;
// io_uring's syncs fail in the simulator.
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

namespace {

bool must_fail(int fd) {
  const char* trigger = ::getenv("HOZON_FAIL_SYNC");
  const int file = trigger == nullptr ? -1 : ::open(trigger, O_RDONLY | O_CLOEXEC);
  if (file < 0) return false;
  char name[64] = "/";
  const ssize_t length = ::read(file, name + 1, sizeof(name) - 2);
  ::close(file);
  if (length <= 0) return false;
  name[1 + length] = 0;
  char link[64];
  char path[4096];
  ::snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
  const ssize_t path_length = ::readlink(link, path, sizeof(path) - 1);
  if (path_length <= length) return false;
  path[path_length] = 0;
  return ::strcmp(path + path_length - length - 1, name) == 0;
}

}  // namespace

extern "C" int fdatasync(int fd) {
  using Function = int (*)(int);
  static const auto real = reinterpret_cast<Function>(::dlsym(RTLD_NEXT, "fdatasync"));
  if (must_fail(fd)) {
    errno = EIO;
    return -1;
  }
  return real(fd);
}
