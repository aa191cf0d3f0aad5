// src/qemu/process.h
// A process that outlives the one that started it: QEMU, and the memory helper hozon-ram.
//
// launch() starts it in a session of its own, child of nobody we know, with only the listed
// descriptors. A pid file makes it findable again: adopt() believes it only if the host has not
// been booted since, the process has the recorded start time, and its command line holds the
// recorded mark (a uuid). From then on a pidfd stands for the process, so a reused pid is never
// signalled.
//
// Threading: const functions from any thread. The object may die at any time; the process goes on.
#pragma once

#include <sys/types.h>

#include <string>
#include <utility>
#include <vector>

#include "base/fd.h"
#include "base/result.h"

namespace hozon {

struct LaunchRequest {
  std::vector<std::string> argv;  // argv[0]: program, looked up in PATH when it has no slash
  std::string directory;          // working directory of the process
  std::string log_file;           // standard output and error are appended here; in `directory`
  std::string pid_file;           // written before launch() returns; in `directory`
  std::string mark;               // must be one of argv, so that adopt() can tell it from others
  std::vector<std::pair<int, int>> fds;  // {our descriptor, its number there (3 or more)}
};

class DetachedProcess {
 public:
  // kNotFound: no such program. Returns once the program has been executed, not once it is ready.
  static Result<DetachedProcess> launch(const LaunchRequest& request);
  // kNotFound: the process ended (or the host was booted since); the pid file is stale then.
  static Result<DetachedProcess> adopt(const std::string& directory, const std::string& pid_file,
                                       const std::string& mark);

  pid_t pid() const { return pid_; }
  bool is_running() const;
  // True when it has ended, false when `timeout_ms` passed first.
  bool wait_end(int timeout_ms) const;
  Status signal(int number) const;  // success also when it has ended already
  // SIGKILL, then waits. kUnavailable when it did not end in time (uninterruptible in the kernel).
  Status kill(int timeout_ms = 10'000) const;
  int pidfd() const { return pidfd_.get(); }  // readable when the process has ended

 private:
  DetachedProcess(pid_t pid, Fd pidfd) : pid_(pid), pidfd_(std::move(pidfd)) {}
  pid_t pid_;
  Fd pidfd_;
};

// The last lines that a process wrote to its log (at most 2 KiB), as one line, for error messages.
std::string last_words(const std::string& log_path);

}  // namespace hozon
