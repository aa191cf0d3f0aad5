// Proves: a launched process has a session and only the descriptors of its own, is found again by
// its pid file and by nothing else, ends by its pidfd, and a program that cannot start is an error
// here.
#include "qemu/process.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <thread>

#include "qemu/files.h"

namespace hozon {
namespace {

class ProcessTest : public testing::Test {
 protected:
  ProcessTest() {
    std::string pattern = testing::TempDir() + "hozon-process-XXXXXX";
    directory_ = ::mkdtemp(pattern.data());
  }
  ~ProcessTest() override { std::filesystem::remove_all(directory_); }
  LaunchRequest shell(const std::string& script) const {
    LaunchRequest request;
    request.argv = {"sh", "-c", script, "mark-1"};
    request.directory = directory_;
    request.log_file = "log";
    request.pid_file = "pid";
    request.mark = "mark-1";
    return request;
  }
  std::string log() const { return read_small_file(directory_ + "/log").value_or(""); }
  std::string directory_;
};

TEST_F(ProcessTest, RunsDetachedWithOnlyItsOwnDescriptors) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);  // inheritable, as a careless library would leave it
  const Fd read_end(ends[0]);
  const Fd write_end(ends[1]);
  LaunchRequest request = shell("pwd; echo hello >&5; ps -o sid= -p $$ 2>/dev/null; umask");
  request.fds = {{write_end.get(), 5}};
  const auto process = DetachedProcess::launch(request);
  ASSERT_TRUE(process) << process.error().what;
  ASSERT_TRUE(process->wait_end(5000));
  char text[6] = {};
  EXPECT_EQ(::read(read_end.get(), text, 5), 5);
  EXPECT_STREQ(text, "hello");
  EXPECT_NE(log().find(directory_), std::string::npos);
  EXPECT_NE(log().find("0077"), std::string::npos);
  EXPECT_EQ(::waitpid(process->pid(), nullptr, WNOHANG), -1) << "it must not be a child of ours";
}

TEST_F(ProcessTest, InheritsNothingUnlisted) {
  const Fd careless(::open("/dev/null", O_RDONLY));  // inheritable
  LaunchRequest request = shell("");
  request.argv = {"sleep", "60"};
  request.mark = "60";
  request.fds = {{careless.get(), 5}};
  const auto process = DetachedProcess::launch(request);
  ASSERT_TRUE(process) << process.error().what;
  std::set<std::string> numbers;
  for (const auto& entry :
       std::filesystem::directory_iterator(fmt::format("/proc/{}/fd", process->pid())))
    numbers.insert(entry.path().filename());
  EXPECT_EQ(numbers, (std::set<std::string>{"0", "1", "2", "5"}));
  ASSERT_TRUE(process->kill());
}

TEST_F(ProcessTest, IsFoundAgainWhileItRuns) {
  const auto process = DetachedProcess::launch(shell("sleep 60"));
  ASSERT_TRUE(process) << process.error().what;
  EXPECT_TRUE(process->is_running());
  EXPECT_FALSE(process->wait_end(50));
  const auto found = DetachedProcess::adopt(directory_, "pid", "mark-1");
  ASSERT_TRUE(found) << found.error().what;
  EXPECT_EQ(found->pid(), process->pid());
  EXPECT_FALSE(DetachedProcess::adopt(directory_, "pid", "mark-2"));
  ASSERT_TRUE(found->kill());
  EXPECT_TRUE(process->wait_end(1000));
  EXPECT_TRUE(process->kill()) << "killing what has ended is no error";
  EXPECT_EQ(DetachedProcess::adopt(directory_, "pid", "mark-1").error().code, Code::kNotFound);
}

TEST_F(ProcessTest, ARecycledPidIsNotTakenForIt) {
  const auto process = DetachedProcess::launch(shell("sleep 60"));
  ASSERT_TRUE(process);
  const std::string path = directory_ + "/pid";
  const auto record = nlohmann::json::parse(*read_small_file(path));
  for (const auto& [key, value] : std::vector<std::pair<std::string, nlohmann::json>>{
           {"start_time", record["start_time"].get<uint64_t>() + 1},
           {"boot_id", "another"},
           {"pid", 1},
           {"pid", "text"}}) {
    auto changed = record;
    changed[key] = value;
    std::ofstream(path) << changed.dump();
    EXPECT_EQ(DetachedProcess::adopt(directory_, "pid", "mark-1").error().code, Code::kNotFound)
        << key;
  }
  std::ofstream(path) << "not json";
  EXPECT_FALSE(DetachedProcess::adopt(directory_, "pid", "mark-1"));
  std::ofstream(path) << record.dump();
  EXPECT_TRUE(DetachedProcess::adopt(directory_, "pid", "mark-1"));
  ASSERT_TRUE(process->kill());
}

TEST_F(ProcessTest, WhatCannotStartIsAnErrorHere) {
  LaunchRequest request = shell("true");
  request.argv[0] = "no-such-program-of-ours";
  EXPECT_EQ(DetachedProcess::launch(request).error().code, Code::kNotFound);
  request.argv[0] = directory_ + "/not-executable";
  std::ofstream(request.argv[0]) << "text";
  EXPECT_EQ(DetachedProcess::launch(request).error().code, Code::kPermissionDenied);
  ::chmod(request.argv[0].c_str(), 0700);
  const auto failed = DetachedProcess::launch(request);
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().sys_errno, ENOEXEC);
  request = shell("true");
  request.mark = "absent";
  EXPECT_EQ(DetachedProcess::launch(request).error().code, Code::kInvalidArgument);
  request = shell("true");
  request.fds = {{0, 2}};
  EXPECT_EQ(DetachedProcess::launch(request).error().code, Code::kInvalidArgument);
  request = shell("true");
  request.fds = {{7777, 3}};
  EXPECT_FALSE(DetachedProcess::launch(request));
}

TEST_F(ProcessTest, SwapsDescriptorsThatOverlap) {
  // Ours 3 and 4 (or whatever they are) become each other's number there.
  int a[2];
  int b[2];
  ASSERT_EQ(::pipe2(a, O_CLOEXEC), 0);
  ASSERT_EQ(::pipe2(b, O_CLOEXEC), 0);
  LaunchRequest request = shell(fmt::format("echo A >&{}; echo B >&{}", b[1], a[1]));
  request.fds = {{a[1], b[1]}, {b[1], a[1]}};
  const auto process = DetachedProcess::launch(request);
  ASSERT_TRUE(process) << process.error().what;
  ASSERT_TRUE(process->wait_end(5000));
  char text = 0;
  EXPECT_EQ(::read(a[0], &text, 1), 1);
  EXPECT_EQ(text, 'A');
  EXPECT_EQ(::read(b[0], &text, 1), 1);
  EXPECT_EQ(text, 'B');
  for (const int fd : {a[0], a[1], b[0], b[1]}) ::close(fd);
}

TEST_F(ProcessTest, LastWordsAreOneLine) {
  const auto process = DetachedProcess::launch(shell("echo first; echo second >&2; exit 1"));
  ASSERT_TRUE(process);
  ASSERT_TRUE(process->wait_end(5000));
  EXPECT_EQ(last_words(directory_ + "/log"), "first | second");
  EXPECT_EQ(last_words(directory_ + "/none"), "");
}

}  // namespace
}  // namespace hozon
