// Proves: both back ends of the event loop behave alike. Every test runs on each of them: order of
// coroutines, timers, turn hooks, stop(), storage operations (short ones included), sockets,
// cancelling, and more operations at once than the submission queue holds.
#include "io/loop.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <thread>
#include <vector>

#include "base/bytes.h"
#include "base/task.h"
#include "base/units.h"
#include "io/loop_base.h"

namespace hozon {
namespace {

class LoopTest : public testing::TestWithParam<LoopBackend> {
 public:
  void SetUp() override {
    auto made = Loop::create(GetParam());
    if (!made && made.error().code == Code::kUnavailable) GTEST_SKIP() << made.error().what;
    ASSERT_TRUE(made) << made.error().what;
    loop_ = *std::move(made);
  }

  void run(Task<void> task) {
    spawn(stop_after(std::move(task)));
    loop_->run();
  }
  Task<void> stop_after(Task<void> task) {
    co_await loop_->yield();
    co_await std::move(task);
    loop_->stop();
  }

  static Fd temporary_file() {
    std::string path = testing::TempDir() + "hozon-loop-XXXXXX";
    Fd file(::mkostemp(path.data(), O_CLOEXEC));
    ::unlink(path.c_str());
    return file;
  }
  Loop::Awaiter file_op(IoOp::Kind kind, int fd, std::span<std::byte> data, uint64_t offset) {
    return {*loop_, {kind, fd, data.data(), data.size(), offset, 0, {}}};
  }

  std::unique_ptr<Loop> loop_;
};

struct SocketPair {
  Fd one, other;
  explicit SocketPair(int flags = 0) {
    std::array<int, 2> raw{};
    HOZON_CHECK(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | flags, 0, raw.data()) == 0);
    one = Fd(raw[0]);
    other = Fd(raw[1]);
  }
};

Task<void> append_after(Loop& loop, uint64_t delay_ns, int value, std::vector<int>& into) {
  co_await loop.sleep(delay_ns);
  into.push_back(value);
}

TEST_P(LoopTest, StopThatCameEarlierEndsTheNextRunOnly) {
  loop_->stop();
  loop_->run();
  std::vector<int> order;
  run(append_after(*loop_, 0, 1, order));
  EXPECT_EQ(order, std::vector<int>{1});
}

TEST_P(LoopTest, StopFromAnotherThreadAndFromASignalHandlerEndsAWait) {
  std::thread other([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    loop_->stop();
  });
  loop_->run();
  other.join();

  static Loop* stopped_by_signal = nullptr;
  stopped_by_signal = loop_.get();
  struct sigaction action{};
  action.sa_handler = [](int) { stopped_by_signal->stop(); };
  struct sigaction before{};
  ASSERT_EQ(::sigaction(SIGALRM, &action, &before), 0);
  const itimerval soon{.it_interval = {}, .it_value = {.tv_sec = 0, .tv_usec = 20'000}};
  ASSERT_EQ(::setitimer(ITIMER_REAL, &soon, nullptr), 0);
  loop_->run();
  ::sigaction(SIGALRM, &before, nullptr);
}

TEST_P(LoopTest, TimersFireInTheOrderOfTheirTimes) {
  std::vector<int> order;
  spawn(append_after(*loop_, 30'000'000, 3, order));
  spawn(append_after(*loop_, 10'000'000, 1, order));
  spawn(append_after(*loop_, 20'000'000, 2, order));
  const uint64_t begin = loop_->now_ns();
  run(append_after(*loop_, 40'000'000, 4, order));
  EXPECT_EQ(order, (std::vector<int>{1, 2, 3, 4}));
  EXPECT_GE(loop_->now_ns() - begin, 40'000'000U);
}

TEST_P(LoopTest, YieldLetsOthersRunAndDoesNotStarveStorageAndTimers) {
  bool done = false;
  spawn([](Loop& loop, bool& end) -> Task<void> {
    while (!end) co_await loop.yield();
  }(*loop_, done));
  std::vector<std::byte> data(4096);
  const Fd file = temporary_file();
  run([](LoopTest& test, Loop& loop, int fd, std::span<std::byte> buffer, bool& end) -> Task<void> {
    co_await loop.sleep(1'000'000);
    EXPECT_EQ(co_await test.file_op(IoOp::Kind::kWrite, fd, buffer, 0), 0);
    end = true;
    co_await loop.yield();
    co_await loop.yield();
  }(*this, *loop_, file.get(), data, done));
}

// Collects what became ready in a turn, as the journal does, and releases all of it at its end.
struct CollectingHook : Executor::TurnHook {
  explicit CollectingHook(Executor& executor) : gate(executor) {}
  void end_of_turn() override {
    if (!gate.has_waiters()) return;
    ++turns_with_waiters;
    gate.pulse();
  }
  Event gate;
  int turns_with_waiters = 0;
};

TEST_P(LoopTest, HookRunsWhenNothingIsReadyAndWhatItPostsRunsInTheSameTurn) {
  CollectingHook hook(*loop_);
  loop_->add_turn_hook(&hook);
  int passed = 0;
  for (int i = 0; i < 10; ++i)
    spawn([](Loop& loop, CollectingHook& collector, int& count) -> Task<void> {
      co_await loop.yield();
      co_await collector.gate;
      ++count;
    }(*loop_, hook, passed));
  run([](Loop& loop) -> Task<void> { co_await loop.sleep(1'000'000); }(*loop_));
  EXPECT_EQ(passed, 10);
  EXPECT_EQ(hook.turns_with_waiters, 1);
  loop_->remove_turn_hook(&hook);
}

// A walk over a large map yields again and again; whoever waits for the journal must not wait for
// it.
TEST_P(LoopTest, AcknowledgementsAreNotHeldUpByWhoeverYieldsAllTheTime) {
  CollectingHook hook(*loop_);
  loop_->add_turn_hook(&hook);
  run([](Loop& loop, CollectingHook& collector) -> Task<void> {
    bool released = false;
    spawn([](CollectingHook& in, bool& done) -> Task<void> {
      co_await in.gate;
      done = true;
    }(collector, released));
    for (int i = 0; i < 1000 && !released; ++i) co_await loop.yield();
    EXPECT_TRUE(released);
  }(*loop_, hook));
  loop_->remove_turn_hook(&hook);
}

// A deletion's answer waited for 16 slices of the walk that gives its space back, again and again.
TEST_P(LoopTest, WhoYieldsGoesOnAfterTheOutsideWasLookedAt) {
  const SocketPair sockets;
  ASSERT_EQ(::write(sockets.other.get(), "x", 1), 1);
  run([](Loop& loop, int fd) -> Task<void> {
    bool received = false;
    spawn([](Loop& on, int from, bool& done) -> Task<void> {
      std::array<std::byte, 1> byte;
      EXPECT_EQ(co_await on.recv(from, byte), 1);
      done = true;
    }(loop, fd, received));
    int yields = 0;
    for (; yields < 1000 && !received; ++yields) co_await loop.yield();
    EXPECT_LE(yields, 4);
  }(*loop_, sockets.one.get()));
}

TEST_P(LoopTest, StorageOperationsMoveEveryByte) {
  const Fd file = temporary_file();
  run([](LoopTest& test, int fd) -> Task<void> {
    std::vector<std::byte> written(3_MiB + 512);
    for (size_t i = 0; i < written.size(); ++i)
      written[i] = static_cast<std::byte>(i * 7 + i / 999);
    EXPECT_EQ(co_await test.file_op(IoOp::Kind::kWrite, fd, written, 4096), 0);
    EXPECT_EQ(co_await test.file_op(IoOp::Kind::kSync, fd, {}, 0), 0);
    std::vector<std::byte> read(written.size());
    EXPECT_EQ(co_await test.file_op(IoOp::Kind::kRead, fd, read, 4096), 0);
    EXPECT_EQ(read, written);
    Loop::Awaiter punching{*test.loop_, {IoOp::Kind::kPunch, fd, nullptr, 8192, 4096, 0, {}}};
    EXPECT_EQ(co_await punching, 0);
    EXPECT_EQ(co_await test.file_op(IoOp::Kind::kRead, fd, std::span(read).first(8192), 4096), 0);
    EXPECT_EQ(std::vector<std::byte>(read.begin(), read.begin() + 8192),
              std::vector<std::byte>(8192));
  }(*this, file.get()));
}

TEST_P(LoopTest, ReadAcrossTheEndOfAFileIsAnErrorAfterItsShortPart) {
  const Fd file = temporary_file();
  ASSERT_EQ(::ftruncate(file.get(), 6000), 0);
  run([](LoopTest& test, int fd) -> Task<void> {
    std::vector<std::byte> read(8192);
    EXPECT_EQ(co_await test.file_op(IoOp::Kind::kRead, fd, read, 0), -EIO);
    EXPECT_EQ(co_await test.file_op(IoOp::Kind::kRead, fd, read, 1 << 20), -EIO);
    EXPECT_EQ(co_await test.file_op(IoOp::Kind::kRead, -1, read, 0), -EBADF);
    EXPECT_EQ(co_await test.file_op(IoOp::Kind::kSync, -1, read, 0), -EBADF);
  }(*this, file.get()));
}

// A file size limit in the middle of a write makes the kernel write less than asked; the rest is
// tried again and then fails with the true reason.
TEST_P(LoopTest, ShortWriteIsContinuedAndReportsWhyTheRestFailed) {
  const Fd file = temporary_file();
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  auto* old_handler = ::signal(SIGXFSZ, SIG_IGN);
  rlimit limited = before;
  limited.rlim_cur = 10'000;
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &limited), 0);
  run([](LoopTest& test, int fd) -> Task<void> {
    std::vector<std::byte> data(32'768, std::byte{7});
    EXPECT_EQ(co_await test.file_op(IoOp::Kind::kWrite, fd, data, 0), -EFBIG);
  }(*this, file.get()));
  ::setrlimit(RLIMIT_FSIZE, &before);
  ::signal(SIGXFSZ, old_handler);
  EXPECT_EQ(::lseek(file.get(), 0, SEEK_END), 10'000);
}

Task<void> write_and_count(Loop& loop, int fd, std::span<std::byte> data, uint64_t offset,
                           int& good) {
  Loop::Awaiter writing{loop, {IoOp::Kind::kWrite, fd, data.data(), data.size(), offset, 0, {}}};
  const int32_t result = co_await writing;
  if (result == 0) ++good;
}

TEST_P(LoopTest, MoreOperationsAtOnceThanAnyQueueHolds) {
  constexpr int kOperations = 10'000;
  const Fd file = temporary_file();
  std::vector<std::byte> data(512, std::byte{1});
  int good = 0;
  run([](Loop& loop, int fd, std::span<std::byte> buffer, int& count) -> Task<void> {
    Group group(loop);
    for (int i = 0; i < kOperations; ++i)
      group.start(write_and_count(loop, fd, buffer, static_cast<uint64_t>(i) * 512, count));
    co_await group.wait();
  }(*loop_, file.get(), data, good));
  EXPECT_EQ(good, kOperations);
}

TEST_P(LoopTest, SocketsSendReceiveAndEnd) {
  for (const int flags : {0, static_cast<int>(SOCK_NONBLOCK)}) {
    SocketPair sockets(flags);
    run([](Loop& loop, SocketPair& pair) -> Task<void> {
      Group group(loop);
      std::vector<std::byte> big(4_MiB, std::byte{42});
      group.start([](Loop& inner, int fd, std::span<const std::byte> data) -> Task<void> {
        while (!data.empty()) {
          const int32_t sent = co_await inner.send(fd, data);
          EXPECT_GT(sent, 0);
          if (sent <= 0) co_return;
          data = data.subspan(static_cast<size_t>(sent));
        }
        ::shutdown(fd, SHUT_WR);
      }(loop, pair.one.get(), big));
      std::vector<std::byte> buffer(64_KiB);
      uint64_t received = 0;
      for (;;) {
        const int32_t got = co_await loop.recv(pair.other.get(), buffer);
        EXPECT_GE(got, 0);
        if (got <= 0) break;
        received += static_cast<uint64_t>(got);
      }
      EXPECT_EQ(received, 4_MiB);
      co_await group.wait();
    }(*loop_, sockets));
  }
}

TEST_P(LoopTest, SendsSeveralPartsAtOnceAndReportsAGoneReader) {
  SocketPair sockets;
  run([](Loop& loop, SocketPair& pair) -> Task<void> {
    std::string head = "head ";
    std::string tail = "tail";
    std::array<iovec, 2> parts{iovec{head.data(), head.size()}, iovec{tail.data(), tail.size()}};
    EXPECT_EQ(co_await loop.send_parts(pair.one.get(), parts), 9);
    std::array<std::byte, 64> buffer;
    EXPECT_EQ(co_await loop.recv(pair.other.get(), buffer), 9);
    EXPECT_EQ(std::string(reinterpret_cast<const char*>(buffer.data()), 9), "head tail");
    pair.other = Fd();
    EXPECT_GT(co_await loop.poll_in(pair.one.get()), 0);
    EXPECT_EQ(co_await loop.send_parts(pair.one.get(), parts), -EPIPE);
  }(*loop_, sockets));
}

TEST_P(LoopTest, AcceptsConnectionsAndCancelsWhatNeverEnds) {
  const std::string path = testing::TempDir() + fmt::format("hozon-{}.sock", ::getpid());
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  ASSERT_LT(path.size(), sizeof address.sun_path);
  path.copy(address.sun_path, path.size());
  Fd listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  ::unlink(path.c_str());
  ASSERT_EQ(::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  ASSERT_EQ(::listen(listener.get(), 8), 0);
  Fd client(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  ASSERT_EQ(::connect(client.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  ::unlink(path.c_str());

  run([](Loop& loop, int fd) -> Task<void> {
    const Fd connection(co_await loop.accept(fd));
    EXPECT_TRUE(connection);
    for (const bool wait_first : {true, false}) {
      Group group(loop);
      Loop::Awaiter accepting = loop.accept(fd);
      int32_t result = 0;
      group.start([](Loop::Awaiter& awaiter, int32_t& out) -> Task<void> {
        out = co_await awaiter;
      }(accepting, result));
      if (wait_first) co_await loop.sleep(2'000'000);
      loop.cancel(accepting.op);
      co_await group.wait();
      EXPECT_EQ(result, -ECANCELED);
    }
  }(*loop_, listener.get()));
}

TEST_P(LoopTest, CancelOfANonBlockingReceiveThatIsBeingPolled) {
  SocketPair sockets(SOCK_NONBLOCK);
  run([](Loop& loop, SocketPair& pair) -> Task<void> {
    std::array<std::byte, 8> buffer;
    Loop::Awaiter receiving = loop.recv(pair.one.get(), buffer);
    int32_t result = 0;
    Group group(loop);
    group.start([](Loop::Awaiter& awaiter, int32_t& out) -> Task<void> { out = co_await awaiter; }(
                                                             receiving, result));
    co_await loop.sleep(2'000'000);
    loop.cancel(receiving.op);
    co_await group.wait();
    EXPECT_EQ(result, -ECANCELED);
  }(*loop_, sockets));
}

INSTANTIATE_TEST_SUITE_P(Both, LoopTest,
                         testing::Values(LoopBackend::kUring, LoopBackend::kThreads),
                         [](const testing::TestParamInfo<LoopBackend>& test) {
                           return test.param == LoopBackend::kUring ? "uring" : "threads";
                         });

TEST(LoopChoice, EnvironmentDecidesAndNonsenseIsRefused) {
  ASSERT_EQ(::setenv("HOZON_LOOP", "threads", 1), 0);
  EXPECT_EQ((*Loop::create())->backend_name(), "threads");
  ASSERT_EQ(::setenv("HOZON_LOOP", "magic", 1), 0);
  const auto refused = Loop::create();
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kInvalidArgument);
  EXPECT_NE(refused.error().what.find("'magic'"), std::string::npos);
  ::unsetenv("HOZON_LOOP");
}

}  // namespace
}  // namespace hozon
