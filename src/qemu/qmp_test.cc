// Proves: a QMP client stays right whatever QEMU does. A fake QEMU on a unix socket misbehaves in
// one way per test: silent, late, answering twice or out of order, garbage, lines too long, dying.
#include "qemu/qmp.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <filesystem>
#include <functional>
#include <thread>

#include "base/fd.h"
#include "qemu/files.h"

namespace hozon {
namespace {

using Json = nlohmann::json;

constexpr const char* kGreeting =
    R"({"QMP":{"version":{"qemu":{"micro":22,"minor":2,"major":7},"package":""},"capabilities":[]}})";

// One connection; the script of a test runs in a thread of its own after the negotiation.
class FakeQemu {
 public:
  using Script = std::function<void(FakeQemu&)>;
  explicit FakeQemu(Script script, bool greet = true) {
    std::string pattern = testing::TempDir() + "hozon-qmp-XXXXXX";
    directory_ = ::mkdtemp(pattern.data());
    // Longer than a socket address: the client must cope.
    deep_ = directory_ + "/" + std::string(120, 'd');
    std::filesystem::create_directory(deep_);
    listener_ = Fd(::socket(AF_UNIX, SOCK_STREAM, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const std::string short_path = directory_ + "/s";
    std::memcpy(address.sun_path, short_path.c_str(), short_path.size() + 1);
    EXPECT_EQ(::bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    std::filesystem::rename(short_path, path());
    EXPECT_EQ(::listen(listener_.get(), 1), 0);
    thread_ = std::thread([this, script = std::move(script), greet] {
      connection_ = Fd(::accept(listener_.get(), nullptr, nullptr));
      if (greet) {
        say(kGreeting);
        answer(next(), Json::object());
      }
      script(*this);
      if (keep_open_) next();  // until the client goes
      connection_ = Fd();
    });
  }
  ~FakeQemu() {
    ::shutdown(listener_.get(), SHUT_RDWR);
    thread_.join();
    std::filesystem::remove_all(directory_);
  }
  std::string path() const { return deep_ + "/qmp.sock"; }
  void say(const std::string& line) { send_text(line + "\n"); }
  void send_text(std::string_view text) {
    while (!text.empty()) {
      const ssize_t sent = ::send(connection_.get(), text.data(), text.size(), MSG_NOSIGNAL);
      if (sent <= 0) return;
      text.remove_prefix(static_cast<size_t>(sent));
    }
  }
  void answer(const Json& command, const Json& value) {
    if (command.contains("id")) say(Json{{"return", value}, {"id", command["id"]}}.dump());
  }
  // The next command; an empty object when the client has gone.
  Json next() {
    for (;;) {
      const size_t end = input_.find('\n');
      if (end != std::string::npos) {
        Json command = Json::parse(input_.substr(0, end), nullptr, false);
        input_.erase(0, end + 1);
        return command;
      }
      char part[65536];
      iovec piece{part, sizeof(part)};
      alignas(cmsghdr) char control[256];
      msghdr message{};
      message.msg_iov = &piece;
      message.msg_iovlen = 1;
      message.msg_control = control;
      message.msg_controllen = sizeof(control);
      const ssize_t got = ::recvmsg(connection_.get(), &message, 0);
      if (got <= 0) return Json::object();
      input_.append(part, static_cast<size_t>(got));
      for (cmsghdr* h = CMSG_FIRSTHDR(&message); h != nullptr; h = CMSG_NXTHDR(&message, h)) {
        int fd = -1;
        std::memcpy(&fd, CMSG_DATA(h), sizeof(fd));
        passed = Fd(fd);
      }
    }
  }
  void hang_up() { keep_open_ = false; }
  Fd passed;

 private:
  std::string directory_;
  std::string deep_;
  Fd listener_;
  Fd connection_;
  std::thread thread_;
  std::string input_;
  bool keep_open_ = true;
};

std::unique_ptr<QmpClient> connected(const FakeQemu& fake) {
  auto client = QmpClient::connect(fake.path(), 5000);
  EXPECT_TRUE(client) << client.error().what;
  return client ? std::move(*client) : nullptr;
}

TEST(Qmp, NegotiatesAndKnowsTheVersion) {
  FakeQemu fake([](FakeQemu& q) { q.answer(q.next(), {{"status", "running"}}); });
  const auto client = connected(fake);
  EXPECT_EQ(client->qemu_version(), "7.2.22");
  const auto status = client->call("query-status");
  ASSERT_TRUE(status) << status.error().what;
  EXPECT_EQ((*status)["status"], "running");
}

TEST(Qmp, SaysThatNobodyIsThere) {
  const auto client = QmpClient::connect(testing::TempDir() + "no-such-qmp.sock", 100);
  ASSERT_FALSE(client);
  EXPECT_EQ(client.error().code, Code::kUnavailable);
}

TEST(Qmp, GivesUpOnASocketThatDoesNotGreet) {
  FakeQemu fake([](FakeQemu&) {}, false);
  const auto client = QmpClient::connect(fake.path(), 200);
  ASSERT_FALSE(client);
  EXPECT_EQ(client.error().code, Code::kUnavailable);
}

TEST(Qmp, ReportsWhatQemuRefuses) {
  FakeQemu fake([](FakeQemu& q) {
    const Json id = q.next()["id"];
    q.say(Json{{"error", {{"class", "GenericError"}, {"desc", "no \"such\" thing"}}}, {"id", id}}
              .dump());
    const Json other = q.next()["id"];
    q.say(Json{{"error", {{"class", "CommandNotFound"}, {"desc", "what?"}}}, {"id", other}}.dump());
    q.say(Json{{"error", 7}, {"id", q.next()["id"]}}.dump());
  });
  const auto client = connected(fake);
  const auto refused = client->call("migrate");
  EXPECT_EQ(refused.error().code, Code::kIo);
  EXPECT_EQ(refused.error().what, "QEMU refused 'migrate': no \"such\" thing");
  EXPECT_EQ(client->call("dance").error().code, Code::kNotFound);
  EXPECT_EQ(client->call("odd").error().code, Code::kIo);
}

TEST(Qmp, ASilentCommandTimesOutAndItsLateAnswerIsDropped) {
  FakeQemu fake([](FakeQemu& q) {
    const Json slow = q.next();
    const Json quick = q.next();
    q.answer(slow, "late");
    q.answer(quick, "right");
    q.answer(quick, "again");
    q.answer(q.next(), "next");
  });
  const auto client = connected(fake);
  const auto slow = client->call("stop", Json::object(), 100);
  ASSERT_FALSE(slow);
  EXPECT_EQ(slow.error().code, Code::kUnavailable);
  EXPECT_NE(slow.error().what.find("'stop' within 100 ms"), std::string::npos);
  EXPECT_EQ(client->call("a").value_or(""), "right");
  EXPECT_EQ(client->call("b").value_or(""), "next");
  EXPECT_EQ(client->ignored_lines(), 2U);
}

TEST(Qmp, AnswersInAnyOrderReachTheirCallers) {
  FakeQemu fake([](FakeQemu& q) {
    std::vector<Json> commands;
    for (int i = 0; i < 8; ++i) commands.push_back(q.next());
    for (size_t i = commands.size(); i-- > 0;) q.answer(commands[i], commands[i]["execute"]);
  });
  const auto client = connected(fake);
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i)
    threads.emplace_back([&client, i] {
      const std::string name = fmt::format("command-{}", i);
      EXPECT_EQ(client->call(name).value_or(""), name);
    });
  for (std::thread& thread : threads) thread.join();
}

TEST(Qmp, GarbageAndHugeLinesDisturbNothing) {
  FakeQemu fake([](FakeQemu& q) {
    const Json command = q.next();
    q.say("}{ this is not JSON \xff\xfe");
    q.say("[1,2,3]");
    q.say("\"text\"");
    q.say(R"({"return":{}})");
    q.say(R"({"return":{},"id":"7"})");
    q.say(R"({"return":{},"id":99999})");
    q.say(R"({"event":5})");
    q.say(R"({"event":"ODD","timestamp":"never"})");
    q.say(std::string(4000, '['));
    q.send_text(std::string(kQmpLineMax + 1, 'x') + "\n");
    q.say("");
    q.answer(command, "fine");
  });
  const auto client = connected(fake);
  EXPECT_EQ(client->call("query-status").value_or(""), "fine");
  EXPECT_EQ(client->ignored_lines(), 9U);
  EXPECT_TRUE(client->wait_event({"ODD"}, 0, 1000));
}

TEST(Qmp, AnAnswerInManyPiecesAndALongOneArrive) {
  FakeQemu fake([](FakeQemu& q) {
    const Json command = q.next();
    for (const char c : Json{{"return", "pieces"}, {"id", command["id"]}}.dump() + "\r\n")
      q.send_text(std::string(1, c));
    q.answer(q.next(), std::string(kQmpLineMax / 2, 'y'));
  });
  const auto client = connected(fake);
  EXPECT_EQ(client->call("a").value_or(""), "pieces");
  const auto big = client->call("b");
  ASSERT_TRUE(big);
  EXPECT_EQ(big->get<std::string>().size(), kQmpLineMax / 2);
}

TEST(Qmp, AQemuThatDiesEndsEveryCallAtOnce) {
  FakeQemu fake([](FakeQemu& q) {
    q.next();
    q.send_text(R"({"return": "half an ans)");
    q.hang_up();
  });
  const auto client = connected(fake);
  const uint64_t start = monotonic_ns();
  const auto dead = client->call("stop", Json::object(), 20'000);
  ASSERT_FALSE(dead);
  EXPECT_LT(monotonic_ns() - start, 5'000'000'000U);
  EXPECT_EQ(dead.error().code, Code::kUnavailable);
  EXPECT_NE(dead.error().what.find("during 'stop'"), std::string::npos) << dead.error().what;
  EXPECT_FALSE(client->is_connected());
  EXPECT_FALSE(client->call("cont"));
  EXPECT_FALSE(client->wait_event({"RESUME"}, 0, 20'000));
}

TEST(Qmp, EventsKeepOrderTimeAndABound) {
  FakeQemu fake([](FakeQemu& q) {
    const Json command = q.next();
    q.say(R"({"event":"STOP","timestamp":{"seconds":12,"microseconds":345678}})");
    q.say(
        R"({"event":"MIGRATION","data":{"status":"setup"},"timestamp":{"seconds":12,"microseconds":5}})");
    q.answer(command, Json::object());
    q.say(R"({"event":"RESUME","timestamp":{"seconds":13,"microseconds":0}})");
    const Json flood = q.next();
    for (size_t i = 0; i < kQmpEventsMax + 10; ++i) q.say(R"({"event":"BLOCK_IO_ERROR"})");
    q.answer(flood, Json::object());
  });
  const auto client = connected(fake);
  ASSERT_TRUE(client->call("migrate"));
  const auto stop = client->wait_event({"STOP"}, 0, 2000);
  ASSERT_TRUE(stop);
  EXPECT_EQ(stop->qemu_time_us, 12'345'678);
  EXPECT_EQ(client->wait_event({"MIGRATION"}, 0, 2000)->data["status"], "setup");
  EXPECT_EQ(client->wait_event({"RESUME", "SHUTDOWN"}, stop->number, 2000)->name, "RESUME");
  EXPECT_FALSE(client->wait_event({"STOP"}, stop->number, 50))
      << "the same event is not found twice";
  ASSERT_TRUE(client->call("flood"));
  EXPECT_EQ(client->events_after(0).size(), kQmpEventsMax);
  EXPECT_EQ(client->last_event(), kQmpEventsMax + 13);
}

TEST(Qmp, ADescriptorArrivesWithItsCommand) {
  FakeQemu fake([](FakeQemu& q) {
    const Json command = q.next();
    EXPECT_EQ(command["execute"], "getfd");
    EXPECT_EQ(command["arguments"]["fdname"], "mig");
    EXPECT_EQ(::write(q.passed.get(), "x", 1), 1);
    q.answer(command, Json::object());
  });
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  const Fd read_end(ends[0]);
  const Fd write_end(ends[1]);
  const auto client = connected(fake);
  const Status sent = client->send_fd("mig", write_end.get());
  ASSERT_TRUE(sent) << sent.error().what;
  char byte = 0;
  EXPECT_EQ(::read(read_end.get(), &byte, 1), 1);
  EXPECT_EQ(byte, 'x');
}

TEST(Qmp, AQemuThatDoesNotReadCannotHoldACallerForEver) {
  FakeQemu fake([](FakeQemu&) { std::this_thread::sleep_for(std::chrono::milliseconds(700)); });
  const auto client = connected(fake);
  const uint64_t start = monotonic_ns();
  const auto stuck = client->call("big", {{"text", std::string(8 << 20, 'z')}}, 300);
  ASSERT_FALSE(stuck);
  EXPECT_LT(monotonic_ns() - start, 2'000'000'000U);
}

}  // namespace
}  // namespace hozon
