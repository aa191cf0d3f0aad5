// Proves: values and lines survive a round trip; damaged lines are refused with an Error; a client
// repeats exactly the calls it may repeat when the server dies. Method: a server thread on a real
// socket whose script says for each connection whether to answer and stay, to answer and close,
// or to close after reading.
#include <gtest/gtest.h>
#include <stdlib.h>

#include <atomic>
#include <thread>

#include "link/client.h"
#include "link/protocol.h"
#include "link/unix_socket.h"

namespace hozon::link {
namespace {

TEST(LinkProtocol, ValuesSurviveARoundTrip) {
  const VolumeInfo volume{7, "web.vda", 1ULL << 40, 123, 9, 3};
  EXPECT_EQ(*decode_volume(encode(volume)), volume);
  const PointInfo point{1, 2, 3, "snapshot", "before", 4096, 5, 6};
  EXPECT_EQ(*decode_point(encode(point)), point);
  PoolStats stats;
  stats.pool_id = "00ff";
  stats.free_bytes = UINT64_MAX;
  stats.failure = "disk gone";
  EXPECT_EQ(*decode_pool_stats(encode(stats)), stats);
  const CheckReport report{{"bad"}, {"odd"}, 1, 2, 3, 4, {}};
  EXPECT_EQ(*decode_check_report(encode(report)), report);
  const ReturnItem item{"a", "b", "c"};
  EXPECT_EQ(*decode_return_item(encode(item)), item);
}

TEST(LinkProtocol, DamagedLinesAreErrorsNotExceptions) {
  for (const char* line : {"", "{", "[]", "{\"id\":-1,\"op\":\"x\"}", "{\"id\":1}",
                           "{\"id\":1,\"op\":5}", "{\"id\":1.5,\"op\":\"x\"}", "\xff\xfe", "null"})
    EXPECT_FALSE(decode_request(line)) << line;
  for (const char* line : {"", "{}", "{\"id\":2,\"ok\":true}", "{\"id\":1,\"ok\":\"yes\"}"})
    EXPECT_FALSE(decode_answer(line, 1)) << line;
  EXPECT_FALSE(decode_volume(nlohmann::json::parse("{\"id\":\"x\"}")));
  EXPECT_FALSE(strings_field(nlohmann::json::parse("{\"v\":[1]}"), "v"));
}

TEST(LinkProtocol, AnswersCarryCodeAndSentence) {
  const std::string line =
      encode_answer(4, make_error(Code::kNotFound, "volume 'x' does not exist"));
  const Result<nlohmann::json> answer = decode_answer(line, 4);
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, Code::kNotFound);
  EXPECT_EQ(answer.error().what, "volume 'x' does not exist");
  EXPECT_EQ(decode_answer(encode_answer(5, nlohmann::json{{"a", 1}}), 5)->at("a"), 1);
}

TEST(UnixSocket, ALongPathIsRefusedWithTheExcess) {
  const Status status = check_unix_path(std::string(120, 'x'));
  ASSERT_FALSE(status);
  EXPECT_NE(status.error().what.find("at least 13 bytes shorter"), std::string::npos)
      << status.error().what;
  EXPECT_TRUE(check_unix_path(std::string(107, 'x')));
}

enum class Fate { kAnswer, kAnswerThenClose, kCloseAfterReading };

class ScriptedServer {
 public:
  explicit ScriptedServer(std::vector<Fate> fates) {
    char text[] = "/tmp/hozon-link-XXXXXX";
    directory_ = ::mkdtemp(text);
    listener_ = *listen_unix(path());
    thread_ = std::thread([this, fates = std::move(fates)] {
      for (const Fate fate : fates) serve(fate);
    });
  }
  ~ScriptedServer() {
    thread_.join();
    ::unlink(path().c_str());
    ::rmdir(directory_.c_str());
  }
  std::string path() const { return directory_ + "/s"; }
  int executed() const { return executed_; }

 private:
  void serve(Fate fate) {
    const Fd peer(::accept(listener_.get(), nullptr, nullptr));
    std::string line;
    char byte = 0;
    while (::read(peer.get(), &byte, 1) == 1 && byte != '\n') line += byte;
    if (line.empty()) return;
    ++executed_;
    if (fate == Fate::kCloseAfterReading) return;
    const Result<Request> request = decode_request(line);
    const std::string answer = encode_answer(request->id, nlohmann::json{{"op", request->op}});
    EXPECT_EQ(::write(peer.get(), answer.data(), answer.size()),
              static_cast<ssize_t>(answer.size()));
    if (fate == Fate::kAnswer) (void)!::read(peer.get(), &byte, 1);  // until the client goes
  }
  std::string directory_;
  Fd listener_;
  std::thread thread_;
  std::atomic<int> executed_ = 0;
};

TEST(LinkClient, AsksAndGetsAnAnswer) {
  ScriptedServer server({Fate::kAnswer});
  auto client = LinkClient::connect(server.path(), 1000);
  EXPECT_EQ(client->call("volume.create", {{"name", "x"}}, 2000)->at("op"), "volume.create");
}

TEST(LinkClient, RepeatsAReadWhoseAnswerGotLost) {
  ScriptedServer server({Fate::kCloseAfterReading, Fate::kAnswer});
  auto client = LinkClient::connect(server.path(), 1000);
  EXPECT_TRUE(client->call("volume.list", {}, 2000));
  EXPECT_EQ(server.executed(), 2);
}

TEST(LinkClient, NeverRepeatsAChangeWhoseAnswerGotLost) {
  ScriptedServer server({Fate::kCloseAfterReading});
  auto client = LinkClient::connect(server.path(), 1000);
  const auto answer = client->call("volume.delete", {{"name", "x"}}, 2000);
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, Code::kUnavailable);
  EXPECT_NE(answer.error().what.find("not known"), std::string::npos);
  EXPECT_EQ(server.executed(), 1);
}

TEST(LinkClient, AnIdleConnectionThatTheServerClosedIsReplacedForAnyCall) {
  ScriptedServer server({Fate::kAnswerThenClose, Fate::kAnswer});
  auto client = LinkClient::connect(server.path(), 1000);
  EXPECT_TRUE(client->call("volume.create", {{"name", "x"}}, 2000));
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_TRUE(client->call("volume.create", {{"name", "y"}}, 2000));
  EXPECT_EQ(server.executed(), 2);
}

TEST(LinkClient, NobodyThereIsUnavailable) {
  const auto client = LinkClient::connect("/tmp/hozon-nobody/s", 50);
  ASSERT_FALSE(client);
  EXPECT_EQ(client.error().code, Code::kUnavailable);
}

}  // namespace
}  // namespace hozon::link
