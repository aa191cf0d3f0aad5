// Proves: what a guest's agent says of itself becomes facts of a snapshot, and an agent that says
// something else, or too much, adds nothing that harms.
#include "control/guest_facts.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>

#include "qemu/fake_agent.h"

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

std::string command_in(const std::string& line) {
  const json request = FakeAgent::request_in(line);
  return request.is_object() ? request.value("execute", "") : "";
}

// What a proper agent of the host `name` answers.
std::string proper(const std::string& name, const std::string& line) {
  const std::string command = command_in(line);
  if (command == "guest-sync-delimited") return FakeAgent::synced(line);
  json answer = json::array();
  if (command == "guest-get-osinfo") answer = {{"pretty-name", "An OS"}};
  if (command == "guest-get-host-name") answer = {{"host-name", name}};
  return json{{"return", answer}}.dump() + "\n";
}

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
    agents.push_back(std::make_unique<FakeAgent>([&, i](const std::string& line) {
      if (command_in(line) == "guest-sync-delimited") {
        std::unique_lock lock(mutex);
        ++here;
        all_here.notify_all();
        all_here.wait_for(lock, std::chrono::milliseconds(2 * kLongMs),
                          [&] { return here == kAgents; });
      }
      return proper("host-" + std::to_string(i), line);
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
  FakeAgent silent([](const std::string&) { return ""; });
  FakeAgent good([](const std::string& line) { return proper("web", line); });
  FakeAgent hangs([](const std::string& line) {
    return command_in(line) == "guest-get-host-name" ? "" : proper("hangs", line);
  });
  const auto facts = ask_agents({silent.path(), good.path(), "/nowhere", hangs.path()}, 2000);
  EXPECT_TRUE(facts[0].is_null());
  EXPECT_EQ(facts[1].value("hostname", ""), "web");
  EXPECT_TRUE(facts[2].is_null());
  EXPECT_EQ(facts[3].value("os", ""), "An OS");
  EXPECT_FALSE(facts[3].contains("hostname"));
}

// The time is that of all commands: an agent that takes nearly all of it for each gets no further.
TEST(GuestFacts, TheTimeIsThatOfAllCommandsTogether) {
  FakeAgent slow([](const std::string& line) {
    if (command_in(line) != "guest-sync-delimited")
      std::this_thread::sleep_for(std::chrono::milliseconds(400));
    return proper("slow", line);
  });
  const auto facts = ask_agents({slow.path()}, 700);
  EXPECT_FALSE(facts[0].contains("interfaces")) << facts[0];
}

}  // namespace
}  // namespace hozon::control
