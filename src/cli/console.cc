// hozon machine console: bytes between the terminal (or a pipe) and the guest's serial port.
//
// On a terminal: raw mode, Ctrl-] leaves. In a pipe: input is sent, output is printed until the
// input has ended and the guest was quiet for a moment, or `--until` text came, or `--timeout`
// passed.
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <limits>

#include "cli/commands.h"
#include "client/unix_connect.h"

namespace hozon::cli {
namespace {

constexpr char kLeaveKey = 0x1d;  // Ctrl-]
constexpr int64_t kQuietMs = 1'000;
constexpr size_t kUnsentMax = 64 << 10;
constexpr int64_t kNever = std::numeric_limits<int64_t>::max();

// Raw mode for as long as it lives.
class RawTerminal {
 public:
  explicit RawTerminal(bool wanted) {
    if (!wanted || ::tcgetattr(STDIN_FILENO, &saved_) != 0) return;
    termios raw = saved_;
    ::cfmakeraw(&raw);
    active_ = ::tcsetattr(STDIN_FILENO, TCSANOW, &raw) == 0;
  }
  ~RawTerminal() {
    if (active_) ::tcsetattr(STDIN_FILENO, TCSADRAIN, &saved_);
  }
  RawTerminal(const RawTerminal&) = delete;
  RawTerminal& operator=(const RawTerminal&) = delete;

 private:
  termios saved_{};
  bool active_ = false;
};

enum class Ended { kNo, kLeft, kQuiet, kFound, kTimeout, kGuestGone };

class Console {
 public:
  Console(Fd socket, bool terminal, std::string until, int64_t deadline_ms)
      : socket_(std::move(socket)),
        terminal_(terminal),
        until_(std::move(until)),
        deadline_ms_(deadline_ms),
        last_event_ms_(client::monotonic_ms()) {}

  Result<Ended> run() {
    Ended ended = Ended::kNo;
    while (ended == Ended::kNo) ended = HOZON_TRY(step());
    return ended;
  }

 private:
  int64_t leave_at_ms() const {
    const bool quiet_counts = input_ended_ && unsent_.empty() && until_.empty() && !terminal_;
    return quiet_counts ? std::min(deadline_ms_, last_event_ms_ + kQuietMs) : deadline_ms_;
  }

  Result<Ended> step() {
    const int64_t leave_ms = leave_at_ms();
    const int64_t left_ms = leave_ms == kNever ? -1 : leave_ms - client::monotonic_ms();
    if (leave_ms != kNever && left_ms <= 0)
      return leave_ms == deadline_ms_ ? Ended::kTimeout : Ended::kQuiet;
    const bool reads_input = !input_ended_ && unsent_.size() < kUnsentMax;
    std::array<pollfd, 2> polled = {
        pollfd{socket_.get(), static_cast<short>(POLLIN | (unsent_.empty() ? 0 : POLLOUT)), 0},
        pollfd{reads_input ? STDIN_FILENO : -1, POLLIN, 0}};
    const int wait_ms = left_ms < 0 ? -1 : static_cast<int>(std::min<int64_t>(left_ms, 60'000));
    if (::poll(polled.data(), polled.size(), wait_ms) < 0) {
      if (errno == EINTR) return Ended::kNo;
      return errno_error(errno, "wait for the console");
    }
    if (polled[1].revents != 0 && read_input()) return Ended::kLeft;
    if ((polled[0].revents & POLLOUT) != 0) HOZON_TRY(send_input());
    if ((polled[0].revents & (POLLIN | POLLHUP | POLLERR)) != 0) return read_output();
    return Ended::kNo;
  }

  // True when the user wants to leave.
  bool read_input() {
    std::array<char, 4096> buffer;
    const ssize_t got = ::read(STDIN_FILENO, buffer.data(), buffer.size());
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) return false;
    last_event_ms_ = client::monotonic_ms();
    if (got <= 0) {
      input_ended_ = true;
      return terminal_;
    }
    std::string_view typed(buffer.data(), static_cast<size_t>(got));
    const size_t leave = terminal_ ? typed.find(kLeaveKey) : std::string_view::npos;
    unsent_.append(typed.substr(0, leave));
    return leave != std::string_view::npos;
  }

  Status send_input() {
    const ssize_t sent =
        ::send(socket_.get(), unsent_.data(), unsent_.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && (errno == EAGAIN || errno == EINTR)) return {};
    if (sent < 0) return errno_error(errno, "write to the console");
    unsent_.erase(0, static_cast<size_t>(sent));
    last_event_ms_ = client::monotonic_ms();
    return {};
  }

  Result<Ended> read_output() {
    std::array<char, 16384> buffer;
    const ssize_t got = ::recv(socket_.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return Ended::kNo;
    if (got <= 0) return Ended::kGuestGone;
    last_event_ms_ = client::monotonic_ms();
    const std::string_view bytes(buffer.data(), static_cast<size_t>(got));
    HOZON_TRY(print(bytes));
    return seen_until(bytes) ? Ended::kFound : Ended::kNo;
  }

  static Status print(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t written = ::write(STDOUT_FILENO, bytes.data(), bytes.size());
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) return errno_error(errno, "write to standard output");
      bytes.remove_prefix(static_cast<size_t>(written));
    }
    return {};
  }

  bool seen_until(std::string_view bytes) {
    if (until_.empty()) return false;
    window_.append(bytes);
    const bool found = window_.find(until_) != std::string::npos;
    if (window_.size() > until_.size()) window_.erase(0, window_.size() - until_.size());
    return found;
  }

  Fd socket_;
  bool terminal_;
  std::string until_;
  std::string window_;  // the end of the output, as long as `until_`
  int64_t deadline_ms_;
  int64_t last_event_ms_;
  bool input_ended_ = false;
  std::string unsent_;
};

}  // namespace

CommandResult machine_console(const Arguments& args, Context& context) {
  const client::Machine machine = HOZON_TRY(context.client().machine(args.object));
  if (machine.console_socket.empty() || machine.state == "down")
    return make_error(Code::kWrongState,
                      "machine '{}' is {}, so its console is silent; start it: hozon machine "
                      "start {}",
                      args.object, machine.state, args.object);
  auto socket = client::unix_connect(machine.console_socket);
  if (!socket) return add_context(socket.error(), fmt::format("the console of '{}'", args.object));
  const bool terminal = ::isatty(STDIN_FILENO) == 1;
  if (terminal) fmt::print(stderr, "Connected to {}. Ctrl-] leaves.\r\n", args.object);
  const int64_t deadline_ms =
      args.has_timeout ? client::monotonic_ms() + static_cast<int64_t>(args.timeout_s * 1000)
                       : kNever;
  Ended ended = Ended::kNo;
  {
    const RawTerminal raw(terminal);
    ended = HOZON_TRY(Console(std::move(*socket), terminal, args.until, deadline_ms).run());
  }
  if (terminal) fmt::print(stderr, "\nLeft the console of {}.\n", args.object);
  if (!args.until.empty() && ended != Ended::kFound && ended != Ended::kLeft)
    return make_error(Code::kUnavailable, "'{}' did not appear on the console of '{}'{}",
                      args.until, args.object,
                      ended == Ended::kGuestGone ? ", which has closed" : " in time");
  return ExitCode::kOk;
}

}  // namespace hozon::cli
