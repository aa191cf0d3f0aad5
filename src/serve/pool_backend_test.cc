// Proves: a pool's volumes and points are exports with the right names, rights and contents, and a
// session outlives neither their deletion nor misreads it. On a real pool in a directory.
#include "serve/pool_backend.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "serve/pool_directory.h"

namespace hozon::serve {
namespace {

class PoolBackendTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "hozon-backend-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
    loop_ = *Loop::create();
    const Status made = create_pool_directory(*loop_, directory_ + "/pool", kPoolBytesMin);
    ASSERT_TRUE(made) << made.error().what;
    auto files = open_pool_files(*loop_, directory_ + "/pool", 0);
    ASSERT_TRUE(files) << files.error().what;
    files_ = *std::move(files);
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  using Body = Task<Status> (*)(store::Pool&, PoolBackend&);
  // Runs `body` on an open pool and closes it.
  void with_pool(Body body) {
    Status result;
    spawn(run(body, result));
    loop_->run();
    EXPECT_TRUE(result) << result.error().what;
  }
  Task<void> run(Body body, Status& result) {
    co_await loop_->yield();
    auto opened = co_await store::Pool::open(*loop_, *files_.data, files_.journal(), {});
    if (!opened) {
      result = std::unexpected(opened.error());
    } else {
      const std::unique_ptr<store::Pool> pool = *std::move(opened);
      PoolBackend backend(*pool);
      result = co_await body(*pool, backend);
      const Status closed = co_await pool->close();
      if (result) result = closed;
    }
    loop_->stop();
  }

  std::string directory_;
  std::unique_ptr<Loop> loop_;
  PoolFiles files_;
};

TEST_F(PoolBackendTest, VolumesArePlainAndPointsAreReadOnly) {
  with_pool([](store::Pool& pool, PoolBackend& backend) -> Task<Status> {
    HOZON_CO_CHECK(co_await pool.create_volume("v", 1 << 20));
    HOZON_CO_TRY(const std::unique_ptr<Session> head, backend.open("v"));
    const std::vector<std::byte> ones(4096, std::byte{1});
    const std::vector<std::byte> twos(4096, std::byte{2});
    HOZON_CO_CHECK(co_await head->write(0, ones, true));
    const std::vector<std::string> volumes = {"v"};
    HOZON_CO_CHECK(co_await pool.snapshot(volumes, "前"));
    HOZON_CO_CHECK(co_await head->write(8192, twos, false));
    HOZON_CO_TRY(const std::unique_ptr<Session> point, backend.open("v@前"));
    EXPECT_FALSE(head->read_only());
    EXPECT_TRUE(point->read_only());
    EXPECT_EQ(head->size_bytes().value(), 1U << 20);

    const std::vector<ExportInfo> exports = backend.list(10);
    EXPECT_EQ(exports.size(), 2U);
    EXPECT_EQ(exports.at(0).name, "v");
    EXPECT_EQ(exports.at(1).name, "v@前");
    EXPECT_EQ(backend.list(1).size(), 1U);

    std::vector<std::byte> read(4096);
    HOZON_CO_CHECK(co_await point->read(8192, read));
    EXPECT_EQ(read, std::vector<std::byte>(4096));
    HOZON_CO_TRY(const uint64_t since, head->comparable_point("前"));
    EXPECT_EQ(head->comparable_points(), std::vector<std::string>{"前"});
    HOZON_CO_TRY(const std::vector<Extent> extents,
                 co_await head->changed_status(since, 0, 1 << 20, 100));
    uint64_t changed_bytes = 0;
    for (const Extent& extent : extents) changed_bytes += extent.changed ? extent.length_bytes : 0;
    EXPECT_EQ(changed_bytes, 4096U);

    HOZON_CO_CHECK(co_await pool.delete_point("v", "前"));
    const Status gone = co_await point->read(0, read);
    EXPECT_FALSE(gone);
    EXPECT_EQ(gone ? Code::kInternal : gone.error().code, Code::kNotFound);
    EXPECT_EQ(point->size_bytes().error().code, Code::kNotFound);
    co_return Status{};
  });
}

TEST_F(PoolBackendTest, NamesThatAreNoExportsAreNotFound) {
  with_pool([](store::Pool& pool, PoolBackend& backend) -> Task<Status> {
    HOZON_CO_CHECK(co_await pool.create_volume("v", 1 << 20));
    for (const char* name : {"", "@", "v@", "@p", "v@none", "none", "v@p@q"})
      EXPECT_EQ(backend.open(name).error().code, Code::kNotFound) << name;
    co_return Status{};
  });
}

}  // namespace
}  // namespace hozon::serve
