// src/link/supervised_child.h
// One child process of the supervisor: how it is started with its listening sockets, when it is
// started again, and what is known about its last end. Header-only, like unix_socket.h.
//
// A child is   running   pid > 0
//              waiting   pid == 0, started again when `start_at_ns` has come
//              stopping  pid > 0 and an end was asked for; it is not started again
//              stopped   pid == 0 and an end was asked for
// A child that ran for kSteadyNs is started again at once; one that dies again and again waits
// kBackoffFirstNs, doubled every time up to kBackoffMostNs. A child dies (SIGTERM) with its
// supervisor, so that a new supervisor never meets old children.
#pragma once

#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <vector>

#include "link/unix_socket.h"

namespace hozon::link {

inline constexpr uint64_t kSteadyNs = 5'000'000'000;
inline constexpr uint64_t kBackoffFirstNs = 100'000'000;
inline constexpr uint64_t kBackoffMostNs = 2'000'000'000;
inline constexpr uint64_t kStopPatienceNs = 60'000'000'000;  // then SIGKILL, which is safe too
inline constexpr int kExecFailed = 127;

struct ListeningSocket {
  std::string name;  // in LISTEN_FDNAMES
  std::string path;
  Fd fd;
};

struct SupervisedChild {
  std::string name;
  std::vector<std::string> argv;
  std::vector<ListeningSocket> sockets;
  std::string log_path;
  pid_t pid = 0;
  uint64_t restarts = 0;
  uint64_t started_ns = 0;
  uint64_t start_at_ns = 0;
  uint64_t backoff_ns = 0;
  bool stop_wanted = false;
  uint64_t kill_at_ns = 0;
  std::string last_end;  // "exit status 3", "signal 9"

  bool is_stopped() const { return stop_wanted && pid == 0; }
  const char* state() const {
    if (stop_wanted) return pid > 0 ? "stopping" : "stopped";
    return pid > 0 ? "running" : "waiting";
  }
};

// The child's side between fork and exec. Descriptors move out of the way first, since a socket's
// present number may be another one's number to be.
[[noreturn]] inline void become_child(const SupervisedChild& child, pid_t supervisor) {
  constexpr int kOutOfTheWay = 100;
  ::prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (::getppid() != supervisor) ::_exit(kExecFailed);
  ::setpgid(0, 0);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  const int null = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  const int log = ::open(child.log_path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  std::string names;
  std::vector<int> high;
  for (const ListeningSocket& socket : child.sockets) {
    high.push_back(::fcntl(socket.fd.get(), F_DUPFD_CLOEXEC, kOutOfTheWay));
    names += (names.empty() ? "" : ":") + socket.name;
  }
  const int high_log = ::fcntl(log, F_DUPFD_CLOEXEC, kOutOfTheWay);
  ::dup2(null, STDIN_FILENO);
  ::dup2(high_log, STDOUT_FILENO);
  ::dup2(high_log, STDERR_FILENO);
  for (size_t i = 0; i < high.size(); ++i) ::dup2(high[i], static_cast<int>(3 + i));
  ::setenv("LISTEN_PID", std::to_string(::getpid()).c_str(), 1);
  ::setenv("LISTEN_FDS", std::to_string(high.size()).c_str(), 1);
  ::setenv("LISTEN_FDNAMES", names.c_str(), 1);
  std::vector<char*> argv;
  for (const std::string& argument : child.argv)
    argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  ::execv(argv[0], argv.data());
  std::fprintf(stderr, "cannot execute %s: %s\n", argv[0], std::strerror(errno));
  ::_exit(kExecFailed);
}

inline Status start_child(SupervisedChild& child, uint64_t now_ns) {
  const pid_t supervisor = ::getpid();
  const pid_t pid = ::fork();
  if (pid < 0) {
    child.start_at_ns = now_ns + kBackoffMostNs;
    return errno_error(errno, "start {}", child.name);
  }
  if (pid == 0) become_child(child, supervisor);
  child.pid = pid;
  child.started_ns = now_ns;
  return {};
}

// Notes that the child ended with `wait_status`, and when it is to be started again.
inline void note_end(SupervisedChild& child, int wait_status, uint64_t now_ns) {
  child.pid = 0;
  child.last_end = WIFSIGNALED(wait_status)
                       ? "signal " + std::to_string(WTERMSIG(wait_status))
                       : "exit status " + std::to_string(WEXITSTATUS(wait_status));
  if (child.stop_wanted) return;
  ++child.restarts;
  if (now_ns - child.started_ns >= kSteadyNs) {
    child.backoff_ns = 0;
    child.start_at_ns = now_ns;
    return;
  }
  // The first early death is not yet a habit: it costs no delay worth noticing.
  child.start_at_ns = now_ns + child.backoff_ns;
  child.backoff_ns =
      child.backoff_ns == 0 ? kBackoffFirstNs : std::min(child.backoff_ns * 2, kBackoffMostNs);
}

inline void ask_to_stop(SupervisedChild& child, uint64_t now_ns) {
  if (child.stop_wanted) return;
  child.stop_wanted = true;
  child.kill_at_ns = now_ns + kStopPatienceNs;
  if (child.pid > 0) ::kill(child.pid, SIGTERM);
}

}  // namespace hozon::link
