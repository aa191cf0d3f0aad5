// Proves: the client of the guest agent returns in time and takes nothing for an answer that is
// none, whatever the guest says; a proper agent is understood. The agent is a script at the other
// end of the socket.
#include "qemu/guest_agent.h"

#include <gtest/gtest.h>

#include <chrono>

#include "qemu/fake_agent.h"

namespace hozon {
namespace {

using Json = nlohmann::json;

bool is_sync(const std::string& line) { return line.find("guest-sync-delimited") != line.npos; }

// An agent that synchronises well and then answers every command with `answer`.
FakeAgent::Script answering(const std::string& answer) {
  return [answer](const std::string& line) {
    return is_sync(line) ? FakeAgent::synced(line) : answer;
  };
}

Code code_of_call(const std::string& answer) {
  FakeAgent fake(answering(answer));
  auto agent = GuestAgent::connect(fake.path(), 5000);
  EXPECT_TRUE(agent) << agent.error().what;
  const auto outcome = agent->call("guest-ping", Json::object(), 200);
  return outcome ? Code::kInternal : outcome.error().code;
}

TEST(GuestAgent, UnderstandsAProperAgent) {
  FakeAgent fake([](const std::string& line) -> std::string {
    if (is_sync(line)) return FakeAgent::synced(line);
    if (line.find("fsfreeze-status") != line.npos)
      return R"({"return":"frozen"})"
             "\n";
    if (line.find("fsfreeze") != line.npos)
      return R"({"return":3})"
             "\n";
    return R"({"return":{}})"
           "\n";
  });
  auto agent = GuestAgent::connect(fake.path(), 5000);
  ASSERT_TRUE(agent) << agent.error().what;
  EXPECT_TRUE(agent->ping());
  EXPECT_EQ(agent->freeze(1000).value_or(0), 3U);
  EXPECT_TRUE(agent->is_frozen().value_or(false));
  EXPECT_EQ(agent->thaw(1000).value_or(0), 3U);
  EXPECT_TRUE(agent->set_time(1'700'000'000'000'000'000));
}

TEST(GuestAgent, WhatWasMeantForSomebodyElseIsDropped) {
  FakeAgent fake([](const std::string& line) -> std::string {
    if (!is_sync(line))
      return R"({"return":"mine"})"
             "\n";
    return "half of an old ans\n{\"return\":7}\n\xff{\"return\":42}\n" + FakeAgent::synced(line);
  });
  auto agent = GuestAgent::connect(fake.path(), 5000);
  ASSERT_TRUE(agent) << agent.error().what;
  EXPECT_EQ(agent->call("guest-ping").value_or(""), "mine");
}

TEST(GuestAgent, ASilentGuestCostsTheTimeoutAndNoMore) {
  FakeAgent fake([](const std::string&) { return ""; });
  const auto start = std::chrono::steady_clock::now();
  const auto agent = GuestAgent::connect(fake.path(), 300);
  ASSERT_FALSE(agent);
  EXPECT_EQ(agent.error().code, Code::kUnavailable);
  const auto took = std::chrono::steady_clock::now() - start;
  EXPECT_GE(took, std::chrono::milliseconds(290));
  EXPECT_LT(took, std::chrono::seconds(20));
}

TEST(GuestAgent, EndlessNoiseIsNoAgent) {
  FakeAgent fake([](const std::string&) { return std::string(kAgentNoiseMax + 8192, 'x'); });
  const auto agent = GuestAgent::connect(fake.path(), 10'000);
  ASSERT_FALSE(agent);
  EXPECT_EQ(agent.error().code, Code::kCorruption) << agent.error().what;
}

TEST(GuestAgent, AnswersThatAreNoneAreRefused) {
  EXPECT_EQ(code_of_call("nonsense\n"), Code::kCorruption);
  EXPECT_EQ(code_of_call("[]\n"), Code::kCorruption);
  EXPECT_EQ(code_of_call("{}\n"), Code::kCorruption);
  EXPECT_EQ(code_of_call(R"({"error":"text"})"
                         "\n"),
            Code::kCorruption);
  EXPECT_EQ(code_of_call(std::string(100'000, '[') + "\n"), Code::kCorruption);
  EXPECT_EQ(code_of_call(std::string(kAgentLineMax + 8192, 'x')), Code::kCorruption);
  EXPECT_EQ(code_of_call(R"({"return":)"), Code::kUnavailable);  // and never an end of the line
  EXPECT_EQ(code_of_call(R"({"error":{"class":"CommandNotFound","desc":"no"}})"
                         "\n"),
            Code::kUnimplemented);
  EXPECT_EQ(code_of_call(R"({"error":{"class":"GenericError","desc":"no"}})"
                         "\n"),
            Code::kIo);
  EXPECT_EQ(code_of_call(R"({"error":{"class":5,"desc":{}}})"
                         "\n"),
            Code::kIo);
}

TEST(GuestAgent, WordsOfTheGuestAreCutAndCleaned) {
  FakeAgent fake(
      answering(Json{{"error", {{"desc", "a\x1b[2Jb" + std::string(5000, 'c')}}}}.dump() + "\n"));
  auto agent = GuestAgent::connect(fake.path(), 5000);
  ASSERT_TRUE(agent);
  const auto outcome = agent->call("guest-ping");
  ASSERT_FALSE(outcome);
  EXPECT_EQ(outcome.error().what.find('\x1b'), std::string::npos);
  EXPECT_LT(outcome.error().what.size(), 500U);
}

TEST(GuestAgent, ALateAnswerIsNotTakenForThatOfTheNextCommand) {
  int calls = 0;
  FakeAgent fake([&](const std::string& line) -> std::string {
    if (is_sync(line)) return FakeAgent::synced(line);
    if (++calls == 1) {
      std::this_thread::sleep_for(std::chrono::milliseconds(300));
      return R"({"return":"first"})"
             "\n";
    }
    return R"({"return":"second"})"
           "\n";
  });
  auto agent = GuestAgent::connect(fake.path(), 5000);
  ASSERT_TRUE(agent);
  EXPECT_FALSE(agent->call("guest-ping", Json::object(), 50));
  std::this_thread::sleep_for(std::chrono::milliseconds(500));
  const auto next = agent->call("guest-info", Json::object(), 1000);
  ASSERT_FALSE(next);
  EXPECT_EQ(next.error().code, Code::kUnavailable);
}

TEST(GuestAgent, CountsAndStatusMustBeWhatTheyAre) {
  FakeAgent fake(answering(R"({"return":"many"})"
                           "\n"));
  auto agent = GuestAgent::connect(fake.path(), 5000);
  ASSERT_TRUE(agent);
  EXPECT_FALSE(agent->freeze(1000));
  EXPECT_FALSE(agent->is_frozen());
}

}  // namespace
}  // namespace hozon
