#include "client/supervisor.h"

#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <thread>

#include "client/unix_connect.h"

namespace hozon::client {
namespace {

constexpr size_t kAnswerLineMax = 1 << 20;

Status send_line(const Fd& socket, std::string_view line) {
  while (!line.empty()) {
    const ssize_t sent = ::send(socket.get(), line.data(), line.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) return errno_error(errno, "speak to the supervisor");
    line.remove_prefix(static_cast<size_t>(sent));
  }
  return {};
}

// The first line, or what came before the end of the stream.
Result<std::string> receive_line(const Fd& socket, int64_t deadline_ms) {
  std::string line;
  std::array<char, 4096> buffer;
  while (line.find('\n') == std::string::npos && line.size() < kAnswerLineMax) {
    if (!HOZON_TRY(wait_for(socket.get(), POLLIN, deadline_ms)))
      return make_error(Code::kUnavailable, "the supervisor did not answer in time");
    const ssize_t got = ::recv(socket.get(), buffer.data(), buffer.size(), 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    line.append(buffer.data(), static_cast<size_t>(got));
  }
  return line.substr(0, line.find('\n'));
}

}  // namespace

Result<Json> ask_supervisor(const std::string& directory, const std::string& op, int timeout_ms) {
  const int64_t deadline_ms = monotonic_ms() + timeout_ms;
  const Fd socket = HOZON_TRY(unix_connect(directory + "/run/supervisor.sock"));
  HOZON_TRY(send_line(socket, Json{{"op", op}}.dump() + "\n"));
  const std::string line = HOZON_TRY(receive_line(socket, deadline_ms));
  Json answer = Json::parse(line, nullptr, false);
  if (!answer.is_object())
    return make_error(Code::kUnavailable, "the supervisor's answer is not understood");
  if (flag_of(answer, "ok")) return answer;
  return std::unexpected(Error{code_from_name(text_of(answer, "code")), text_of(answer, "error")});
}

Status stop_supervisor(const std::string& directory, int timeout_ms) {
  const int64_t deadline_ms = monotonic_ms() + timeout_ms;
  // It may answer before it stops its children or end without a word: what counts is that nobody
  // listens any more.
  const auto answer = ask_supervisor(directory, "stop", timeout_ms);
  if (!answer && answer.error().code == Code::kNotFound) return {};
  while (monotonic_ms() < deadline_ms) {
    if (!unix_connect(directory + "/run/supervisor.sock")) return {};
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  return make_error(Code::kUnavailable, "the supervisor in '{}' did not stop in {} s", directory,
                    timeout_ms / 1000);
}

}  // namespace hozon::client
