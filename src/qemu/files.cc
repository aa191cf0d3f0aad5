#include "qemu/files.h"

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <ctime>

#include "base/fd.h"

namespace hozon {

std::optional<std::string> read_small_file(const std::string& path) {
  constexpr size_t kBytesMax = 1 << 20;
  const Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return std::nullopt;
  std::string content;
  char part[4096];
  while (content.size() < kBytesMax) {
    const ssize_t got = ::read(file.get(), part, sizeof(part));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return std::nullopt;
    if (got == 0) break;
    content.append(part, static_cast<size_t>(got));
  }
  return content;
}

Status replace_file(const std::string& path, const std::string& content) {
  static std::atomic<unsigned> serial{0};
  const std::string draft = fmt::format("{}.{}.{}", path, ::getpid(), serial.fetch_add(1));
  {
    const Fd file(::open(draft.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    if (!file) return errno_error(errno, "create '{}'", draft);
    size_t done = 0;
    while (done < content.size()) {
      const ssize_t put = ::write(file.get(), content.data() + done, content.size() - done);
      if (put < 0 && errno == EINTR) continue;
      if (put <= 0) {
        const int sys_errno = errno;
        ::unlink(draft.c_str());
        return errno_error(sys_errno, "write '{}'", draft);
      }
      done += static_cast<size_t>(put);
    }
  }
  if (::rename(draft.c_str(), path.c_str()) == 0) return {};
  const int sys_errno = errno;
  ::unlink(draft.c_str());
  return errno_error(sys_errno, "rename '{}' to '{}'", draft, path);
}

std::string host_boot_id() {
  std::string id = read_small_file("/proc/sys/kernel/random/boot_id").value_or("unknown");
  while (!id.empty() && id.back() == '\n') id.pop_back();
  return id;
}

uint64_t monotonic_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

}  // namespace hozon
