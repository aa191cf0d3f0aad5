// Proves: what a guest's agent says of itself becomes facts of a snapshot, and an agent that says
// something else, or too much, adds nothing that harms.
#include "control/guest_facts.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

#include "base/fd.h"

namespace hozon::control {
namespace {

using nlohmann::json;

TEST(GuestFacts, AreThoseOfTheAgent) {
  const json facts = facts_of(
      {{"pretty-name", "Debian GNU/Linux 12"}, {"id", "debian"}}, {{"host-name", "web"}},
      json::array(
          {{{"name", "lo"}, {"hardware-address", "00:00:00:00:00:00"}},
           {{"name", "eth0"},
            {"hardware-address", "52:54:00:00:00:01"},
            {"ip-addresses", json::array({{{"ip-address", "10.0.2.15"}, {"prefix", 24}},
                                          {{"ip-address", "fe80::1"}, {"prefix", 64}}})}}}));
  EXPECT_EQ(facts["os"], "Debian GNU/Linux 12");
  EXPECT_EQ(facts["hostname"], "web");
  ASSERT_EQ(facts["interfaces"].size(), 1U);
  EXPECT_EQ(facts["interfaces"][0]["mac"], "52:54:00:00:00:01");
  EXPECT_EQ(facts["interfaces"][0]["addresses"], (json{"10.0.2.15/24", "fe80::1/64"}));
}

TEST(GuestFacts, NonsenseAddsNothing) {
  EXPECT_TRUE(facts_of(nullptr, nullptr, nullptr).empty());
  EXPECT_TRUE(facts_of({{"pretty-name", 7}}, "web", 3).empty());
  const json strange = facts_of({{"pretty-name", "a\nb"}}, json::array(),
                                json::array({7, {{"name", "eth0"}, {"ip-addresses", "none"}}}));
  EXPECT_EQ(strange["os"], "a\\x0ab");
  EXPECT_EQ(strange["interfaces"][0]["addresses"], json::array());
  json many = json::array();
  for (int i = 0; i < 1000; ++i) many.push_back({{"name", std::string(5000, 'x')}});
  const json bounded = facts_of(nullptr, nullptr, many);
  EXPECT_LE(bounded["interfaces"].size(), 64U);
  EXPECT_LE(bounded["interfaces"][0]["name"].get<std::string>().size(), 200U);
}

// An agent at the other end of a socket: each line that it hears is answered with what the script
// says, and with nothing when that is empty.
class FakeAgent {
 public:
  using Script = std::function<std::string(const json& request)>;
  explicit FakeAgent(Script script) : script_(std::move(script)) {
    static int number = 0;
    path_ = fmt::format("{}facts-{}-{}.sock", testing::TempDir(), ::getpid(), ++number);
    ::unlink(path_.c_str());
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path_.copy(address.sun_path, sizeof(address.sun_path) - 1);
    listener_ = Fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(::bind(listener_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)),
              0);
    EXPECT_EQ(::listen(listener_.get(), 1), 0);
    thread_ = std::jthread([this](const std::stop_token& ended) { serve(ended); });
  }
  ~FakeAgent() {
    thread_.request_stop();
    thread_.join();
    ::unlink(path_.c_str());
  }
  const std::string& path() const { return path_; }

  // A proper agent of the host `name`.
  static std::string proper(const std::string& name, const json& request) {
    const std::string command = request.value("execute", "");
    json answer = json::array();
    if (command == "guest-sync-delimited") answer = request["arguments"]["id"];
    if (command == "guest-get-osinfo") answer = {{"pretty-name", "An OS"}};
    if (command == "guest-get-host-name") answer = {{"host-name", name}};
    const std::string line = json{{"return", answer}}.dump() + "\n";
    return command == "guest-sync-delimited" ? "\xff" + line : line;
  }

 private:
  void serve(const std::stop_token& ended) {
    Fd peer;
    std::string heard;
    while (!ended.stop_requested()) {
      pollfd waiting{peer ? peer.get() : listener_.get(), POLLIN, 0};
      if (::poll(&waiting, 1, 10) != 1) continue;
      if (!peer) {
        peer = Fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
        continue;
      }
      char part[4096];
      const ssize_t got = ::recv(peer.get(), part, sizeof(part), 0);
      if (got <= 0) return;
      heard.append(part, static_cast<size_t>(got));
      for (size_t end = 0; (end = heard.find('\n')) != std::string::npos;) {
        const size_t begin = std::min(heard.find('{'), end);
        const json request = json::parse(heard.substr(begin, end - begin), nullptr, false);
        heard.erase(0, end + 1);
        const std::string answer = request.is_object() ? script_(request) : "";
        (void)::send(peer.get(), answer.data(), answer.size(), MSG_NOSIGNAL);
      }
    }
  }

  Script script_;
  std::string path_;
  Fd listener_;
  std::jthread thread_;
};

constexpr int kLongMs = 20'000;

// Each of them answers only when all have been asked.
TEST(GuestFacts, AllAgentsAreAskedAtOnce) {
  constexpr int kAgents = 4;
  std::mutex mutex;
  std::condition_variable all_here;
  int here = 0;
  std::vector<std::unique_ptr<FakeAgent>> agents;
  std::vector<std::string> sockets;
  for (int i = 0; i < kAgents; ++i) {
    agents.push_back(std::make_unique<FakeAgent>([&, i](const json& request) {
      if (request.value("execute", "") == "guest-sync-delimited") {
        std::unique_lock lock(mutex);
        ++here;
        all_here.notify_all();
        all_here.wait_for(lock, std::chrono::milliseconds(2 * kLongMs),
                          [&] { return here == kAgents; });
      }
      return FakeAgent::proper("host-" + std::to_string(i), request);
    }));
    sockets.push_back(agents.back()->path());
  }
  const std::vector<json> facts = ask_agents(sockets, kLongMs);
  ASSERT_EQ(facts.size(), size_t{kAgents});
  for (int i = 0; i < kAgents; ++i) {
    ASSERT_TRUE(facts[static_cast<size_t>(i)].is_object()) << i;
    EXPECT_EQ(facts[static_cast<size_t>(i)]["hostname"], "host-" + std::to_string(i));
  }
}

TEST(GuestFacts, OneThatHangsTakesNothingFromTheOthers) {
  FakeAgent silent([](const json&) { return ""; });
  FakeAgent proper([](const json& request) { return FakeAgent::proper("web", request); });
  FakeAgent hangs([](const json& request) {
    return request.value("execute", "") == "guest-get-host-name"
               ? ""
               : FakeAgent::proper("hangs", request);
  });
  const auto facts = ask_agents({silent.path(), proper.path(), "/nowhere", hangs.path()}, 2000);
  EXPECT_TRUE(facts[0].is_null());
  EXPECT_EQ(facts[1].value("hostname", ""), "web");
  EXPECT_TRUE(facts[2].is_null());
  EXPECT_EQ(facts[3].value("os", ""), "An OS");
  EXPECT_FALSE(facts[3].contains("hostname"));
}

// The time is that of all commands: an agent that takes nearly all of it for each gets no further.
TEST(GuestFacts, TheTimeIsThatOfAllCommandsTogether) {
  FakeAgent slow([](const json& request) {
    if (request.value("execute", "") != "guest-sync-delimited")
      std::this_thread::sleep_for(std::chrono::milliseconds(400));
    return FakeAgent::proper("slow", request);
  });
  const auto facts = ask_agents({slow.path()}, 700);
  EXPECT_FALSE(facts[0].contains("interfaces")) << facts[0];
}

}  // namespace
}  // namespace hozon::control
