// Proves: an Interval ends by its time, and early by end(), on both event loops.
#include "serve/interval.h"

#include <gtest/gtest.h>

#include "base/sync.h"

namespace hozon::serve {
namespace {

TEST(Interval, EndsByItsTimeAndEarlyByEnd) {
  for (const LoopBackend kind : {LoopBackend::kUring, LoopBackend::kThreads}) {
    const std::unique_ptr<Loop> loop = *Loop::create(kind);
    const uint64_t begin = loop->now_ns();
    spawn([](Loop& on) -> Task<void> {
      co_await on.yield();
      Interval interval(on);
      const uint64_t before = on.now_ns();
      co_await interval.wait(5'000'000);
      EXPECT_GE(on.now_ns() - before, 5'000'000U);
      Group group(on);
      group.start(interval.wait(60'000'000'000));
      co_await on.sleep(2'000'000);
      interval.end();
      co_await group.wait();
      co_await interval.wait(60'000'000'000);
      EXPECT_TRUE(interval.ended());
      on.stop();
    }(*loop));
    loop->run();
    EXPECT_LT(loop->now_ns() - begin, 5'000'000'000U);
  }
}

}  // namespace
}  // namespace hozon::serve
