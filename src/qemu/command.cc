#include "qemu/command.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/fd.h"
#include "qemu/files.h"

extern char** environ;

namespace hozon {
namespace {

Result<pid_t> spawn(const CommandRequest& request, int output) {
  std::vector<char*> argv;
  for (const std::string& argument : request.argv)
    argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  ::posix_spawn_file_actions_adddup2(&actions, output, 1);
  ::posix_spawn_file_actions_adddup2(&actions, output, 2);
  if (request.fd >= 0) ::posix_spawn_file_actions_adddup2(&actions, request.fd, 3);
  ::posix_spawn_file_actions_addclosefrom_np(&actions, request.fd >= 0 ? 4 : 3);
  pid_t pid = -1;
  const int failed = ::posix_spawnp(&pid, argv[0], &actions, nullptr, argv.data(), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  if (failed == ENOENT)
    return make_error(Code::kNotFound, "program '{}' is not installed", request.argv[0]);
  if (failed != 0) return errno_error(failed, "start '{}'", request.argv[0]);
  return pid;
}

// Collects until the program closes its output, says the stop text, or the time is over.
void collect(const CommandRequest& request, const Fd& output, CommandOutcome& outcome) {
  const uint64_t deadline =
      monotonic_ns() + static_cast<uint64_t>(std::max(0, request.timeout_ms)) * 1'000'000;
  char part[4096];
  for (;;) {
    const uint64_t now = monotonic_ns();
    if (now >= deadline) {
      outcome.timed_out = true;
      return;
    }
    pollfd waiting{output.get(), POLLIN, 0};
    const int ready = ::poll(&waiting, 1, static_cast<int>((deadline - now) / 1'000'000 + 1));
    if (ready <= 0) continue;
    const ssize_t got = ::read(output.get(), part, sizeof(part));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return;
    const size_t room = kCommandOutputMax - outcome.output.size();
    outcome.output.append(part, std::min(static_cast<size_t>(got), room));
    if (!request.stop_text.empty() && outcome.output.find(request.stop_text) != std::string::npos) {
      outcome.stopped = true;
      return;
    }
  }
}

}  // namespace

Result<CommandOutcome> run_command(const CommandRequest& request) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return errno_error(errno, "pipe");
  const Fd output(ends[0]);
  Fd write_end(ends[1]);
  const pid_t pid = HOZON_TRY(spawn(request, write_end.get()));
  write_end = Fd();
  CommandOutcome outcome;
  collect(request, output, outcome);
  if (outcome.timed_out || outcome.stopped) ::kill(pid, SIGKILL);
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(status)) outcome.exit_status = WEXITSTATUS(status);
  return outcome;
}

}  // namespace hozon
