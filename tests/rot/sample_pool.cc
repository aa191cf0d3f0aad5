#include "sample_pool.h"

#include "base/units.h"
#include "disk_map.h"
#include "store/pool.h"

namespace hozon::rot {

using store::Pool;

std::string to_text(const Export& one) {
  return one.point.empty() ? one.volume : one.volume + "@" + one.point;
}

Opening::~Opening() {
  if (pool) (void)pool.release();  // not closed: as if killed
}

Status Opening::open(bool read_only) {
  store::OpenOptions options;
  options.read_only = read_only;
  options.background = false;
  auto opened = run(Pool::open(executor, power_.data(), power_.journal(), options));
  if (!opened) return std::unexpected(opened.error());
  pool = *std::move(opened);
  return {};
}

Status Opening::close() {
  const Status closed = run(pool->close());
  pool.reset();
  return closed;
}

namespace {

std::vector<std::byte> pattern(uint64_t seed, uint64_t bytes) {
  sim::Random random(seed);
  std::vector<std::byte> out(bytes);
  for (std::byte& byte : out) byte = static_cast<std::byte>(random.next() & 0xff);
  return out;
}

void must(const Status& status) {
  if (!status) fmt::print(stderr, "{}\n", status.error().what);
  HOZON_CHECK(status.has_value());
}

Task<Status> put(Pool& pool, std::string volume, uint64_t block, uint64_t blocks, uint64_t seed) {
  HOZON_CO_TRY(const store::Target target, pool.target(volume));
  const std::vector<std::byte> bytes = pattern(seed, blocks * store::kBlockSize);
  co_return co_await pool.write(target, block * store::kBlockSize, bytes, false);
}

// The compiler cannot do with lists in braces inside of co_await.
std::vector<std::string> both(std::string one, std::string other = "") {
  std::vector<std::string> names;
  names.push_back(std::move(one));
  if (!other.empty()) names.push_back(std::move(other));
  return names;
}

Task<Status> go_back(Pool& pool, std::string volume, std::string point, std::string keep) {
  std::vector<store::ReturnItem> items(1);
  items[0].volume = items[0].point_volume = volume;
  items[0].point = point;
  co_return co_await pool.return_to(items, keep);
}

Task<Status> snap(Pool& pool, std::vector<std::string> volumes, std::string name) {
  HOZON_CO_CHECK(co_await pool.snapshot(std::move(volumes), std::move(name)));
  co_return Status{};
}

Task<Status> create(Pool& pool, std::string name, uint64_t bytes) {
  HOZON_CO_CHECK(co_await pool.create_volume(std::move(name), bytes));
  co_return Status{};
}

Task<Status> first_part(Pool& pool) {
  HOZON_CO_CHECK(co_await create(pool, "web", 512_KiB));  // height 1
  HOZON_CO_CHECK(co_await create(pool, "db", 300_MiB));   // height 3
  HOZON_CO_CHECK(co_await create(pool, "gone", 64_KiB));
  HOZON_CO_CHECK(co_await put(pool, "web", 0, 20, 1));
  HOZON_CO_CHECK(co_await put(pool, "db", 0, 3, 2));
  HOZON_CO_CHECK(co_await put(pool, "db", 5000, 4, 3));
  HOZON_CO_CHECK(co_await put(pool, "db", 70000, 2, 4));
  HOZON_CO_CHECK(co_await put(pool, "gone", 0, 4, 5));
  HOZON_CO_CHECK(co_await snap(pool, both("web", "db"), "monday"));
  HOZON_CO_CHECK(co_await snap(pool, both("gone"), "soon"));
  HOZON_CO_CHECK(co_await put(pool, "web", 3, 5, 6));
  HOZON_CO_CHECK(co_await put(pool, "db", 5001, 1, 7));
  co_return co_await pool.checkpoint();
}

Task<Status> second_part(Pool& pool) {
  HOZON_CO_CHECK(co_await snap(pool, both("web"), "tuesday"));
  HOZON_CO_CHECK(co_await put(pool, "web", 100, 6, 8));
  HOZON_CO_CHECK(co_await pool.clone("web", "monday", "web-test"));
  HOZON_CO_CHECK(co_await put(pool, "web-test", 1, 2, 9));
  HOZON_CO_CHECK(co_await pool.clone("db", "", "db-copy"));  // makes a fork
  HOZON_CO_CHECK(co_await put(pool, "db-copy", 5002, 1, 10));
  HOZON_CO_CHECK(co_await put(pool, "db", 1, 1, 11));
  HOZON_CO_CHECK(co_await go_back(pool, "web", "tuesday", "left"));
  HOZON_CO_CHECK(co_await put(pool, "web", 7, 2, 12));
  HOZON_CO_CHECK(co_await create(pool, std::string(kCounterVolume), 64_KiB));
  HOZON_CO_CHECK(co_await put(pool, std::string(kCounterVolume), 0, 1, 1000));
  HOZON_CO_CHECK(co_await pool.checkpoint());
  HOZON_CO_CHECK(co_await pool.delete_volume("gone", true));
  HOZON_CO_CHECK(co_await pool.drain_reclaim());
  co_return co_await pool.checkpoint();
}

Task<Status> last_part(Pool& pool) {
  HOZON_CO_CHECK(co_await put(pool, "db", 9, 2, 13));
  HOZON_CO_CHECK(co_await pool.flush());
  for (uint64_t i = 1; i <= kCounterWrites; ++i) {
    HOZON_CO_CHECK(co_await put(pool, std::string(kCounterVolume), 0, 1, 1000 + i));
    HOZON_CO_CHECK(co_await pool.flush());
  }
  co_return Status{};
}

Task<Result<std::map<uint64_t, std::vector<std::byte>>>> read_all(Pool& pool, Export what) {
  std::map<uint64_t, std::vector<std::byte>> blocks;
  HOZON_CO_TRY(const store::Target target, pool.target(what.volume, what.point));
  HOZON_CO_TRY(const uint64_t size, pool.size_bytes(target));
  HOZON_CO_TRY(const auto extents, co_await pool.block_status(target, 0, size, 10000));
  uint64_t at = 0;
  for (const store::Extent& extent : extents) {
    const uint64_t end = extent.mapped ? at + extent.length_bytes : at + store::kBlockSize;
    for (uint64_t offset = at; offset < end; offset += store::kBlockSize) {
      std::vector<std::byte> bytes(store::kBlockSize);
      HOZON_CO_CHECK(co_await pool.read(target, offset, bytes));
      blocks[offset / store::kBlockSize] = std::move(bytes);
    }
    at += extent.length_bytes;
  }
  co_return blocks;
}

}  // namespace

Sample make_sample() {
  Sample sample;
  const sim::Fate all{.kind = sim::CrashKind::kCut, .choice = sim::Fate::Choice::kAll};
  sim::SimPower power(kDataBytes, kJournalBytes);
  {
    Opening opening(power);
    store::CreateOptions options;
    options.pool_id[0] = 7;
    must(opening.run(Pool::create(power.data(), power.journal(), options)));
    must(opening.open(false));
    must(opening.run(first_part(*opening.pool)));
    sample.old = power.fork(all);
    must(opening.run(second_part(*opening.pool)));
    must(opening.run(last_part(*opening.pool)));
  }
  sample.now = power.fork(all);
  const auto copy = sample.now->fork(all);
  Opening opening(*copy);
  must(opening.open(true));
  for (const store::VolumeInfo& volume : opening.pool->volumes()) {
    std::vector<Export> exports = {{volume.name, ""}};
    const auto points = opening.pool->points(volume.name);
    for (const store::PointInfo& point : *points) exports.push_back({volume.name, point.name});
    for (const Export& one : exports) {
      auto blocks = opening.run(read_all(*opening.pool, one));
      HOZON_CHECK(blocks.has_value());
      sample.content[one] = *std::move(blocks);
    }
  }
  must(opening.close());
  const auto replayed = sample.now->fork(all);
  Opening writer(*replayed);
  must(writer.open(false));
  for (const Place& place : list_places(*sample.now, true))
    if (place.kind == Kind::kMapNode || place.kind == Kind::kData)
      sample.replaced.insert(place.page);
  for (const Place& place : list_places(*replayed, true)) sample.replaced.erase(place.page);
  return sample;
}

}  // namespace hozon::rot
