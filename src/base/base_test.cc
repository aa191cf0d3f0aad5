// Proves the small promises of base/: sizes, checksums, byte order, tasks that do not grow the
// stack, and groups that wait for all.
#include <gtest/gtest.h>

#include <cstring>
#include <string_view>

#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/endian.h"
#include "base/result.h"
#include "base/task.h"
#include "base/text.h"
#include "base/units.h"

namespace hozon {
namespace {

TEST(Crc32c, MatchesThePublishedVectorAndContinues) {
  const std::string_view text = "123456789";
  const auto bytes = std::as_bytes(std::span(text.data(), text.size()));
  EXPECT_EQ(crc32c(bytes), 0xe3069283u);
  EXPECT_EQ(crc32c(bytes.subspan(4), crc32c(bytes.first(4))), 0xe3069283u);
}

TEST(Text, KnowsWellFormedUtf8FromEverythingElse) {
  for (const std::string_view good :
       {"", "a", "\x7f", "\xc2\x80", "\xe0\xa0\x80", "\xed\x9f\xbf", "\xee\x80\x80",
        "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf", "a\xe6\x97\xa5z"})
    EXPECT_TRUE(is_utf8(good)) << good;
  for (const std::string_view bad :
       {"\x80", "\xc0\x80", "\xc1\xbf", "\xc2", "\xc2z", "\xe0\x9f\xbf", "\xe6\x97", "\xed\xa0\x80",
        "\xf0\x8f\xbf\xbf", "\xf0\x90\x80", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff",
        "a\xe6"})
    EXPECT_FALSE(is_utf8(bad)) << bad;
  EXPECT_EQ(utf8_length("\xe6\x97\xa5z"), 3U);
}

TEST(Units, ParsesWhatPeopleTypeAndRefusesTheRest) {
  EXPECT_EQ(*parse_bytes("10G"), 10_GiB);
  EXPECT_EQ(*parse_bytes("512m"), 512_MiB);
  EXPECT_EQ(*parse_bytes("1.5KiB"), 1536u);
  EXPECT_EQ(*parse_bytes("4096"), 4096u);
  for (const char* bad : {"", "G", "-1", "10X", "10GG", "1e40", "nan", "9000000P"})
    EXPECT_FALSE(parse_bytes(bad)) << bad;
  EXPECT_EQ(format_bytes(1536), "1.5 KiB");
  EXPECT_EQ(format_bytes(0), "0 B");
}

TEST(Endian, StoresTheNamedByteOrder) {
  const Le<uint32_t> little(0x01020304u);
  const Be<uint32_t> big(0x01020304u);
  EXPECT_EQ(static_cast<int>(bytes_of(little)[0]), 4);
  EXPECT_EQ(static_cast<int>(bytes_of(big)[0]), 1);
  EXPECT_EQ(static_cast<uint32_t>(little), 0x01020304u);
  EXPECT_EQ(static_cast<uint32_t>(big), 0x01020304u);
}

TEST(Codes, EveryNameComesBack) {
  for (int code = 0; code <= static_cast<int>(Code::kCancelled); ++code)
    EXPECT_EQ(code_from_name(code_name(static_cast<Code>(code))), static_cast<Code>(code));
}

Task<int> one() { co_return 1; }
Task<Result<int>> failing() { co_return make_error(Code::kNotFound, "no '{}'", "x"); }
Task<Status> passes_errors_on() {
  HOZON_CO_TRY([[maybe_unused]] const int value, co_await failing());
  co_return Status{};
}

TEST(Task, AMillionTasksThatDoNotSuspendNeedNoStack) {
  int sum = 0;
  spawn([](int& total) -> Task<void> {
    for (int i = 0; i < 1'000'000; ++i) total += co_await one();
  }(sum));
  EXPECT_EQ(sum, 1'000'000);
}

TEST(Task, PassesErrorsOn) {
  Code code = Code::kInternal;
  spawn([](Code& out) -> Task<void> {
    const Status status = co_await passes_errors_on();
    out = status.error().code;
  }(code));
  EXPECT_EQ(code, Code::kNotFound);
}

}  // namespace
}  // namespace hozon
