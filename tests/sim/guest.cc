// tests/sim/guest.cc
// A guest's requests, with the sizes and alignments that real ones have and some that they have
// not.

#include "actors.h"
#include "io_memory.h"

namespace hozon::sim {
namespace {

constexpr uint64_t kEndSectorsMost = 128;

}  // namespace

Task<void> Guest::run() {
  while (!world_.dead_ && world_.steps_left_ > 0 && world_.failure_.empty()) {
    co_await world_.session_->executor.yield();
    const uint64_t dice = random_.below(world_.options_.crowded && random_.chance(2, 3) ? 42 : 100);
    if (world_.model_.volumes.empty()) {
      co_await rest();
    } else if (dice < 42) {
      co_await write();
      if (flushes_each_ && !world_.dead_) co_await flush();
    } else if (dice < 50) {
      co_await write_small();
    } else if (dice < 60) {
      co_await clear();
    } else if (dice < 76) {
      co_await read_head();
    } else if (dice < 84) {
      co_await read_point();
    } else if (dice < 96) {
      co_await flush();
    } else {
      co_await rest();
    }
  }
}

// In sectors: mostly one block, sometimes less or many.
uint64_t Guest::pick_length() {
  if (world_.options_.crowded && random_.chance(1, 2))
    return kSectorsPerBlock * random_.between(4, 32);
  switch (random_.below(8)) {
    case 0:
    case 1:
    case 2: return kSectorsPerBlock;
    case 3:
    case 4: return random_.between(1, kSectorsPerBlock);
    case 5: return random_.between(1, 3 * kSectorsPerBlock);
    case 6: return kSectorsPerBlock * random_.between(1, 8);
    default: return random_.between(1, random_.chance(1, 4) ? 64 * kSectorsPerBlock : 100);
  }
}

std::optional<Guest::Range> Guest::pick_range(bool for_write) {
  std::vector<uint64_t> uids;
  for (const auto& [uid, volume] : world_.model_.volumes)
    if (!world_.locks_[uid].still) uids.push_back(uid);
  if (uids.empty()) return std::nullopt;
  Range range;
  range.volume = random_.pick(uids);
  const ModelVolume& volume = world_.model_.volumes.at(range.volume);
  const auto windows = volume_windows(volume.size_bytes);
  const auto [first, end] = windows[random_.below(windows.size())];
  const uint64_t first_sector = first * kSectorsPerBlock;
  const uint64_t end_sector = std::min(end * kSectorsPerBlock, volume.size_bytes / kSectorSize);
  // A few blocks are hot, so that the same ones are overwritten often.
  const uint64_t span = random_.chance(1, 2) ? std::min<uint64_t>(end_sector - first_sector, 64)
                                             : end_sector - first_sector;
  range.sector = first_sector + random_.below(span);
  range.count = pick_length();
  if (range.count % kSectorsPerBlock == 0)
    range.sector = range.sector / kSectorsPerBlock * kSectorsPerBlock;
  // Often up to the very end, which may lie inside of a block.
  const uint64_t left = end_sector - range.sector;
  range.count =
      left <= kEndSectorsMost && random_.chance(1, 8) ? left : std::min(range.count, left);
  if (!targets_.contains(range.volume)) {
    const auto target = world_.pool().target(volume.name);
    if (!target) return std::nullopt;  // its deletion runs
    targets_[range.volume] = *target;
  }
  range.target = targets_[range.volume];
  if (!for_write) return range;
  if (!world_.options_.crowded && world_.scarce(256 + range.count / kSectorsPerBlock))
    return std::nullopt;
  for (uint64_t s = range.sector; s < range.sector + range.count; ++s)
    if (world_.small_sectors_.contains({range.volume, s})) return std::nullopt;
  return range;
}

void Guest::finish_write(const Model::Io& io, const Status& status, bool fua,
                         std::string_view what) {
  world_.note(fmt::format("  {} {} answered {}", what, io.begun, status.has_value()));
  if (status) return world_.model_.end_write(io, true, fua);
  const auto volume = world_.model_.volumes.find(io.volume);
  const bool reshaped = volume == world_.model_.volumes.end() || volume->second.reshaped > io.begun;
  if (!reshaped && !world_.tolerated(status.error()))
    world_.fail(fmt::format("{} of volume uid {}: {}", what, io.volume, status.error().what));
  world_.model_.end_write(io, false, false);
}

Task<void> Guest::write() {
  const auto range = pick_range(true);
  if (!range) co_return co_await flush();
  const bool fua = random_.chance(world_.options_.fua_percent, 100);
  const uint64_t stamp = world_.model_.contents().new_stamp();
  if (!world_.step(fmt::format("write{} volume {} sector {} +{} stamp {}", fua ? " fua" : "",
                               range->volume, range->sector, range->count, stamp)))
    co_return;
  ++world_.counters_.writes;
  const IoMemory memory(range->count * kSectorSize, random_.chance(1, 2));
  const std::span<std::byte> bytes = memory.span();
  for (uint64_t s = 0; s < range->count; ++s)
    world_.model_.contents().fill(stamp, range->sector + s,
                                  bytes.subspan(s * kSectorSize, kSectorSize));
  ++world_.locks_[range->volume].io;
  const Model::Io io = world_.model_.begin_write(range->volume, range->sector, range->count, stamp);
  const Status status =
      co_await world_.pool().write(range->target, range->sector * kSectorSize, bytes, fua);
  if (world_.dead_) co_return;
  --world_.locks_[range->volume].io;
  finish_write(io, status, fua, "write");
}

// Bytes that begin and end inside sectors; the rest of those must stay as it is.
Task<void> Guest::write_small() {
  const auto range = pick_range(true);
  if (!range || world_.locks_[range->volume].admin) co_return co_await flush();
  const uint64_t count = std::min<uint64_t>(range->count, random_.between(1, 3));
  const uint64_t skip = random_.below(kSectorSize);
  const uint64_t total = count * kSectorSize;
  const uint64_t length = random_.between(1, total - skip);
  std::vector<std::byte> bytes(total);
  std::vector<uint64_t> stamps;
  Contents& contents = world_.model_.contents();
  for (uint64_t s = 0; s < count; ++s) {
    const auto old = world_.model_.certain(range->volume, range->sector + s);
    if (!old) co_return;
    contents.fill(*old, range->sector + s, std::span(bytes).subspan(s * kSectorSize, kSectorSize));
  }
  if (!world_.step(fmt::format("write small volume {} sector {} byte {} +{}", range->volume,
                               range->sector, skip, length)))
    co_return;
  const uint64_t tag = contents.new_stamp();
  // Every byte changes, so that no two stamps have the same content.
  for (uint64_t i = 0; i < length; ++i) bytes[skip + i] ^= std::byte(1 + mix(tag + i) % 255);
  std::vector<Model::Io> ios;
  for (uint64_t s = 0; s < count; ++s) {
    if (s * kSectorSize >= skip + length) break;
    SectorBytes sector;
    std::memcpy(sector.data(), bytes.data() + s * kSectorSize, kSectorSize);
    world_.small_sectors_.insert({range->volume, range->sector + s});
    ios.push_back(world_.model_.begin_write(range->volume, range->sector + s, 1,
                                            contents.new_custom(sector)));
  }
  ++world_.counters_.writes;
  ++world_.locks_[range->volume].io;
  ++world_.locks_[range->volume].small;
  const Status status =
      co_await world_.pool().write(range->target, range->sector * kSectorSize + skip,
                                   std::span(bytes).subspan(skip, length), false);
  if (world_.dead_) co_return;
  --world_.locks_[range->volume].io;
  --world_.locks_[range->volume].small;
  for (const Model::Io& io : ios) {
    world_.small_sectors_.erase({io.volume, io.sector});
    finish_write(io, status, false, "small write");
  }
}

Task<void> Guest::clear() {
  auto range = pick_range(true);
  if (!range) co_return co_await flush();
  const bool discard = random_.chance(1, 2), fua = random_.chance(world_.options_.fua_percent, 100);
  if (!world_.step(fmt::format("{}{} volume {} sector {} +{}", discard ? "discard" : "zero",
                               fua ? " fua" : "", range->volume, range->sector, range->count)))
    co_return;
  ++world_.locks_[range->volume].io;
  const Model::Io io = world_.model_.begin_write(range->volume, range->sector, range->count, 0);
  const uint64_t offset = range->sector * kSectorSize, length = range->count * kSectorSize;
  Status status;
  if (discard)
    status = co_await world_.pool().discard(range->target, offset, length, fua);
  else
    status = co_await world_.pool().write_zeroes(range->target, offset, length, fua);
  if (world_.dead_) co_return;
  --world_.locks_[range->volume].io;
  finish_write(io, status, fua, discard ? "discard" : "write_zeroes");
}

Task<void> Guest::read_head() {
  const auto range = pick_range(false);
  if (!range) co_return co_await rest();
  if (!world_.step(
          fmt::format("read volume {} sector {} +{}", range->volume, range->sector, range->count)))
    co_return;
  ++world_.counters_.reads;
  const uint64_t size_before = world_.model_.volumes.at(range->volume).size_bytes;
  const IoMemory memory(range->count * kSectorSize, random_.chance(1, 2));
  const std::span<std::byte> bytes = memory.span();
  const Tick begun = world_.model_.begin_activity();
  ++world_.locks_[range->volume].io;
  const Status status =
      co_await world_.pool().read(range->target, range->sector * kSectorSize, bytes);
  if (world_.dead_) co_return;
  --world_.locks_[range->volume].io;
  world_.note(fmt::format("  read {} answered {}", begun, status.has_value()));
  world_.model_.end_activity(begun);
  const auto volume = world_.model_.volumes.find(range->volume);
  if (volume == world_.model_.volumes.end()) co_return;
  if (!status) {
    if (volume->second.reshaped <= begun && !world_.tolerated(status.error()))
      world_.fail(fmt::format("read of '{}': {}", volume->second.name, status.error().what));
    co_return;
  }
  if (volume->second.size_bytes != size_before) co_return;
  for (uint64_t s = 0; s < range->count; ++s) {
    const std::string wrong = world_.model_.check_read(
        range->volume, range->sector + s, bytes.subspan(s * kSectorSize, kSectorSize), begun);
    if (!wrong.empty()) co_return world_.fail(wrong);
  }
}

Task<void> Guest::read_point() {
  std::vector<uint64_t> uids;
  for (const auto& [uid, point] : world_.model_.points) uids.push_back(uid);
  if (uids.empty()) co_return co_await read_head();
  const uint64_t uid = random_.pick(uids);
  const ModelPoint& point = *world_.model_.points.at(uid);
  const auto windows = volume_windows(point.size_bytes);
  const auto [first, end] = windows[random_.below(windows.size())];
  const uint64_t sector = random_.between(first, end - 1) * kSectorsPerBlock;
  const uint64_t count =
      std::min(std::min(end * kSectorsPerBlock, point.size_bytes / kSectorSize) - sector,
               random_.between(1, 64));
  const auto target = world_.pool().target(world_.model_.volumes.at(point.volume).name, point.name);
  if (!target) co_return;  // its deletion or renaming runs
  if (!world_.step(fmt::format("read point {} sector {} +{}", uid, sector, count))) co_return;
  const IoMemory memory(count * kSectorSize, random_.chance(1, 2));
  const std::span<std::byte> bytes = memory.span();
  const Status status = co_await world_.pool().read(*target, sector * kSectorSize, bytes);
  if (world_.dead_ || !world_.model_.points.contains(uid)) co_return;
  if (!status) {
    bool doomed = false;
    for (const auto& [key, op] : world_.model_.running_admin())
      doomed |= op.kind == AdminOp::Kind::kDeletePoint || op.kind == AdminOp::Kind::kDeleteVolume;
    if (!doomed && !world_.tolerated(status.error()))
      world_.fail(fmt::format("read of point uid {}: {}", uid, status.error().what));
    co_return;
  }
  for (uint64_t s = 0; s < count; ++s) {
    const std::string wrong =
        world_.model_.settle_point(uid, sector + s, bytes.subspan(s * kSectorSize, kSectorSize));
    if (!wrong.empty()) co_return world_.fail(wrong);
  }
}

Task<void> Guest::flush() {
  if (!world_.step("flush")) co_return;
  ++world_.counters_.flushes;
  const Tick begun = world_.model_.begin_activity();
  const Status status = co_await world_.pool().flush();
  if (world_.dead_) co_return;
  if (status) {
    world_.note(fmt::format("  flush {} answered", begun));
    co_return world_.model_.end_flush(begun);
  }
  world_.model_.end_activity(begun);
  if (!world_.tolerated(status.error())) world_.fail("flush: " + status.error().what);
}

Task<void> Guest::rest() {
  if (!world_.step("rest")) co_return;
  const uint64_t most = random_.pick<uint64_t>({100'000, 10'000'000, 8'000'000'000});
  co_await world_.session_->executor.sleep(random_.between(1, most));
}

}  // namespace hozon::sim
