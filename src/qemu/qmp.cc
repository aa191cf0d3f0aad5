// Approach: one reader thread owns the receiving side and a table of waiting calls; callers send
// under a lock and sleep on a condition variable. Compared with "the caller reads until its answer
// comes" this needs no rule about who reads when several threads call, and events arrive also while
// nobody calls.
#include "qemu/qmp.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <thread>

#include "base/fd.h"
#include "base/log.h"
#include "qemu/files.h"

namespace hozon {
namespace {

using Json = nlohmann::json;
using Clock = std::chrono::steady_clock;

constexpr size_t kFdsMax = 16;
constexpr size_t kReadBytes = 64 << 10;

// Connects also to paths longer than a socket address holds, by way of the directory's descriptor.
Result<Fd> connect_unix(const std::string& path) {
  const size_t slash = path.rfind('/');
  const std::string directory = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  const std::string name = slash == std::string::npos ? path : path.substr(slash + 1);
  const Fd at(::open(directory.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!at) return errno_error(errno, "QMP socket '{}'", path);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string short_path = fmt::format("/proc/self/fd/{}/{}", at.get(), name);
  if (short_path.size() >= sizeof(address.sun_path))
    return make_error(Code::kInvalidArgument, "QMP socket name '{}' is too long", name);
  std::memcpy(address.sun_path, short_path.c_str(), short_path.size() + 1);
  Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket) return errno_error(errno, "socket");
  if (::connect(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0)
    return errno_error(errno, "connect to QMP socket '{}'", path);
  // A QEMU that stops reading must not hold a caller: send in bounded pieces, see send_all().
  ::fcntl(socket.get(), F_SETFL, O_NONBLOCK);
  return socket;
}

Error qmp_error(const std::string& command, const Json& error) {
  const auto text = [&](const char* key) {
    return error.is_object() && error.contains(key) && error[key].is_string()
               ? error[key].get<std::string>()
               : std::string("(no description)");
  };
  const std::string kind = text("class");
  const bool missing = kind == "CommandNotFound" || kind == "DeviceNotFound";
  return {missing ? Code::kNotFound : Code::kIo,
          fmt::format("QEMU refused '{}': {}", command, text("desc")), 0};
}

std::string version_of(const Json& greeting) {
  const Json* at = &greeting;
  for (const char* key : {"QMP", "version", "qemu"}) {
    if (!at->is_object() || !at->contains(key)) return {};
    at = &(*at)[key];
  }
  if (!at->is_object()) return {};
  const auto number = [&](const char* key) {
    return at->contains(key) && (*at)[key].is_number_integer() ? (*at)[key].get<int>() : 0;
  };
  return fmt::format("{}.{}.{}", number("major"), number("minor"), number("micro"));
}

}  // namespace

struct QmpClient::State {
  Fd socket;
  Fd wake;  // eventfd: tells the reader to end
  std::string path;
  std::thread reader;

  std::mutex send_mutex;  // one whole message at a time
  std::mutex fd_mutex;    // held over a whole call that passes descriptors (I3)

  mutable std::mutex mutex;  // everything below
  std::condition_variable changed;
  std::optional<Json> greeting;
  std::map<uint64_t, std::optional<Json>> waiting;  // id -> answer
  uint64_t next_id = 1;
  std::deque<QmpEvent> events;
  uint64_t last_event = 0;
  uint64_t ignored = 0;
  bool closed = false;
  std::string version;

  void read_loop();
  void take_line(std::string_view line);
  void take_event(Json message);
  Status send_all(std::string_view text, const std::vector<int>& fds, Clock::time_point deadline);
  Result<Json> call(const std::string& command, Json arguments, int timeout_ms,
                    const std::vector<int>& fds);
  Error closed_error(std::string_view doing) const {
    return {Code::kUnavailable, fmt::format("QEMU closed the QMP connection '{}' {}", path, doing),
            0};
  }
};

void QmpClient::State::read_loop() {
  std::string buffer;
  bool skipping = false;  // inside a line that is too long
  std::vector<char> part(kReadBytes);
  for (;;) {
    pollfd both[2] = {{socket.get(), POLLIN, 0}, {wake.get(), POLLIN, 0}};
    if (::poll(both, 2, -1) < 0 && errno != EINTR) break;
    if (both[1].revents != 0) break;
    const ssize_t got = ::recv(socket.get(), part.data(), part.size(), 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) continue;
    if (got <= 0) break;
    std::string_view fresh(part.data(), static_cast<size_t>(got));
    while (!fresh.empty()) {
      const size_t end = fresh.find('\n');
      const std::string_view piece = fresh.substr(0, end);
      if (!skipping) buffer.append(piece);
      if (buffer.size() > kQmpLineMax) {
        skipping = true;
        buffer = {};
      }
      if (end == std::string_view::npos) break;
      if (skipping) {
        const std::lock_guard lock(mutex);
        ++ignored;
      } else {
        take_line(buffer);
      }
      buffer.clear();
      skipping = false;
      fresh.remove_prefix(end + 1);
    }
  }
  const std::lock_guard lock(mutex);
  closed = true;
  changed.notify_all();
}

void QmpClient::State::take_line(std::string_view line) {
  while (!line.empty() && (line.back() == '\r' || line.back() == ' ')) line.remove_suffix(1);
  if (line.empty()) return;
  Json message = Json::parse(line, nullptr, false);
  const std::lock_guard lock(mutex);
  if (!message.is_object()) {
    ++ignored;
  } else if (message.contains("event") && message["event"].is_string()) {
    take_event(std::move(message));
  } else if (message.contains("QMP") && !greeting) {
    version = version_of(message);
    greeting = std::move(message);
  } else if (message.contains("id") && message["id"].is_number_unsigned() &&
             (message.contains("return") || message.contains("error"))) {
    const auto call = waiting.find(message["id"].get<uint64_t>());
    if (call == waiting.end() || call->second)
      ++ignored;  // its caller gave up, or it came twice
    else
      call->second = std::move(message);
  } else {
    ++ignored;
  }
  changed.notify_all();
}

void QmpClient::State::take_event(Json message) {
  QmpEvent event;
  event.number = ++last_event;
  event.name = message["event"].get<std::string>();
  event.arrival_ns = monotonic_ns();
  if (message.contains("data")) event.data = std::move(message["data"]);
  if (message.contains("timestamp") && message["timestamp"].is_object()) {
    const Json& time = message["timestamp"];
    const auto number = [&](const char* key) -> int64_t {
      return time.contains(key) && time[key].is_number_integer() ? time[key].get<int64_t>() : 0;
    };
    event.qemu_time_us = static_cast<int64_t>(static_cast<uint64_t>(number("seconds")) * 1'000'000 +
                                              static_cast<uint64_t>(number("microseconds")));
  }
  events.push_back(std::move(event));
  if (events.size() > kQmpEventsMax) events.pop_front();
}

Status QmpClient::State::send_all(std::string_view text, const std::vector<int>& fds,
                                  Clock::time_point deadline) {
  const std::lock_guard lock(send_mutex);
  bool with_fds = !fds.empty();
  const size_t whole = text.size();
  while (!text.empty()) {
    iovec piece{const_cast<char*>(text.data()), text.size()};
    msghdr message{};
    message.msg_iov = &piece;
    message.msg_iovlen = 1;
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * kFdsMax)] = {};
    if (with_fds) {
      message.msg_control = control;
      message.msg_controllen = CMSG_SPACE(sizeof(int) * fds.size());
      cmsghdr* header = CMSG_FIRSTHDR(&message);
      header->cmsg_level = SOL_SOCKET;
      header->cmsg_type = SCM_RIGHTS;
      header->cmsg_len = CMSG_LEN(sizeof(int) * fds.size());
      std::memcpy(CMSG_DATA(header), fds.data(), sizeof(int) * fds.size());
    }
    const ssize_t sent = ::sendmsg(socket.get(), &message, MSG_NOSIGNAL);
    if (sent > 0) {
      with_fds = false;  // they travel with the first byte
      text.remove_prefix(static_cast<size_t>(sent));
      continue;
    }
    if (errno == EINTR) continue;
    if (errno != EAGAIN) return errno_error(errno, "send to QMP socket '{}'", path);
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
    pollfd writable{socket.get(), POLLOUT, 0};
    if (left > 0) ::poll(&writable, 1, static_cast<int>(std::min<int64_t>(left, 60'000)));
    if (Clock::now() < deadline) continue;
    if (text.size() < whole) {
      // Half a command is in the pipe: nothing that follows could be understood.
      ::shutdown(socket.get(), SHUT_RDWR);
    }
    return make_error(Code::kUnavailable, "QEMU does not read its QMP socket '{}'", path);
  }
  return {};
}

Result<Json> QmpClient::State::call(const std::string& command, Json arguments, int timeout_ms,
                                    const std::vector<int>& fds) {
  if (fds.size() > kFdsMax)
    return make_error(Code::kInvalidArgument, "'{}' with more than {} descriptors", command,
                      kFdsMax);
  const auto deadline = Clock::now() + std::chrono::milliseconds(timeout_ms);
  std::unique_lock<std::mutex> fd_lock(fd_mutex, std::defer_lock);
  if (!fds.empty()) fd_lock.lock();

  std::unique_lock lock(mutex);
  if (closed) return std::unexpected(closed_error(fmt::format("before '{}'", command)));
  const uint64_t id = next_id++;
  waiting.emplace(id, std::nullopt);
  lock.unlock();
  Json message = {{"execute", command}, {"id", id}};
  if (!arguments.empty()) message["arguments"] = std::move(arguments);
  const std::string text = message.dump(-1, ' ', true, Json::error_handler_t::replace) + "\n";
  const Status sent = send_all(text, fds, deadline);
  lock.lock();
  if (sent)
    changed.wait_until(lock, deadline, [&] { return closed || waiting.at(id).has_value(); });
  std::optional<Json> answer = std::move(waiting.at(id));
  waiting.erase(id);
  if (answer) {
    if (answer->contains("error")) return std::unexpected(qmp_error(command, (*answer)["error"]));
    return std::move((*answer)["return"]);
  }
  if (closed) return std::unexpected(closed_error(fmt::format("during '{}'", command)));
  if (!sent) return std::unexpected(sent.error());
  return make_error(Code::kUnavailable, "QEMU did not answer '{}' within {} ms (socket '{}')",
                    command, timeout_ms, path);
}

QmpClient::QmpClient(std::shared_ptr<State> state) : state_(std::move(state)) {}

QmpClient::~QmpClient() {
  const uint64_t one = 1;
  (void)!::write(state_->wake.get(), &one, sizeof(one));
  ::shutdown(state_->socket.get(), SHUT_RDWR);
  if (state_->reader.joinable()) state_->reader.join();
}

Result<std::unique_ptr<QmpClient>> QmpClient::connect(const std::string& socket_path,
                                                      int timeout_ms,
                                                      const std::function<bool()>& keep_trying) {
  constexpr auto kRetryEvery = std::chrono::milliseconds(5);
  const auto deadline = Clock::now() + std::chrono::milliseconds(timeout_ms);
  auto state = std::make_shared<State>();
  state->path = socket_path;
  for (;;) {
    Result<Fd> socket = connect_unix(socket_path);
    if (socket) {
      state->socket = std::move(*socket);
      break;
    }
    const int cause = socket.error().sys_errno;
    if (cause != ENOENT && cause != ECONNREFUSED && cause != EAGAIN)
      return std::unexpected(std::move(socket.error()));
    if (Clock::now() >= deadline || (keep_trying && !keep_trying()))
      return make_error(Code::kUnavailable, "no QEMU answers at '{}' ({})", socket_path,
                        std::strerror(cause));
    std::this_thread::sleep_for(kRetryEvery);
  }
  state->wake = Fd(::eventfd(0, EFD_CLOEXEC));
  if (!state->wake) return errno_error(errno, "eventfd");
  std::unique_ptr<QmpClient> client(new QmpClient(state));
  state->reader = std::thread([raw = state.get()] { raw->read_loop(); });
  {
    std::unique_lock lock(state->mutex);
    state->changed.wait_until(lock, deadline, [&] { return state->greeting || state->closed; });
    if (!state->greeting) {
      if (state->closed) return std::unexpected(state->closed_error("before its greeting"));
      return make_error(Code::kUnavailable,
                        "QMP socket '{}' is open but sends no greeting (another client has it?)",
                        socket_path);
    }
  }
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
  const Result<Json> agreed = client->call("qmp_capabilities", Json::object(),
                                           static_cast<int>(std::max<int64_t>(left, 1)));
  if (!agreed) return std::unexpected(agreed.error());
  return client;
}

Result<Json> QmpClient::call(const std::string& command, Json arguments, int timeout_ms,
                             const std::vector<int>& fds) {
  return state_->call(command, std::move(arguments), timeout_ms, fds);
}

Status QmpClient::send_fd(const std::string& name, int fd, int timeout_ms) {
  const Result<Json> done = call("getfd", {{"fdname", name}}, timeout_ms, {fd});
  if (!done) return std::unexpected(done.error());
  return {};
}

uint64_t QmpClient::last_event() const {
  const std::lock_guard lock(state_->mutex);
  return state_->last_event;
}

Result<QmpEvent> QmpClient::wait_event(const std::vector<std::string>& names, uint64_t after,
                                       int timeout_ms) {
  const auto deadline = Clock::now() + std::chrono::milliseconds(timeout_ms);
  std::unique_lock lock(state_->mutex);
  for (;;) {
    for (const QmpEvent& event : state_->events) {
      if (event.number <= after) continue;
      if (names.empty() || std::ranges::find(names, event.name) != names.end()) return event;
      after = event.number;
    }
    const std::string wanted = fmt::format("while waiting for {}", fmt::join(names, ", "));
    if (state_->closed) return std::unexpected(state_->closed_error(wanted));
    if (state_->changed.wait_until(lock, deadline) == std::cv_status::timeout &&
        state_->last_event <= after && !state_->closed)
      return make_error(Code::kUnavailable, "QEMU sent none of {} within {} ms (socket '{}')",
                        fmt::join(names, ", "), timeout_ms, state_->path);
  }
}

std::vector<QmpEvent> QmpClient::events_after(uint64_t after) const {
  const std::lock_guard lock(state_->mutex);
  std::vector<QmpEvent> found;
  for (const QmpEvent& event : state_->events)
    if (event.number > after) found.push_back(event);
  return found;
}

bool QmpClient::is_connected() const {
  const std::lock_guard lock(state_->mutex);
  return !state_->closed;
}

std::string QmpClient::qemu_version() const {
  const std::lock_guard lock(state_->mutex);
  return state_->version;
}

uint64_t QmpClient::ignored_lines() const {
  const std::lock_guard lock(state_->mutex);
  return state_->ignored;
}

}  // namespace hozon
