// hozond: the control plane of one instance. Opens it and serves the REST API until SIGTERM.
//
//   hozond --dir D
//   hozond --check-listen ADDRESS CERTIFICATE KEY [up]   whether it could serve TCP so (files may
//   be
//                                                        ""; up: it may do so already)
//
// D/api.json, when there is one, says where TCP is served besides, and with which certificate:
// {"listen": "127.0.0.1:8006", "certificate": "/etc/...", "key": "/etc/..."}.
//
// The API's socket comes from the supervisor (LISTEN_FDS, named "api"); without one, hozond listens
// on D/run/api.sock itself. Exit codes: 0 stopped on request, 1 failed, 2 usage.
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/api.h"
#include "api/http_server.h"
#include "base/log.h"
#include "control/control.h"
#include "link/unix_socket.h"

namespace hozon {
namespace {

constexpr int kExitUsage = 2;

int usage(std::FILE* where) {
  fmt::print(where,
             "usage: hozond --dir D\n"
             "The control plane of the Hozon instance in directory D. Usually started by\n"
             "hozon-supervisor, which passes the API's socket.\n"
             "Example: hozond --dir ~/hozon\n");
  return where == stdout ? 0 : kExitUsage;
}

Result<Fd> api_socket(const std::string& directory) {
  auto passed = link::take_listening_sockets();
  if (const auto found = passed.find("api"); found != passed.end()) return std::move(found->second);
  return link::listen_unix(directory + "/run/api.sock");
}

// What D/api.json says; nothing when it is not there.
Result<std::optional<api::TcpListen>> tcp_wanted(const std::string& directory) {
  const std::string path = directory + "/api.json";
  std::ifstream file(path);
  std::optional<api::TcpListen> wanted;
  if (!file) return wanted;
  const auto said = nlohmann::json::parse(file, nullptr, false);
  const auto text = [&said](const char* name) {
    const auto found = said.find(name);
    return found != said.end() && found->is_string() ? found->get<std::string>() : "";
  };
  if (!said.is_object() || text("listen").empty())
    return make_error(Code::kInvalidArgument, "'{}' does not say where to listen", path);
  wanted = HOZON_TRY(api::parse_listen(text("listen")));
  wanted->certificate = text("certificate");
  wanted->key = text("key");
  return wanted;
}

// The unix socket is served whatever becomes of this: it is the way to put it right.
void listen_tcp(api::HttpServer& server, const std::string& directory) {
  const auto wanted = tcp_wanted(directory);
  if (wanted && !*wanted) return;
  const auto port =
      wanted ? server.listen_tcp(**wanted) : Result<uint16_t>(std::unexpected(wanted.error()));
  if (port)
    log_info("serving the API on '{}' port {}", (*wanted)->address, *port);
  else
    log_error("TCP is not served: {}", port.error().what);
}

Status serve(const std::string& directory) {
  Fd listener = HOZON_TRY(api_socket(directory));
  control::Options options;
  options.directory = directory;
  const auto control = HOZON_TRY(control::Control::open(options));
  const auto access = HOZON_TRY(control::Access::open(directory));
  const api::Router router = api::make_router(
      *control, {.version = std::string(api::kVersion), .directory = directory}, access.get());
  const auto server = HOZON_TRY(api::HttpServer::create(
      std::move(listener), [&router](api::Request& request) { return router.answer(request); }));
  listen_tcp(*server, directory);
  server->stop_on_signals({SIGTERM, SIGINT});
  log_info("serving the API of '{}'", directory);
  server->run();
  return {};
}

int check_listen(const std::vector<std::string>& words) {
  auto where = api::parse_listen(words[0]);
  if (where) {
    where->certificate = words[1];
    where->key = words[2];
  }
  const Status fits =
      where ? api::check_listen(*where, words.size() == 4) : std::unexpected(where.error());
  if (fits) return 0;
  fmt::print(stderr, "{}\n", fits.error().what);
  return 1;
}

int run(int argc, char** argv) {
  if ((argc == 5 || argc == 6) && std::string_view(argv[1]) == "--check-listen")
    return check_listen({argv + 2, argv + argc});
  log_start("hozond", LogLevel::kInfo);
  if (argc == 2 && std::string_view(argv[1]) == "--help") return usage(stdout);
  if (argc != 3 || std::string_view(argv[1]) != "--dir") return usage(stderr);
  std::error_code error;
  const std::filesystem::path directory = std::filesystem::absolute(argv[2], error);
  if (error || !std::filesystem::is_directory(directory, error)) {
    log_error("'{}' is not a directory", argv[2]);
    return 1;
  }
  std::signal(SIGPIPE, SIG_IGN);
  if (const Status status = serve(directory.string()); !status) {
    log_error("{}", status.error().what);
    return 1;
  }
  log_info("stopped");
  return 0;
}

}  // namespace
}  // namespace hozon

int main(int argc, char** argv) { return hozon::run(argc, argv); }
