// The face of a pool: checks what callers ask for, and hands the work to the parts of PoolCore.
// Operations on volumes and points become journal records; Catalog::apply gives them their effect.
#include "store/pool.h"

#include <algorithm>
#include <set>

#include "base/text.h"
#include "base/units.h"
#include "store/checker.h"
#include "store/checkpointer.h"
#include "store/core.h"
#include "store/damage_finder.h"
#include "store/data_path.h"
#include "store/defragmenter.h"
#include "store/flusher.h"
#include "store/freed_walk.h"
#include "store/headroom.h"
#include "store/mutants.h"
#include "store/opener.h"
#include "store/reclaimer.h"
#include "store/repairer.h"
#include "store/reservoir.h"
#include "store/scrubber.h"

namespace hozon::store {
namespace {

using format::Record;
using Records = Result<std::vector<Record>>;

Status check_volume_name(std::string_view name) {
  const auto is_alnum = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
  };
  const bool good = !name.empty() && name.size() <= kVolumeNameMax && is_alnum(name.front()) &&
                    std::ranges::all_of(name, [&](char c) {
                      return is_alnum(c) || c == '.' || c == '_' || c == '-';
                    });
  if (!good)
    return make_error(Code::kInvalidArgument,
                      "'{}' is not a volume name: 1 to {} letters, digits, '.', '_' or '-', "
                      "beginning with a letter or digit",
                      name, kVolumeNameMax);
  return {};
}

Status check_point_name(std::string_view name) {
  const bool good = !name.empty() && name.size() <= kPointNameMax && is_utf8(name) &&
                    std::ranges::none_of(name, is_control) &&
                    name.find_first_of("@/") == std::string_view::npos;
  if (!good)
    return make_error(Code::kInvalidArgument,
                      "'{}' is not a point name: 1 to {} bytes of UTF-8 without '@', '/' and "
                      "control characters",
                      name, kPointNameMax);
  return {};
}

Status check_size(uint64_t size_bytes) {
  if (size_bytes == 0 || size_bytes % 512 != 0 || size_bytes > kVolumeBytesMax)
    return make_error(Code::kInvalidArgument,
                      "{} bytes is not a volume size: a multiple of 512 up to {}", size_bytes,
                      format_bytes(kVolumeBytesMax));
  return {};
}

std::unexpected<Error> no_volume(std::string_view name) {
  return make_error(Code::kNotFound, "no volume '{}' in the pool", name);
}

Result<Volume*> find_volume(PoolCore& core, std::string_view name) {
  Volume* volume = core.catalog.find_volume(name);
  if (volume == nullptr) return no_volume(name);
  return volume;
}

Result<Point*> find_point(PoolCore& core, std::string_view volume_name, std::string_view name) {
  const Volume* volume = HOZON_TRY(find_volume(core, volume_name));
  const auto found = volume->snapshots.find(name);
  if (found == volume->snapshots.end())
    return make_error(Code::kNotFound, "volume '{}' has no point '{}'", volume_name, name);
  return found->second;
}

Status check_free_volume_name(const PoolCore& core, std::string_view name) {
  HOZON_TRY(check_volume_name(name));
  if (core.catalog.find_volume(name) != nullptr)
    return make_error(Code::kAlreadyExists, "a volume '{}' exists already; choose another name",
                      name);
  return {};
}

Status check_room(const PoolCore& core) {
  if (core.space.free() > core.reserve_blocks() / 2) return {};
  return make_error(
      Code::kResourceExhausted, "the pool is full ({} free of {}); delete points or volumes first",
      format_bytes(core.space.free() * kBlockSize), format_bytes(core.space.total() * kBlockSize));
}

}  // namespace

Pool::Pool(std::unique_ptr<PoolCore> core) : core_(std::move(core)) {}
Pool::~Pool() = default;

Task<Status> Pool::create(Device& data, Device& journal, CreateOptions options) {
  return format_pool(data, journal, options);
}

Task<Result<RepairReport>> Pool::repair(Executor& executor, Device& data, Device& journal) {
  co_return co_await repair_pool(executor, data, journal);
}

Task<Result<std::unique_ptr<Pool>>> Pool::open(Executor& executor, Device& data, Device& journal,
                                               OpenOptions options) {
  HOZON_CO_TRY(std::unique_ptr<PoolCore> core,
               co_await open_core(executor, data, journal, options));
  if (!options.read_only) {
    HOZON_CO_CHECK(co_await begin_writing(*core));
    if (options.background) {
      core->background.start(core->checkpointer->loop());
      core->background.start(core->reclaimer->loop());
      core->background.start(core->defragmenter->loop());
      core->background.start(core->headroom->loop());
      core->background.start(core->reservoir->loop());
    }
  }
  co_return std::unique_ptr<Pool>(new Pool(std::move(core)));
}

Task<Status> Pool::close() {
  PoolCore& core = *core_;
  if (core.closing) co_return Status{};
  core.closing = true;
  core.wake_background();
  core.space_freed.pulse();
  core.journal_freed.pulse();
  co_await core.background.wait();
  if (core.options.read_only) co_return Status{};
  if (!core.health) co_return core.health;
  HOZON_CO_CHECK(co_await core.checkpointer->run());
  (void)core.data.renew_reserve();  // the next opening begins with what is there
  co_return Status{};
}

// --- volumes and points ---

Task<Result<VolumeInfo>> Pool::create_volume(std::string name, uint64_t size_bytes) {
  PoolCore& core = *core_;
  HOZON_CO_CHECK(check_size(size_bytes));
  HOZON_CO_CHECK(co_await core.commit([&]() -> Records {
    HOZON_TRY(check_free_volume_name(core, name));
    HOZON_TRY(check_room(core));
    const uint64_t volume_id = core.catalog.take_id();
    const uint64_t head_id = core.catalog.take_id();
    return std::vector<Record>{
        format::CreateVolumeRecord{volume_id, head_id, size_bytes, core.executor.wall_ns(), name}};
  }));
  co_return volume(name);
}

Task<Status> Pool::resize_volume(std::string name, uint64_t size_bytes, bool allow_shrink) {
  PoolCore& core = *core_;
  HOZON_CO_CHECK(check_size(size_bytes));
  HOZON_CO_TRY(const VolumeInfo info, volume(name));
  // No write may slip in past the new end between the look and the change.
  const RangeLocks::Guard guard =
      co_await core.locks.lock(info.id, size_bytes / kBlockSize, kVolumeBytesMax / kBlockSize);
  Volume* volume = core.catalog.volume_by_id(info.id);
  if (volume == nullptr) co_return no_volume(name);
  const uint64_t old_size = volume->head->size_bytes;
  if (size_bytes < old_size) {
    if (!allow_shrink)
      co_return make_error(Code::kWrongState,
                           "volume '{}' has {} bytes; making it smaller must be asked for "
                           "explicitly (--shrink)",
                           name, old_size);
    DataPath path(core);
    const Tree tree = volume->head->tree;
    HOZON_CO_TRY(uint64_t mapped, co_await path.first_mapped(tree, size_bytes, old_size));
    if (mutant(Mutant::kShrinkLeavesMapping)) mapped = old_size;
    std::vector<std::byte> rest(std::min(old_size, round_up(size_bytes, kBlockSize)) - size_bytes);
    HOZON_CO_CHECK(co_await path.read_tree(tree, size_bytes, rest));
    const bool zero = std::ranges::all_of(rest, [](std::byte b) { return b == std::byte{0}; });
    if (mapped < old_size || !zero)
      co_return make_error(Code::kWrongState,
                           "volume '{}' holds data past {} bytes (at byte {}); discard it first",
                           name, size_bytes, zero ? mapped : size_bytes);
  }
  co_return co_await core.commit([&]() -> Records {
    if (core.catalog.volume_by_id(info.id) == nullptr) return no_volume(name);
    return std::vector<Record>{format::ResizeVolumeRecord{info.id, size_bytes}};
  });
}

Task<Status> Pool::rename_volume(std::string name, std::string new_name) {
  PoolCore& core = *core_;
  co_return co_await core.commit([&]() -> Records {
    const Volume* volume = HOZON_TRY(find_volume(core, name));
    HOZON_TRY(check_free_volume_name(core, new_name));
    return std::vector<Record>{format::RenameVolumeRecord{volume->id, new_name}};
  });
}

Task<Status> Pool::delete_volume(std::string name, bool with_points) {
  PoolCore& core = *core_;
  co_return co_await core.commit([&]() -> Records {
    const Volume* volume = HOZON_TRY(find_volume(core, name));
    if (!volume->snapshots.empty() && !with_points)
      return make_error(Code::kWrongState,
                        "volume '{}' has {} points; delete them first, or ask to delete them too "
                        "(--with-points)",
                        name, volume->snapshots.size());
    return std::vector<Record>{format::DeleteVolumeRecord{volume->id}};
  });
}

Task<Result<std::vector<PointInfo>>> Pool::snapshot(std::vector<std::string> volumes,
                                                    std::string point_name) {
  PoolCore& core = *core_;
  HOZON_CO_CHECK(check_point_name(point_name));
  if (volumes.empty()) co_return make_error(Code::kInvalidArgument, "no volume was named");
  if (std::set(volumes.begin(), volumes.end()).size() != volumes.size())
    co_return make_error(Code::kInvalidArgument, "a volume is named twice");
  if (mutant(Mutant::kSplitSnapshot) && volumes.size() > 1) {
    std::vector<PointInfo> made;
    for (const std::string& name : volumes) {
      std::vector<std::string> one(1, name);
      HOZON_CO_TRY(const std::vector<PointInfo> points, co_await snapshot(one, point_name));
      made.push_back(points.front());
    }
    co_return made;
  }
  std::vector<uint64_t> ids;
  HOZON_CO_CHECK(co_await core.commit([&]() -> Records {
    HOZON_TRY(check_room(core));
    format::SnapshotRecord record;
    record.kind = static_cast<uint32_t>(PointKind::kSnapshot);
    record.created_ns = core.executor.wall_ns();
    record.name = point_name;
    for (const std::string& name : volumes) {
      const Volume* volume = HOZON_TRY(find_volume(core, name));
      if (volume->snapshots.contains(point_name))
        return make_error(Code::kAlreadyExists, "volume '{}' has a point '{}' already", name,
                          point_name);
      record.entries.push_back({volume->id, 0});
    }
    record.set_id = core.catalog.take_id();
    for (auto& entry : record.entries) {
      entry.point_id = core.catalog.take_id();
      ids.push_back(entry.point_id);
    }
    return std::vector<Record>{record};
  }));
  std::vector<PointInfo> made;
  for (const uint64_t id : ids)
    if (const Point* point = core.catalog.point_by_id(id)) made.push_back(info_of(*point));
  co_return made;
}

Task<Result<VolumeInfo>> Pool::clone(std::string volume_name, std::string point,
                                     std::string new_volume) {
  PoolCore& core = *core_;
  HOZON_CO_CHECK(co_await core.commit([&]() -> Records {
    HOZON_TRY(check_room(core));
    const Volume* source = HOZON_TRY(find_volume(core, volume_name));
    HOZON_TRY(check_free_volume_name(core, new_volume));
    std::vector<Record> records;
    format::CloneRecord record;
    record.created_ns = core.executor.wall_ns();
    record.name = new_volume;
    if (point.empty()) {
      // A head cannot be a parent: what it is now becomes a fork under both.
      record.source_point_id = core.catalog.take_id();
      records.emplace_back(format::SnapshotRecord{0,
                                                  record.created_ns,
                                                  static_cast<uint32_t>(PointKind::kFork),
                                                  {{source->id, record.source_point_id}},
                                                  {}});
    } else {
      record.source_point_id = HOZON_TRY(find_point(core, volume_name, point))->id;
    }
    record.volume_id = core.catalog.take_id();
    record.head_id = core.catalog.take_id();
    records.emplace_back(record);
    return records;
  }));
  co_return volume(new_volume);
}

Task<Status> Pool::return_to(std::vector<ReturnItem> items, std::string keep_name) {
  PoolCore& core = *core_;
  if (items.empty()) co_return make_error(Code::kInvalidArgument, "no volume was named");
  if (!keep_name.empty()) HOZON_CO_CHECK(check_point_name(keep_name));
  co_return co_await core.commit([&]() -> Records {
    HOZON_TRY(check_room(core));
    format::ReturnRecord record;
    record.created_ns = core.executor.wall_ns();
    record.keep_name = keep_name;
    std::set<uint64_t> seen;
    for (const ReturnItem& item : items) {
      const Volume* volume = HOZON_TRY(find_volume(core, item.volume));
      const Point* point = HOZON_TRY(find_point(core, item.point_volume, item.point));
      if (!seen.insert(volume->id).second)
        return make_error(Code::kInvalidArgument, "volume '{}' is named twice", item.volume);
      if (volume->snapshots.contains(keep_name))
        return make_error(Code::kAlreadyExists, "volume '{}' has a point '{}' already", item.volume,
                          keep_name);
      record.entries.push_back({volume->id, point->id, 0});
    }
    for (auto& entry : record.entries) entry.head_id = core.catalog.take_id();
    return std::vector<Record>{record};
  });
}

Task<Status> Pool::delete_point(std::string volume, std::string point) {
  PoolCore& core = *core_;
  co_return co_await core.commit([&]() -> Records {
    const Point* found = HOZON_TRY(find_point(core, volume, point));
    return std::vector<Record>{format::DeletePointRecord{found->id}};
  });
}

Task<Status> Pool::rename_point(std::string volume, std::string point, std::string new_name) {
  PoolCore& core = *core_;
  HOZON_CO_CHECK(check_point_name(new_name));
  co_return co_await core.commit([&]() -> Records {
    const Point* found = HOZON_TRY(find_point(core, volume, point));
    const Volume* owner = core.catalog.volume_by_id(found->volume_id);
    if (owner->snapshots.contains(new_name))
      return make_error(Code::kAlreadyExists, "volume '{}' has a point '{}' already", volume,
                        new_name);
    return std::vector<Record>{format::RenamePointRecord{found->id, new_name}};
  });
}

std::vector<VolumeInfo> Pool::volumes() const {
  std::vector<VolumeInfo> found;
  for (const auto& [name, volume] : core_->catalog.volumes()) found.push_back(info_of(*volume));
  return found;
}

Result<VolumeInfo> Pool::volume(std::string_view name) const {
  const Volume* found = HOZON_TRY(find_volume(*core_, name));
  return info_of(*found);
}

Result<std::vector<PointInfo>> Pool::points(std::string_view volume, bool all) const {
  const Volume* found = HOZON_TRY(find_volume(*core_, volume));
  std::vector<PointInfo> points;
  if (all) {
    for (const auto& [id, point] : found->points) points.push_back(info_of(*point));
  } else {
    for (const auto& [name, point] : found->snapshots) points.push_back(info_of(*point));
  }
  std::ranges::sort(points, {}, [](const PointInfo& p) { return std::pair(p.created_ns, p.id); });
  return points;
}

std::vector<PointInfo> Pool::ancestors(uint64_t point_id) const {
  std::vector<PointInfo> found;
  const Point* point = core_->catalog.point_by_id(point_id);
  if (point == nullptr) return found;
  for (const Point* up = point->parent; up != nullptr; up = up->parent)
    found.push_back(info_of(*up));
  return found;
}

Result<Target> Pool::target(std::string_view volume, std::string_view point) const {
  const Volume* found = HOZON_TRY(find_volume(*core_, volume));
  if (point.empty()) return Target{found->id, 0};
  const Point* named = HOZON_TRY(find_point(*core_, volume, point));
  return Target{found->id, named->id};
}

Result<uint64_t> Pool::size_bytes(Target target) const {
  const auto deleted = [] {
    return make_error(Code::kNotFound, "the volume or point was deleted");
  };
  if (target.point_id != 0) {
    const Point* point = core_->catalog.point_by_id(target.point_id);
    if (point == nullptr || point->kind != PointKind::kSnapshot) return deleted();
    return point->size_bytes;
  }
  const Volume* volume = core_->catalog.volume_by_id(target.volume_id);
  if (volume == nullptr) return deleted();
  return volume->head->size_bytes;
}

// --- data ---

Task<Status> Pool::read(Target target, uint64_t offset, std::span<std::byte> into) {
  DataPath path(*core_);
  Status status = co_await path.read(target, offset, into);
  if (!status) co_await note_damage(*core_, target, offset, into.size(), status.error());
  co_return status;
}

Task<Status> Pool::write(Target target, uint64_t offset, std::span<const std::byte> from,
                         bool fua) {
  DataPath path(*core_);
  Status status = co_await path.write(target, offset, from, fua);
  if (!status) co_await note_damage(*core_, target, offset, from.size(), status.error());
  co_return status;
}

Task<Status> Pool::write_zeroes(Target target, uint64_t offset, uint64_t length, bool fua) {
  DataPath path(*core_);
  Status status = co_await path.unmap(target, offset, length, fua);
  if (!status) co_await note_damage(*core_, target, offset, length, status.error());
  co_return status;
}

Task<Status> Pool::discard(Target target, uint64_t offset, uint64_t length, bool fua) {
  DataPath path(*core_);
  Status status = co_await path.unmap(target, offset, length, fua);
  if (!status) co_await note_damage(*core_, target, offset, length, status.error());
  co_return status;
}

Task<Status> Pool::flush() {
  if (Status usable = core_->usable(); !usable) co_return usable;
  co_return co_await core_->flusher->guest_flush();
}

Task<Result<std::vector<Extent>>> Pool::block_status(Target target, uint64_t offset,
                                                     uint64_t length, uint32_t extents_max) {
  DataPath path(*core_);
  auto extents = co_await path.status(target, std::nullopt, offset, length, extents_max);
  if (!extents) co_await note_damage(*core_, target, offset, length, extents.error());
  co_return extents;
}

Task<Result<std::vector<Extent>>> Pool::changed_status(Target target, Target base, uint64_t offset,
                                                       uint64_t length, uint32_t extents_max) {
  DataPath path(*core_);
  co_return co_await path.status(target, base, offset, length, extents_max);
}

// --- service ---

PoolStats Pool::stats() const { return core_->stats(); }

Task<Result<uint64_t>> Pool::exclusive_bytes(std::string volume, std::string point) {
  HOZON_CO_TRY(const Point* const found, find_point(*core_, volume, point));
  co_return co_await core_->reclaimer->exclusive_bytes(found->id);
}

Task<Result<std::vector<std::optional<uint64_t>>>> Pool::exclusive_bytes(
    std::string volume, std::vector<std::string> points) {
  if (const auto known = target(volume); !known) co_return std::unexpected(known.error());
  std::vector<std::optional<uint64_t>> all;
  for (const std::string& point : points) {
    const auto bytes = co_await exclusive_bytes(volume, point);
    if (!bytes && bytes.error().code != Code::kNotFound) co_return std::unexpected(bytes.error());
    all.push_back(bytes ? std::optional(*bytes) : std::nullopt);
  }
  co_return all;
}

Task<Result<FreedBytes>> Pool::freed_bytes(std::vector<Target> targets) {
  if (targets.empty()) co_return make_error(Code::kInvalidArgument, "no points were named");
  const Mutex::Guard guard = co_await core_->reclaimer->pause();
  std::vector<const Point*> points;
  for (const Target& target : targets) {
    const Volume* const volume = core_->catalog.volume_by_id(target.volume_id);
    const Point* point = volume == nullptr      ? nullptr
                         : target.point_id == 0 ? volume->head
                                                : core_->catalog.point_by_id(target.point_id);
    if (point == nullptr || !point->is_readable())
      co_return make_error(Code::kNotFound, "a point was deleted meanwhile");
    if (std::ranges::find(points, point) == points.end()) points.push_back(point);
  }
  FreedWalk walk(*core_, std::move(points));
  co_return co_await walk.run();
}

Task<Result<uint64_t>> Pool::mapped_bytes(Target target) {
  DataPath path(*core_);
  co_return co_await path.mapped_bytes(target);
}

Task<Status> Pool::checkpoint() {
  if (Status usable = core_->usable(); !usable) co_return usable;
  co_return co_await core_->checkpointer->run();
}

Task<Status> Pool::drain_reclaim() {
  if (Status usable = core_->usable(); !usable) co_return usable;
  co_return co_await core_->reclaimer->drain();
}

Task<Result<DefragmentReport>> Pool::defragment(std::string volume, uint64_t offset,
                                                uint64_t most_bytes) {
  HOZON_CO_CHECK(core_->usable());
  HOZON_CO_TRY(const Volume* const found, find_volume(*core_, volume));
  co_return co_await core_->defragmenter->run(found->id, offset, most_bytes);
}

Task<Result<CheckReport>> Pool::check(bool verify_data) {
  Checker checker(*core_, verify_data);
  co_return co_await checker.run();
}

Result<uint64_t> Pool::start_scrub(ScrubOptions options) { return core_->scrubber->start(options); }

const ScrubReport& Pool::scrub_report() const { return core_->scrubber->report(); }

void Pool::cancel_scrub() { core_->scrubber->cancel(); }

const std::vector<DamagedPlace>& Pool::damaged_places() const { return core_->damage.places(); }

void Pool::on_event(std::function<void(const PoolStats&)> listener) {
  core_->listener = std::move(listener);
}

}  // namespace hozon::store
