// Proves: every name that a disk can hold has a text that says exactly which bytes are meant, which
// moves no cursor and breaks no line; and what a confined reader answers is taken with care.
#include "link/file_query.h"

#include <gtest/gtest.h>

#include <random>

namespace hozon::link {
namespace {

TEST(FileNames, TextTellsTheBytes) {
  EXPECT_EQ(name_text("fstab"), "fstab");
  EXPECT_EQ(name_text("日本.txt"), "日本.txt");
  EXPECT_EQ(name_text("a\nb"), "a\\x0ab");
  EXPECT_EQ(name_text("a\\b"), "a\\x5cb");
  EXPECT_EQ(name_text("\xff\xe6\x97"), "\\xff\\xe6\\x97");  // no UTF-8, and a cut character
  EXPECT_EQ(name_text("\xc0\xaf"), "\\xc0\\xaf");           // '/' in an overlong form
  EXPECT_EQ(name_text("\xe2\x80\xae"), "\\xe2\\x80\\xae");  // turns the line around
  EXPECT_EQ(name_text("\x1b[2J"), "\\x1b[2J");
}

TEST(FileNames, AnyBytesSurviveTheRoundTrip) {
  std::mt19937 random(11);
  for (int round = 0; round < 3000; ++round) {
    std::string bytes(random() % 40, ' ');
    for (char& c : bytes) {
      // Now and then from a small set, so that parts of characters and escapes meet.
      constexpr std::string_view kOften = "\\x41\xe2\x80\xae\xf0\x9f\xc3\xa4/";
      c = random() % 2 == 0 ? kOften[random() % kOften.size()]
                            : static_cast<char>(1 + random() % 255);
    }
    const std::string text = name_text(bytes);
    const auto back = name_bytes(text);
    ASSERT_TRUE(back) << text;
    ASSERT_EQ(*back, bytes) << text;
    for (const char c : text) ASSERT_GE(static_cast<unsigned char>(c), 0x20) << text;
  }
}

TEST(FileNames, HalfAnEscapeIsRefused) {
  for (const char* text : {"\\", "a\\x4", "\\xzz", "\\n", "a\\x00b"}) {
    const auto bytes = name_bytes(text);
    ASSERT_FALSE(bytes) << text;
    EXPECT_EQ(bytes.error().code, Code::kInvalidArgument);
  }
}

TEST(FilePlaces, NameAFileSystemOrNone) {
  const auto named = parse_file_place("vda1:/etc/a:b");
  ASSERT_TRUE(named);
  EXPECT_EQ(named->filesystem, "vda1");
  EXPECT_EQ(named->path, "/etc/a:b");
  const auto bare = parse_file_place("/etc/a:b");
  ASSERT_TRUE(bare);
  EXPECT_EQ(bare->filesystem, "");
  EXPECT_EQ(bare->path, "/etc/a:b");
  for (const std::string& text :
       {std::string(""), std::string("etc"), std::string("vda1:etc"), std::string(":/etc"),
        std::string("../x:/etc"), "/" + std::string(kFilePathMax, 'a')})
    EXPECT_FALSE(parse_file_place(text)) << text.substr(0, 20);
}

TEST(FileAnswers, AreTakenWithCare) {
  nlohmann::json object =
      to_json(FileEntry{.name = "a", .kind = "file", .target = {}, .size_bytes = 1});
  ASSERT_TRUE(decode_file_entry(object));
  object["name"] = "two\nlines";
  EXPECT_EQ(decode_file_entry(object)->name, "two\\x0alines");
  object["name"] = std::string(100'000, 'a');
  EXPECT_FALSE(decode_file_entry(object));
  object["name"] = "a";
  object["size_bytes"] = -1;
  EXPECT_FALSE(decode_file_entry(object));
  object["size_bytes"] = "1";
  EXPECT_FALSE(decode_file_entry(object));
  object.erase("size_bytes");
  EXPECT_FALSE(decode_file_entry(object));
}

TEST(FileQueries, SurviveTheRoundTrip) {
  const FileQuery query{.op = "read",
                        .disks = {"vda", "vdb"},
                        .exports = {"web.vda@x", "web.vdb@x"},
                        .filesystem = "vda1",
                        .path = "/a\\x0ab",
                        .as_tar = true};
  const auto back = decode_file_query(encode(query));
  ASSERT_TRUE(back);
  EXPECT_EQ(*back, query);
  EXPECT_FALSE(decode_file_query("[]"));
  EXPECT_FALSE(decode_file_query(R"({"op":"list","disks":["a"],"exports":[],"path":"/"})"));
}

}  // namespace
}  // namespace hozon::link
