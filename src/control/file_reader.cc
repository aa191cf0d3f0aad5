// The process is started as program.cc does it, with the disks' connections besides.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>

#include "control/snapshot_files.h"
#include "link/protocol.h"

namespace hozon::control {
namespace {

using nlohmann::json;

constexpr int kTickMs = 100;

int64_t now_ms() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

std::shared_ptr<void> take_slot() {
  static std::atomic<int> taken{0};
  if (++taken <= kFileReadersMax) return {&taken, [](void*) { --taken; }};
  --taken;
  return nullptr;
}

// Between fork and exec only calls that are safe there. Descriptors move up first, so that none is
// overwritten by another one's place.
[[noreturn]] void become_reader(const char* program, int input, int output, std::span<int> disks,
                                pid_t parent) {
  constexpr int kClear = 64;
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(127);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::signal(SIGPIPE, SIG_DFL);
  input = ::fcntl(input, F_DUPFD, kClear);
  output = ::fcntl(output, F_DUPFD, kClear);
  for (int& disk : disks) disk = ::fcntl(disk, F_DUPFD, kClear);
  const int null = ::open("/dev/null", O_WRONLY);
  ::dup2(input, STDIN_FILENO);
  ::dup2(output, STDOUT_FILENO);
  ::dup2(null, STDERR_FILENO);
  int place = link::kFirstDisk;
  for (const int disk : disks) ::dup2(disk, place++);
  ::close_range(static_cast<unsigned>(place), ~0U, 0);
  ::execl(program, program, static_cast<char*>(nullptr));
  ::_exit(127);
}

Status write_question(const Fd& pipe, std::string_view question) {
  while (!question.empty()) {
    const ssize_t moved = ::write(pipe.get(), question.data(), question.size());
    if (moved < 0 && errno == EINTR) continue;
    if (moved < 0) return errno_error(errno, "ask the reader of files");
    question.remove_prefix(static_cast<size_t>(moved));
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<FileReader>> FileReader::start(const std::string& program,
                                                      const link::FileQuery& query,
                                                      std::vector<Fd> sockets) {
  std::unique_ptr<FileReader> reader(new FileReader);
  reader->slot_ = take_slot();
  if (!reader->slot_)
    return make_error(Code::kUnavailable,
                      "{} readers of files are at work, which is the limit: try again later",
                      kFileReadersMax);
  std::array<int, 2> input{}, output{};
  if (::pipe2(input.data(), O_CLOEXEC) != 0) return errno_error(errno, "make a pipe");
  const Fd input_reader(input[0]), input_writer(input[1]);
  if (::pipe2(output.data(), O_CLOEXEC) != 0) return errno_error(errno, "make a pipe");
  reader->output_ = Fd(output[0]);
  const Fd output_writer(output[1]);
  std::vector<int> disks;
  for (const Fd& socket : sockets) disks.push_back(socket.get());
  const pid_t parent = ::getpid();
  reader->pid_ = ::fork();
  if (reader->pid_ < 0) return errno_error(errno, "start '{}'", program);
  if (reader->pid_ == 0) become_reader(program.c_str(), input[0], output[1], disks, parent);
  HOZON_TRY(write_question(input_writer, encode(query)));
  return reader;
}

FileReader::~FileReader() {
  if (pid_ <= 0) return;
  ::kill(pid_, SIGKILL);
  while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

Status FileReader::wait_readable(int64_t deadline_ms) {
  for (;;) {
    if (stopped_) return make_error(Code::kCancelled, "nobody reads it any more");
    pollfd polled{output_.get(), POLLIN, 0};
    if (::poll(&polled, 1, kTickMs) > 0) return {};
    if (now_ms() > deadline_ms)
      return make_error(Code::kUnavailable,
                        "its file system was not read within {} s: it is damaged, or the host is "
                        "busy; `hozon volume export` takes the whole disk",
                        kFileAnswerMs / 1000);
  }
}

// Why the reader ended before it had answered.
Status FileReader::end_error() {
  int status = 0;
  while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  pid_ = -1;
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
  if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
    return make_error(Code::kUnavailable, "hozon-files cannot be started; is it installed?");
  if (WIFEXITED(status))
    return make_error(Code::kWrongState, "what was read broke off: the file system is damaged");
  return make_error(Code::kWrongState,
                    "its file system is damaged, or made to do harm: the reader was ended by "
                    "signal {} ({}); `hozon volume export` takes the whole disk",
                    WTERMSIG(status), ::sigabbrev_np(WTERMSIG(status)));
}

Result<json> FileReader::first_line() {
  const int64_t deadline_ms = now_ms() + kFileAnswerMs;
  size_t end = 0;
  for (size_t from = 0; (end = pending_.find('\n', from)) == std::string::npos;) {
    from = pending_.size();
    if (pending_.size() > link::kListBytesMax)
      return make_error(Code::kResourceExhausted, "the answer is larger than {} bytes",
                        link::kListBytesMax);
    HOZON_TRY(wait_readable(deadline_ms));
    std::array<char, 65536> piece;
    const ssize_t got = ::read(output_.get(), piece.data(), piece.size());
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) {
      HOZON_TRY(end_error());
      return make_error(Code::kInternal, "the reader of files said nothing");
    }
    pending_.append(piece.data(), static_cast<size_t>(got));
  }
  json answer = json::parse(pending_.begin(), pending_.begin() + static_cast<std::ptrdiff_t>(end),
                            nullptr, false);
  pending_.erase(0, end + 1);
  if (!answer.is_object()) return make_error(Code::kInternal, "the reader of files is confused");
  const auto error = answer.find("error");
  if (error == answer.end()) return answer;
  const std::string code = HOZON_TRY(link::string_field(*error, "code"));
  std::string message = HOZON_TRY(link::string_field(*error, "message"));
  constexpr size_t kMessageMax = 2000;
  message.resize(std::min(message.size(), kMessageMax));
  for (char& c : message)
    if (static_cast<unsigned char>(c) < 0x20) c = ' ';
  return std::unexpected(Error{code_from_name(code), message, 0});
}

Result<size_t> FileReader::read(std::span<char> into) {
  if (!pending_.empty()) {
    const size_t moved = std::min(pending_.size(), into.size());
    std::memcpy(into.data(), pending_.data(), moved);
    pending_.erase(0, moved);
    return moved;
  }
  for (;;) {
    HOZON_TRY(wait_readable(now_ms() + kFileAnswerMs));
    const ssize_t got = ::read(output_.get(), into.data(), into.size());
    if (got >= 0) return static_cast<size_t>(got);
    if (errno != EINTR) return errno_error(errno, "read from the reader of files");
  }
}

Status FileReader::finish() { return pid_ > 0 ? end_error() : Status(); }

}  // namespace hozon::control
