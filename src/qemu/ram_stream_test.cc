// Proves: a migration stream is taken apart and put together again without loss; a stream cut at
// any byte, of unknown kind, or with any damaged byte of framing never counts as complete and never
// crashes; and what waits for a slow consumer keeps its order through memory and spill file.
#include "qemu/ram_stream.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstring>
#include <functional>
#include <map>
#include <random>
#include <thread>

#include "base/crc32c.h"
#include "qemu/ram_image.h"
#include "qemu/stream_buffer.h"
#include "qemu/stream_writer.h"

namespace hozon {
namespace {

constexpr uint64_t kRam = 1_MiB;
constexpr uint32_t kSection = 2;

// Writes streams as QEMU does.
class StreamMaker {
 public:
  std::vector<std::byte> bytes;
  StreamMaker& be(uint64_t value, unsigned size) {
    for (unsigned i = size; i-- > 0;) bytes.push_back(static_cast<std::byte>(value >> (8 * i)));
    return *this;
  }
  StreamMaker& text(const std::string& value) {
    for (const char c : value) bytes.push_back(static_cast<std::byte>(c));
    return *this;
  }
  StreamMaker& name(const std::string& value) { return be(value.size(), 1).text(value); }
  StreamMaker& head() {
    be(0x5145564d, 4).be(3, 4);
    return be(7, 1).be(10, 4).text("pc-q35-7.2");
  }
  StreamMaker& start(uint64_t ram = kRam) {
    be(1, 1).be(kSection, 4).name("ram").be(0, 4).be(4, 4);
    be((ram + 8192) | 0x04, 8).name("m0").be(ram, 8).name("pc.rom").be(8192, 8);
    return be(0x10, 8).footer();
  }
  StreamMaker& part() { return be(2, 1).be(kSection, 4); }
  StreamMaker& footer() { return be(0x7e, 1).be(kSection, 4); }
  StreamMaker& end_part() { return be(0x10, 8).footer(); }
  StreamMaker& page(const std::string& block, uint64_t offset, uint8_t fill) {
    be(offset | 0x08 | (block.empty() ? 0x20 : 0), 8);
    if (!block.empty()) name(block);
    bytes.insert(bytes.end(), kPageBytes, std::byte{fill});
    return *this;
  }
  StreamMaker& zero(const std::string& block, uint64_t offset, uint8_t fill = 0) {
    be(offset | 0x02 | (block.empty() ? 0x20 : 0), 8);
    if (!block.empty()) name(block);
    return be(fill, 1);
  }
  StreamMaker& devices() {
    be(4, 1).be(0, 4).name("timer").be(0, 4).be(2, 4).text("device state { with } braces");
    footer();
    const std::string description = R"({"page_size": 4096, "devices": []})";
    return be(0, 1).be(6, 1).be(description.size(), 4).text(description);
  }
};

StreamMaker sample() {
  StreamMaker maker;
  maker.head().start();
  maker.part().page("m0", 0, 1).page("", 4096, 2).page("pc.rom", 0, 9).end_part();
  maker.part().zero("m0", 8192).page("", 12288, 3).end_part();
  maker.part().page("pc.rom", 4096, 8).page("m0", 16384, 4).end_part();
  return maker.devices();
}

class MemorySource : public ByteSource {
 public:
  MemorySource(std::span<const std::byte> bytes, size_t step) : bytes_(bytes), step_(step) {}
  Result<size_t> read_some(std::span<std::byte> into) override {
    const size_t size = std::min({step_, into.size(), bytes_.size()});
    std::copy_n(bytes_.begin(), size, into.begin());
    bytes_ = bytes_.subspan(size);
    return size;
  }

 private:
  std::span<const std::byte> bytes_;
  size_t step_;
};

class MapSink : public PageSink {
 public:
  std::map<uint64_t, std::vector<std::byte>> pages;
  uint64_t zeros = 0;
  Status put_page(uint64_t offset, std::span<const std::byte> page) override {
    EXPECT_LE(offset + page.size(), kRam);
    EXPECT_EQ(page.size(), kPageBytes);
    pages[offset].assign(page.begin(), page.end());
    return {};
  }
  Status put_zero_page(uint64_t offset) override {
    EXPECT_LT(offset, kRam);
    ++zeros;
    pages.erase(offset);
    return {};
  }
};

Result<ThinStream> split(std::span<const std::byte> bytes, MapSink& sink, size_t step = 1 << 20) {
  MemorySource source(bytes, step);
  return split_ram_stream(source, sink, kRam);
}

std::vector<std::byte> regenerate(const ThinStream& thin, const MapSink& sink) {
  PageRecords records(thin.ram_section);
  for (const auto& [offset, page] : sink.pages) records.add(offset, page);
  records.end();
  std::vector<std::byte> stream = thin.bytes;
  stream.insert(stream.begin() + static_cast<ptrdiff_t>(thin.insert_offset),
                records.bytes().begin(), records.bytes().end());
  return stream;
}

TEST(RamStream, TakesApartAndPutsTogether) {
  const StreamMaker stream = sample();
  for (const size_t step : {size_t{1}, size_t{7}, size_t{1} << 20}) {
    MapSink sink;
    const auto thin = split(stream.bytes, sink, step);
    ASSERT_TRUE(thin) << thin.error().what;
    EXPECT_EQ(thin->machine_type, "pc-q35-7.2");
    EXPECT_EQ(thin->ram_section, kSection);
    EXPECT_EQ(sink.pages.size(), 4U);
    EXPECT_EQ(sink.zeros, 1U);
    EXPECT_EQ(sink.pages[12288][100], std::byte{3});

    MapSink again;
    const auto second = split(regenerate(*thin, sink), again);
    ASSERT_TRUE(second) << second.error().what;
    EXPECT_EQ(again.pages, sink.pages);
    EXPECT_EQ(second->bytes, thin->bytes) << "nothing but m0 was moved";
    MapSink nothing;
    const auto alone = split(thin->bytes, nothing);
    ASSERT_TRUE(alone) << "the thin stream is a stream itself: " << alone.error().what;
    EXPECT_TRUE(nothing.pages.empty());
  }
}

TEST(RamStream, NamesABlockAgainWhenItsPredecessorWasDropped) {
  StreamMaker maker;
  maker.head().start().part();
  maker.page("pc.rom", 0, 7).zero("m0", 0).page("pc.rom", 4096, 8);
  // "as the record before" across a section and behind records of m0 that vanish
  maker.end_part().part().page("", 0, 6).end_part().devices();
  MapSink sink;
  const auto thin = split(maker.bytes, sink);
  ASSERT_TRUE(thin) << thin.error().what;
  StreamMaker wanted;
  wanted.head().start().part().page("pc.rom", 0, 7).page("pc.rom", 4096, 8).end_part();
  wanted.part().page("", 0, 6).end_part().devices();
  EXPECT_EQ(thin->bytes, wanted.bytes);
}

TEST(RamStream, APageThatComesAgainWins) {
  StreamMaker maker;
  maker.head().start().part().page("m0", 0, 1).page("", 4096, 1).end_part();
  maker.part().page("m0", 0, 2).zero("m0", 4096).zero("m0", 8192, 5).end_part().devices();
  MapSink sink;
  ASSERT_TRUE(split(maker.bytes, sink));
  EXPECT_EQ(sink.pages.size(), 2U);
  EXPECT_EQ(sink.pages[0][0], std::byte{2});
  EXPECT_EQ(sink.pages[8192][4095], std::byte{5}) << "filled with one byte that is not zero";
}

TEST(RamStream, AStreamThatEndsAnywhereIsNotComplete) {
  const StreamMaker stream = sample();
  for (size_t length = 0; length < stream.bytes.size(); ++length) {
    // Inside pages every cut is alike: look at some of them.
    if (length > 200 && length + 400 < stream.bytes.size() && length % 61 != 0) continue;
    MapSink sink;
    const auto thin = split(std::span(stream.bytes).first(length), sink);
    ASSERT_FALSE(thin) << "cut at " << length;
    EXPECT_EQ(thin.error().code, Code::kCorruption);
  }
  std::vector<std::byte> longer = stream.bytes;
  longer.push_back(std::byte{0});
  MapSink sink;
  EXPECT_FALSE(split(longer, sink)) << "a byte behind the end";
}

TEST(RamStream, WhatIsNotUnderstoodIsRefused) {
  using Change = std::function<void(StreamMaker&)>;
  const std::vector<std::pair<std::string, Change>> cases = {
      {"empty", [](StreamMaker&) {}},
      {"no migration stream", [](StreamMaker& m) { m.be(0x51455640, 4).be(3, 4); }},
      {"version 4", [](StreamMaker& m) { m.be(0x5145564d, 4).be(4, 4); }},
      {"section type 0x09", [](StreamMaker& m) { m.head().be(9, 1); }},
      {"machine name", [](StreamMaker& m) { m.be(0x5145564d, 4).be(3, 4).be(7, 1).be(65, 4); }},
      {"x-ignore-shared",
       [](StreamMaker& m) {
         m.head().be(5, 1).name("configuration/capabilities").be(1, 4).be(1, 4);
         m.name("x-ignore-shared");
       }},
      {"configuration part",
       [](StreamMaker& m) { m.head().be(5, 1).name("configuration/new").be(1, 4); }},
      {"live section 'dirty-bitmap'",
       [](StreamMaker& m) { m.head().be(1, 1).be(3, 4).name("dirty-bitmap").be(0, 4).be(1, 4); }},
      {"RAM is 2097152", [](StreamMaker& m) { m.head().start(2 * kRam); }},
      {"did not start", [](StreamMaker& m) { m.head().be(2, 1).be(kSection, 4); }},
      {"second RAM section", [](StreamMaker& m) { m.head().start().start(); }},
      {"flags 0x40", [](StreamMaker& m) { m.head().start().part().be(0x40, 8).name("m0"); }},
      {"flags 0x100", [](StreamMaker& m) { m.head().start().part().be(0x100, 8).name("m0"); }},
      {"unknown RAM block", [](StreamMaker& m) { m.head().start().part().page("m1", 0, 1); }},
      {"unknown RAM block", [](StreamMaker& m) { m.head().start().part().page("", 0, 1); }},
      {"outside", [](StreamMaker& m) { m.head().start().part().page("m0", kRam, 1); }},
      {"outside", [](StreamMaker& m) { m.head().start().part().zero("pc.rom", 8192); }},
      {"no footer",
       [](StreamMaker& m) { m.head().start().part().be(0x10, 8).be(0x7f, 1).be(2, 4); }},
      {"without RAM", [](StreamMaker& m) { m.head().devices(); }},
  };
  for (const auto& [words, make] : cases) {
    StreamMaker maker;
    make(maker);
    MapSink sink;
    const auto thin = split(maker.bytes, sink);
    ASSERT_FALSE(thin) << words;
    EXPECT_EQ(thin.error().code, Code::kCorruption) << words;
    EXPECT_NE(thin.error().what.find(words), std::string::npos) << thin.error().what;
  }
}

TEST(RamStream, DamagedFramingNeverCrashesAndKeepsPagesInside) {
  const StreamMaker stream = sample();
  std::mt19937 random(20261123);
  for (int round = 0; round < 3000; ++round) {
    std::vector<std::byte> bytes = stream.bytes;
    for (int change = 0; change < 3; ++change)
      bytes[random() % (round % 2 == 0 ? 200 : bytes.size())] = static_cast<std::byte>(random());
    MapSink sink;  // checks what it is given
    const auto thin = split(bytes, sink);
    if (thin) {
      EXPECT_LE(thin->insert_offset, thin->bytes.size());
    }
  }
}

TEST(RamStream, ADeviceStateBeyondTheBoundIsRefused) {
  StreamMaker maker = sample();
  maker.bytes.resize(maker.bytes.size() + kThinBytesMax + 1, std::byte{1});
  MapSink sink;
  const auto thin = split(maker.bytes, sink);
  ASSERT_FALSE(thin);
  EXPECT_EQ(thin.error().code, Code::kResourceExhausted);
}

TEST(RamStream, ManyPagesMakeManySections) {
  PageRecords records(kSection);
  StreamMaker maker;
  maker.head().start();
  const std::vector<std::byte> page(kPageBytes, std::byte{5});
  for (uint64_t i = 0; i < kRam / kPageBytes; ++i) records.add(i * kPageBytes, page);
  for (int round = 0; round < 40; ++round)  // more than one section can hold
    for (uint64_t i = 0; i < kRam / kPageBytes; ++i) records.add(i * kPageBytes, page);
  records.end();
  records.end();
  maker.bytes.insert(maker.bytes.end(), records.bytes().begin(), records.bytes().end());
  maker.devices();
  MapSink sink;
  const auto thin = split(maker.bytes, sink);
  ASSERT_TRUE(thin) << thin.error().what;
  EXPECT_EQ(sink.pages.size(), kRam / kPageBytes);
}

TEST(StreamWriter, KeepsOrderAndSaysWhenNobodyReadsAnyMore) {
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe(ends.data()), 0);
  Fd read_end(ends[0]);
  const Fd write_end(ends[1]);
  ::signal(SIGPIPE, SIG_IGN);
  std::atomic<uint64_t> written{0};
  constexpr size_t kPieces = 50;
  constexpr size_t kPieceBytes = 10'000;
  std::string taken;
  std::thread reader([&] {
    std::array<char, 3000> part{};
    while (taken.size() < kPieces * kPieceBytes)
      taken.append(part.data(), static_cast<size_t>(::read(ends[0], part.data(), part.size())));
  });
  StreamWriter writer(write_end.get(), written);
  for (size_t i = 0; i < kPieces; ++i)
    ASSERT_TRUE(writer.put(std::vector<std::byte>(kPieceBytes, static_cast<std::byte>(i))));
  ASSERT_TRUE(writer.finish());
  reader.join();
  EXPECT_EQ(written, kPieces * kPieceBytes);
  for (size_t i = 0; i < taken.size(); ++i)
    ASSERT_EQ(static_cast<size_t>(taken[i]), i / kPieceBytes) << "byte " << i;

  read_end = Fd();
  (void)writer.put(std::vector<std::byte>(kPieceBytes));
  const Status failed = writer.finish();
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code, Code::kUnavailable);
  EXPECT_FALSE(writer.put({}));
}

TEST(RamImage, TheHeaderSurvivesARoundTripAndNothingElse) {
  RamImageInfo info;
  info.ram_bytes = kRam;
  info.thin_bytes = 1000;
  info.insert_offset = 10;
  info.page_count = 3;
  info.thin_crc32c = 1;
  info.pages_crc32c = 2;
  info.ram_section = kSection;
  info.machine_type = "pc-q35-7.2";
  const RamImageHeader header = encode_ram_header(info);
  const auto read = decode_ram_header(header, kRam);
  ASSERT_TRUE(read) << read.error().what;
  EXPECT_EQ(read->machine_type, info.machine_type);
  EXPECT_EQ(read->pages_crc32c, 2U);
  EXPECT_EQ(decode_ram_header(header, kRam * 2).error().code, Code::kCorruption);
  EXPECT_EQ(decode_ram_header(RamImageHeader{}, kRam).error().code, Code::kNotFound);
  for (size_t at = 0; at < sizeof(header); ++at) {
    RamImageHeader damaged = header;
    reinterpret_cast<unsigned char*>(&damaged)[at] ^= 0x10;
    EXPECT_EQ(decode_ram_header(damaged, kRam).error().code, Code::kCorruption) << at;
  }
  info.insert_offset = info.thin_bytes + 1;
  EXPECT_FALSE(decode_ram_header(encode_ram_header(info), kRam));
}

// Writes numbered words into a StreamBuffer and reads them back.
class BufferTest : public testing::Test {
 protected:
  BufferTest() {
    int ends[2];
    EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    read_end_ = Fd(ends[0]);
    write_end_ = Fd(ends[1]);
  }
  void produce(uint64_t words) {
    std::vector<uint64_t> data(words);
    for (uint64_t& word : data) word = next_in_++;
    const char* at = reinterpret_cast<const char*>(data.data());
    size_t left = words * sizeof(uint64_t);
    while (left > 0) {
      const ssize_t put = ::write(write_end_.get(), at, left);
      ASSERT_GT(put, 0);
      at += put;
      left -= static_cast<size_t>(put);
    }
  }
  // Waits until the buffer has taken everything off the pipe.
  void settle(const StreamBuffer& buffer) const {
    for (int i = 0; i < 2000 && buffer.received_bytes() < next_in_ * sizeof(uint64_t); ++i)
      ::usleep(1000);
    ASSERT_EQ(buffer.received_bytes(), next_in_ * sizeof(uint64_t));
  }
  void consume(StreamBuffer& buffer, uint64_t words) {
    for (uint64_t i = 0; i < words; ++i) {
      uint64_t word = 0;
      auto into = std::as_writable_bytes(std::span(&word, 1));
      while (!into.empty()) {
        const auto got = buffer.read_some(into);
        ASSERT_TRUE(got) << got.error().what;
        ASSERT_GT(*got, 0U);
        into = into.subspan(*got);
      }
      ASSERT_EQ(word, next_out_++);
    }
  }
  Fd read_end_;
  Fd write_end_;
  uint64_t next_in_ = 0;
  uint64_t next_out_ = 0;
};

TEST_F(BufferTest, KeepsOrderThroughMemoryAndSpillFile) {
  StreamBuffer buffer(
      {std::move(read_end_)},
      {.memory_bytes = 64 << 10, .spill_bytes = 8 << 20, .spill_directory = testing::TempDir()});
  for (int round = 0; round < 5; ++round) {
    produce(100'000);  // 800 KB: most of it spills
    settle(buffer);
    consume(buffer, 60'000);
  }
  write_end_ = Fd();
  consume(buffer, next_in_ - next_out_);
  std::byte one{};
  EXPECT_EQ(buffer.read_some({&one, 1}).value_or(9), 0U);
  EXPECT_EQ(buffer.buffered_bytes(), 0U);
  EXPECT_TRUE(buffer.has_ended());
}

TEST_F(BufferTest, BeyondItsBoundsItThrowsAwayButGoesOnReading) {
  StreamBuffer buffer(
      {std::move(read_end_)},
      {.memory_bytes = 64 << 10, .spill_bytes = 64 << 10, .spill_directory = testing::TempDir()});
  produce(1'000'000);  // would block here for ever if nobody read
  settle(buffer);
  uint64_t word = 0;
  const auto got = buffer.read_some(std::as_writable_bytes(std::span(&word, 1)));
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().code, Code::kResourceExhausted);
  write_end_ = Fd();
  buffer.wait_end();
}

TEST_F(BufferTest, ASpillFileThatCannotBeMadeIsAFailureNotAStall) {
  StreamBuffer buffer(
      {std::move(read_end_)},
      {.memory_bytes = 64 << 10, .spill_bytes = 1 << 30, .spill_directory = "/nonexistent"});
  produce(100'000);
  settle(buffer);
  uint64_t word = 0;
  EXPECT_EQ(buffer.read_some(std::as_writable_bytes(std::span(&word, 1))).error().code,
            Code::kNotFound);
  produce(100'000);
  settle(buffer);
  write_end_ = Fd();
}

}  // namespace
}  // namespace hozon
