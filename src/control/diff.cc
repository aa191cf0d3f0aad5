// What differs between two states: settings, and ranges of blocks. The data plane walks both maps a
// page at a time, so nothing is held between two pages and no answer grows with the disk.
#include <algorithm>

#include "control/core.h"
#include "control/names.h"
#include "control/settings.h"

namespace hozon::control {
namespace {

constexpr uint64_t kPageBytes = uint64_t{64} << 30;  // that one call to the data plane looks at

Result<uint64_t> size_of(const Core& core, const std::string& pool,
                         const Storage::PointName& name) {
  if (name.point.empty()) return HOZON_TRY(core.storage.volume(pool, name.volume)).size_bytes;
  return HOZON_TRY(core.storage.point(pool, name.volume, name.point)).size_bytes;
}

void add_range(VolumeDiff& diff, const Range& range) {
  diff.changed_bytes += range.length_bytes;
  if (!diff.ranges.empty()) {
    Range& last = diff.ranges.back();
    if (last.offset_bytes + last.length_bytes == range.offset_bytes) {
      last.length_bytes += range.length_bytes;
      return;
    }
  }
  diff.ranges.push_back(range);
}

// Where one of the two is longer, the longer one is looked at.
Status collect(const Core& core, const DiffRequest& request, VolumeDiff& diff) {
  const Storage::PointName target{request.volume, request.point};
  const Storage::PointName base{diff.base_volume, request.base_point};
  const uint64_t target_bytes = HOZON_TRY(size_of(core, diff.pool, target));
  const uint64_t base_bytes = HOZON_TRY(size_of(core, diff.pool, base));
  const uint64_t end = std::max(target_bytes, base_bytes);
  for (uint64_t at = request.offset_bytes; at < end;) {
    if (diff.ranges.size() >= request.most) {
      diff.next_offset = at;
      return {};
    }
    const bool past = at >= target_bytes;
    const uint64_t stop = std::min(past ? base_bytes : target_bytes, at + kPageBytes);
    const auto page =
        HOZON_TRY(core.storage.changed(diff.pool, past ? base : target, past ? target : base, at,
                                       stop - at, request.most - diff.ranges.size()));
    for (const Range& range : page.ranges) add_range(diff, range);
    if (page.next_offset <= at)
      return make_error(Code::kInternal, "pool '{}' does not go on after byte {}", diff.pool, at);
    at = page.next_offset;
  }
  return {};
}

const SnapshotDisk* disk_of(const std::vector<SnapshotDisk>& disks, const std::string& id) {
  const auto found = std::ranges::find(disks, id, &SnapshotDisk::disk);
  return found == disks.end() ? nullptr : &*found;
}

// One side of a comparison: a snapshot, or the machine as it is now.
struct Side {
  std::string words;
  nlohmann::json settings;
  std::vector<SnapshotDisk> disks;  // points are empty for the present
};

Result<Side> side_of(Core& core, const MachineRow& machine, const std::string& snapshot) {
  if (!snapshot.empty()) {
    const SnapshotRow row = HOZON_TRY(core.listed_snapshot(machine, snapshot));
    return Side{fmt::format("snapshot '{}'", row.name), row.settings, row.disks};
  }
  Side side{"the machine now", settings_of(machine), {}};
  for (const Disk& disk : attached_disks(machine))
    side.disks.push_back({disk.id, disk.volume, disk.pool, "", disk.size_bytes, {}});
  return side;
}

}  // namespace

Result<VolumeDiff> Control::volume_diff(const DiffRequest& request) const {
  if (request.most == 0 || request.most > kDiffRangesMax)
    return make_error(Code::kInvalidArgument, "a page has 1 to {} ranges", kDiffRangesMax);
  VolumeDiff diff;
  diff.volume = request.volume;
  diff.pool = HOZON_TRY(core_->find_pool(request.volume, request.pool));
  diff.point = request.point;
  diff.base_volume = request.base_volume.empty() ? request.volume : request.base_volume;
  diff.base_point = request.base_point;
  HOZON_TRY(collect(*core_, request, diff));
  return diff;
}

Result<SnapshotDiff> Control::snapshot_diff(const std::string& machine, const std::string& from,
                                            const std::string& to) const {
  const MachineRow owner = HOZON_TRY(core_->inventory.machine(machine));
  const Side before = HOZON_TRY(side_of(*core_, owner, from));
  const Side after = HOZON_TRY(side_of(*core_, owner, to));
  SnapshotDiff diff{from, to, settings_changes(before.settings, after.settings), {}};
  for (const Disk& disk : owner.disks) {
    const SnapshotDisk* base = disk_of(before.disks, disk.id);
    const SnapshotDisk* target = disk_of(after.disks, disk.id);
    if (base == nullptr && target == nullptr) continue;
    VolumeDiff part;
    if (base != nullptr && target != nullptr) {
      part = HOZON_TRY(volume_diff({.volume = target->volume,
                                    .point = target->point,
                                    .base_volume = base->volume,
                                    .base_point = base->point,
                                    .pool = target->pool}));
    } else {
      part.volume = disk.volume;
      part.pool = disk.pool;
      part.note = fmt::format("not part of {}", base == nullptr ? before.words : after.words);
    }
    part.disk = disk.id;
    diff.disks.push_back(std::move(part));
  }
  return diff;
}

}  // namespace hozon::control
