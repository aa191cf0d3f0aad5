// Proves: what a guest's agent says of itself becomes facts of a snapshot, and an agent that says
// something else, or too much, adds nothing that harms.
#include "control/guest_facts.h"

#include <gtest/gtest.h>

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

}  // namespace
}  // namespace hozon::control
