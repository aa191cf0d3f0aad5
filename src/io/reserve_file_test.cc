// Proves: the reserve really takes room and really gives it back; a lack of room leaves no trace
// that would be taken for a reserve that was used. A full filesystem itself is e2e.full_disk's.
#include "io/reserve_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include <cstdlib>
#include <filesystem>

#include "base/units.h"

namespace hozon {
namespace {

class ReserveFileTest : public ::testing::Test {
 protected:
  ReserveFileTest() {
    std::string pattern = (std::filesystem::temp_directory_path() / "hz-reserve-XXXXXX").string();
    directory_ = ::mkdtemp(pattern.data());
    path_ = directory_ + "/reserve";
  }
  ~ReserveFileTest() override { std::filesystem::remove_all(directory_); }

  uint64_t taken_bytes() const {
    struct stat info{};
    return ::stat(path_.c_str(), &info) == 0 ? static_cast<uint64_t>(info.st_blocks) * 512 : 0;
  }
  uint64_t more_than_there_is() const {
    struct statvfs info{};
    EXPECT_EQ(::statvfs(directory_.c_str(), &info), 0);
    return round_up(static_cast<uint64_t>(info.f_blocks) * info.f_frsize + 1_MiB, 4096);
  }

  std::string directory_;
  std::string path_;
};

TEST_F(ReserveFileTest, TakesRoomGivesItAndTakesItAgain) {
  auto reserve = *ReserveFile::open(path_, 2_MiB);
  EXPECT_GE(taken_bytes(), 2_MiB);
  EXPECT_FALSE(reserve.is_used());
  EXPECT_TRUE(reserve.release());
  EXPECT_TRUE(reserve.is_used());
  EXPECT_LT(taken_bytes(), 64_KiB);
  EXPECT_FALSE(reserve.release()) << "nothing is left to give";
  EXPECT_EQ(reserve.renew(), 0);
  EXPECT_FALSE(reserve.is_used());
  EXPECT_GE(taken_bytes(), 2_MiB);
  EXPECT_LT(taken_bytes(), 3_MiB) << "the room beside it is only tried";
}

TEST_F(ReserveFileTest, ThatWasGivenAwayIsMadeWholeByTheNextOpeningIfThereIsRoom) {
  {
    auto reserve = *ReserveFile::open(path_, 1_MiB);
    ASSERT_TRUE(reserve.release());
  }
  EXPECT_FALSE(ReserveFile::open(path_, 1_MiB)->is_used());
  EXPECT_GE(taken_bytes(), 1_MiB);
}

TEST_F(ReserveFileTest, ThatWasGivenAwayIsKnownAsUsedWhileThereIsNoRoom) {
  ASSERT_TRUE(ReserveFile::open(path_, 1_MiB)->release());
  auto reserve = *ReserveFile::open(path_, more_than_there_is());
  EXPECT_TRUE(reserve.is_used());
  EXPECT_NE(reserve.renew(), 0);
}

TEST_F(ReserveFileTest, WithoutRoomIsAbsentAndLeavesNoFile) {
  auto reserve = ReserveFile::open(path_, more_than_there_is());
  ASSERT_TRUE(reserve) << reserve.error().what;
  EXPECT_FALSE(reserve->is_used());
  EXPECT_FALSE(reserve->release());
  EXPECT_FALSE(std::filesystem::exists(path_));
}

TEST_F(ReserveFileTest, RefusesALink) {
  std::filesystem::create_symlink(directory_ + "/elsewhere", path_);
  EXPECT_FALSE(ReserveFile::open(path_, 1_MiB));
}

}  // namespace
}  // namespace hozon
