// Proves: the link server answers one line for one line, in order, survives nonsense and clients
// that leave, ends a connection whose line never ends, and stops only when running requests are
// answered. Both event loops; the handler is a plain function.
#include "serve/link_server.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <array>
#include <thread>

namespace hozon::serve {
namespace {

using nlohmann::json;

class LinkServerTest : public testing::TestWithParam<LoopBackend> {
 protected:
  // Runs `client` on a thread of its own, against a server that echoes parameters after `delay_ms`.
  void converse(std::function<void(int)> client) {
    const std::unique_ptr<Loop> loop = *Loop::create(GetParam());
    LinkServer server(*loop, [&loop](link::Request request) { return echo(*loop, request); });
    std::array<int, 2> pair{};
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair.data()), 0);
    std::array<int, 2> ended{};
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ended.data()), 0);
    const Fd end_told(ended[0]);
    std::thread thread([&client, mine = pair[0], tell = ended[1]] {
      const Fd socket(mine);
      const Fd teller(tell);
      client(mine);
    });
    server.serve(Fd(pair[1]));
    spawn([](Loop& on, LinkServer& stopped, int told) -> Task<void> {
      std::array<std::byte, 1> nothing;
      co_await on.recv(told, nothing);
      co_await stopped.stop();
      on.stop();
    }(*loop, server, end_told.get()));
    loop->run();
    thread.join();
  }

  static Task<Result<json>> echo(Loop& loop, link::Request request) {
    if (request.op == "slow") co_await loop.sleep(20'000'000);
    if (request.op == "fail") co_return make_error(Code::kBusy, "it is busy");
    if (request.op == "huge") co_return json(std::string(link::kLineBytesMax, 'x'));
    co_return json{{"op", request.op}};
  }
  static void say(int fd, std::string_view text) {
    while (!text.empty()) {
      const ssize_t sent = ::send(fd, text.data(), text.size(), MSG_NOSIGNAL);
      if (sent <= 0) return;
      text.remove_prefix(static_cast<size_t>(sent));
    }
  }
  // The next line, or "" at the end.
  static std::string hear(int fd) {
    std::string line;
    char c = 0;
    while (::recv(fd, &c, 1, 0) == 1) {
      if (c == '\n') return line;
      line += c;
    }
    return "";
  }
};

TEST_P(LinkServerTest, AnswersInOrderHoweverLinesArrive) {
  converse([](int fd) {
    say(fd, R"({"id":1,"op":"slow"})"
            "\n"
            R"({"id":2,"op":"b"})"
            "\n"
            R"({"id":3,)");
    EXPECT_EQ(json::parse(hear(fd)), (json{{"id", 1}, {"ok", true}, {"result", {{"op", "slow"}}}}));
    EXPECT_EQ(json::parse(hear(fd)), (json{{"id", 2}, {"ok", true}, {"result", {{"op", "b"}}}}));
    say(fd, R"("op":"fail"})"
            "\n");
    const json failed = json::parse(hear(fd));
    EXPECT_EQ(failed["id"], 3);
    EXPECT_EQ(failed["error"]["code"], "busy");
    EXPECT_EQ(failed["error"]["message"], "it is busy");
  });
}

TEST_P(LinkServerTest, NonsenseIsAnsweredAndTheConnectionGoesOn) {
  converse([](int fd) {
    for (const std::string nonsense : {"", "{", "[]", "null", R"({"id":1})", "\xff\xfe"}) {
      say(fd, nonsense + "\n");
      EXPECT_EQ(json::parse(hear(fd))["ok"], false) << nonsense;
    }
    say(fd, R"({"id":7,"op":"huge"})"
            "\n");
    EXPECT_EQ(json::parse(hear(fd))["error"]["code"], "resource_exhausted");
    say(fd, R"({"id":8,"op":"b"})"
            "\n");
    EXPECT_EQ(json::parse(hear(fd))["id"], 8);
  });
}

TEST_P(LinkServerTest, LineThatNeverEndsEndsTheConnection) {
  converse([](int fd) {
    say(fd, std::string(link::kLineBytesMax + (1 << 20), 'x'));
    EXPECT_EQ(hear(fd), "");
  });
}

TEST_P(LinkServerTest, StopsAfterTheRunningRequestOfAClientThatLeft) {
  converse([](int fd) {
    say(fd, R"({"id":1,"op":"slow"})"
            "\n");
  });
}

INSTANTIATE_TEST_SUITE_P(Both, LinkServerTest,
                         testing::Values(LoopBackend::kUring, LoopBackend::kThreads),
                         [](const testing::TestParamInfo<LoopBackend>& test) {
                           return test.param == LoopBackend::kUring ? "uring" : "threads";
                         });

}  // namespace
}  // namespace hozon::serve
