// Proves: the NBD server says on the wire what the protocol demands, option by option and command
// by command, and survives clients that leave, stall or overload it. A raw client checks the bytes;
// the model is a MemoryBackend. Both event loops.
#include "serve/nbd_server.h"

#include <gtest/gtest.h>

#include "serve/server_fixture.h"

namespace hozon::serve {
namespace {

using namespace nbd;  // NOLINT: the protocol's names are what these tests are about

constexpr uint64_t kSize = 1_MiB;

class NbdServerTest : public testing::TestWithParam<LoopBackend> {
 protected:
  void SetUp() override { start({}); }
  void start(NbdServer::Limits limits) {
    server_.reset();
    server_ = std::make_unique<ServerThread>(GetParam(), limits);
    server_->call([](MemoryBackend& backend, NbdServer&) { backend.add("disk", kSize); });
  }
  void in_loop(std::function<void(MemoryBackend&)> what) {
    server_->call([&](MemoryBackend& backend, NbdServer&) { what(backend); });
  }
  RawClient client() { return RawClient(server_->connect()); }

  std::unique_ptr<ServerThread> server_;
};

TEST_P(NbdServerTest, ExportNameEntersTransmissionWithAndWithoutZeroes) {
  for (const uint32_t flags : {1U, 3U, 0U}) {
    RawClient raw = client();
    raw.greet(flags);
    raw.send_option(kOptExportName, "disk");
    EXPECT_EQ(raw.receive_object<Be<uint64_t>>(), kSize);
    EXPECT_EQ(raw.receive_object<Be<uint16_t>>(), 0x0d6d);
    if ((flags & kNoZeroes) == 0) {
      EXPECT_EQ(raw.receive_text(124), std::string(124, '\0'));
    }
    EXPECT_EQ(raw.write(10, "hello"), kOk);
    EXPECT_EQ(raw.read_simple(8, 9), std::string("\0\0hello\0\0", 9));
    raw.request(kCmdDisconnect, 1, 0, 0);
    EXPECT_TRUE(raw.sees_end());
  }
  RawClient lost = client();
  lost.greet();
  lost.send_option(kOptExportName, "no such disk");
  EXPECT_TRUE(lost.sees_end());
}

TEST_P(NbdServerTest, ListNamesVolumesAndPointsWithDescriptions) {
  in_loop([](MemoryBackend& backend) {
    backend.add("保存", 4096);
    backend.snapshot("disk", "before upgrade");
  });
  RawClient raw = client();
  raw.greet();
  const auto answers = raw.haggle(kOptList);
  ASSERT_EQ(answers.size(), 4U);
  EXPECT_EQ(answers[0].type, kRepServer);
  EXPECT_EQ(answers[0].data, RawClient::text("disk") + "memory volume");
  EXPECT_EQ(answers[1].data, RawClient::text("disk@before upgrade") + "point of a memory volume");
  EXPECT_EQ(answers[2].data, RawClient::text("保存") + "memory volume");
  EXPECT_EQ(raw.haggle(kOptList, "x").back().type, kRepErrInvalid);
  EXPECT_EQ(raw.haggle(kOptAbort).back().type, kRepAck);
  EXPECT_TRUE(raw.sees_end());
}

TEST_P(NbdServerTest, InfoTellsWhatWasAskedForAndGoFollows) {
  in_loop([](MemoryBackend& backend) { backend.add("odd", 1001); });
  RawClient raw = client();
  raw.greet();
  auto answers = raw.haggle(kOptInfo, RawClient::info_request("disk", {1, 2, 3, 999}));
  ASSERT_EQ(answers.size(), 5U);
  EXPECT_EQ(answers[0].data, RawClient::number(uint16_t{0}) + RawClient::number(kSize) +
                                 RawClient::number(uint16_t{0x0d6d}));
  EXPECT_EQ(answers[1].data, RawClient::number(uint16_t{1}) + "disk");
  EXPECT_EQ(answers[2].data, RawClient::number(uint16_t{2}) + "memory volume");
  EXPECT_EQ(answers[3].data, RawClient::number(uint16_t{3}) + RawClient::number(uint32_t{512}) +
                                 RawClient::number(uint32_t{4096}) +
                                 RawClient::number(uint32_t{32 << 20}));
  answers = raw.haggle(kOptInfo, RawClient::info_request("odd", {3}));
  ASSERT_EQ(answers.size(), 3U);
  EXPECT_EQ(answers[1].data.substr(2, 4), RawClient::number(uint32_t{1}));

  EXPECT_EQ(raw.haggle(kOptInfo, RawClient::info_request("none")).back().type, kRepErrUnknown);
  EXPECT_EQ(raw.haggle(kOptGo, RawClient::info_request("none")).back().type, kRepErrUnknown);
  EXPECT_EQ(raw.haggle(kOptGo, RawClient::info_request("disk@none")).back().type, kRepErrUnknown);
  answers = raw.haggle(kOptGo, RawClient::info_request("disk"));
  EXPECT_EQ(answers.size(), 2U);
  EXPECT_EQ(raw.write(0, "x"), kOk);
}

TEST_P(NbdServerTest, BadOptionsAreRefusedAndTheHagglingGoesOn) {
  RawClient raw = client();
  raw.greet();
  EXPECT_EQ(raw.haggle(kOptStartTls).back().type, kRepErrPolicy);
  EXPECT_EQ(raw.haggle(kOptStartTls, "x").back().type, kRepErrInvalid);
  EXPECT_EQ(raw.haggle(4242, "anything").back().type, kRepErrUnsupported);
  EXPECT_EQ(raw.haggle(11).back().type, kRepErrUnsupported);  // extended headers
  EXPECT_EQ(raw.haggle(kOptStructuredReply, "x").back().type, kRepErrInvalid);
  EXPECT_EQ(raw.haggle(kOptGo).back().type, kRepErrInvalid);
  EXPECT_EQ(raw.haggle(kOptGo, RawClient::info_request("disk") + "x").back().type, kRepErrInvalid);
  EXPECT_EQ(raw.haggle(kOptGo, RawClient::number(uint32_t{5}) + "disk").back().type,
            kRepErrInvalid);
  EXPECT_EQ(raw.haggle(kOptGo, RawClient::number(uint32_t{0xffffffff}) + "disk").back().type,
            kRepErrInvalid);
  EXPECT_EQ(raw.haggle(kOptGo, RawClient::info_request(std::string(4097, 'n'))).back().type,
            kRepErrTooBig);
  EXPECT_EQ(raw.haggle(kOptGo, RawClient::info_request(std::string(4096, 'n'))).back().type,
            kRepErrUnknown);
  EXPECT_EQ(raw.haggle(kOptInfo, std::string(kOptionBytesMax + 1, 'x')).back().type, kRepErrTooBig);
  EXPECT_EQ(raw.haggle(kOptInfo, std::string(kOptionBytesSkipped, 'x')).back().type, kRepErrTooBig);
  EXPECT_EQ(raw.haggle(kOptGo, RawClient::info_request("disk")).back().type, kRepAck);
  EXPECT_EQ(raw.read_simple(0, 1), std::string(1, '\0'));
}

TEST_P(NbdServerTest, TransmissionFlagsFollowTheExport) {
  in_loop([](MemoryBackend& backend) { backend.snapshot("disk", "p"); });
  RawClient head = client();
  EXPECT_EQ(head.go("disk", true), kHasFlags | kSendFlush | kSendFua | kSendTrim |
                                       kSendWriteZeroes | kSendDontFragment | kCanMultiConnect |
                                       kSendCache | kSendFastZero);
  RawClient point = client();
  EXPECT_EQ(point.go("disk@p", true), kHasFlags | kReadOnly | kSendFlush | kSendFua |
                                          kSendDontFragment | kCanMultiConnect | kSendCache);
}

TEST_P(NbdServerTest, StructuredReadsSendZerosAsHoles) {
  RawClient raw = client();
  raw.go("disk", true);
  EXPECT_EQ(raw.write(8192, std::string(4096, 'a')), kOk);
  raw.request(kCmdRead, 5, 4096, 16384);
  auto all = raw.chunks(5);
  ASSERT_EQ(all.size(), 3U);
  EXPECT_EQ(all[0].type, kChunkOffsetHole);
  EXPECT_EQ(all[0].body, RawClient::number(uint64_t{4096}) + RawClient::number(uint32_t{4096}));
  EXPECT_EQ(all[1].type, kChunkOffsetData);
  EXPECT_EQ(all[1].body, RawClient::number(uint64_t{8192}) + std::string(4096, 'a'));
  EXPECT_EQ(all[2].type, kChunkOffsetHole);
  EXPECT_EQ(all[2].body, RawClient::number(uint64_t{12288}) + RawClient::number(uint32_t{8192}));

  raw.request(kCmdRead, 6, 4096, 16384, kFlagDontFragment);
  all = raw.chunks(6);
  ASSERT_EQ(all.size(), 1U);
  EXPECT_EQ(all[0].type, kChunkOffsetData);
  EXPECT_EQ(all[0].body.size(), 8U + 16384);

  raw.request(kCmdRead, 7, 12000, 300);  // any granularity: data, then zeros
  all = raw.chunks(7);
  ASSERT_EQ(all.size(), 2U);
  EXPECT_EQ(all[0].body, RawClient::number(uint64_t{12000}) + std::string(288, 'a'));
  EXPECT_EQ(all[1].body, RawClient::number(uint64_t{12288}) + RawClient::number(uint32_t{12}));

  raw.request(kCmdRead, 8, 0, 0);
  all = raw.chunks(8);
  ASSERT_EQ(all.size(), 1U);
  EXPECT_EQ(all[0].type, kChunkNone);
}

TEST_P(NbdServerTest, WritesZeroesTrimFlushAndFuaReachTheBackend) {
  RawClient raw = client();
  raw.go("disk", false);
  EXPECT_EQ(raw.write(0, std::string(65536, 'x'), kFlagFua), kOk);
  EXPECT_EQ(raw.command(kCmdWriteZeroes, 1, 5, kFlagNoHole | kFlagFastZero | kFlagFua), kOk);
  EXPECT_EQ(raw.command(kCmdTrim, 4096, 4096), kOk);
  EXPECT_EQ(raw.command(kCmdFlush, 0, 0), kOk);
  EXPECT_EQ(raw.command(kCmdCache, 0, 4096), kOk);
  EXPECT_EQ(raw.read_simple(0, 8), std::string("x\0\0\0\0\0xx", 8));
  EXPECT_EQ(raw.read_simple(4095, 3), std::string("x\0\0", 3));
  in_loop([](MemoryBackend& backend) { EXPECT_EQ(backend.flushes(), 3U); });
  EXPECT_EQ(raw.write(100, ""), kOk);
}

TEST_P(NbdServerTest, BlockStatusOfAllocationAndOfChanges) {
  in_loop([](MemoryBackend& backend) { backend.snapshot("disk", "old"); });
  RawClient raw = client();
  raw.go("disk", true, {"base:allocation", "hozon:changed:old", "hozon:changed:none", "x:y"});
  EXPECT_EQ(raw.write(8192, std::string(4096, 'a')), kOk);
  raw.request(kCmdBlockStatus, 9, 0, 65536);
  auto all = raw.chunks(9);
  ASSERT_EQ(all.size(), 2U);
  const auto descriptor = [](uint32_t length, uint32_t flags) {
    return RawClient::number(length) + RawClient::number(flags);
  };
  EXPECT_EQ(all[0].body, RawClient::number(uint32_t{1}) + descriptor(8192, 3) +
                             descriptor(4096, 0) + descriptor(53248, 3));
  EXPECT_EQ(all[1].body, RawClient::number(uint32_t{2}) + descriptor(8192, 0) +
                             descriptor(4096, 1) + descriptor(53248, 0));
  raw.request(kCmdBlockStatus, 10, 8192, 65536, kFlagRequireOne);
  all = raw.chunks(10);
  ASSERT_EQ(all.size(), 2U);
  EXPECT_EQ(all[0].body, RawClient::number(uint32_t{1}) + descriptor(4096, 0));
  raw.request(kCmdBlockStatus, 11, 0, 0);
  EXPECT_EQ(RawClient::error_of(raw.chunks(11)), kEinval);

  RawClient plain = client();
  plain.go("disk", true);
  plain.request(kCmdBlockStatus, 12, 0, 4096);
  EXPECT_EQ(RawClient::error_of(plain.chunks(12)), kEinval);
}

TEST_P(NbdServerTest, MetadataContextsAreListedSetAndReplaced) {
  in_loop([](MemoryBackend& backend) {
    backend.snapshot("disk", "a");
    backend.snapshot("disk", "b");
    backend.add("other", 4096);
  });
  RawClient raw = client();
  raw.greet();
  EXPECT_EQ(raw.haggle(kOptSetMetaContext, RawClient::context_request("disk", {})).back().type,
            kRepErrInvalid);  // structured replies come first
  raw.haggle(kOptStructuredReply);
  auto answers = raw.haggle(kOptListMetaContext, RawClient::context_request("disk", {}));
  ASSERT_EQ(answers.size(), 4U);
  EXPECT_EQ(answers[0].data, RawClient::number(uint32_t{0}) + "base:allocation");
  EXPECT_EQ(answers[2].data, RawClient::number(uint32_t{0}) + "hozon:changed:b");
  EXPECT_EQ(raw.haggle(kOptListMetaContext, RawClient::context_request("disk", {"base:"})).size(),
            2U);
  EXPECT_EQ(raw.haggle(kOptListMetaContext, RawClient::context_request("disk", {"qemu:"})).size(),
            1U);
  EXPECT_EQ(raw.haggle(kOptSetMetaContext, RawClient::context_request("none", {"base:allocation"}))
                .back()
                .type,
            kRepErrUnknown);
  const std::string too_many =
      RawClient::context_request("disk", std::vector<std::string>(33, "base:allocation"));
  EXPECT_EQ(raw.haggle(kOptSetMetaContext, too_many).back().type, kRepErrTooBig);
  EXPECT_EQ(raw.haggle(kOptSetMetaContext, RawClient::text("disk") + "xx").back().type,
            kRepErrInvalid);
  EXPECT_EQ(raw.haggle(kOptSetMetaContext,
                       RawClient::context_request("disk", {"base:allocation", "base:allocation"}))
                .size(),
            2U);
  // Contexts of one export are worth nothing for another.
  EXPECT_EQ(raw.haggle(kOptGo, RawClient::info_request("other")).back().type, kRepAck);
  raw.request(kCmdBlockStatus, 1, 0, 4096);
  EXPECT_EQ(RawClient::error_of(raw.chunks(1)), kEinval);
}

TEST_P(NbdServerTest, RequestsThatCannotBeServedGetTheErrorOfTheProtocol) {
  in_loop([](MemoryBackend& backend) { backend.snapshot("disk", "p"); });
  RawClient raw = client();
  raw.go("disk", false);
  const auto error = [&raw](uint16_t type, uint64_t offset, uint32_t length, uint16_t flags = 0) {
    return raw.command(type, offset, length, flags);
  };
  EXPECT_EQ(error(kCmdRead, kSize - 1, 2), kEinval);
  EXPECT_EQ(error(kCmdRead, ~uint64_t{0}, 4096), kEinval);
  EXPECT_EQ(error(kCmdRead, 0, kPayloadBytesMax + 1), kEinval);
  EXPECT_EQ(error(kCmdTrim, kSize, 1), kEinval);
  EXPECT_EQ(error(kCmdWriteZeroes, kSize, 1), kEnospc);
  EXPECT_EQ(error(kCmdWriteZeroes, 1, 0xffffffff), kEnospc);
  EXPECT_EQ(error(kCmdCache, kSize, 1), kEinval);
  EXPECT_EQ(error(8, 0, 0), kEinval);
  EXPECT_EQ(error(0xffff, 0, 0), kEinval);
  EXPECT_EQ(error(kCmdRead, 0, 1, 1 << 15), kEinval);
  EXPECT_EQ(error(kCmdRead, 0, 1, kFlagDontFragment), kEinval);
  EXPECT_EQ(error(kCmdTrim, 0, 1, kFlagNoHole), kEinval);
  EXPECT_EQ(error(kCmdFlush, 0, 0, kFlagFastZero), kEinval);
  EXPECT_EQ(error(kCmdBlockStatus, 0, 1), kEinval);
  EXPECT_EQ(raw.write(kSize - 1, "ab"), kEnospc);
  EXPECT_EQ(raw.write(~uint64_t{0}, "ab"), kEnospc);
  EXPECT_EQ(raw.write(0, "ab", 1 << 7), kEinval);
  EXPECT_EQ(raw.write(0, std::string(kPayloadBytesMax + 1, 'x')), kEinval);
  EXPECT_EQ(raw.read_simple(0, 4), std::string(4, '\0'));

  RawClient point = client();
  point.go("disk@p", true);
  for (const uint16_t type : {kCmdTrim, kCmdWriteZeroes}) {
    point.request(type, 3, 0, 4096);
    EXPECT_EQ(RawClient::error_of(point.chunks(3)), kEperm);
  }
  point.request(kCmdWrite, 4, 0, 3);
  point.send("abc");
  EXPECT_EQ(RawClient::error_of(point.chunks(4)), kEperm);

  RawClient heavy = client();
  heavy.go("disk", false);
  heavy.request(kCmdWrite, 1, 0, kPayloadBytesSkipped + 1);
  EXPECT_TRUE(heavy.sees_end());
}

TEST_P(NbdServerTest, BackendErrorsBecomeWireErrors) {
  RawClient raw = client();
  raw.go("disk", true);
  const std::vector<std::pair<Code, uint32_t>> table = {{Code::kResourceExhausted, kEnospc},
                                                        {Code::kCorruption, kEio},
                                                        {Code::kIo, kEio},
                                                        {Code::kInvalidArgument, kEinval},
                                                        {Code::kNotFound, kEshutdown},
                                                        {Code::kUnavailable, kEshutdown},
                                                        {Code::kPermissionDenied, kEperm}};
  for (const auto& [code, number] : table) {
    in_loop([&](MemoryBackend& backend) { backend.fail_next({code, "as the test wants", 0}); });
    raw.request(kCmdRead, 1, 0, 4096);
    EXPECT_EQ(RawClient::error_of(raw.chunks(1)), number) << code_name(code);
  }
  raw.request(kCmdRead, 2, 0, 4096);
  EXPECT_EQ(raw.chunks(2).size(), 1U);
}

TEST_P(NbdServerTest, VolumeDeletedOrResizedWhileConnected) {
  RawClient raw = client();
  raw.go("disk", false);
  in_loop([](MemoryBackend& backend) { backend.resize("disk", 8192); });
  EXPECT_EQ(raw.command(kCmdRead, 8192, 1), kEinval);
  EXPECT_EQ(raw.write(8192, "x"), kEnospc);
  EXPECT_EQ(raw.write(8191, "x"), kOk);
  in_loop([](MemoryBackend& backend) { backend.resize("disk", 16384); });
  EXPECT_EQ(raw.write(8192, "x"), kOk);
  in_loop([](MemoryBackend& backend) { backend.remove("disk"); });
  EXPECT_EQ(raw.command(kCmdRead, 0, 1), kEshutdown);
  EXPECT_EQ(raw.write(0, "x"), kEshutdown);
  EXPECT_EQ(raw.command(kCmdTrim, 0, 1), kEshutdown);
}

TEST_P(NbdServerTest, PipelinedRequestsAreBoundedAndAllAnswered) {
  RawClient raw = client();
  raw.go("disk", false);
  in_loop([](MemoryBackend& backend) { backend.gate().reset(); });
  constexpr uint64_t kRequests = 1000;
  std::thread writer([&] {  // sockets hold less than all requests while the server reads no more
    for (uint64_t i = 0; i < kRequests; ++i) {
      raw.request(kCmdWrite, i, i * 512, 512);
      raw.send(std::string(512, static_cast<char>('a' + i % 26)));
    }
  });
  pollfd quiet{.fd = raw.fd(), .events = POLLIN, .revents = 0};
  EXPECT_EQ(::poll(&quiet, 1, 50), 0);
  in_loop([](MemoryBackend& backend) { backend.gate().set(); });
  std::vector<int> answers(kRequests);
  for (uint64_t i = 0; i < kRequests; ++i) {
    const auto reply = raw.receive_object<SimpleReply>();
    ASSERT_EQ(reply.error, kOk);
    ASSERT_LT(reply.cookie, kRequests);
    ++answers[reply.cookie];
  }
  writer.join();
  EXPECT_EQ(answers, std::vector<int>(kRequests, 1));
  for (uint64_t i = 0; i < kRequests; i += 99)
    EXPECT_EQ(raw.read_simple(i * 512, 512), std::string(512, static_cast<char>('a' + i % 26)));
}

TEST_P(NbdServerTest, ClientThatVanishesWithRequestsInFlightHarmsNobody) {
  RawClient good = client();
  good.go("disk", false);
  for (const bool polite : {true, false}) {
    RawClient raw = client();
    raw.go("disk", true);
    in_loop([](MemoryBackend& backend) { backend.gate().reset(); });
    for (uint64_t i = 0; i < 200; ++i) raw.request(kCmdRead, i, i * 4096, 4096);
    raw.request(kCmdWrite, 200, 0, 8192);
    raw.send("only a part of it");
    if (polite) raw.request(kCmdDisconnect, 201, 0, 0);
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    raw.close();
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    in_loop([](MemoryBackend& backend) { backend.gate().set(); });
    EXPECT_EQ(good.write(0, "still here"), kOk);
  }
  good.close();
  EXPECT_TRUE(server_->idle());
}

TEST_P(NbdServerTest, DisconnectAnswersWhatIsRunningFirst) {
  RawClient raw = client();
  raw.go("disk", false);
  in_loop([](MemoryBackend& backend) { backend.gate().reset(); });
  raw.request(kCmdFlush, 1, 0, 0);
  raw.request(kCmdDisconnect, 2, 0, 0);
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  in_loop([](MemoryBackend& backend) { backend.gate().set(); });
  EXPECT_EQ(raw.simple(1), kOk);
  EXPECT_TRUE(raw.sees_end());
}

TEST_P(NbdServerTest, HalfOpenHandshakeIsEndedAndOthersAreNot) {
  start({.handshake_ns = 100'000'000, .watch_ns = 20'000'000});
  RawClient good = client();
  good.go("disk", false);
  RawClient silent = client();
  RawClient halfway = client();
  halfway.greet();
  halfway.send(RawClient::number(kOptionMagic));
  EXPECT_TRUE(silent.sees_end());
  EXPECT_TRUE(halfway.sees_end());
  EXPECT_EQ(good.write(0, "x"), kOk);
}

TEST_P(NbdServerTest, TooManyConnectionsAreSentAway) {
  start({.connections_max = 2});
  RawClient one = client();
  RawClient two = client();
  RawClient three = client();
  EXPECT_TRUE(three.sees_end());
  one.go("disk", false);
  two.close();
  while (server_->connections() > 1) std::this_thread::yield();
  RawClient four = client();
  four.go("disk", false);
  EXPECT_EQ(four.write(0, "x"), kOk);
}

// A client asks for much and reads nothing. Another one goes on with small requests at once, and
// with large ones as soon as the first has been cut off.
TEST_P(NbdServerTest, ClientThatReadsNothingCannotTakeAllMemory) {
  start({.payload_bytes = 8_MiB, .watch_ns = 20'000'000, .stall_ns = 200'000'000});
  in_loop([](MemoryBackend& backend) {
    auto& volume = backend.add("big", 64_MiB);
    std::ranges::fill(volume.data, std::byte{1});
  });
  RawClient greedy = client();
  greedy.go("big", false);
  for (uint64_t i = 0; i < 8; ++i) greedy.request(kCmdRead, i, 0, 4 << 20);
  RawClient good = client();
  good.go("big", false);
  EXPECT_EQ(good.read_simple(0, 65536), std::string(65536, '\1'));
  EXPECT_EQ(good.read_simple(0, 8 << 20), std::string(8 << 20, '\1'));
  EXPECT_TRUE(greedy.sees_end());
}

TEST_P(NbdServerTest, StopAnswersRunningRequestsAndEndsEverything) {
  start({.grace_ns = 500'000'000});
  RawClient raw = client();
  raw.go("disk", false);
  RawClient silent = client();
  RawClient idle = client();
  idle.go("disk", true);
  in_loop([](MemoryBackend& backend) { backend.gate().reset(); });
  raw.request(kCmdFlush, 1, 0, 0);
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  in_loop([](MemoryBackend& backend) { backend.gate().set(); });
  server_->stop();
  EXPECT_EQ(raw.simple(1), kOk);
  EXPECT_TRUE(raw.sees_end());
  EXPECT_TRUE(silent.sees_end());
  EXPECT_TRUE(idle.sees_end());
}

TEST_P(NbdServerTest, LargeTransfersInBothDirectionsKeepEveryByte) {
  in_loop([](MemoryBackend& backend) { backend.add("big", 40_MiB); });
  RawClient raw = client();
  raw.go("big", false);
  std::string data(kPayloadBytesMax, '\0');
  for (size_t i = 0; i < data.size(); ++i) data[i] = static_cast<char>(i * 31 + i / 4093);
  EXPECT_EQ(raw.write(12'345, data), kOk);
  EXPECT_TRUE(raw.read_simple(12'345, kPayloadBytesMax) == data);
  std::thread writer([&] {
    for (uint64_t i = 0; i < 200; ++i) raw.request(kCmdRead, i, i * 1000, 100'000);
  });
  for (int i = 0; i < 200; ++i) {
    const auto reply = raw.receive_object<SimpleReply>();
    const std::string bytes = raw.receive_text(100'000);
    if (reply.cookie * 1000 < 12'345) continue;
    ASSERT_TRUE(bytes == data.substr(reply.cookie * 1000 - 12'345, 100'000));
  }
  writer.join();
}

INSTANTIATE_TEST_SUITE_P(Both, NbdServerTest,
                         testing::Values(LoopBackend::kUring, LoopBackend::kThreads),
                         [](const testing::TestParamInfo<LoopBackend>& test) {
                           return test.param == LoopBackend::kUring ? "uring" : "threads";
                         });

}  // namespace
}  // namespace hozon::serve
