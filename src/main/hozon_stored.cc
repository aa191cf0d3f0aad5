// hozon-stored: serves one pool over NBD and to the control plane, or makes a new pool.
// Exit status: 0 done, 1 failed, 2 wrong arguments, 3 the pool cannot be opened.
#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "base/log.h"
#include "base/units.h"
#include "link/unix_socket.h"
#include "serve/pool_daemon.h"
#include "serve/pool_directory.h"

namespace hozon {
namespace {

constexpr int kUsage = 2;
constexpr int kNotOpened = 3;
constexpr unsigned kLockPatienceMs = 3000;
constexpr rlim_t kDescriptorsWanted = 65'536;

constexpr const char* kHelp =
    "usage: hozon-stored create --pool-dir DIR --size SIZE\n"
    "       hozon-stored --pool-dir DIR [--name NAME] [--nbd-socket PATH --link-socket PATH]\n"
    "\n"
    "Serves the pool in DIR: NBD exports VOLUME and VOLUME@POINT, and the link protocol of "
    "hozond.\n"
    "Listening sockets come from a supervisor (LISTEN_FDNAMES nbd and link) or are made at the\n"
    "given paths. SIGTERM ends it after a last checkpoint. HOZON_LOOP=uring|threads chooses how\n"
    "storage operations are done.\n"
    "\n"
    "Example:\n"
    "  hozon-stored create --pool-dir /srv/pools/main --size 20G\n"
    "  hozon-stored --pool-dir /srv/pools/main --nbd-socket /run/user/1000/main.nbd \\\n"
    "               --link-socket /run/user/1000/main.link\n";

struct Arguments {
  bool create = false;
  bool help = false;
  std::map<std::string, std::string, std::less<>> options;
  std::string get(std::string_view name) const {
    const auto found = options.find(name);
    return found == options.end() ? "" : found->second;
  }
};

Result<Arguments> parse_arguments(int argc, char** argv) {
  constexpr std::array kServing = {"--pool-dir", "--name", "--nbd-socket", "--link-socket"};
  constexpr std::array kCreating = {"--pool-dir", "--size"};
  Arguments arguments;
  int at = 1;
  if (at < argc && std::string_view(argv[at]) == "create") {
    arguments.create = true;
    ++at;
  }
  for (; at < argc; at += 2) {
    const std::string_view option = argv[at];
    if (option == "--help" || option == "-h") {
      arguments.help = true;
      return arguments;
    }
    const bool known = arguments.create ? std::ranges::count(kCreating, option) != 0
                                        : std::ranges::count(kServing, option) != 0;
    if (!known) return make_error(Code::kInvalidArgument, "'{}' is not an option here", option);
    if (at + 1 == argc) return make_error(Code::kInvalidArgument, "{} needs a value", option);
    arguments.options[std::string(option)] = argv[at + 1];
  }
  if (arguments.get("--pool-dir").empty())
    return make_error(Code::kInvalidArgument, "--pool-dir is missing");
  if (arguments.create && arguments.get("--size").empty())
    return make_error(Code::kInvalidArgument, "--size is missing");
  return arguments;
}

int fail(int status, const Error& error) {
  std::fprintf(stderr, "hozon-stored: %s\n", error.what.c_str());
  return status;
}

int create(Loop& loop, const Arguments& arguments) {
  const Result<uint64_t> size_bytes = parse_bytes(arguments.get("--size"));
  if (!size_bytes) return fail(kUsage, size_bytes.error());
  const Status made = serve::create_pool_directory(loop, arguments.get("--pool-dir"), *size_bytes);
  if (made) return 0;
  return fail(made.error().code == Code::kInvalidArgument ? kUsage : 1, made.error());
}

// From the supervisor when it passed one, else made at the path given by `option`.
Result<Fd> listener(std::map<std::string, Fd>& passed, const std::string& name,
                    const Arguments& arguments) {
  const auto found = passed.find(name);
  if (found != passed.end()) return std::move(found->second);
  const std::string option = "--" + name + "-socket";
  const std::string path = arguments.get(option);
  if (path.empty())
    return make_error(Code::kInvalidArgument,
                      "no socket '{}' was passed by a supervisor: give {} PATH", name, option);
  return link::listen_unix(path);
}

void raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= kDescriptorsWanted) return;
  limit.rlim_cur = std::min(limit.rlim_max, kDescriptorsWanted);
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

std::string default_name(std::string path) {
  while (path.size() > 1 && path.ends_with('/')) path.pop_back();
  return path.substr(path.find_last_of('/') + 1);
}

int serve_pool(Loop& loop, const Arguments& arguments) {
  raise_descriptor_limit();
  std::map<std::string, Fd> passed = link::take_listening_sockets();
  serve::PoolDaemonOptions options;
  options.directory = arguments.get("--pool-dir");
  options.name = arguments.get("--name");
  if (options.name.empty()) options.name = default_name(options.directory);
  // The pool is locked before any socket is made: the sockets at these paths may be in use by the
  // process that has the pool open.
  Result<serve::PoolFiles> files = serve::open_pool_files(loop, options.directory, kLockPatienceMs);
  if (!files) return fail(kNotOpened, files.error());
  options.files = *std::move(files);
  for (const auto& [name, into] :
       {std::pair{"nbd", &options.nbd_listener}, std::pair{"link", &options.link_listener}}) {
    Result<Fd> socket = listener(passed, name, arguments);
    if (!socket)
      return fail(socket.error().code == Code::kInvalidArgument ? kUsage : 1, socket.error());
    *into = *std::move(socket);
  }
  bool opened = false;
  const Status served = serve::run_pool_daemon(loop, std::move(options), opened);
  if (served) return 0;
  return fail(opened ? 1 : kNotOpened, served.error());
}

int run(int argc, char** argv) {
  log_start("hozon-stored", LogLevel::kInfo);
  const Result<Arguments> arguments = parse_arguments(argc, argv);
  if (!arguments) {
    fail(kUsage, arguments.error());
    std::fputs("Try hozon-stored --help.\n", stderr);
    return kUsage;
  }
  if (arguments->help) {
    std::fputs(kHelp, stdout);
    return 0;
  }
  if (const Status blocked = serve::block_end_signals(); !blocked) return fail(1, blocked.error());
  const Result<std::unique_ptr<Loop>> loop = Loop::create();
  if (!loop) return fail(1, loop.error());
  return arguments->create ? create(**loop, *arguments) : serve_pool(**loop, *arguments);
}

}  // namespace
}  // namespace hozon

int main(int argc, char** argv) { return hozon::run(argc, argv); }
