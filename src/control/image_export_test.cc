// Proves: an export never leaves half an image under its name, never replaces what it was not told
// to replace, and never writes into Hozon's own directory or through somebody's link.
#include "control/image_export.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <sstream>

namespace hozon::control {
namespace {

namespace fs = std::filesystem;

class ImageExportTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char text[] = "/tmp/hozon-export-XXXXXX";
    directory_ = ::mkdtemp(text);
    fs::create_directories(path("instance/pools/main"));
    write("source", std::string(100'000, 's'));
    write("old", "old");
  }
  void TearDown() override { fs::remove_all(directory_); }
  std::string path(const std::string& name) const { return directory_ + "/" + name; }
  void write(const std::string& name, const std::string& bytes) {
    std::ofstream(path(name), std::ios::binary) << bytes;
  }
  std::string read(const std::string& name) const {
    std::stringstream bytes;
    bytes << std::ifstream(path(name), std::ios::binary).rdbuf();
    return bytes.str();
  }
  Code refusal(const ImageTarget& target) const {
    const Status checked = check_image_target(target, path("instance"));
    EXPECT_FALSE(checked) << target.path;
    return checked ? Code::kInternal : checked.error().code;
  }
  static bool on(uint64_t) { return true; }
  std::string directory_;
};

TEST_F(ImageExportTest, PlacesThatCannotHoldAnImageAreRefused) {
  EXPECT_TRUE(check_image_target({path("new"), "raw"}, path("instance")));
  EXPECT_TRUE(check_image_target({path("old"), "raw", true}, path("instance")));
  EXPECT_EQ(refusal({path("old"), "raw"}), Code::kAlreadyExists);
  EXPECT_EQ(refusal({path("new"), "vmdk"}), Code::kInvalidArgument);
  EXPECT_EQ(refusal({path("missing/new"), "raw"}), Code::kNotFound);
  EXPECT_EQ(refusal({path("instance"), "raw", true}), Code::kInvalidArgument);
  EXPECT_EQ(refusal({"relative", "raw"}), Code::kInvalidArgument);
  fs::create_symlink(path("old"), path("link"));
  EXPECT_EQ(refusal({path("link"), "raw", true}), Code::kInvalidArgument);
}

TEST_F(ImageExportTest, NothingIsExportedIntoTheInstanceItself) {
  EXPECT_EQ(refusal({path("instance/new"), "raw"}), Code::kInvalidArgument);
  EXPECT_EQ(refusal({path("instance/pools/main/data"), "raw", true}), Code::kInvalidArgument);
  fs::create_directory_symlink(path("instance/pools"), path("way"));
  EXPECT_EQ(refusal({path("way/main/data"), "raw", true}), Code::kInvalidArgument);
}

TEST_F(ImageExportTest, APartialFileIsOurOwnAndPrivate) {
  ASSERT_TRUE(create_partial_image(path("new.part")));
  EXPECT_EQ(fs::status(path("new.part")).permissions(),
            fs::perms::owner_read | fs::perms::owner_write);
  const Status again = create_partial_image(path("new.part"));
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code, Code::kAlreadyExists);
  fs::create_symlink(path("old"), path("link.part"));
  EXPECT_FALSE(create_partial_image(path("link.part")));
  EXPECT_EQ(read("old"), "old");
}

TEST_F(ImageExportTest, AnExportIsTheSourceAndADifferenceIsFound) {
  for (const std::string format : {"raw", "qcow2"}) {
    ASSERT_TRUE(create_partial_image(path(format)));
    ASSERT_TRUE(export_image(path("source"), 100'000, path(format), format, "qemu-img", on));
    EXPECT_TRUE(compare_image(path("source"), 100'000, path(format), format, "qemu-img", on));
  }
  EXPECT_EQ(read("raw").substr(0, 100'000), read("source"));
  std::fstream(path("raw"), std::ios::binary | std::ios::in | std::ios::out).seekp(5000) << 'x';
  const Status compared =
      compare_image(path("source"), 100'000, path("raw"), "raw", "qemu-img", on);
  ASSERT_FALSE(compared);
  EXPECT_EQ(compared.error().code, Code::kCorruption);
}

TEST_F(ImageExportTest, AStoppedOrFailedExportSaysSo) {
  ASSERT_TRUE(create_partial_image(path("new.part")));
  const auto stopped = export_image(path("source"), 100'000, path("new.part"), "raw", "qemu-img",
                                    [](uint64_t) { return false; });
  ASSERT_FALSE(stopped);
  EXPECT_EQ(stopped.error().code, Code::kCancelled);
  EXPECT_FALSE(export_image(path("missing"), 100'000, path("new.part"), "raw", "qemu-img", on));
}

TEST_F(ImageExportTest, AFileThatAppearedMeanwhileIsKept) {
  write("new.part", "new");
  const Status refused = publish_image(path("new.part"), {path("old"), "raw", false});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kAlreadyExists);
  EXPECT_EQ(read("old"), "old");
  ASSERT_TRUE(publish_image(path("new.part"), {path("old"), "raw", true}));
  EXPECT_EQ(read("old"), "new");
  EXPECT_FALSE(fs::exists(path("new.part")));
}

}  // namespace
}  // namespace hozon::control
