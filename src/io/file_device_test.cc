// Proves: FileDevice moves bytes by both descriptors consistently, locks its file, and refuses what
// it cannot serve with a sentence that names the file. On both event loops, direct and buffered.
#include "io/file_device.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cerrno>
#include <filesystem>
#include <tuple>

#include "base/bytes.h"
#include "base/task.h"
#include "base/units.h"

namespace hozon {
namespace {

using OpenOptions = FileDevice::OpenOptions;

class FileDeviceTest : public testing::TestWithParam<std::tuple<LoopBackend, bool>> {
 protected:
  void SetUp() override {
    auto made = Loop::create(std::get<0>(GetParam()));
    if (!made && made.error().code == Code::kUnavailable) GTEST_SKIP() << made.error().what;
    ASSERT_TRUE(made) << made.error().what;
    loop_ = *std::move(made);
    std::string pattern = testing::TempDir() + "hozon-device-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
    path_ = directory_ + "/data";
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  OpenOptions options() const { return {.direct = std::get<1>(GetParam())}; }
  void run(Task<void> task) {
    spawn([](Loop& loop, Task<void> inner) -> Task<void> {
      co_await loop.yield();
      co_await std::move(inner);
      loop.stop();
    }(*loop_, std::move(task)));
    loop_->run();
  }
  Error refusal(const std::string& path, OpenOptions with) {
    auto opened = FileDevice::open(*loop_, path, with);
    EXPECT_FALSE(opened);
    return opened ? Error{} : opened.error();
  }

  std::unique_ptr<Loop> loop_;
  std::string directory_;
  std::string path_;
};

AlignedBuffer filled(size_t size, int value) {
  AlignedBuffer buffer(size);
  std::memset(buffer.data(), value, size);
  return buffer;
}

TEST_P(FileDeviceTest, ReadsBackWhatEitherDescriptorWrote) {
  ASSERT_TRUE(FileDevice::create_file(path_, 1_MiB, 1_MiB));
  auto device = FileDevice::open(*loop_, path_, options());
  ASSERT_TRUE(device) << device.error().what;
  EXPECT_EQ((*device)->size_bytes(), 1_MiB);
  run([](Device& disk) -> Task<void> {
    const AlignedBuffer data = filled(16384, 0x5a);
    EXPECT_EQ(co_await disk.write(8192, data.span()), 0);
    const std::string record = "a record";
    EXPECT_EQ(disk.write_now(10'000, std::as_bytes(std::span(record))), 0);
    AlignedBuffer read(16384);
    EXPECT_EQ(co_await disk.read(8192, read.span()), 0);
    EXPECT_EQ(std::memcmp(read.data() + 10'000 - 8192, record.data(), record.size()), 0);
    EXPECT_EQ(read.data()[0], std::byte{0x5a});
    EXPECT_EQ(read.data()[16383], std::byte{0x5a});
    EXPECT_EQ(co_await disk.write(8192, data.span()), 0);
    EXPECT_EQ(co_await disk.sync(), 0);
    EXPECT_EQ(co_await disk.read(8192, read.span()), 0);
    EXPECT_EQ(std::memcmp(read.data(), data.data(), data.size()), 0);
    EXPECT_EQ(co_await disk.punch(8192, 4096), 0);
    EXPECT_EQ(co_await disk.read(8192, read.span()), 0);
    EXPECT_EQ(read.data()[4095], std::byte{0});
    EXPECT_EQ(read.data()[4096], std::byte{0x5a});
  }(**device));
}

TEST_P(FileDeviceTest, SecondOpenerIsRefusedUntilTheFirstHasEnded) {
  ASSERT_TRUE(FileDevice::create_file(path_, 64_KiB, 0));
  {
    auto first = FileDevice::open(*loop_, path_, options());
    ASSERT_TRUE(first) << first.error().what;
    const Error error = refusal(path_, options());
    EXPECT_EQ(error.code, Code::kBusy);
    EXPECT_EQ(error.what, "'" + path_ + "' is already open in another process");
    EXPECT_EQ(refusal(path_, {.read_only = true}).code, Code::kBusy);
    EXPECT_TRUE(FileDevice::open(*loop_, path_, {.lock = false}));
  }
  auto one = FileDevice::open(*loop_, path_, {.read_only = true});
  auto two = FileDevice::open(*loop_, path_, {.read_only = true});
  EXPECT_TRUE(one && two);
  EXPECT_EQ((*one)->write_now(0, std::array<std::byte, 1>{}), -EBADF);
}

TEST_P(FileDeviceTest, RefusalsNameTheFileAndTheReason) {
  Error error = refusal(directory_ + "/missing", options());
  EXPECT_EQ(error.code, Code::kNotFound);
  EXPECT_EQ(error.what, "there is no file '" + directory_ + "/missing'");

  ASSERT_TRUE(FileDevice::create_file(path_, 64_KiB, 0));
  const std::string link = directory_ + "/link";
  ASSERT_EQ(::symlink(path_.c_str(), link.c_str()), 0);
  error = refusal(link, options());
  EXPECT_EQ(error.code, Code::kInvalidArgument);
  EXPECT_NE(error.what.find("symbolic link"), std::string::npos);

  ASSERT_EQ(::truncate(path_.c_str(), 10'000), 0);
  error = refusal(path_, options());
  EXPECT_EQ(error.code, Code::kCorruption);
  EXPECT_NE(error.what.find("cut short"), std::string::npos);
  ASSERT_EQ(::truncate(path_.c_str(), 0), 0);
  EXPECT_EQ(refusal(path_, options()).code, Code::kCorruption);

  const std::string fifo = directory_ + "/fifo";
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  EXPECT_EQ(refusal(fifo, options()).code, Code::kInvalidArgument);
  EXPECT_FALSE(FileDevice::open(*loop_, directory_, options()));
}

TEST_P(FileDeviceTest, CreateFileNeverTouchesAnExistingOneAndLeavesNoHalf) {
  ASSERT_TRUE(FileDevice::create_file(path_, 64_KiB, 64_KiB));
  const Status again = FileDevice::create_file(path_, 64_KiB, 64_KiB);
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code, Code::kAlreadyExists);
  struct stat info{};
  ASSERT_EQ(::stat(path_.c_str(), &info), 0);
  EXPECT_EQ(info.st_size, 65536);
  EXPECT_EQ(info.st_mode & 0777, 0600U);
  EXPECT_GE(info.st_blocks * 512, 65536);

  const std::string odd = directory_ + "/odd";
  EXPECT_EQ(FileDevice::create_file(odd, 1000, 1000).error().code, Code::kInvalidArgument);
  EXPECT_FALSE(FileDevice::create_file(odd, uint64_t{1} << 61, uint64_t{1} << 61));
  EXPECT_FALSE(std::filesystem::exists(odd));
  EXPECT_FALSE(FileDevice::create_file(directory_ + "/no/such", 4096, 0));
}

INSTANTIATE_TEST_SUITE_P(
    Each, FileDeviceTest,
    testing::Combine(testing::Values(LoopBackend::kUring, LoopBackend::kThreads), testing::Bool()),
    [](const testing::TestParamInfo<std::tuple<LoopBackend, bool>>& test) {
      return std::string(std::get<0>(test.param) == LoopBackend::kUring ? "uring" : "threads") +
             (std::get<1>(test.param) ? "_direct" : "_buffered");
    });

}  // namespace
}  // namespace hozon
