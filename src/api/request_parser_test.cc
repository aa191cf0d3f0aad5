// Proves: requests come out the same however their bytes were cut (R2); malformed, oversized and
// ambiguous ones are refused with the right status (R3); nothing grows without bound (R1).
#include "api/request_parser.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <random>

namespace hozon::api {
namespace {

using State = RequestParser::State;

std::string post(std::string_view headers, std::string_view body) {
  return fmt::format("POST /v1/x HTTP/1.1\r\nHost: h\r\n{}\r\n{}", headers, body);
}

int status_of(std::string_view bytes) {
  RequestParser parser;
  const State state = parser.feed(bytes);
  return state == State::kDone ? 200 : state == State::kFailed ? parser.failure_status() : 0;
}

TEST(RequestParser, ReadsARequestWithoutBody) {
  RequestParser parser;
  EXPECT_TRUE(parser.idle());
  ASSERT_EQ(parser.feed("GET /v1/pools?a=1 HTTP/1.1\r\nHost: h\r\nX-Thing: Some Text\r\n\r\n"),
            State::kDone);
  const Request request = parser.take();
  EXPECT_EQ(request.method, "GET");
  EXPECT_EQ(request.target, "/v1/pools?a=1");
  EXPECT_EQ(request.header("x-thing"), "Some Text");
  EXPECT_TRUE(request.keep_alive);
  EXPECT_FALSE(request.has_length);
  EXPECT_TRUE(parser.idle());
}

TEST(RequestParser, ChunkedBodyArrivesWholeByteByByte) {
  const std::string bytes = post("Transfer-Encoding: chunked\r\n",
                                 "5;ext=\"a\"\r\nhello\r\n1\r\n \r\n5\r\nworld\r\n0\r\n\r\n");
  RequestParser parser;
  for (size_t i = 0; i + 1 < bytes.size(); ++i)
    ASSERT_EQ(parser.feed(bytes.substr(i, 1)), State::kReading) << "after byte " << i;
  ASSERT_EQ(parser.feed(bytes.substr(bytes.size() - 1)), State::kDone);
  EXPECT_EQ(parser.take().body, "hello world");
}

TEST(RequestParser, EveryCutOfAPipelineGivesTheSameRequests) {
  const std::string bytes = post("Content-Length: 3\r\n", "abc") +
                            post("Transfer-Encoding: chunked\r\n", "a\r\n0123456789\r\n0\r\n\r\n") +
                            "\r\nGET /last HTTP/1.1\r\nHost: h\r\n\r\n";
  for (size_t seed = 0; seed < 300; ++seed) {
    std::mt19937_64 random(seed);
    RequestParser parser;
    std::vector<std::string> seen;
    for (size_t at = 0; at < bytes.size();) {
      const size_t size = 1 + random() % (seed % 40 + 1);
      parser.feed(std::string_view(bytes).substr(at, size));
      at += size;
      while (parser.state() == State::kDone) {
        const Request request = parser.take();
        seen.push_back(request.target + "|" + request.body);
      }
      ASSERT_NE(parser.state(), State::kFailed) << parser.failure() << " seed " << seed;
    }
    ASSERT_EQ(seen, (std::vector<std::string>{"/v1/x|abc", "/v1/x|0123456789", "/last|"}));
  }
}

TEST(RequestParser, HeaderLimit) {
  const std::string fits(kHeaderBytesMax - 100, 'a');
  EXPECT_EQ(status_of("GET / HTTP/1.1\r\nHost: h\r\nX: " + fits + "\r\n\r\n"), 200);
  const std::string large(kHeaderBytesMax, 'a');
  EXPECT_EQ(status_of("GET / HTTP/1.1\r\nHost: h\r\nX: " + large + "\r\n\r\n"), 431);
  EXPECT_EQ(status_of("GET /" + large + large), 431);  // it never even ends
  std::string many = "GET / HTTP/1.1\r\nHost: h\r\n";
  for (int i = 0; i < 3000; ++i) many += fmt::format("X{}: 1\r\n", i);
  EXPECT_EQ(status_of(many), 431);
}

TEST(RequestParser, BodyLimitIsExact) {
  const std::string fits(kBodyBytesMax, 'b');
  EXPECT_EQ(status_of(post(fmt::format("Content-Length: {}\r\n", fits.size()), fits)), 200);
  EXPECT_EQ(status_of(post(fmt::format("Content-Length: {}\r\n", fits.size() + 1), "")), 413);
  EXPECT_EQ(status_of(post("Content-Length: 1125899906842624\r\n", "")), 413);
  EXPECT_EQ(status_of(post("Transfer-Encoding: chunked\r\n",
                           fmt::format("{:x}\r\n{}\r\n0\r\n\r\n", fits.size(), fits))),
            200);
  EXPECT_EQ(status_of(post("Transfer-Encoding: chunked\r\n",
                           fmt::format("{:x}\r\n{}\r\n1\r\nx\r\n", fits.size(), fits))),
            413);
  EXPECT_EQ(status_of(post("Transfer-Encoding: chunked\r\n", "ffffffff\r\n")), 413);
}

TEST(RequestParser, AmbiguousLengthsAreRefused) {
  EXPECT_EQ(status_of(post("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n")),
            400);
  EXPECT_EQ(status_of(post("Content-Length: 3\r\nContent-Length: 4\r\n", "abc")), 400);
  EXPECT_EQ(status_of(post("Content-Length: 3\r\nContent-Length: 3\r\n", "abc")), 400);
  EXPECT_EQ(status_of(post("Content-Length: -1\r\n", "")), 400);
  EXPECT_EQ(status_of(post("Content-Length: 0x3\r\n", "abc")), 400);
  EXPECT_EQ(status_of(post("Content-Length: 99999999999999999999999\r\n", "")), 400);
  EXPECT_EQ(status_of(post("Transfer-Encoding: gzip\r\n", "")), 501);
  EXPECT_EQ(status_of(post("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n")), 501);
  EXPECT_EQ(status_of(post("Transfer-Encoding: chunked\r\n", "zz\r\n")), 400);
  EXPECT_EQ(status_of(post("Transfer-Encoding: chunked\r\n", "3\r\nabcX\r\n0\r\n\r\n")), 400);
}

TEST(RequestParser, EndlessChunkExtensionIsRefused) {
  RequestParser parser;
  parser.feed(post("Transfer-Encoding: chunked\r\n", "5;"));
  State state = State::kReading;
  for (int i = 0; i < 100 && state == State::kReading; ++i)
    state = parser.feed(std::string(4096, 'x'));
  EXPECT_EQ(state, State::kFailed);
}

TEST(RequestParser, GarbageIsRefused) {
  for (const std::string_view bytes :
       {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", "GET\r\n\r\n",
        "GET / HTTP/1.1\nHost: h\n\n", "GET / HTTP/1.1\r\nHost : h\r\n\r\n",
        "GET / HTTP/1.1\r\n: h\r\n\r\n", "G<T / HTTP/1.1\r\n\r\n", "GET / FTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nX: \x01\r\n\r\n"})
    EXPECT_EQ(status_of(bytes), 400) << bytes;
  EXPECT_EQ(status_of("GET / HTTP/2.0\r\nHost: h\r\n\r\n"), 505);
  EXPECT_EQ(status_of(post("Expect: magic\r\nContent-Length: 1\r\n", "")), 417);
}

TEST(RequestParser, RandomBytesNeverHangOrGrow) {
  for (uint64_t seed = 0; seed < 2000; ++seed) {
    std::mt19937_64 random(seed);
    std::string bytes = post("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\nT: x\r\n\r\n");
    for (int flips = 0; flips < 4; ++flips)
      bytes[random() % bytes.size()] = static_cast<char>(random());
    RequestParser parser;
    for (const char c : bytes) {
      parser.feed({&c, 1});
      if (parser.state() == State::kDone) parser.take();
      if (parser.state() == State::kFailed) break;
    }
  }
}

TEST(RequestParser, AsksForContinueOnce) {
  RequestParser parser;
  parser.feed(post("Expect: 100-continue\r\nContent-Length: 2\r\n", ""));
  EXPECT_TRUE(parser.take_wants_continue());
  EXPECT_FALSE(parser.take_wants_continue());
  EXPECT_EQ(parser.feed("ok"), State::kDone);
}

TEST(RequestParser, OldClientsCloseByDefault) {
  RequestParser parser;
  ASSERT_EQ(parser.feed("GET / HTTP/1.0\r\n\r\n"), State::kDone);
  EXPECT_FALSE(parser.take().keep_alive);
}

}  // namespace
}  // namespace hozon::api
