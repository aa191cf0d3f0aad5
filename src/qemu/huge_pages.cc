#include "qemu/huge_pages.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <fstream>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/units.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

namespace hozon {
namespace {

constexpr uint64_t kHugeBytes = 2_MiB;
constexpr uint64_t kSmallBytes = 4096;
constexpr size_t kSmallPerHuge = kHugeBytes / kSmallBytes;
constexpr size_t kInUseMin = kSmallPerHuge * 3 / 4;
constexpr size_t kHugePerCall = 16;  // the guest waits for a page of one of them at most

struct Range {
  uint64_t start;
  uint64_t end;
};

// The private memory without a file that is large enough for the guest's.
Result<Range> guest_memory(pid_t qemu, uint64_t ram_bytes) {
  std::ifstream maps(fmt::format("/proc/{}/maps", qemu));
  for (std::string line; std::getline(maps, line);) {
    Range range{};
    char rights[5] = {};
    uint64_t inode = 0;
    if (std::sscanf(line.c_str(), "%lx-%lx %4s %*s %*s %lu", &range.start, &range.end, rights,
                    &inode) != 4)
      continue;
    if (std::string(rights) == "rw-p" && inode == 0 && range.end - range.start >= ram_bytes)
      return Range{round_up(range.start, kHugeBytes), range.end / kHugeBytes * kHugeBytes};
  }
  return make_error(Code::kNotFound, "process {} has no private memory of {}", qemu,
                    format_bytes(ram_bytes));
}

// Pages that belong to this process alone: the page of zeros that everybody shares does not count.
size_t pages_in_use(const std::vector<uint64_t>& entries) {
  constexpr uint64_t kPresent = 1ULL << 63;
  constexpr uint64_t kExclusive = 1ULL << 56;
  return static_cast<size_t>(std::ranges::count_if(entries, [&](uint64_t entry) {
    return (entry & kPresent) != 0 && (entry & kExclusive) != 0;
  }));
}

// Where most of a huge page is in use; neighbours in one range, up to kHugePerCall of them.
Result<std::vector<Range>> ranges_in_use(pid_t qemu, Range memory) {
  const Fd pagemap(::open(fmt::format("/proc/{}/pagemap", qemu).c_str(), O_RDONLY | O_CLOEXEC));
  std::vector<Range> ranges;
  std::vector<uint64_t> entries(kSmallPerHuge);
  const size_t size = entries.size() * sizeof(entries[0]);
  for (uint64_t at = memory.start; at < memory.end; at += kHugeBytes) {
    const auto place = static_cast<off_t>(at / kSmallBytes * sizeof(entries[0]));
    if (::pread(pagemap.get(), entries.data(), size, place) != static_cast<ssize_t>(size))
      return errno_error(errno, "look at the memory of process {}", qemu);
    if (pages_in_use(entries) < kInUseMin) continue;
    const bool goes_on = !ranges.empty() && ranges.back().end == at &&
                         at - ranges.back().start < kHugePerCall * kHugeBytes;
    if (goes_on)
      ranges.back().end += kHugeBytes;
    else
      ranges.push_back({at, at + kHugeBytes});
  }
  return ranges;
}

int advise(const Fd& process, Range range) {
  iovec part{reinterpret_cast<void*>(range.start), range.end - range.start};
  return ::syscall(SYS_process_madvise, process.get(), &part, 1UL, MADV_COLLAPSE, 0U) < 0 ? errno
                                                                                          : 0;
}

// Asked with an empty range, because EINVAL may also mean that a part cannot be joined just now.
Status check_possible(const Fd& process) {
  switch (const int error = advise(process, {})) {
    case 0: return {};
    case EPERM:
      return make_error(Code::kPermissionDenied, "joining a guest's pages needs CAP_SYS_NICE");
    case ENOSYS:
    case EINVAL:
      return make_error(Code::kUnimplemented, "the kernel cannot join a guest's pages here");
    default: return errno_error(error, "join a guest's pages");
  }
}

}  // namespace

Result<uint64_t> join_huge_pages(pid_t qemu, uint64_t ram_bytes) {
  const Range memory = HOZON_TRY(guest_memory(qemu, ram_bytes));
  const Fd process(static_cast<int>(::syscall(SYS_pidfd_open, qemu, 0)));
  if (!process) return errno_error(errno, "look at the memory of process {}", qemu);
  HOZON_TRY(check_possible(process));
  uint64_t joined_bytes = 0;
  for (const Range& range : HOZON_TRY(ranges_in_use(qemu, memory))) {
    // What fails stays as it is: no huge page is free, or a page is in use by somebody else.
    if (advise(process, range) == 0) joined_bytes += range.end - range.start;
  }
  return joined_bytes;
}

}  // namespace hozon
