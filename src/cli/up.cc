// hozon up: from an empty directory to an instance that answers.
//
// Order matters for crashes: pool "main" is made under a name that the supervisor skips and renamed
// when it is whole, so an interrupted first start leaves nothing that looks like a pool.
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>

#include "base/fd.h"
#include "base/units.h"
#include "cli/commands.h"
#include "cli/program.h"
#include "client/supervisor.h"
#include "client/unix_connect.h"

namespace hozon::cli {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kPoolSizeDefault = 20_GiB;
constexpr int kReadyTimeoutMs = 30'000;
constexpr int kCreateTimeoutMs = 120'000;
constexpr int kSupervisorTimeoutMs = 5'000;

// The longest socket that others open by its full path: D/run/pool-main.link. (Those of machines
// are opened by way of their directory.)
constexpr size_t kSocketPathMax = 107;
constexpr size_t kLongestSocket = std::string_view("/run/pool-main.link").size();
constexpr size_t kDirectoryPathMax = kSocketPathMax - kLongestSocket;

Status make_directory(const std::string& path) {
  std::error_code error;
  fs::create_directories(fs::path(path).parent_path(), error);
  if (::mkdir(path.c_str(), 0700) == 0) return {};
  if (errno != EEXIST) return errno_error(errno, "make directory '{}'", path);
  struct stat found{};
  if (::stat(path.c_str(), &found) != 0) return errno_error(errno, "look at '{}'", path);
  if (!S_ISDIR(found.st_mode))
    return make_error(Code::kAlreadyExists, "'{}' is there and is not a directory", path);
  return {};
}

Status check_length(const std::string& directory) {
  if (directory.size() <= kDirectoryPathMax) return {};
  return make_error(Code::kInvalidArgument,
                    "the path '{}' has {} bytes, but unix sockets live below it and leave room for "
                    "{}; use a shorter directory, such as /tmp/vms",
                    directory, directory.size(), kDirectoryPathMax);
}

// Two `hozon up` at once: the second waits for the first, then finds the instance up.
Result<Fd> lock_start(const std::string& directory) {
  const std::string path = directory + "/run/up.lock";
  Fd file(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!file) return errno_error(errno, "open '{}'", path);
  const int64_t deadline_ms = client::monotonic_ms() + kReadyTimeoutMs;
  while (::flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK && errno != EINTR) return errno_error(errno, "lock '{}'", path);
    if (client::monotonic_ms() > deadline_ms)
      return make_error(Code::kBusy, "another `hozon up` is busy in '{}'", directory);
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  return file;
}

Status create_main_pool(const std::string& directory, uint64_t size_bytes) {
  const std::string final_path = directory + "/pools/main";
  const std::string new_path = directory + "/pools/.main.new";
  std::error_code error;
  fs::remove_all(new_path, error);  // of a start that was interrupted
  const ProgramOutcome outcome = HOZON_TRY(run_program(
      "hozon-stored", {"create", "--pool-dir", new_path, "--size", std::to_string(size_bytes)},
      kCreateTimeoutMs));
  if (outcome.exit_code != 0) {
    fs::remove_all(new_path, error);
    return make_error(Code::kIo, "pool 'main' of {} could not be made in '{}': {}",
                      format_bytes(size_bytes), directory, last_line(outcome.output));
  }
  if (::rename(new_path.c_str(), final_path.c_str()) != 0)
    return errno_error(errno, "put pool 'main' in place at '{}'", final_path);
  const Fd pools(::open((directory + "/pools").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!pools || ::fsync(pools.get()) != 0) return errno_error(errno, "sync '{}/pools'", directory);
  return {};
}

// The last line of a daemon's log, when it is a complaint; else empty.
std::string last_complaint(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return "";
  constexpr std::streamoff kTail = 8192;
  file.seekg(0, std::ios::end);
  file.seekg(std::max<std::streamoff>(0, static_cast<std::streamoff>(file.tellg()) - kTail));
  std::string tail((std::istreambuf_iterator<char>(file)), {});
  while (tail.ends_with('\n')) tail.pop_back();
  const std::string line = tail.substr(tail.rfind('\n') + 1);  // npos + 1 is 0
  const bool complains = line.find(" error ") != std::string::npos || line.starts_with("hozon");
  return complains ? last_line(line) : "";
}

// The reason why nothing answers, as the daemons' logs have it; empty when they have none.
std::string reason_from_logs(const std::string& directory) {
  std::string reason;
  for (const char* name : {"stored-main", "hozond", "supervisor"}) {
    const std::string complaint = last_complaint(fmt::format("{}/log/{}.log", directory, name));
    if (!complaint.empty())
      reason += fmt::format("{}{}: {}", reason.empty() ? "" : "; ", name, complaint);
  }
  return reason;
}

// A daemon that its supervisor started again and again since it began itself.
bool keeps_dying(const std::string& directory) {
  constexpr uint64_t kRestartsTooMany = 4;
  const auto status = client::ask_supervisor(directory, "status", kSupervisorTimeoutMs);
  if (!status || !status->contains("children") || !(*status)["children"].is_array()) return false;
  for (const client::Json& child : (*status)["children"])
    if (client::number_of(child, "restarts") >= kRestartsTooMany) return true;
  return false;
}

// Ready: hozond answers and pool "main" is served. `fresh`: the supervisor has just been started,
// so a daemon that keeps dying is a reason to give up early.
Result<client::Pool> wait_until_ready(Context& context, bool fresh) {
  const int64_t deadline_ms = client::monotonic_ms() + kReadyTimeoutMs;
  std::string state = "no answer";
  while (client::monotonic_ms() < deadline_ms) {
    const auto pool = context.client().pool("main");
    if (pool && (pool->state == "ok" || pool->state == "read_only" || pool->state == "full"))
      return *pool;
    state =
        pool ? fmt::format("pool 'main' is {}: {}", pool->state, pool->message) : pool.error().what;
    if (fresh && keeps_dying(context.directory())) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(30));
  }
  const std::string reason = reason_from_logs(context.directory());
  return make_error(Code::kUnavailable, "Hozon did not become ready in '{}'; {} (logs: {}/log)",
                    context.directory(), reason.empty() ? state : reason, context.directory());
}

ExitCode report(Context& context, const client::Pool& pool, bool was_up) {
  const std::string& where = context.directory();
  const std::string size = format_bytes(pool.size_bytes), free = format_bytes(pool.free_bytes);
  const std::string text =
      was_up ? say_filled("Hozon is already up in {} (pool main: {}, {} free).", where, size, free)
             : say_filled("Hozon is up in {} (pool main: {}, {} free).", where, size, free);
  context.printer().object(
      {{"directory", where}, {"state", was_up ? "already up" : "up"}, {"pool", pool.json}}, where,
      text + "\n");
  return ExitCode::kOk;
}

Status start_supervisor(const std::string& directory) {
  const ProgramOutcome outcome =
      HOZON_TRY(run_program("hozon-supervisor", {"--dir", directory, "--detach"}, kReadyTimeoutMs));
  if (outcome.exit_code == 0) return {};
  return make_error(Code::kUnavailable, "the supervisor did not start: {}",
                    last_line(outcome.output));
}

// What hozond reads when it begins: D/api.json. Written whole, or not at all.
Status write_listen(const Arguments& args, const std::string& directory) {
  const std::string path = directory + "/api.json";
  std::error_code error;
  if (args.listen == "off") {
    fs::remove(path, error);
    return {};
  }
  const client::Json wanted = {{"listen", args.listen},
                               {"certificate", absolute_path(args.certificate)},
                               {"key", absolute_path(args.key)}};
  const std::string text = wanted.dump(2, ' ', false, client::Json::error_handler_t::replace);
  {
    std::ofstream file(path + ".new", std::ios::trunc);
    file << text << "\n";
    file.flush();
    if (!file) return make_error(Code::kIo, "'{}' cannot be written", path);
  }
  fs::rename(path + ".new", path, error);
  if (error) return errno_error(error.value(), "put '{}' in place", path);
  return {};
}

// Said now: otherwise only hozond's log would.
Status check_listen(const Arguments& args, bool is_up) {
  std::vector<std::string> words = {"--check-listen", args.listen, absolute_path(args.certificate),
                                    absolute_path(args.key)};
  if (is_up) words.emplace_back("up");
  const ProgramOutcome outcome = HOZON_TRY(run_program("hozond", words, kReadyTimeoutMs));
  if (outcome.exit_code == 0) return {};
  return make_error(Code::kInvalidArgument, "--listen: {}", last_line(outcome.output));
}

Status take_listen(const Arguments& args, Context& context, bool is_up) {
  const bool has_files = !args.certificate.empty() || !args.key.empty();
  if (args.listen.empty() && has_files)
    return make_error(Code::kInvalidArgument, "--certificate and --key are for --listen");
  if (args.listen.empty()) return {};
  if (args.listen != "off") HOZON_TRY(check_listen(args, is_up));
  HOZON_TRY(write_listen(args, context.directory()));
  if (is_up) context.note("--listen counts from the next start of the instance on");
  return {};
}

}  // namespace

CommandResult up(const Arguments& args, Context& context) {
  const std::string& directory = context.directory();
  HOZON_TRY(check_length(directory));
  HOZON_TRY(make_directory(directory));
  for (const char* part : {"/run", "/log", "/pools", "/machines"})
    HOZON_TRY(make_directory(directory + part));
  const Fd lock = HOZON_TRY(lock_start(directory));

  const bool is_up = client::ask_supervisor(directory, "status", kSupervisorTimeoutMs).has_value();
  HOZON_TRY(take_listen(args, context, is_up));
  if (is_up) {
    const client::Pool pool = HOZON_TRY(wait_until_ready(context, false));
    if (args.size_bytes != 0)
      context.note("--pool-size is for the first start only; pool main stays as it is");
    return report(context, pool, true);
  }
  std::error_code error;
  const bool has_pool = fs::exists(directory + "/pools/main", error);
  if (!has_pool)
    HOZON_TRY(
        create_main_pool(directory, args.size_bytes == 0 ? kPoolSizeDefault : args.size_bytes));
  else if (args.size_bytes != 0)
    context.note("--pool-size is for the first start only; pool main stays as it is");
  HOZON_TRY(start_supervisor(directory));
  const Result<client::Pool> pool = wait_until_ready(context, true);
  if (!pool) {
    // Leaves nothing half up; machines of an earlier run are not touched.
    static_cast<void>(client::stop_supervisor(directory, kReadyTimeoutMs));
    return std::unexpected(pool.error());
  }
  return report(context, *pool, false);
}

}  // namespace hozon::cli
