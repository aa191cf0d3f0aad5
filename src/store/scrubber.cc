#include "store/scrubber.h"

#include <algorithm>
#include <cstring>

#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/log.h"
#include "base/units.h"
#include "store/checkpointer.h"
#include "store/core.h"
#include "store/opener.h"
#include "store/scrub_walk.h"

namespace hozon::store {
namespace {

constexpr uint64_t kMetadataBlocksPerStep = 64;
constexpr uint64_t kNapNsMax = 100'000'000;  // so soon a cancel or a close is seen
constexpr uint64_t kBurstNs = 50'000'000;    // of unused rate that may be caught up with
constexpr int kRoundsMax = 8;

}  // namespace

Result<uint64_t> Scrubber::start(ScrubOptions options) {
  if (core_.options.read_only)
    return make_error(Code::kPermissionDenied, "the pool is open read-only; check it instead");
  if (core_.closing) return make_error(Code::kUnavailable, "the pool is being closed");
  if (report_.state == ScrubReport::State::kRunning)
    return make_error(Code::kBusy, "a scrub of the pool is running already");
  const uint64_t id = report_.id + 1;
  report_ = {};
  report_.id = id;
  report_.state = ScrubReport::State::kRunning;
  report_.started_ns = core_.executor.wall_ns();
  report_.total_bytes = core_.space.live() * kBlockSize;
  options_ = options;
  is_cancelled_ = false;
  must_write_metadata_ = false;
  due_ns_ = core_.executor.now_ns();
  walked_.clear();
  core_.background.start(run());
  return id;
}

Task<void> Scrubber::run() {
  const Status status = co_await scrub();
  walked_.clear();
  report_.ended_ns = core_.executor.wall_ns();
  if (status) {
    report_.state = ScrubReport::State::kDone;
    core_.damage.forget_older(report_.started_ns);
  } else {
    report_.state = status.error().code == Code::kCancelled ? ScrubReport::State::kCancelled
                                                            : ScrubReport::State::kFailed;
    report_.failure = status.error().what;
  }
  log_info("scrub {}: {} read, {} damaged places{}", status ? "done" : "ended early",
           format_bytes(report_.done_bytes), report_.damaged.size() + report_.damaged_left_out,
           status ? "" : ": " + status.error().what);
  core_.notify();
}

Status Scrubber::may_go_on() const {
  if (core_.closing) return make_error(Code::kUnavailable, "the pool was closed");
  if (is_cancelled_) return make_error(Code::kCancelled, "the scrub was cancelled");
  return {};
}

Task<Status> Scrubber::pace(uint64_t bytes) {
  report_.done_bytes += bytes;
  if (options_.bytes_per_second == 0) {
    co_await core_.executor.yield();
    co_return may_go_on();
  }
  const uint64_t now = core_.executor.now_ns();
  due_ns_ = std::max(due_ns_, now > kBurstNs ? now - kBurstNs : 0);
  due_ns_ += static_cast<uint64_t>(1e9 * static_cast<double>(bytes) /
                                   static_cast<double>(options_.bytes_per_second));
  co_await core_.executor.yield();
  while (true) {
    HOZON_CO_CHECK(may_go_on());
    const uint64_t present = core_.executor.now_ns();
    if (present >= due_ns_) co_return Status{};
    co_await core_.executor.sleep(std::min(due_ns_ - present, kNapNsMax));
  }
}

void Scrubber::add(DamagedPlace place) {
  if (core_.damage.note(place, core_.executor.wall_ns())) core_.notify();
  if (report_.damaged.size() < ScrubReport::kDamagedMax)
    report_.damaged.push_back(std::move(place));
  else
    ++report_.damaged_left_out;
}

void Scrubber::add_metadata_damage(std::string object, uint64_t block, std::string what) {
  DamagedPlace place;
  place.object = std::move(object);
  place.block = block;
  place.length_bytes = kBlockSize;
  place.what = std::move(what);
  must_write_metadata_ = true;
  add(std::move(place));
}

Task<Status> Scrubber::scrub() {
  HOZON_CO_CHECK(co_await check_superblocks());
  HOZON_CO_CHECK(co_await check_journal_header());
  HOZON_CO_CHECK(co_await check_tree(core_.catalog_tree, "the pool's catalog",
                                     [this](uint8_t level, uint64_t index) {
                                       const uint64_t leaf = index << (8 * level);
                                       core_.catalog.touch_slot(leaf * format::kRecordsPerBlock);
                                     }));
  HOZON_CO_CHECK(co_await check_tree(
      core_.bitmap_tree, "the pool's bitmap",
      [this](uint8_t level, uint64_t index) { core_.space.touch_group(index << (8 * level)); }));
  if (must_write_metadata_ && core_.health) {
    const Status written = co_await core_.checkpointer->run();
    if (written) {
      core_.damage.forget({0, format::kFirstUsableBlock});
      log_info("scrub: the pool's metadata was written anew");
    } else {
      log_warning("scrub: the pool's metadata was not written anew: {}", written.error().what);
    }
  }
  uint64_t bound = 0;
  for (int round = 0; round < kRoundsMax; ++round) {
    const uint64_t before = bound;
    HOZON_CO_CHECK(co_await walk_points(bound));
    if (bound == before) break;
  }
  co_return Status{};
}

Task<Status> Scrubber::check_superblocks() {
  {
    const Mutex::Guard guard = co_await core_.checkpointer->hold();  // nobody writes them now
    if (!core_.health) co_return Status{};
    AlignedBuffer block(kBlockSize);
    for (uint64_t slot = 0; slot < 2; ++slot) {
      ++report_.metadata_blocks;
      const int error = co_await core_.data.read(slot * kBlockSize, block.span());
      const bool is_good =
          error == 0 && std::memcmp(block.data(), &core_.superblock, kBlockSize) == 0;
      if (!is_good)
        add_metadata_damage(fmt::format("superblock slot {}", slot), slot,
                            "is damaged; the next checkpoint writes it anew");
    }
  }
  co_return co_await pace(2 * kBlockSize);
}

Task<Status> Scrubber::check_journal_header() {
  AlignedBuffer block(kBlockSize);
  format::JournalHeader header{};
  header.pool_id = core_.superblock.pool_id;
  header.ring_bytes = core_.superblock.journal_bytes;
  format::seal(header);
  ++report_.metadata_blocks;
  int error = co_await core_.journal_device.read(0, block.span());
  if (error != 0 || std::memcmp(block.data(), &header, kBlockSize) != 0) {
    add_metadata_damage("the header of the journal", 0, "is damaged; it is written anew");
    std::memcpy(block.data(), &header, kBlockSize);
    if (core_.health) {
      error = co_await core_.journal_device.write(0, block.span());
      if (error != 0) core_.fail(errno_to_error(-error, "write the header of the pool's journal"));
      (void)co_await core_.sync_journal();
    }
  }
  co_return co_await pace(kBlockSize);
}

Task<Status> Scrubber::check_tree(const MetaTree& tree, std::string name, Heal heal) {
  AlignedBuffer buffer(kBlockSize);
  for (uint8_t level = 0; level <= tree.height(); ++level) {
    uint64_t index = 0;
    while (level <= tree.height() && index < tree.block_count(level)) {
      uint64_t read = 0;
      {
        // While checkpoints are held, what memory says of the tree is on the disk.
        const Mutex::Guard guard = co_await core_.checkpointer->hold();
        if (!core_.health) co_return Status{};
        for (; index < tree.block_count(level) && read < kMetadataBlocksPerStep; ++index) {
          const Pointer pointer = tree.pointer(level, index);
          if (pointer.is_null()) continue;
          ++read;
          const uint64_t block = pointer.block;
          const int error = co_await core_.data.read(block * kBlockSize, buffer.span());
          if (error == 0 && crc32c(buffer.span()) == pointer.crc32c) continue;
          std::string what =
              fmt::format("block {} is damaged; the next checkpoint writes it anew", block);
          if (level == 0 && &tree == &core_.catalog_tree)
            what += core_.catalog.describe_slots(index * format::kRecordsPerBlock,
                                                 format::kRecordsPerBlock);
          add_metadata_damage(fmt::format("{} (level {})", name, level), block, std::move(what));
          heal(level, index);
        }
      }
      report_.metadata_blocks += read;
      HOZON_CO_CHECK(co_await pace(read * kBlockSize));
    }
  }
  co_return Status{};
}

std::vector<uint64_t> Scrubber::parents_first(uint64_t bound) const {
  std::vector<uint64_t> order;
  std::vector<const Point*> open;
  for (const auto& [id, point] : core_.catalog.points())
    if (point->parent == nullptr) open.push_back(point.get());
  while (!open.empty()) {
    const Point* point = open.back();
    open.pop_back();
    if (point->id < bound && !walked_.contains(point->id)) order.push_back(point->id);
    open.insert(open.end(), point->children.begin(), point->children.end());
  }
  return order;
}

// `bound`: ids that exist when the round begins are below it.
Task<Status> Scrubber::walk_points(uint64_t& bound) {
  const std::vector<uint64_t> order = parents_first(core_.catalog.next_id());
  if (order.empty()) co_return Status{};
  bound = core_.catalog.next_id();
  for (const uint64_t id : order) HOZON_CO_CHECK(co_await walk_point(id));
  co_return Status{};
}

Task<Status> Scrubber::walk_point(uint64_t id) {
  ScrubWalk walk(core_, walked_, id);
  while (true) {
    ScrubStep step = co_await walk.step();
    report_.map_blocks += step.map_blocks;
    report_.data_blocks += step.data_blocks;
    for (DamagedPlace& place : step.damaged) add(std::move(place));
    HOZON_CO_CHECK(co_await pace(step.bytes));
    if (step.is_end) break;
  }
  walked_.insert(id);
  ++report_.points;
  co_return Status{};
}

}  // namespace hozon::store
