// Proves: who is wrong too often is not listened to until time has passed, and nobody else notices:
// neither another address, nor the owner of a token that was right before, nor the unix socket.
#include "api/wrong_tokens.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

namespace hozon::api {
namespace {

using std::chrono::milliseconds;

class WrongTokensTest : public ::testing::Test {
 protected:
  // Tries as long as it is listened to, at most `most` times; how often that was.
  unsigned be_wrong(const std::string& address, unsigned most = 1000) {
    for (unsigned i = 0; i < most; ++i) {
      if (!tokens_.may_try(address, "guess", now_)) return i;
      tokens_.note_wrong(address, "guess", now_);
    }
    return most;
  }
  WrongTokens tokens_;
  WrongTokens::Time now_ = WrongTokens::Time() + milliseconds(1'000'000);
};

TEST_F(WrongTokensTest, AGuesserIsHeldUpAndGetsOneTryATime) {
  EXPECT_EQ(be_wrong("192.0.2.1"), WrongTokens::kFree);
  EXPECT_FALSE(tokens_.may_try("192.0.2.1", "guess", now_));
  now_ += milliseconds(WrongTokens::kAgainMs);
  EXPECT_EQ(be_wrong("192.0.2.1"), 1U);
  now_ += milliseconds(5 * WrongTokens::kAgainMs);
  EXPECT_EQ(be_wrong("192.0.2.1"), 5U);
  now_ += milliseconds(1000 * WrongTokens::kAgainMs);
  EXPECT_EQ(be_wrong("192.0.2.1"), WrongTokens::kFree);
}

TEST_F(WrongTokensTest, NobodyElseIsLockedOut) {
  tokens_.note_right("known");
  be_wrong("192.0.2.1");
  EXPECT_TRUE(tokens_.may_try("192.0.2.1", "known", now_));
  EXPECT_FALSE(tokens_.may_try("192.0.2.1", "new", now_));
  EXPECT_TRUE(tokens_.may_try("192.0.2.2", "new", now_));
  EXPECT_EQ(be_wrong("", 5000), 5000U);
  // It was revoked: now it is as any other.
  tokens_.note_wrong("192.0.2.1", "known", now_);
  EXPECT_FALSE(tokens_.may_try("192.0.2.1", "known", now_));
}

TEST_F(WrongTokensTest, ANetworkOfIpv6CountsAsOne) {
  unsigned tries = 0;
  for (unsigned i = 1; i < 1000; ++i) tries += be_wrong(fmt::format("2001:db8:1:2::{:x}", i), 1);
  EXPECT_EQ(tries, WrongTokens::kFree);
  EXPECT_TRUE(tokens_.may_try("2001:db8:1:3::1", "guess", now_));
}

TEST_F(WrongTokensTest, WhatIsRememberedIsBounded) {
  be_wrong("192.0.2.1");
  for (size_t i = 0; i < WrongTokens::kAddressesMax; ++i)
    tokens_.note_wrong(fmt::format("10.0.{}.{}", i / 256, i % 256), "guess",
                       now_ + milliseconds(1 + i % 7));
  // The first one waited longest and was let go; the others are still counted.
  EXPECT_TRUE(tokens_.may_try("192.0.2.1", "guess", now_));
  be_wrong("10.0.0.6");
  EXPECT_FALSE(tokens_.may_try("10.0.0.6", "guess", now_));
}

}  // namespace
}  // namespace hozon::api
