// Proves: the client and the HTTP core understand each other: results, problems, progress, repeated
// calls with one key, and a server that goes away in the middle of a job.
// Method: the real HttpServer with a scripted handler in the place of the control plane.
#include "client/client.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <atomic>
#include <filesystem>
#include <mutex>
#include <set>
#include <thread>

#include "api/http_server.h"
#include "api/problem.h"
#include "link/unix_socket.h"

namespace hozon {
namespace {

using client::Client;
using client::Job;
using client::Json;

class ClientTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = "/tmp/hozon-client-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
    std::filesystem::create_directory(directory_ + "/run");
  }
  void TearDown() override {
    stop_server();
    std::filesystem::remove_all(directory_);
  }
  void start_server(std::function<api::Response(api::Request&)> handler) {
    auto listener = link::listen_unix(directory_ + "/run/api.sock");
    ASSERT_TRUE(listener);
    auto server = api::HttpServer::create(std::move(*listener), std::move(handler));
    ASSERT_TRUE(server);
    server_ = std::move(*server);
    thread_ = std::thread([this] { server_->run(); });
  }
  void stop_server() {
    if (!server_) return;
    server_->stop();
    thread_.join();
    server_.reset();
  }
  static api::Response json(int status, const Json& body) {
    api::Response response;
    response.status = status;
    response.body = body.dump();
    return response;
  }
  static Json job(std::string state, uint64_t done = 0) {
    return {{"id", 7},
            {"kind", "volume.create"},
            {"object", "v"},
            {"state", state},
            {"step", "copying"},
            {"progress_done", done},
            {"progress_total", 100},
            {"result", {{"name", "v"}}},
            {"error", nullptr}};
  }

  std::string directory_;
  std::unique_ptr<api::HttpServer> server_;
  std::thread thread_;
};

TEST_F(ClientTest, NobodyThereSaysHowToStart) {
  Client client(directory_);
  const auto machines = client.machines();
  ASSERT_FALSE(machines);
  EXPECT_EQ(machines.error().code, Code::kUnavailable);
  EXPECT_NE(machines.error().what.find("hozon up --dir"), std::string::npos);
}

TEST_F(ClientTest, ListsAndProblems) {
  start_server([](api::Request& request) {
    if (request.target == "/v1/machines")
      return json(200, {{"items", {{{"name", "web"}, {"state", "up"}, {"memory_bytes", 5}}}}});
    if (request.target == "/v1/pools") return json(200, {{"things", 1}});
    if (request.target == "/v1/jobs") {
      api::Response broken;
      broken.body = "not json";
      return broken;
    }
    return api::problem(Error{Code::kNotFound, "there is no " + request.target});
  });
  Client client(directory_);
  const auto machines = client.machines();
  ASSERT_TRUE(machines);
  ASSERT_EQ(machines->size(), 1U);
  EXPECT_EQ(machines->front().name, "web");
  EXPECT_EQ(machines->front().memory_bytes, 5U);
  const auto machine = client.machine("a/b c");
  ASSERT_FALSE(machine);
  EXPECT_EQ(machine.error().code, Code::kNotFound);
  EXPECT_EQ(machine.error().what, "there is no /v1/machines/a%2Fb%20c");
  EXPECT_EQ(client.pools().error().code, Code::kInternal);
  EXPECT_EQ(client.jobs().error().code, Code::kInternal);
}

TEST_F(ClientTest, FollowsAJobToItsResult) {
  std::atomic<int> asked{0};
  start_server([&asked](api::Request& request) {
    if (request.method == "POST") return json(202, job("running"));
    const int n = ++asked;
    return json(200, job(n < 4 ? "running" : "done", static_cast<uint64_t>(n) * 25));
  });
  Client client(directory_);
  std::vector<uint64_t> seen;
  client.on_progress([&seen](const Job& now) { seen.push_back(now.progress_done); });
  const auto result = client.create_volume({.name = "v", .pool = "", .from = "", .size_bytes = 1});
  ASSERT_TRUE(result);
  EXPECT_EQ((*result)["name"], "v");
  EXPECT_EQ(seen, (std::vector<uint64_t>{0, 25, 50, 75, 100}));
}

TEST_F(ClientTest, AFailedJobIsItsError) {
  start_server([](api::Request& request) {
    if (request.method == "POST") return json(202, job("running"));
    Json failed = job("failed");
    failed["error"] = {{"code", "resource_exhausted"}, {"message", "pool 'main' is full"}};
    return json(200, failed);
  });
  Client client(directory_);
  const auto result = client.create_volume({.name = "v", .pool = "", .from = "", .size_bytes = 1});
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, Code::kResourceExhausted);
  EXPECT_EQ(result.error().what, "pool 'main' is full");
}

// hozond may die between the call and its answer, and again while the job runs.
TEST_F(ClientTest, ALostAnswerIsRepeatedWithTheSameKeyAndTheJobIsFollowedAcrossARestart) {
  std::mutex mutex;
  std::multiset<std::string> keys;
  const auto listener = link::listen_unix(directory_ + "/run/api.sock");
  ASSERT_TRUE(listener);
  // Like the supervisor: the listening socket stays, each "hozond" is a generation on a copy of it.
  std::atomic<int> generation{0};
  std::thread crashing([&] {
    const Fd first(::accept(listener->get(), nullptr, nullptr));
    char buffer[4096];
    const ssize_t got = ::recv(first.get(), buffer, sizeof buffer, 0);
    const std::string text(buffer, static_cast<size_t>(std::max<ssize_t>(got, 0)));
    const size_t at = text.find("Idempotency-Key: ");
    if (at != std::string::npos) keys.insert(text.substr(at + 17, 32));
    generation = 1;  // dies without an answer
  });
  Client client(directory_);
  std::thread revived([&] {
    while (generation == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    crashing.join();
    auto server = api::HttpServer::create(Fd(::dup(listener->get())), [&](api::Request& request) {
      if (request.method == "POST") {
        const std::lock_guard lock(mutex);
        keys.insert(std::string(request.header("idempotency-key")));
        return json(202, job("running"));
      }
      return json(200, job(generation++ < 3 ? "running" : "done"));
    });
    ASSERT_TRUE(server);
    server_ = std::move(*server);
    thread_ = std::thread([this] { server_->run(); });
  });
  const auto result = client.create_volume({.name = "v", .pool = "", .from = "", .size_bytes = 1});
  revived.join();
  EXPECT_TRUE(result) << result.error().what;
  ASSERT_EQ(keys.size(), 2U);
  EXPECT_EQ(*keys.begin(), *keys.rbegin());
  EXPECT_EQ(keys.begin()->size(), 32U);
}

TEST_F(ClientTest, NamesThatAreNotTextAreRefusedHere) {
  start_server([](api::Request&) { return json(200, Json::object()); });
  Client client(directory_);
  const auto result =
      client.create_volume({.name = "\xff", .pool = "", .from = "", .size_bytes = 1});
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, Code::kInvalidArgument);
}

TEST_F(ClientTest, HugeAnswersArrive) {
  start_server([](api::Request&) {
    Json items = Json::array();
    for (int i = 0; i < 20'000; ++i)
      items.push_back({{"name", "snapshot-" + std::to_string(i)}, {"uuid", std::to_string(i)}});
    return json(200, {{"items", items}});
  });
  Client client(directory_);
  const auto snapshots = client.snapshots("web", false);
  ASSERT_TRUE(snapshots);
  EXPECT_EQ(snapshots->size(), 20'000U);
}

// What is not HTTP must end in an error, not in waiting or in nonsense.
TEST_F(ClientTest, HostileAnswersAreErrors) {
  for (const std::string_view answer :
       {"", "garbage\r\n\r\n", "HTTP/1.1 2x0 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n"}) {
    const auto listener = link::listen_unix(directory_ + "/run/api.sock");
    ASSERT_TRUE(listener);
    std::atomic<bool> stop{false};
    std::thread server([&] {
      while (!stop) {
        const auto ready = [&] {
          pollfd entry{listener->get(), POLLIN, 0};
          return ::poll(&entry, 1, 20) > 0;
        };
        if (!ready()) continue;
        const Fd peer(::accept(listener->get(), nullptr, nullptr));
        char buffer[4096];
        if (::recv(peer.get(), buffer, sizeof buffer, 0) > 0)
          ::send(peer.get(), answer.data(), answer.size(), MSG_NOSIGNAL);
      }
    });
    Client client(directory_);
    EXPECT_FALSE(client.info()) << answer;
    stop = true;
    server.join();
  }
}

}  // namespace
}  // namespace hozon
