// Approach: fork twice. The second child waits for a word from us before it executes the program,
// and we give it only after the pid file is written: no process of ours ever runs that a restarted
// hozond could not find, and one whose starter died leaves by itself. Between fork and exec only
// async-signal-safe calls are made, because hozond has threads.
#include "qemu/process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <climits>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>

#include "qemu/files.h"

extern char** environ;

namespace hozon {
namespace {

using Json = nlohmann::json;

constexpr int kReportFirst = 200;  // scratch descriptor numbers between fork and exec
constexpr size_t kFdsMax = 64;
constexpr int kLaunchMs = 10'000;

Result<std::string> find_program(const std::string& name) {
  if (name.find('/') != std::string::npos) {
    if (::access(name.c_str(), X_OK) != 0) return errno_error(errno, "program '{}'", name);
    return name;
  }
  const char* path = std::getenv("PATH");
  std::istringstream directories(path != nullptr ? path : "/usr/bin:/bin");
  for (std::string directory; std::getline(directories, directory, ':');) {
    const std::string candidate = directory + "/" + name;
    if (::access(candidate.c_str(), X_OK) == 0) return candidate;
  }
  return make_error(Code::kNotFound, "program '{}' is not installed (not found in PATH)", name);
}

struct ProcessStat {
  char state = 0;
  uint64_t start_time = 0;  // clock ticks after boot
};

std::optional<ProcessStat> process_stat(pid_t pid) {
  const auto text = read_small_file(fmt::format("/proc/{}/stat", pid));
  if (!text) return std::nullopt;
  const size_t name_end = text->rfind(')');  // the name may hold anything, also ") R 1"
  if (name_end == std::string::npos) return std::nullopt;
  std::istringstream fields(text->substr(name_end + 1));
  ProcessStat stat;
  fields >> stat.state;
  std::string skipped;
  for (int field = 4; field < 22; ++field) fields >> skipped;
  fields >> stat.start_time;
  if (!fields) return std::nullopt;
  return stat;
}

bool has_argument(pid_t pid, const std::string& mark) {
  const auto text = read_small_file(fmt::format("/proc/{}/cmdline", pid));
  if (!text) return false;
  std::istringstream arguments(*text);
  for (std::string argument; std::getline(arguments, argument, '\0');)
    if (argument == mark) return true;
  return false;
}

// What the second child does. Everything it needs was made before the fork.
struct ChildPlan {
  const char* program;
  char* const* argv;
  const char* directory;
  int log;
  int null;
  std::array<std::pair<int, int>, kFdsMax> fds;
  size_t fd_count;
  int highest;  // highest number that the program inherits
};

[[noreturn]] void give_up(int report) {
  const int sys_errno = errno;
  (void)!::write(report, &sys_errno, sizeof(sys_errno));
  ::_exit(127);
}

[[noreturn]] void run_child(const ChildPlan& plan, int socket) {
  // Out of the way of the numbers that the program expects.
  const int report = ::fcntl(socket, F_DUPFD_CLOEXEC, kReportFirst);
  const pid_t self = ::getpid();
  (void)!::write(report, &self, sizeof(self));
  char go = 0;
  if (::read(report, &go, 1) != 1) ::_exit(126);  // our starter is gone: leave unseen

  std::array<int, kFdsMax> sources{};
  for (size_t i = 0; i < plan.fd_count; ++i) {
    sources[i] = ::fcntl(plan.fds[i].first, F_DUPFD_CLOEXEC, kReportFirst);
    if (sources[i] < 0) give_up(report);
  }
  if (::chdir(plan.directory) != 0) give_up(report);
  if (::dup2(plan.null, 0) < 0 || ::dup2(plan.log, 1) < 0 || ::dup2(plan.log, 2) < 0)
    give_up(report);
  for (size_t i = 0; i < plan.fd_count; ++i)
    if (::dup2(sources[i], plan.fds[i].second) < 0) give_up(report);
  ::umask(077);
  for (int number = 1; number < NSIG; ++number) ::signal(number, SIG_DFL);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  // Lets hozond, which is no ancestor, free a guest that QEMU left write-protected (Yama).
  ::prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0);
  // Descriptors that nobody listed are not for this program; the report pipe closes with exec.
  for (int fd = 3; fd <= plan.highest; ++fd) {
    bool listed = false;
    for (size_t i = 0; i < plan.fd_count; ++i) listed = listed || plan.fds[i].second == fd;
    if (!listed && fd != report) ::close(fd);
  }
  ::syscall(SYS_close_range, static_cast<unsigned>(plan.highest) + 1, ~0U, 4U /* CLOEXEC */);
  ::execve(plan.program, plan.argv, environ);
  give_up(report);
}

// Reads exactly an int-sized report; false at end of file or after the time allowed.
bool read_report(const Fd& socket, int& value) {
  pollfd waiting{socket.get(), POLLIN, 0};
  if (::poll(&waiting, 1, kLaunchMs) != 1) return false;
  return ::recv(socket.get(), &value, sizeof(value), 0) == sizeof(value);
}

Status check_request(const LaunchRequest& request) {
  if (request.argv.empty())
    return make_error(Code::kInvalidArgument, "launch: no program was named");
  if (std::ranges::find(request.argv, request.mark) == request.argv.end())
    return make_error(Code::kInvalidArgument, "launch '{}': the mark '{}' is not an argument",
                      request.argv[0], request.mark);
  if (request.fds.size() > kFdsMax)
    return make_error(Code::kInvalidArgument, "launch '{}': more than {} descriptors",
                      request.argv[0], kFdsMax);
  for (const auto& [ours, theirs] : request.fds)
    if (ours < 0 || theirs < 3 || theirs >= kReportFirst)
      return make_error(Code::kInvalidArgument, "launch '{}': descriptor {} as {}: must be 3..{}",
                        request.argv[0], ours, theirs, kReportFirst - 1);
  return {};
}

// Forks the intermediate child, which forks the real one and leaves. Returns our end of the report.
Result<Fd> fork_detached(const ChildPlan& plan, const std::string& name) {
  int pair[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
    return errno_error(errno, "start '{}': socketpair", name);
  Fd ours(pair[0]);
  Fd theirs(pair[1]);
  const pid_t middle = ::fork();
  if (middle < 0) return errno_error(errno, "start '{}': fork", name);
  if (middle == 0) {
    ::close(ours.get());
    ::setsid();
    const pid_t child = ::fork();
    if (child == 0) run_child(plan, theirs.get());
    ::_exit(child < 0 ? 1 : 0);
  }
  int status = 0;
  while (::waitpid(middle, &status, 0) < 0 && errno == EINTR) {
  }
  return ours;
}

Status write_pid_file(const LaunchRequest& request, pid_t pid) {
  const auto stat = process_stat(pid);
  if (!stat) return make_error(Code::kUnavailable, "'{}' ended before it began", request.argv[0]);
  const Json record = {{"pid", pid},
                       {"start_time", stat->start_time},
                       {"boot_id", host_boot_id()},
                       {"mark", request.mark}};
  return replace_file(request.directory + "/" + request.pid_file, record.dump() + "\n");
}

}  // namespace

Result<DetachedProcess> DetachedProcess::launch(const LaunchRequest& request) {
  if (Status valid = check_request(request); !valid) return std::unexpected(valid.error());
  const std::string program = HOZON_TRY(find_program(request.argv[0]));
  const std::string log_path = request.directory + "/" + request.log_file;
  const Fd log(::open(log_path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  if (!log) return errno_error(errno, "open log '{}'", log_path);
  const Fd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  if (!null) return errno_error(errno, "open /dev/null");

  std::vector<char*> argv;
  for (const std::string& argument : request.argv)
    argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  ChildPlan plan{
      program.c_str(), argv.data(), request.directory.c_str(), log.get(), null.get(), {}, 0, 2};
  for (const auto& pair : request.fds) {
    plan.fds[plan.fd_count++] = pair;
    plan.highest = std::max(plan.highest, pair.second);
  }

  const Fd report = HOZON_TRY(fork_detached(plan, request.argv[0]));
  int value = 0;
  if (!read_report(report, value))
    return make_error(Code::kResourceExhausted, "start '{}': fork failed", request.argv[0]);
  const pid_t pid = value;
  Fd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!pidfd) return errno_error(errno, "start '{}': pidfd_open", request.argv[0]);
  if (Status written = write_pid_file(request, pid); !written)
    return std::unexpected(written.error());
  if (::send(report.get(), "g", 1, MSG_NOSIGNAL) != 1)
    return errno_error(errno, "start '{}'", request.argv[0]);
  if (read_report(report, value))  // nothing but the end of file when exec succeeded
    return errno_error(value, "start '{}' in '{}'", request.argv[0], request.directory);
  return DetachedProcess(pid, std::move(pidfd));
}

Result<DetachedProcess> DetachedProcess::adopt(const std::string& directory,
                                               const std::string& pid_file,
                                               const std::string& mark) {
  const std::string path = directory + "/" + pid_file;
  const auto text = read_small_file(path);
  if (!text) return make_error(Code::kNotFound, "no pid file '{}'", path);
  const Json record = Json::parse(*text, nullptr, false);
  const auto gone = [&](std::string_view why) {
    return make_error(Code::kNotFound, "the process of '{}' is not running: {}", path, why);
  };
  if (!record.is_object() || !record.contains("pid") || !record["pid"].is_number_integer() ||
      !record.contains("start_time") || !record["start_time"].is_number_unsigned())
    return gone("the file is not a pid file of ours");
  if (record.value("boot_id", "") != host_boot_id()) return gone("the host has been booted since");
  const pid_t pid = record["pid"].get<pid_t>();
  if (pid <= 1) return gone("the file names no process");
  Fd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!pidfd) return gone("it has ended");
  // Looked at after the pidfd was taken, so what is seen belongs to the process the pidfd stands
  // for.
  const auto stat = process_stat(pid);
  if (!stat || stat->state == 'Z' || stat->start_time != record["start_time"].get<uint64_t>())
    return gone("it has ended, and its number may belong to another one");
  if (!has_argument(pid, mark)) return gone("process " + std::to_string(pid) + " is another one");
  DetachedProcess process(pid, std::move(pidfd));
  if (!process.is_running()) return gone("it has just ended");
  return process;
}

bool DetachedProcess::is_running() const { return !wait_end(0); }

bool DetachedProcess::wait_end(int timeout_ms) const {
  const uint64_t deadline =
      monotonic_ns() + static_cast<uint64_t>(std::max(0, timeout_ms)) * 1'000'000;
  for (;;) {
    pollfd waiting{pidfd_.get(), POLLIN, 0};
    const int64_t left = static_cast<int64_t>(deadline) - static_cast<int64_t>(monotonic_ns());
    const int ready =
        ::poll(&waiting, 1, static_cast<int>(std::max<int64_t>(0, (left + 999'999) / 1'000'000)));
    if (ready > 0) return true;
    if (ready == 0 && left <= 0) return false;
    if (ready < 0 && errno != EINTR) return false;
  }
}

Status DetachedProcess::signal(int number) const {
  if (::syscall(SYS_pidfd_send_signal, pidfd_.get(), number, nullptr, 0) == 0 || errno == ESRCH)
    return {};
  return errno_error(errno, "signal {} to process {}", number, pid_);
}

Status DetachedProcess::kill(int timeout_ms) const {
  if (Status sent = signal(SIGKILL); !sent) return sent;
  if (wait_end(timeout_ms)) return {};
  return make_error(Code::kUnavailable, "process {} did not end within {} ms of SIGKILL", pid_,
                    timeout_ms);
}

std::string last_words(const std::string& log_path) {
  constexpr std::streamoff kTailBytes = 2048;
  std::ifstream log(log_path, std::ios::binary | std::ios::ate);
  if (!log) return {};
  const std::streamoff size = log.tellg();
  log.seekg(std::max<std::streamoff>(0, size - kTailBytes));
  std::string text((std::istreambuf_iterator<char>(log)), {});
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back()))) text.pop_back();
  for (size_t at = 0; (at = text.find('\n', at)) != std::string::npos; at += 3)
    text.replace(at, 1, " | ");
  return text;
}

}  // namespace hozon
