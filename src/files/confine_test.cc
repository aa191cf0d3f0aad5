// Proves: a process that is confined can use what it has, and nothing else. Each attempt is made by
// a child of its own, whose end tells what became of it.
#include "files/confine.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <functional>

namespace hozon::files {
namespace {

constexpr int kDone = 0, kRefused = 40, kNotConfined = 41;

// Exit status, or 1000 + the signal.
int end_of(const std::function<int()>& attempt, const Bounds& bounds = {}) {
  const pid_t parent = ::getpid();
  const pid_t child = ::fork();
  if (child == 0) {
    if (!confine(bounds, parent)) ::_exit(kNotConfined);
    ::_exit(attempt());
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFSIGNALED(status) ? 1000 + WTERMSIG(status) : WEXITSTATUS(status);
}

TEST(Confine, WhatIsOpenIsUsed) {
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe(ends.data()), 0);
  EXPECT_EQ(end_of([&] { return ::write(ends[1], "x", 1) == 1 ? kDone : kRefused; }), kDone);
  char got = 0;
  EXPECT_EQ(::read(ends[0], &got, 1), 1);
  EXPECT_EQ(got, 'x');
  EXPECT_EQ(end_of([] {
              std::string memory(10 << 20, 'x');
              return memory.back() == 'x' ? kDone : kRefused;
            }),
            kDone);
}

TEST(Confine, NoFileIsOpened) {
  for (const char* path : {"/etc/passwd", "/proc/self/environ", "/tmp", "/dev/null"})
    EXPECT_EQ(
        end_of([path] { return ::open(path, O_RDONLY) < 0 && errno == EACCES ? kRefused : kDone; }),
        kRefused)
        << path;
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
TEST(Confine, WhatIsNotOnTheListEndsIt) {
  const std::array<std::function<void()>, 6> attempts = {
      [] { (void)::socket(AF_INET, SOCK_STREAM, 0); },
      [] { (void)::fork(); },
      [] { (void)::execl("/bin/true", "true", nullptr); },
      [] { (void)::unlink("/tmp/none"); },
      [] { (void)::kill(::getppid(), 0); },
      [] { (void)!::setuid(0); },
  };
  for (size_t i = 0; i < attempts.size(); ++i)
    EXPECT_EQ(end_of([&] {
                attempts[i]();
                return kDone;
              }),
              1000 + SIGSYS)
        << i;
}

TEST(Confine, MemoryIsNeverRun) {
  EXPECT_EQ(end_of([] {
              (void)::mmap(nullptr, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1,
                           0);
              return kDone;
            }),
            1000 + SIGSYS);
}

TEST(Confine, MemoryAndTimeAreBounded) {
  EXPECT_EQ(end_of(
                [] {
                  const void* const memory = ::mmap(nullptr, size_t{2} << 30, PROT_READ,
                                                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
                  return memory == MAP_FAILED ? kRefused : kDone;
                },
                {.memory_bytes = 1 << 30}),
            kRefused);
  const auto began = std::chrono::steady_clock::now();
  EXPECT_EQ(end_of(
                [] {
                  for (volatile bool on = true; on;) {
                  }
                  return kDone;
                },
                {.cpu_seconds = 1}),
            1000 + SIGKILL);
  EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::seconds(30));
}
#endif

TEST(Confine, RootIsGivenUp) {
  EXPECT_EQ(end_of([] { return ::getpid() > 0 ? kDone : kRefused; }), kDone);
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe(ends.data()), 0);
  const pid_t parent = ::getpid();
  const pid_t child = ::fork();
  if (child == 0) {
    if (!confine({}, parent)) ::_exit(kNotConfined);
    char ignored = 0;
    (void)!::read(ends[0], &ignored, 1);
    ::_exit(0);
  }
  // The kernel's own words; it may take a moment until the child is there.
  std::string status;
  for (int i = 0; i < 200 && status.find("Seccomp:\t2") == std::string::npos; ++i) {
    ::usleep(10'000);
    const std::string path = "/proc/" + std::to_string(child) + "/status";
    const int file = ::open(path.c_str(), O_RDONLY);
    std::array<char, 8192> text{};
    const ssize_t got = ::read(file, text.data(), text.size());
    ::close(file);
    status.assign(text.data(), got > 0 ? static_cast<size_t>(got) : 0);
  }
  EXPECT_NE(status.find("Seccomp:\t2"), std::string::npos) << status;
  EXPECT_NE(status.find("NoNewPrivs:\t1"), std::string::npos) << status;
  EXPECT_EQ(status.find("Uid:\t0"), std::string::npos) << status;
  if (::geteuid() == 0) {
    EXPECT_NE(status.find("CapEff:\t0000000000000000"), std::string::npos) << status;
  }
  EXPECT_EQ(::write(ends[1], "x", 1), 1);
  ::waitpid(child, nullptr, 0);
}

TEST(Confine, EndsWithWhoeverAsked) {
  // A parent that is not ours any more: the child was taken over by another process.
  const pid_t child = ::fork();
  if (child == 0) ::_exit(confine({}, ::getppid() + 1) ? kDone : kRefused);
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(WEXITSTATUS(status), kRefused);
}

}  // namespace
}  // namespace hozon::files
