#include "control/program.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "base/fd.h"

namespace hozon::control {
namespace {

constexpr int kTickMs = 200;
constexpr int kExecFailed = 127;

struct Pipe {
  Fd reader;
  Fd writer;
};

Result<Pipe> make_pipe() {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return errno_error(errno, "make a pipe");
  return Pipe{Fd(ends[0]), Fd(ends[1])};
}

void limit(int resource, uint64_t amount) {
  if (amount == 0) return;
  const rlimit bound{amount, amount};
  ::setrlimit(static_cast<__rlimit_resource>(resource), &bound);
}

// Between fork and exec only calls that are safe there: other threads may hold any lock.
[[noreturn]] void become_program(const ProgramRequest& request, char* const* argv, int output,
                                 int errors, int failure, pid_t parent) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(kExecFailed);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::signal(SIGPIPE, SIG_DFL);
  const int null = ::open("/dev/null", O_RDONLY);
  ::dup2(null, STDIN_FILENO);
  ::dup2(output, STDOUT_FILENO);
  ::dup2(errors, STDERR_FILENO);
  limit(RLIMIT_AS, request.address_space_bytes);
  limit(RLIMIT_CPU, request.cpu_seconds);
  limit(RLIMIT_CORE, 1);
  ::execvp(argv[0], argv);
  const int reason = errno;
  (void)!::write(failure, &reason, sizeof(reason));
  ::_exit(kExecFailed);
}

// One read; returns false at the end of the stream.
bool take(const Fd& from, std::string& into, std::string_view& piece,
          std::array<char, 4096>& room) {
  const ssize_t moved = ::read(from.get(), room.data(), room.size());
  if (moved < 0 && errno == EINTR) return true;
  if (moved <= 0) return false;
  piece = {room.data(), static_cast<size_t>(moved)};
  into.append(piece.substr(0, kProgramOutputMax - std::min(kProgramOutputMax, into.size())));
  return true;
}

int wait_for(pid_t pid) {
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

// Reads both streams to their ends. False: on_output asked for an end.
bool collect(const ProgramRequest& request, Fd& output, Fd& errors, ProgramEnd& end) {
  std::array<char, 4096> room;
  while (output || errors) {
    std::array<pollfd, 2> polled = {pollfd{output.get(), POLLIN, 0},
                                    pollfd{errors.get(), POLLIN, 0}};
    (void)::poll(polled.data(), polled.size(), kTickMs);
    std::string_view piece;
    if (polled[0].revents != 0 && !take(output, end.output, piece, room)) output = Fd();
    if (request.on_output && !request.on_output(piece)) return false;
    if (polled[1].revents != 0 && !take(errors, end.errors, piece, room)) errors = Fd();
  }
  return true;
}

}  // namespace

Result<ProgramEnd> run_program(const ProgramRequest& request) {
  Pipe output = HOZON_TRY(make_pipe());
  Pipe errors = HOZON_TRY(make_pipe());
  Pipe failure = HOZON_TRY(make_pipe());
  std::vector<char*> argv;
  for (const std::string& word : request.argv) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid < 0) return errno_error(errno, "start {}", request.argv.front());
  if (pid == 0)
    become_program(request, argv.data(), output.writer.get(), errors.writer.get(),
                   failure.writer.get(), parent);
  output.writer = Fd();
  errors.writer = Fd();
  failure.writer = Fd();
  int reason = 0;
  if (::read(failure.reader.get(), &reason, sizeof(reason)) == sizeof(reason)) {
    wait_for(pid);
    return errno_error(reason, "cannot run '{}'", request.argv.front());
  }
  ProgramEnd end;
  const bool ran = collect(request, output.reader, errors.reader, end);
  if (!ran) ::kill(pid, SIGKILL);
  end.exit_status = wait_for(pid);
  if (!ran) return make_error(Code::kCancelled, "'{}' was stopped", request.argv.front());
  return end;
}

std::string last_line(std::string_view text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r' || text.back() == ' '))
    text.remove_suffix(1);
  const size_t start = text.find_last_of("\r\n");
  return std::string(start == std::string_view::npos ? text : text.substr(start + 1));
}

}  // namespace hozon::control
