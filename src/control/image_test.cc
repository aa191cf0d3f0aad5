// Proves: what an image is is decided by its bytes, and everything that could make qemu-img read
// another file of the host, need a key, or guess is refused with a sentence.
#include "control/image.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>

#include "control/program.h"

namespace hozon::control {
namespace {

class ImageTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char text[] = "/tmp/hozon-image-XXXXXX";
    directory_ = ::mkdtemp(text);
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }
  std::string path(const std::string& name) const { return directory_ + "/" + name; }
  void qemu_img(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "qemu-img");
    const auto end = run_program(
        {.argv = arguments, .address_space_bytes = 0, .cpu_seconds = 0, .on_output = {}});
    ASSERT_TRUE(end && end->exit_status == 0) << end->errors;
  }
  void write(const std::string& name, const std::string& bytes) {
    std::ofstream(path(name), std::ios::binary) << bytes;
  }
  void poke(const std::string& name, uint64_t offset, const std::string& bytes) {
    std::fstream file(path(name), std::ios::binary | std::ios::in | std::ios::out);
    file.seekp(static_cast<std::streamoff>(offset));
    file << bytes;
  }
  void expect_refused(const std::string& name, Code code, const std::string& words) {
    const auto image = inspect_image(path(name), "qemu-img");
    ASSERT_FALSE(image) << name;
    EXPECT_EQ(image.error().code, code) << image.error().what;
    EXPECT_NE(image.error().what.find(words), std::string::npos) << image.error().what;
    EXPECT_EQ(image.error().what.find('\n'), std::string::npos);
  }
  std::string directory_;
};

TEST_F(ImageTest, RawAndQcow2AreTakenWithTheirSizes) {
  write("odd.raw", std::string(1000, 'x'));
  const auto raw = inspect_image(path("odd.raw"), "qemu-img");
  ASSERT_TRUE(raw) << raw.error().what;
  EXPECT_EQ(raw->format, "raw");
  EXPECT_EQ(raw->size_bytes, 1024U);
  for (const char* compat : {"0.10", "1.1"}) {
    qemu_img(
        {"create", "-q", "-f", "qcow2", "-o", std::string("compat=") + compat, path("a"), "10M"});
    const auto qcow2 = inspect_image(path("a"), "qemu-img");
    ASSERT_TRUE(qcow2) << qcow2.error().what;
    EXPECT_EQ(qcow2->format, "qcow2");
    EXPECT_EQ(qcow2->size_bytes, 10U << 20);
  }
}

TEST_F(ImageTest, OtherFilesOfTheHostStayUnread) {
  qemu_img({"create", "-q", "-f", "raw", path("base"), "1M"});
  qemu_img({"create", "-q", "-f", "qcow2", "-F", "raw", "-b", path("base"), path("backed")});
  expect_refused("backed", Code::kInvalidArgument, "backing file");
  qemu_img(
      {"create", "-q", "-f", "qcow2", "-o", "data_file=" + path("data"), path("outside"), "1M"});
  expect_refused("outside", Code::kInvalidArgument, "in another file");
}

TEST_F(ImageTest, EncryptedCorruptAndUnknownOnesAreRefused) {
  qemu_img({"create", "-q", "-f", "qcow2", path("q"), "1M"});
  poke("q", 32, std::string("\0\0\0\2", 4));
  expect_refused("q", Code::kInvalidArgument, "encrypted");
  qemu_img({"create", "-q", "-f", "qcow2", path("c"), "1M"});
  poke("c", 79, "\x02");
  expect_refused("c", Code::kCorruption, "marked as corrupt");
  qemu_img({"create", "-q", "-f", "qcow2", path("u"), "1M"});
  poke("u", 78, "\x40");
  expect_refused("u", Code::kInvalidArgument, "unknown qcow2 features");
  qemu_img({"create", "-q", "-f", "qcow2", path("v"), "1M"});
  poke("v", 7, "\x09");
  expect_refused("v", Code::kInvalidArgument, "version 9");
  qemu_img({"create", "-q", "-f", "qcow2", path("d"), "1M"});
  poke("d", 40, std::string(8, '\xff'));  // the L1 table's place
  expect_refused("d", Code::kCorruption, "cannot be read as qcow2");
}

TEST_F(ImageTest, ForeignFormatsAndNoFilesAreNamed) {
  write("x.vmdk", "KDMV" + std::string(1000, '\0'));
  expect_refused("x.vmdk", Code::kInvalidArgument, "VMDK");
  write("x.gz", "\x1f\x8b" + std::string(1000, 'z'));
  expect_refused("x.gz", Code::kInvalidArgument, "gzip");
  write("cut", "QFI\xfb");
  expect_refused("cut", Code::kCorruption, "cut inside its header");
  write("empty", "");
  expect_refused("empty", Code::kInvalidArgument, "empty");
  expect_refused("missing", Code::kNotFound, "missing");
  expect_refused("", Code::kInvalidArgument, "neither a file");
}

TEST_F(ImageTest, AMissingProgramIsNamed) {
  write("r", std::string(512, 'x'));
  const auto image = inspect_image(path("r"), "no-such-qemu-img");
  ASSERT_FALSE(image);
  EXPECT_NE(image.error().what.find("no-such-qemu-img"), std::string::npos);
}

}  // namespace
}  // namespace hozon::control
