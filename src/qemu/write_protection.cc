#include "qemu/write_protection.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "base/fd.h"

namespace hozon {
namespace {

struct Range {
  uint64_t start;
  uint64_t length;
};

Result<std::vector<Range>> writable_ranges(pid_t pid) {
  std::ifstream maps(fmt::format("/proc/{}/maps", pid));
  if (!maps) return errno_error(errno, "memory map of process {}", pid);
  std::vector<Range> ranges;
  for (std::string line; std::getline(maps, line);) {
    uint64_t start = 0;
    uint64_t end = 0;
    char rights[5] = {};
    if (std::sscanf(line.c_str(), "%lx-%lx %4s", &start, &end, rights) != 3) continue;
    if (rights[1] == 'w') ranges.push_back({start, end - start});
  }
  return ranges;
}

Result<std::vector<int>> userfault_numbers(pid_t pid) {
  std::vector<int> numbers;
  std::error_code error;
  const std::filesystem::directory_iterator entries(fmt::format("/proc/{}/fd", pid), error);
  if (error) return errno_error(error.value(), "descriptors of process {}", pid);
  for (const auto& entry : entries) {
    const std::string target = std::filesystem::read_symlink(entry.path(), error).string();
    if (error || target.find("[userfaultfd]") == std::string::npos) continue;
    numbers.push_back(std::stoi(entry.path().filename().string()));
  }
  return numbers;
}

}  // namespace

Status check_live_save_possible() {
  const Fd fd(static_cast<int>(::syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK)));
  if (!fd && errno == EPERM)
    return make_error(Code::kPermissionDenied,
                      "memory cannot be saved while the guest runs: this user may not use "
                      "userfaultfd; 'sysctl vm.unprivileged_userfaultfd=1' allows it");
  if (!fd) return errno_error(errno, "userfaultfd");
  uffdio_api api{};
  api.api = UFFD_API;
  api.features = UFFD_FEATURE_PAGEFAULT_FLAG_WP;
  if (::ioctl(fd.get(), UFFDIO_API, &api) != 0)
    return make_error(Code::kUnimplemented,
                      "memory cannot be saved while the guest runs: the host's kernel has no "
                      "write protection by userfaultfd");
  return {};
}

Result<unsigned> free_write_protection(pid_t pid) {
  const Fd process(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!process) return errno_error(errno, "free the guest of process {}", pid);
  unsigned freed = 0;
  for (const int number : HOZON_TRY(userfault_numbers(pid))) {
    const Fd fault(static_cast<int>(::syscall(SYS_pidfd_getfd, process.get(), number, 0)));
    if (!fault) return errno_error(errno, "take the userfaultfd of process {}", pid);
    for (const Range& range : HOZON_TRY(writable_ranges(pid))) {
      // Ranges that were never registered refuse; lifting the protection is what wakes the vCPUs.
      uffdio_writeprotect lift{};
      lift.range = {range.start, range.length};
      if (::ioctl(fault.get(), UFFDIO_WRITEPROTECT, &lift) != 0) continue;
      uffdio_range whole{range.start, range.length};
      ::ioctl(fault.get(), UFFDIO_UNREGISTER, &whole);
      ++freed;
    }
  }
  return freed;
}

}  // namespace hozon
