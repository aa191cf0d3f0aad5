// Proves: the server keeps its promises H1..H3 against clients that are slow, silent, torn, hostile
// or too many, over a real unix socket.
#include "api/http_server.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <atomic>
#include <csignal>
#include <filesystem>
#include <thread>

#include "api/request_parser.h"

namespace hozon::api {
namespace {

using std::chrono::milliseconds;

// A stream of nothing, or of more than anybody can read, that ends when `over` is set.
class Ticker : public ByteStream {
 public:
  Ticker(const std::atomic<bool>& over, bool floods) : over_(over), floods_(floods) { ++living; }
  ~Ticker() override { --living; }
  std::optional<std::string> take() override {
    if (over_) return std::nullopt;
    return floods_ ? std::string(65536, 'x') : "";
  }
  void on_more(std::function<void()>) override {}
  std::string heartbeat() const override { return ": beat\n"; }
  static inline std::atomic<int> living{0};

 private:
  const std::atomic<bool>& over_;
  bool floods_;
};

class HttpServerTest : public testing::Test {
 protected:
  void SetUp() override {
    path_ = fmt::format("/tmp/hozon-http-{}-{}.sock", getpid(), counter_++);
    Fd listener(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const sockaddr_un address = make_address();
    ASSERT_EQ(bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    ASSERT_EQ(listen(listener.get(), 128), 0);
    HttpTimeouts timeouts;
    timeouts.header = milliseconds(300);
    timeouts.body = milliseconds(300);
    timeouts.idle = milliseconds(600);
    timeouts.drain = milliseconds(300);
    timeouts.write = milliseconds(500);
    timeouts.heartbeat = milliseconds(100);
    auto made = HttpServer::create(
        std::move(listener), [this](Request& request) { return handle(request); }, timeouts);
    ASSERT_TRUE(made);
    server_ = std::move(*made);
    thread_ = std::thread([this] { server_->run(); });
  }
  void TearDown() override {
    server_->stop();
    thread_.join();
    std::filesystem::remove(path_);
  }
  sockaddr_un make_address() const {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path_.copy(address.sun_path, sizeof address.sun_path - 1);
    return address;
  }
  Response handle(Request& request) {
    Response response;
    response.content_type = "text/plain";
    response.body = request.method + " " + request.target + " " + request.body;
    if (request.target == "/throw") throw std::runtime_error("a library threw");
    if (request.target == "/slow") std::this_thread::sleep_for(milliseconds(200));
    if (request.target == "/stream") response.stream = std::make_shared<Ticker>(ready_, false);
    if (request.target == "/flood") response.stream = std::make_shared<Ticker>(ready_, true);
    if (request.target == "/later") {
      response.later = [this]() -> std::optional<Response> {
        if (!ready_) return std::nullopt;
        Response known;
        known.body = "ready";
        return known;
      };
    }
    return response;
  }
  Fd connect_client() const {
    Fd client(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const sockaddr_un address = make_address();
    EXPECT_EQ(connect(client.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address),
              0);
    const timeval limit{5, 0};
    setsockopt(client.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(client.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    return client;
  }
  static bool put(const Fd& client, std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t sent = send(client.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent <= 0) return false;
      bytes.remove_prefix(static_cast<size_t>(sent));
    }
    return true;
  }
  // Everything until the server closes (or 5 s passed).
  static std::string read_all(const Fd& client) {
    std::string out;
    char buffer[4096];
    ssize_t got = 0;
    while ((got = recv(client.get(), buffer, sizeof buffer, 0)) > 0)
      out.append(buffer, static_cast<size_t>(got));
    return out;
  }
  static std::string read_until(const Fd& client, std::string_view end) {
    std::string out;
    char c = 0;
    while (!out.ends_with(end) && recv(client.get(), &c, 1, 0) == 1) out += c;
    return out;
  }
  std::string exchange(std::string_view bytes) const {
    const Fd client = connect_client();
    put(client, bytes);
    return read_all(client);
  }

  static inline int counter_ = 0;
  std::string path_;
  std::atomic<bool> ready_{false};
  std::unique_ptr<HttpServer> server_;
  std::thread thread_;
};

constexpr std::string_view kGet = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n";

TEST_F(HttpServerTest, KeepsTheConnectionAndAnswersPipelinedRequestsInOrder) {
  const Fd client = connect_client();
  put(client, "GET /1 HTTP/1.1\r\nHost: h\r\n\r\nGET /2 HTTP/1.1\r\nHost: h\r\n\r\n");
  EXPECT_NE(read_until(client, "GET /1 ").find("200 OK"), std::string::npos);
  EXPECT_NE(read_until(client, "GET /2 ").find("200 OK"), std::string::npos);
  put(client, "GET /3 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
  const std::string last = read_all(client);
  EXPECT_NE(last.find("GET /3 "), std::string::npos);
  EXPECT_NE(last.find("Connection: close"), std::string::npos);
}

TEST_F(HttpServerTest, ChunkedBodyByteByByte) {
  const Fd client = connect_client();
  const std::string bytes =
      "POST /c HTTP/1.1\r\nHost: h\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
      "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
  for (const char c : bytes) ASSERT_TRUE(put(client, {&c, 1}));
  EXPECT_NE(read_all(client).find("POST /c abcde"), std::string::npos);
}

TEST_F(HttpServerTest, OversizedBodyStillSeesItsAnswer) {
  const Fd client = connect_client();
  put(client, fmt::format("POST /c HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n", 3 << 20));
  put(client, std::string(3 << 20, 'x'));  // it goes on sending although it was refused
  const std::string answer = read_all(client);
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 413 ")) << answer.substr(0, 100);
  EXPECT_NE(answer.find("application/problem+json"), std::string::npos);
}

TEST_F(HttpServerTest, MalformedRequestsAreAnsweredAndClosed) {
  EXPECT_TRUE(exchange("garbage\r\n\r\n").starts_with("HTTP/1.1 400 "));
  EXPECT_TRUE(exchange("GET / HTTP/1.1\r\nHost: h\r\nX: " + std::string(20'000, 'a') + "\r\n\r\n")
                  .starts_with("HTTP/1.1 431 "));
}

TEST_F(HttpServerTest, SlowHeaderIsCut) {
  const Fd client = connect_client();
  put(client, "GET /a HTT");
  EXPECT_TRUE(read_all(client).starts_with("HTTP/1.1 408 "));
  EXPECT_EQ(exchange(""), "");  // one that says nothing is closed without an answer
}

TEST_F(HttpServerTest, TrickledHeaderDoesNotResetItsDeadline) {
  const Fd client = connect_client();
  const auto start = std::chrono::steady_clock::now();
  std::string_view bytes = kGet;
  while (!bytes.empty() && put(client, bytes.substr(0, 1))) {
    bytes.remove_prefix(1);
    std::this_thread::sleep_for(milliseconds(50));
    if (std::chrono::steady_clock::now() - start > milliseconds(1000)) break;
  }
  EXPECT_TRUE(read_all(client).starts_with("HTTP/1.1 408 "));
}

TEST_F(HttpServerTest, TornBodyIsCut) {
  const Fd client = connect_client();
  put(client, "POST /c HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc");
  EXPECT_TRUE(read_all(client).starts_with("HTTP/1.1 408 "));
  const Fd gone = connect_client();
  put(gone, "POST /c HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc");
  shutdown(gone.get(), SHUT_WR);
  EXPECT_EQ(read_all(gone), "");
}

TEST_F(HttpServerTest, IdleConnectionIsClosedQuietly) {
  const Fd client = connect_client();
  put(client, kGet);
  read_until(client, "GET /a ");
  EXPECT_EQ(read_all(client), "");
}

TEST_F(HttpServerTest, TooManyConnectionsAreRefusedAndRecover) {
  std::vector<Fd> clients;
  for (size_t i = 0; i < kConnectionsMax; ++i) clients.push_back(connect_client());
  while (server_->connections() < kConnectionsMax) std::this_thread::sleep_for(milliseconds(1));
  EXPECT_TRUE(exchange(kGet).starts_with("HTTP/1.1 503 "));
  clients.clear();
  while (server_->connections() > 0) std::this_thread::sleep_for(milliseconds(1));
  const Fd client = connect_client();
  put(client, kGet);
  EXPECT_NE(read_until(client, "GET /a ").find("200 OK"), std::string::npos);
}

TEST_F(HttpServerTest, AnExceptionIsAnAnswer) {
  const std::string answer =
      exchange("GET /throw HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 500 "));
  EXPECT_NE(answer.find("a library threw"), std::string::npos);
}

TEST_F(HttpServerTest, WaitersHoldNoWorker) {
  std::vector<Fd> waiters;
  for (size_t i = 0; i < 3 * kWorkers; ++i) {
    waiters.push_back(connect_client());
    put(waiters.back(), "GET /later HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
  }
  std::this_thread::sleep_for(milliseconds(500));  // longer than the header timeout
  EXPECT_NE(exchange("GET /b HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").find("GET /b"),
            std::string::npos);
  ready_ = true;
  for (const Fd& waiter : waiters) EXPECT_NE(read_all(waiter).find("ready"), std::string::npos);
}

TEST_F(HttpServerTest, SendsContinueWhenAsked) {
  const Fd client = connect_client();
  put(client,
      "POST /c HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 2\r\n"
      "Expect: 100-continue\r\n\r\n");
  EXPECT_EQ(read_until(client, "\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
  put(client, "ok");
  EXPECT_NE(read_all(client).find("POST /c ok"), std::string::npos);
}

TEST_F(HttpServerTest, StopLetsARunningRequestEnd) {
  const Fd client = connect_client();
  const Fd idle = connect_client();
  put(client, "GET /slow HTTP/1.1\r\nHost: h\r\n\r\n");
  std::this_thread::sleep_for(milliseconds(50));
  server_->stop();
  EXPECT_NE(read_all(client).find("GET /slow"), std::string::npos);
  EXPECT_EQ(read_all(idle), "");
}

TEST_F(HttpServerTest, ManyClientsAtOnce) {
  std::atomic<int> answered{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t)
    threads.emplace_back([&] {
      const Fd client = connect_client();
      for (int i = 0; i < 200; ++i) {
        put(client, kGet);
        if (read_until(client, "GET /a ").find("200 OK") != std::string::npos) ++answered;
      }
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(answered, 1600);
}

bool soon(const std::function<bool()>& condition) {
  for (int i = 0; i < 500 && !condition(); ++i) std::this_thread::sleep_for(milliseconds(10));
  return condition();
}

TEST_F(HttpServerTest, SendsAHeartbeatWhileNothingHappensInAStream) {
  const Fd client = connect_client();
  put(client, "GET /stream HTTP/1.1\r\nHost: h\r\n\r\n");
  const std::string head = read_until(client, "\r\n\r\n");
  EXPECT_EQ(head.find("Content-Length"), std::string::npos);
  EXPECT_NE(head.find("Connection: close"), std::string::npos);
  EXPECT_EQ(read_until(client, "beat\n: beat\n"), ": beat\n: beat\n");
  ready_ = true;
  read_all(client);  // ends, although the client said nothing
  EXPECT_TRUE(soon([] { return Ticker::living == 0; }));
}

TEST_F(HttpServerTest, CutsAStreamThatNobodyReadsAndServesTheOthers) {
  const Fd slow = connect_client();
  put(slow, "GET /flood HTTP/1.1\r\nHost: h\r\n\r\n");
  EXPECT_TRUE(soon([] { return Ticker::living == 1; }));
  const Fd reader = connect_client();
  put(reader, "GET /stream HTTP/1.1\r\nHost: h\r\n\r\n");
  EXPECT_EQ(read_until(reader, ": beat\n").substr(0, 12), "HTTP/1.1 200");
  EXPECT_NE(exchange("GET /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").find("200 OK"),
            std::string::npos);
  EXPECT_TRUE(soon([] { return Ticker::living == 1; })) << "the slow one is still there";
  EXPECT_EQ(read_until(reader, ": beat\n"), ": beat\n") << "the other one goes on";
}

TEST_F(HttpServerTest, NoticesThatTheClientOfAStreamLeft) {
  {
    const Fd client = connect_client();
    put(client, "GET /stream HTTP/1.1\r\nHost: h\r\n\r\n");
    read_until(client, "\r\n\r\n");
  }
  EXPECT_TRUE(soon([] { return Ticker::living == 0; }));
  EXPECT_TRUE(soon([this] { return server_->connections() == 0; }));
}

TEST_F(HttpServerTest, RefusesOneStreamTooMany) {
  std::vector<Fd> clients;
  for (size_t i = 0; i < kStreamsMax; ++i) {
    clients.push_back(connect_client());
    put(clients.back(), "GET /stream HTTP/1.1\r\nHost: h\r\n\r\n");
    read_until(clients.back(), "\r\n\r\n");
  }
  EXPECT_EQ(exchange("GET /stream HTTP/1.1\r\nHost: h\r\n\r\n").substr(0, 12), "HTTP/1.1 503");
  clients.pop_back();
  EXPECT_TRUE(soon([] { return Ticker::living == kStreamsMax - 1; }));
  clients.push_back(connect_client());
  put(clients.back(), "GET /stream HTTP/1.1\r\nHost: h\r\n\r\n");
  EXPECT_EQ(read_until(clients.back(), "\r\n").substr(0, 12), "HTTP/1.1 200");
}

}  // namespace
}  // namespace hozon::api
