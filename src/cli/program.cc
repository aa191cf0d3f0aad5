#include "cli/program.h"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <filesystem>

#include "base/fd.h"
#include "client/unix_connect.h"

extern char** environ;

namespace hozon::cli {
namespace {

struct Pipe {
  Fd reader;
  Fd writer;
};

Result<Pipe> make_pipe() {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return errno_error(errno, "make a pipe");
  return Pipe{Fd(ends[0]), Fd(ends[1])};
}

Result<std::string> program_path(const std::string& name) {
  std::error_code error;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", error);
  const std::string path = (self.parent_path() / name).string();
  if (error || ::access(path.c_str(), X_OK) != 0)
    return make_error(Code::kUnavailable,
                      "the program '{}' is missing beside hozon ('{}'); is the build complete?",
                      name, path);
  return path;
}

Result<pid_t> spawn(const std::string& path, const std::vector<std::string>& words, int output) {
  std::vector<std::string> copies = words;
  std::vector<char*> argv;
  std::string program = path;
  argv.push_back(program.data());
  for (std::string& word : copies) argv.push_back(word.data());
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  ::posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
  ::posix_spawn_file_actions_adddup2(&actions, output, STDERR_FILENO);
  pid_t pid = 0;
  const int error = ::posix_spawn(&pid, path.c_str(), &actions, nullptr, argv.data(), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  if (error != 0) return errno_error(error, "start '{}'", path);
  return pid;
}

// Reads until the program has closed its output. False at the deadline.
Result<bool> collect(const Fd& reader, int64_t deadline_ms, std::string& output) {
  std::array<char, 4096> buffer;
  while (true) {
    if (!HOZON_TRY(client::wait_for(reader.get(), POLLIN, deadline_ms))) return false;
    const ssize_t got = ::read(reader.get(), buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return errno_error(errno, "read a program's output");
    if (got == 0) return true;
    output.append(buffer.data(), static_cast<size_t>(got));
    if (output.size() > kProgramOutputMax) output.erase(0, output.size() - kProgramOutputMax);
  }
}

}  // namespace

Result<ProgramOutcome> run_program(const std::string& name, const std::vector<std::string>& words,
                                   int timeout_ms) {
  const int64_t deadline_ms = client::monotonic_ms() + timeout_ms;
  const std::string path = HOZON_TRY(program_path(name));
  Pipe pipe = HOZON_TRY(make_pipe());
  const pid_t pid = HOZON_TRY(spawn(path, words, pipe.writer.get()));
  pipe.writer = Fd();
  ProgramOutcome outcome;
  const Result<bool> ended = collect(pipe.reader, deadline_ms, outcome.output);
  const bool late = !ended || !*ended;
  if (late) ::kill(pid, SIGKILL);
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (!ended) return std::unexpected(ended.error());
  if (late)
    return make_error(Code::kUnavailable, "'{}' did not end in {} s", name, timeout_ms / 1000);
  outcome.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return outcome;
}

std::string last_line(const std::string& text) {
  size_t end = text.find_last_not_of("\r\n ");
  if (end == std::string::npos) return "";
  size_t begin = text.rfind('\n', end);
  begin = begin == std::string::npos ? 0 : begin + 1;
  std::string line = text.substr(begin, end - begin + 1);
  // "2026-01-31T12:00:00.123+0000 error hozond: text" and "program: text" become "text".
  for (const std::string_view mark : {" error ", " warning ", " info "}) {
    if (const size_t at = line.find(mark); at != std::string::npos && at < 40)
      line.erase(0, at + mark.size());
  }
  for (const std::string_view program : {"hozon-supervisor: ", "hozon-stored: ", "hozond: "})
    if (line.starts_with(program)) line.erase(0, program.size());
  if (line.starts_with("error: ")) line.erase(0, 7);
  return line;
}

}  // namespace hozon::cli
