// Proves: the huge pages that a save broke up are joined again, also where one of them cannot be.
// Method: real memory of this process in small pages, one of them write-protected.
#include "qemu/huge_pages.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <string>

#include "base/fd.h"
#include "base/units.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

namespace hozon {
namespace {

constexpr uint64_t kHuge = 2_MiB;
constexpr uint64_t kMemory = 96_MiB;  // larger than any other private mapping of the test

// Memory in small pages, as a save leaves it behind.
class SmallPages {
 public:
  SmallPages() {
    void* place = ::mmap(nullptr, kMemory + kHuge, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    HOZON_CHECK(place != MAP_FAILED);
    start_ = round_up(reinterpret_cast<uint64_t>(place), kHuge);
    HOZON_CHECK(::madvise(place, kMemory + kHuge, MADV_NOHUGEPAGE) == 0);
    std::memset(place, 1, kMemory + kHuge);
    HOZON_CHECK(::madvise(place, kMemory + kHuge, MADV_HUGEPAGE) == 0);
    place_ = place;
  }
  ~SmallPages() { ::munmap(place_, kMemory + kHuge); }
  SmallPages(const SmallPages&) = delete;
  SmallPages& operator=(const SmallPages&) = delete;
  uint64_t start() const { return start_; }

  // Bytes of this memory that lie in huge pages now.
  uint64_t huge_bytes() const {
    std::ifstream maps("/proc/self/smaps");
    uint64_t sum = 0;
    bool here = false;
    for (std::string line; std::getline(maps, line);) {
      uint64_t from = 0;
      uint64_t to = 0;
      uint64_t kib = 0;
      if (std::sscanf(line.c_str(), "%lx-%lx ", &from, &to) == 2)
        here = from < start_ + kMemory && to > start_;
      else if (here && std::sscanf(line.c_str(), "AnonHugePages: %lu", &kib) == 1)
        sum += kib * 1024;
    }
    return sum;
  }

 private:
  void* place_ = nullptr;
  uint64_t start_ = 0;
};

// Empty, or why the host cannot join so many pages now: the kernel, rights, or no free huge pages.
std::string why_not_here() {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  return "what is looked for is the largest memory, and here that is the sanitizer's own";
#endif
  const SmallPages memory;
  const auto joined = join_huge_pages(::getpid(), kMemory);
  if (!joined && (joined.error().code == Code::kPermissionDenied ||
                  joined.error().code == Code::kUnimplemented))
    return joined.error().what;
  for (uint64_t at = memory.start(); at < memory.start() + kMemory; at += kHuge)
    if (::madvise(reinterpret_cast<void*>(at), kHuge, MADV_COLLAPSE) != 0 && errno != EINVAL)
      return "no huge page is free";
  return {};
}

TEST(HugePages, JoinsWhatASaveBrokeUp) {
  if (const std::string why = why_not_here(); !why.empty()) GTEST_SKIP() << why;
  const SmallPages memory;
  ASSERT_EQ(memory.huge_bytes(), 0U);
  const auto joined = join_huge_pages(::getpid(), kMemory);
  ASSERT_TRUE(joined) << joined.error().what;
  EXPECT_GE(memory.huge_bytes(), kMemory - kHuge);
}

// The kernel says EINVAL for a page that is still protected, as it does for a call it does not
// know.
TEST(HugePages, APartThatCannotBeJoinedDoesNotKeepTheOthersSmall) {
  if (const std::string why = why_not_here(); !why.empty()) GTEST_SKIP() << why;
  const SmallPages memory;
  const Fd faults(
      static_cast<int>(::syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY)));
  uffdio_api api{.api = UFFD_API, .features = UFFD_FEATURE_PAGEFAULT_FLAG_WP, .ioctls = 0};
  if (!faults || ::ioctl(faults.get(), UFFDIO_API, &api) < 0)
    GTEST_SKIP() << "the kernel cannot protect pages";
  uffdio_register area{};
  area.range = {memory.start(), kMemory};
  area.mode = UFFDIO_REGISTER_MODE_WP;
  ASSERT_EQ(::ioctl(faults.get(), UFFDIO_REGISTER, &area), 0);
  uffdio_writeprotect page{{memory.start() + kHuge, 4096}, UFFDIO_WRITEPROTECT_MODE_WP};
  ASSERT_EQ(::ioctl(faults.get(), UFFDIO_WRITEPROTECT, &page), 0);
  const auto joined = join_huge_pages(::getpid(), kMemory);
  ASSERT_TRUE(joined) << joined.error().what;
  EXPECT_GE(memory.huge_bytes(), kMemory - 2 * kHuge);
}

}  // namespace
}  // namespace hozon
