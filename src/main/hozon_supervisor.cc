// hozon-supervisor: holds the listening sockets of one instance and keeps its daemons running.
//
// It is the one process that must not need a restart, so it does little: a poll() loop, no threads,
// no state on disk but a lock. Sockets are bound before the first child starts and live on in this
// process, so clients of a daemon that died just wait in the socket's queue for its successor.
// Requests on run/supervisor.sock: one JSON object per line, see usage() and handle_request().
#include <poll.h>
#include <sys/file.h>
#include <sys/signalfd.h>

#include <algorithm>
#include <ctime>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/log.h"
#include "link/supervised_child.h"
#include "link/unix_socket.h"

namespace hozon {
namespace {

using link::ListeningSocket;
using link::SupervisedChild;
using nlohmann::json;
namespace fs = std::filesystem;

constexpr size_t kRequestBytesMax = 64 << 10;
constexpr size_t kConnectionsMax = 64;
constexpr size_t kPoolsMax = 64;
constexpr int kExitFailed = 1;
constexpr int kExitUsage = 2;
constexpr int kExitConflict = 4;

uint64_t monotonic_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

struct Arguments {
  std::string directory;
  std::string programs;  // directory that holds hozond and hozon-stored
  bool detach = false;
};

struct Connection {
  Fd socket;
  std::string input;
  std::string waits_for;  // name of the child whose end it is told about; "*": everything's
  bool closed = false;
};

class Supervisor {
 public:
  Supervisor(std::string directory, std::string programs)
      : directory_(std::move(directory)), programs_(std::move(programs)) {}

  Status open();
  int run();
  void close_all();

 private:
  std::string run_path(const std::string& name) const { return directory_ + "/run/" + name; }
  Status lock();
  Status open_signals();
  Status add_hozond();
  Status add_pool(const std::string& pool);
  SupervisedChild* find(const std::string& name);
  void handle_signals();
  void reap();
  void start_due();
  void continue_stop();
  int milliseconds_to_next() const;
  void accept_connection();
  void read_connection(Connection& connection);
  void handle_line(Connection& connection, const std::string& line);
  json handle_request(Connection& connection, const json& request);
  json status() const;
  void answer(Connection& connection, const json& object);
  void tell_waiting(const std::string& name);

  std::string directory_;
  std::string programs_;
  Fd lock_;
  Fd signals_;
  Fd listener_;
  std::vector<std::unique_ptr<SupervisedChild>> children_;  // hozond first
  std::vector<std::unique_ptr<Connection>> connections_;
  bool stopping_ = false;
};

json refusal(Code code, const std::string& sentence) {
  return {{"ok", false}, {"code", code_name(code)}, {"error", sentence}};
}

Status make_directory(const std::string& path) {
  if (::mkdir(path.c_str(), 0700) == 0 || errno == EEXIST) return {};
  return errno_error(errno, "make directory '{}'", path);
}

Status Supervisor::open() {
  for (const char* name : {"/run", "/log", "/pools", "/machines"})
    HOZON_TRY(make_directory(directory_ + name));
  HOZON_TRY(link::check_unix_path(run_path("supervisor.sock")));
  HOZON_TRY(lock());
  HOZON_TRY(open_signals());
  listener_ = HOZON_TRY(link::listen_unix(run_path("supervisor.sock")));
  ::fcntl(listener_.get(), F_SETFL, O_NONBLOCK);
  HOZON_TRY(add_hozond());
  std::error_code ignored;
  for (const fs::directory_entry& entry : fs::directory_iterator(directory_ + "/pools", ignored)) {
    const std::string pool = entry.path().filename().string();
    if (!entry.is_directory(ignored) || pool.starts_with('.')) continue;
    // One pool that cannot be served must not keep the others down.
    if (const Status added = add_pool(pool); !added)
      log_error("pool '{}' is not served: {}", pool, added.error().what);
  }
  start_due();
  return {};
}

// The lock's file holds the pid, so that the refusal can name who is there.
Status Supervisor::lock() {
  const std::string path = run_path("lock");
  lock_ = Fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!lock_) return errno_error(errno, "open '{}'", path);
  if (::flock(lock_.get(), LOCK_EX | LOCK_NB) != 0) {
    std::array<char, 32> text{};
    const ssize_t length = ::pread(lock_.get(), text.data(), text.size() - 1, 0);
    std::string pid(text.data(), length > 0 ? static_cast<size_t>(length) : 0);
    std::erase(pid, '\n');
    return make_error(Code::kBusy,
                      "a supervisor (pid {}) already runs in '{}'; `hozon down --dir {}` stops it",
                      pid.empty() ? "unknown" : pid, directory_, directory_);
  }
  const std::string pid = std::to_string(::getpid()) + "\n";
  const std::string pid_path = run_path("supervisor.pid");
  const Fd pid_file(::open(pid_path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (::ftruncate(lock_.get(), 0) != 0 ||
      ::pwrite(lock_.get(), pid.data(), pid.size(), 0) != static_cast<ssize_t>(pid.size()) ||
      ::write(pid_file.get(), pid.data(), pid.size()) != static_cast<ssize_t>(pid.size()))
    return errno_error(errno, "write '{}'", pid_path);
  return {};
}

Status Supervisor::open_signals() {
  sigset_t watched;
  ::sigemptyset(&watched);
  for (const int number : {SIGCHLD, SIGTERM, SIGINT}) ::sigaddset(&watched, number);
  ::sigprocmask(SIG_BLOCK, &watched, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
  ::signal(SIGHUP, SIG_IGN);
  signals_ = Fd(::signalfd(-1, &watched, SFD_NONBLOCK | SFD_CLOEXEC));
  if (!signals_) return errno_error(errno, "watch for signals");
  return {};
}

Status Supervisor::add_hozond() {
  auto child = std::make_unique<SupervisedChild>();
  child->name = "hozond";
  child->argv = {programs_ + "/hozond", "--dir", directory_};
  child->log_path = directory_ + "/log/hozond.log";
  const std::string path = run_path("api.sock");
  child->sockets.push_back({"api", path, HOZON_TRY(link::listen_unix(path))});
  children_.push_back(std::move(child));
  return {};
}

Status Supervisor::add_pool(const std::string& pool) {
  if (children_.size() > kPoolsMax)
    return make_error(Code::kResourceExhausted, "{} pools are the limit", kPoolsMax);
  auto child = std::make_unique<SupervisedChild>();
  child->name = "stored-" + pool;
  child->argv = {programs_ + "/hozon-stored", "--pool-dir", directory_ + "/pools/" + pool, "--name",
                 pool};
  child->log_path = directory_ + "/log/stored-" + pool + ".log";
  for (const char* kind : {"nbd", "link"}) {
    const std::string path = run_path("pool-" + pool + "." + kind);
    child->sockets.push_back({kind, path, HOZON_TRY(link::listen_unix(path))});
  }
  children_.push_back(std::move(child));
  return {};
}

SupervisedChild* Supervisor::find(const std::string& name) {
  for (const auto& child : children_)
    if (child->name == name) return child.get();
  return nullptr;
}

void Supervisor::handle_signals() {
  signalfd_siginfo info{};
  while (::read(signals_.get(), &info, sizeof(info)) == static_cast<ssize_t>(sizeof(info))) {
    if (info.ssi_signo == SIGTERM || info.ssi_signo == SIGINT) {
      log_info("signal {}: stopping", info.ssi_signo);
      stopping_ = true;
    }
  }
  reap();
}

void Supervisor::reap() {
  int wait_status = 0;
  for (pid_t pid; (pid = ::waitpid(-1, &wait_status, WNOHANG)) > 0;) {
    for (const auto& child : children_) {
      if (child->pid != pid) continue;
      link::note_end(*child, wait_status, monotonic_ns());
      log_info("{} (pid {}) ended: {}{}", child->name, pid, child->last_end,
               child->stop_wanted ? "" : ", starting it again");
    }
  }
}

void Supervisor::start_due() {
  const uint64_t now = monotonic_ns();
  for (const auto& child : children_) {
    if (child->pid > 0 && child->stop_wanted && now >= child->kill_at_ns)
      ::kill(child->pid, SIGKILL);
    if (child->pid > 0 || child->stop_wanted || now < child->start_at_ns) continue;
    const Status started = link::start_child(*child, now);
    if (!started) log_error("{}", started.error().what);
    if (started) log_info("{} runs as pid {}", child->name, child->pid);
  }
}

// Stopped pools lose their sockets; when everything stops, hozond goes first, since it is the one
// that talks to the others.
void Supervisor::continue_stop() {
  const uint64_t now = monotonic_ns();
  if (stopping_) {
    link::ask_to_stop(*children_.front(), now);
    if (children_.front()->is_stopped())
      for (const auto& child : children_) link::ask_to_stop(*child, now);
  }
  for (size_t i = 1; i < children_.size(); ++i) {
    if (!children_[i]->is_stopped()) continue;
    const std::string name = children_[i]->name;
    for (const ListeningSocket& socket : children_[i]->sockets) ::unlink(socket.path.c_str());
    children_.erase(children_.begin() + static_cast<std::ptrdiff_t>(i--));
    tell_waiting(name);
  }
}

int Supervisor::milliseconds_to_next() const {
  constexpr uint64_t kLongest = 60'000'000'000;
  const uint64_t now = monotonic_ns();
  uint64_t next = now + kLongest;
  for (const auto& child : children_) {
    if (child->pid == 0 && !child->stop_wanted) next = std::min(next, child->start_at_ns);
    if (child->pid > 0 && child->stop_wanted) next = std::min(next, child->kill_at_ns);
  }
  return next <= now ? 0 : static_cast<int>((next - now) / 1'000'000 + 1);
}

int Supervisor::run() {
  for (;;) {
    continue_stop();
    start_due();
    if (stopping_ && children_.size() == 1 && children_.front()->is_stopped()) return 0;
    std::vector<pollfd> polled = {{signals_.get(), POLLIN, 0}, {listener_.get(), POLLIN, 0}};
    for (const auto& connection : connections_)
      polled.push_back({connection->socket.get(), POLLIN, 0});
    if (::poll(polled.data(), polled.size(), milliseconds_to_next()) < 0 && errno != EINTR) {
      log_error("poll: {}", std::strerror(errno));
      return kExitFailed;
    }
    handle_signals();
    for (size_t i = 0; i < connections_.size(); ++i)
      if (polled[2 + i].revents != 0) read_connection(*connections_[i]);
    std::erase_if(connections_, [](const auto& connection) { return connection->closed; });
    if (polled[1].revents != 0) accept_connection();
  }
}

// Answers those who wait for the end of everything, after the sockets are gone.
void Supervisor::close_all() {
  for (const auto& child : children_)
    for (const ListeningSocket& socket : child->sockets) ::unlink(socket.path.c_str());
  ::unlink(run_path("supervisor.sock").c_str());
  ::unlink(run_path("supervisor.pid").c_str());
  tell_waiting("*");
}

void Supervisor::accept_connection() {
  Fd socket(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!socket || connections_.size() >= kConnectionsMax) return;
  connections_.push_back(std::make_unique<Connection>());
  connections_.back()->socket = std::move(socket);
}

void Supervisor::read_connection(Connection& connection) {
  std::array<char, 4096> chunk;
  const ssize_t moved = ::read(connection.socket.get(), chunk.data(), chunk.size());
  if (moved < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (moved <= 0) {
    connection.closed = true;
    return;
  }
  connection.input.append(chunk.data(), static_cast<size_t>(moved));
  for (size_t end; (end = connection.input.find('\n')) != std::string::npos;) {
    const std::string line = connection.input.substr(0, end);
    connection.input.erase(0, end + 1);
    handle_line(connection, line);
  }
  if (connection.input.size() > kRequestBytesMax) connection.closed = true;
}

void Supervisor::handle_line(Connection& connection, const std::string& line) {
  const json request = json::parse(line, nullptr, false);
  if (!request.is_object() || !request.contains("op") || !request["op"].is_string()) {
    answer(connection, refusal(Code::kInvalidArgument, "a request is {\"op\":...} on one line"));
    return;
  }
  const json result = handle_request(connection, request);
  if (!result.is_null()) answer(connection, result);
}

// Null: the answer comes later.
json Supervisor::handle_request(Connection& connection, const json& request) {
  const std::string op = request["op"];
  if (op == "status") return status();
  if (op == "stop") {
    stopping_ = true;
    connection.waits_for = "*";
    return nullptr;
  }
  if (op != "pool_start" && op != "pool_stop")
    return refusal(Code::kUnimplemented, "there is no operation '" + op + "'");
  const auto given = request.find("pool");
  const std::string pool =
      given != request.end() && given->is_string() ? given->get<std::string>() : std::string();
  if (pool.empty() || pool.starts_with('.') || pool.find('/') != std::string::npos)
    return refusal(Code::kInvalidArgument, "\"pool\" has to name a pool");
  SupervisedChild* const child = find("stored-" + pool);
  if (op == "pool_stop") {
    if (child == nullptr) return refusal(Code::kNotFound, "pool '" + pool + "' is not served");
    link::ask_to_stop(*child, monotonic_ns());
    connection.waits_for = child->name;
    return nullptr;
  }
  if (stopping_) return refusal(Code::kUnavailable, "the instance is stopping");
  if (child != nullptr && child->stop_wanted)
    return refusal(Code::kBusy, "pool '" + pool + "' is stopping; try again");
  if (child != nullptr) return refusal(Code::kAlreadyExists, "pool '" + pool + "' is served");
  std::error_code ignored;
  if (!fs::is_directory(directory_ + "/pools/" + pool, ignored))
    return refusal(Code::kNotFound, "there is no directory for pool '" + pool + "'");
  if (const Status added = add_pool(pool); !added)
    return refusal(added.error().code, added.error().what);
  start_due();
  return {{"ok", true}, {"pid", children_.back()->pid}};
}

json Supervisor::status() const {
  json list = json::array();
  for (const auto& child : children_)
    list.push_back({{"name", child->name},
                    {"pid", child->pid},
                    {"restarts", child->restarts},
                    {"state", child->state()},
                    {"last_end", child->last_end}});
  return {{"ok", true}, {"pid", ::getpid()}, {"stopping", stopping_}, {"children", list}};
}

void Supervisor::answer(Connection& connection, const json& object) {
  const std::string line = object.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
  // An answer fits into an empty socket buffer; a peer that let it fill up is not reading.
  if (::send(connection.socket.get(), line.data(), line.size(), MSG_NOSIGNAL) !=
      static_cast<ssize_t>(line.size()))
    connection.closed = true;
}

void Supervisor::tell_waiting(const std::string& name) {
  for (const auto& connection : connections_) {
    if (connection->waits_for != name) continue;
    connection->waits_for.clear();
    answer(*connection, {{"ok", true}});
  }
}

// ---- start ----

int usage() {
  std::fprintf(stderr,
               "usage: hozon-supervisor --dir DIRECTORY [--programs DIRECTORY] [--detach]\n"
               "  keeps hozond and one hozon-stored per pool running; `hozon up` starts it\n"
               "example: hozon-supervisor --dir ~/vms --detach\n");
  return kExitUsage;
}

Result<Arguments> parse(int argc, char** argv) {
  Arguments arguments;
  for (int i = 1; i < argc; ++i) {
    const std::string_view word = argv[i];
    if (word == "--detach") {
      arguments.detach = true;
    } else if ((word == "--dir" || word == "--programs") && i + 1 < argc) {
      (word == "--dir" ? arguments.directory : arguments.programs) = argv[++i];
    } else {
      return make_error(Code::kInvalidArgument, "'{}' is not understood", word);
    }
  }
  if (arguments.directory.empty()) return make_error(Code::kInvalidArgument, "--dir is missing");
  HOZON_TRY(make_directory(arguments.directory));
  std::error_code error;
  arguments.directory = fs::canonical(arguments.directory, error).string();
  if (error) return errno_error(error.value(), "open '{}'", arguments.directory);
  if (arguments.programs.empty())
    arguments.programs = fs::read_symlink("/proc/self/exe", error).parent_path().string();
  return arguments;
}

// Leaves the terminal. In the parent: returns the exit status once the daemon has spoken on the
// pipe (nothing: it is ready). In the daemon: -1, and `report` is where it speaks.
int detach(const std::string& directory, Fd& report) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return kExitFailed;
  Fd reader(ends[0]);
  report = Fd(ends[1]);
  const pid_t pid = ::fork();
  if (pid < 0) return kExitFailed;
  if (pid > 0) {
    report = Fd();
    std::string text;
    std::array<char, 512> chunk;
    for (ssize_t moved; (moved = ::read(reader.get(), chunk.data(), chunk.size())) > 0;)
      text.append(chunk.data(), static_cast<size_t>(moved));
    if (text == "0") return 0;
    const size_t status_length = text.empty() ? 0 : 1;
    std::fprintf(stderr, "hozon-supervisor: %s\n",
                 text.empty() ? "died before it was ready" : text.c_str() + status_length);
    return text.starts_with('4') ? kExitConflict : kExitFailed;
  }
  ::setsid();
  make_directory(directory + "/log");
  const std::string log_path = directory + "/log/supervisor.log";
  const int log = ::open(log_path.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
  const int null = ::open("/dev/null", O_RDONLY);
  ::dup2(null, STDIN_FILENO);
  if (log >= 0) {
    ::dup2(log, STDOUT_FILENO);
    ::dup2(log, STDERR_FILENO);
  }
  for (const int fd : {log, null})
    if (fd > STDERR_FILENO) ::close(fd);
  return -1;
}

int supervise(const Arguments& arguments) {
  Fd report;
  if (arguments.detach) {
    const int status = detach(arguments.directory, report);
    if (status >= 0) return status;
  }
  log_start("hozon-supervisor", LogLevel::kInfo);
  Supervisor supervisor(arguments.directory, arguments.programs);
  if (const Status opened = supervisor.open(); !opened) {
    const bool conflict = opened.error().code == Code::kBusy;
    log_error("{}", opened.error().what);
    const std::string text = (conflict ? "4" : "1") + opened.error().what;
    if (report) (void)!::write(report.get(), text.data(), text.size());
    return conflict ? kExitConflict : kExitFailed;
  }
  if (report) (void)!::write(report.get(), "0", 1);
  report = Fd();
  const int status = supervisor.run();
  supervisor.close_all();
  log_info("stopped");
  return status;
}

}  // namespace
}  // namespace hozon

int main(int argc, char** argv) {
  const auto arguments = hozon::parse(argc, argv);
  if (!arguments) {
    std::fprintf(stderr, "hozon-supervisor: %s\n", arguments.error().what.c_str());
    return hozon::usage();
  }
  return hozon::supervise(*arguments);
}
