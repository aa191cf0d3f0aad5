#include "qemu/guest_agent.h"

#include <poll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "qemu/files.h"

namespace hozon {
namespace {

using Json = nlohmann::json;

// An agent drops what it was in the middle of when it reads this byte, and sends it in front of its
// answer to guest-sync-delimited.
constexpr char kSentinel = '\xff';
constexpr size_t kWordsMax = 300;

uint64_t deadline_after(int timeout_ms) {
  return monotonic_ns() + static_cast<uint64_t>(std::max(timeout_ms, 0)) * 1'000'000;
}

int left_ms(uint64_t deadline_ns) {
  const uint64_t now = monotonic_ns();
  return now >= deadline_ns ? 0 : static_cast<int>((deadline_ns - now) / 1'000'000) + 1;
}

std::unexpected<Error> no_answer(std::string_view what) {
  return make_error(Code::kUnavailable, "the guest agent does not answer {}", what);
}

std::string printable(std::string text) {
  std::erase_if(text, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
  if (text.size() > kWordsMax) text.resize(kWordsMax);
  return text;
}

Result<Json> outcome_of(const std::string& command, const std::string& line) {
  const Json answer = Json::parse(line, nullptr, false);
  if (answer.is_object() && answer.contains("return")) return answer["return"];
  if (!answer.is_object() || !answer.contains("error") || !answer["error"].is_object())
    return make_error(Code::kCorruption, "the guest agent answered {} with something else",
                      command);
  const Json& error = answer["error"];
  const auto text = [&](const char* name) {
    const auto found = error.find(name);
    return found != error.end() && found->is_string() ? found->get<std::string>() : "";
  };
  const std::string words = printable(text("desc"));
  const bool missing = text("class") == "CommandNotFound" ||
                       words.find("not currently supported") != words.npos ||
                       words.find("has been disabled") != words.npos;
  return make_error(missing ? Code::kUnimplemented : Code::kIo, "the guest agent refused {}: {}",
                    command, words);
}

Result<uint64_t> count_of(const Json& value, const char* command) {
  if (value.is_number_unsigned()) return value.get<uint64_t>();
  return make_error(Code::kCorruption, "the guest agent answered {} with something else", command);
}

}  // namespace

Result<GuestAgent> GuestAgent::connect(const std::string& socket_path, int timeout_ms) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (socket_path.size() >= sizeof(address.sun_path))
    return make_error(Code::kInvalidArgument, "'{}' is too long for a socket", socket_path);
  std::memcpy(address.sun_path, socket_path.data(), socket_path.size());
  Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket) return errno_error(errno, "socket for the guest agent");
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0)
    return errno_error(errno, "connect to the guest agent at '{}'", socket_path);
  GuestAgent agent(std::move(socket));
  HOZON_TRY(agent.synchronise(deadline_after(timeout_ms)));
  return agent;
}

Status GuestAgent::synchronise(uint64_t deadline_ns) {
  uint32_t id = 0;
  while (::getrandom(&id, sizeof(id), 0) != sizeof(id)) {
  }
  const Json request = {{"execute", "guest-sync-delimited"}, {"arguments", {{"id", id}}}};
  HOZON_TRY(send(kSentinel + request.dump() + "\n", deadline_ns));
  // Whatever comes before the sentinel was meant for somebody else, or for nobody.
  for (size_t noise = 0;;) {
    const size_t mark = received_.rfind(kSentinel);
    if (mark != std::string::npos && received_.find('\n', mark) != std::string::npos) {
      const size_t end = received_.find('\n', mark);
      const Json answer = Json::parse(received_.substr(mark + 1, end - mark - 1), nullptr, false);
      received_.erase(0, end + 1);
      if (answer.is_object() && answer.contains("return") && answer["return"] == id) return {};
      continue;  // that of an earlier connection
    }
    const size_t before = received_.size();
    HOZON_TRY(receive_some(deadline_ns));
    noise += received_.size() - before;
    if (noise > kAgentNoiseMax)
      return make_error(Code::kCorruption, "what answers at the guest agent's port is no agent");
    const size_t keep = received_.rfind(kSentinel);
    if (keep == std::string::npos)
      received_.clear();
    else
      received_.erase(0, keep);
  }
}

Status GuestAgent::send(const std::string& text, uint64_t deadline_ns) {
  size_t done = 0;
  while (done < text.size()) {
    const ssize_t put = ::send(socket_.get(), text.data() + done, text.size() - done, MSG_NOSIGNAL);
    if (put > 0) {
      done += static_cast<size_t>(put);
      continue;
    }
    if (put < 0 && errno != EAGAIN && errno != EINTR)
      return make_error(Code::kUnavailable, "the port of the guest agent was closed");
    pollfd waiting{socket_.get(), POLLOUT, 0};
    if (left_ms(deadline_ns) == 0 || ::poll(&waiting, 1, left_ms(deadline_ns)) == 0)
      return no_answer("(it does not read)");
  }
  return {};
}

Status GuestAgent::receive_some(uint64_t deadline_ns) {
  char part[4096];
  for (;;) {
    const ssize_t got = ::recv(socket_.get(), part, sizeof(part), 0);
    if (got > 0) {
      received_.append(part, static_cast<size_t>(got));
      return {};
    }
    if (got == 0 || (errno != EAGAIN && errno != EINTR))
      return make_error(Code::kUnavailable, "the port of the guest agent was closed");
    pollfd waiting{socket_.get(), POLLIN, 0};
    if (left_ms(deadline_ns) == 0 || ::poll(&waiting, 1, left_ms(deadline_ns)) == 0)
      return no_answer("in time");
  }
}

Result<std::string> GuestAgent::receive_line(uint64_t deadline_ns) {
  for (;;) {
    const size_t end = received_.find('\n');
    if (end != std::string::npos) {
      std::string line = received_.substr(0, end);
      received_.erase(0, end + 1);
      return line;
    }
    if (received_.size() > kAgentLineMax)
      return make_error(Code::kCorruption, "the guest agent's answer is longer than {} bytes",
                        kAgentLineMax);
    if (left_ms(deadline_ns) == 0) return no_answer("in time");
    HOZON_TRY(receive_some(deadline_ns));
  }
}

Result<Json> GuestAgent::call(const std::string& command, const Json& arguments, int timeout_ms) {
  if (broken_)
    return make_error(Code::kUnavailable, "the connection to the guest agent is out of step");
  broken_ = true;  // until a proper answer has come (I2)
  const uint64_t deadline = deadline_after(timeout_ms);
  const Json request = {{"execute", command}, {"arguments", arguments}};
  HOZON_TRY(send(request.dump() + "\n", deadline));
  const std::string line = HOZON_TRY(receive_line(deadline));
  Result<Json> outcome = outcome_of(command, line);
  broken_ = !outcome && outcome.error().code == Code::kCorruption;
  return outcome;
}

Status GuestAgent::ping(int timeout_ms) {
  HOZON_TRY(call("guest-ping", Json::object(), timeout_ms));
  return {};
}

Result<uint64_t> GuestAgent::freeze(int timeout_ms) {
  return count_of(HOZON_TRY(call("guest-fsfreeze-freeze", Json::object(), timeout_ms)),
                  "guest-fsfreeze-freeze");
}

Result<uint64_t> GuestAgent::thaw(int timeout_ms) {
  return count_of(HOZON_TRY(call("guest-fsfreeze-thaw", Json::object(), timeout_ms)),
                  "guest-fsfreeze-thaw");
}

Result<bool> GuestAgent::is_frozen(int timeout_ms) {
  const Json status = HOZON_TRY(call("guest-fsfreeze-status", Json::object(), timeout_ms));
  if (status == "frozen") return true;
  if (status == "thawed") return false;
  return make_error(Code::kCorruption,
                    "the guest agent answered guest-fsfreeze-status with something else");
}

Status GuestAgent::set_time(int64_t wall_ns, int timeout_ms) {
  HOZON_TRY(call("guest-set-time", {{"time", wall_ns}}, timeout_ms));
  return {};
}

}  // namespace hozon
