// tests/sim/auditor.cc
// Reads go in large pieces, one after the other: what concurrency does to reads is the actors'
// part.

#include "auditor.h"

#include <algorithm>
#include <set>

#include "base/units.h"
#include "io_memory.h"
#include "status_audit.h"

namespace hozon::sim {
namespace {

using store::PointInfo;
using store::PointKind;
using store::Pool;

constexpr uint64_t kWindowBlocks = 48;
constexpr uint64_t kReadBlocksMax = 64;

bool has_volume(const Pool& pool, const std::string& name) { return pool.volume(name).has_value(); }

bool has_point(const Pool& pool, const std::string& volume, const std::string& point) {
  const auto listed = pool.points(volume);
  return listed &&
         std::ranges::any_of(*listed, [&](const PointInfo& p) { return p.name == point; });
}

// Whether all, none or only some of `flags` are set.
std::string all_or_none(const AdminOp& op, const std::vector<bool>& flags, bool& applied) {
  applied = std::ranges::all_of(flags, [](bool flag) { return flag; });
  const bool none = std::ranges::none_of(flags, [](bool flag) { return flag; });
  return applied || none ? "" : fmt::format("half done after a crash: {}", op.text());
}

std::string happened(const Pool& pool, const Model& model, const AdminOp& op, bool& applied) {
  const auto volume_name = [&](size_t i) { return model.volumes.at(op.volumes[i]).name; };
  std::vector<bool> flags;
  switch (op.kind) {
    case AdminOp::Kind::kCreate:
    case AdminOp::Kind::kClone:
    case AdminOp::Kind::kRenameVolume: flags = {has_volume(pool, op.name)}; break;
    case AdminOp::Kind::kDeleteVolume: flags = {!has_volume(pool, volume_name(0))}; break;
    case AdminOp::Kind::kResize: {
      const auto info = pool.volume(volume_name(0));
      if (!info) return fmt::format("volume '{}' is gone", volume_name(0));
      flags = {info->size_bytes == op.size_bytes};
      break;
    }
    case AdminOp::Kind::kSnapshot:
      for (size_t i = 0; i < op.volumes.size(); ++i)
        flags.push_back(has_point(pool, volume_name(i), op.name));
      break;
    case AdminOp::Kind::kReturn:
      for (size_t i = 0; i < op.volumes.size(); ++i) {
        const auto info = pool.volume(volume_name(i));
        if (!info) return fmt::format("volume '{}' is gone", volume_name(i));
        flags.push_back(info->head_point_id != model.volumes.at(op.volumes[i]).head_id);
        if (!op.name.empty()) flags.push_back(has_point(pool, volume_name(i), op.name));
      }
      break;
    case AdminOp::Kind::kDeletePoint:
    case AdminOp::Kind::kRenamePoint: {
      const ModelPoint& point = *model.points.at(op.points[0]);
      const std::string& volume = model.volumes.at(point.volume).name;
      const bool old_name = has_point(pool, volume, point.name);
      flags = {!old_name};
      if (op.kind == AdminOp::Kind::kRenamePoint && old_name == has_point(pool, volume, op.name))
        return fmt::format("neither or both names exist: {}", op.text());
      break;
    }
  }
  return all_or_none(op, flags, applied);
}

std::string compare_names(const Pool& pool, Model& model) {
  const auto listed = pool.volumes();
  std::set<std::string> names;
  for (const auto& info : listed) {
    if (!names.insert(info.name).second)
      return fmt::format("volume '{}' is listed twice", info.name);
    ModelVolume* volume = model.volume_named(info.name);
    if (volume == nullptr) return fmt::format("volume '{}' should not exist", info.name);
    if (volume->size_bytes != info.size_bytes)
      return fmt::format("volume '{}' has {} bytes, should have {}", info.name, info.size_bytes,
                         volume->size_bytes);
    volume->head_id = info.head_point_id;
  }
  for (const auto& [uid, volume] : model.volumes)
    if (!names.contains(volume.name)) return fmt::format("volume '{}' is missing", volume.name);
  return "";
}

std::string compare_parent(const Pool& pool, const Model& model, uint64_t id, uint64_t parent_uid,
                           const std::string& whose) {
  uint64_t nearest = 0;
  for (const PointInfo& ancestor : pool.ancestors(id)) {
    if (ancestor.kind != PointKind::kSnapshot) continue;
    nearest = ancestor.id;
    break;
  }
  const auto found = model.points.find(parent_uid);
  const uint64_t expected = found == model.points.end() ? 0 : found->second->id;
  if (nearest == expected) return "";
  return fmt::format("{}: nearest snapshot above is point {}, should be {}", whose, nearest,
                     expected);
}

std::string compare_points(const Pool& pool, Model& model) {
  for (const auto& [uid, volume] : model.volumes) {
    const auto listed = pool.points(volume.name);
    if (!listed) return fmt::format("points of '{}': {}", volume.name, listed.error().what);
    std::set<std::string> names;
    for (const PointInfo& info : *listed) {
      const ModelPoint* point = model.point_named(uid, info.name);
      if (point == nullptr || !names.insert(info.name).second)
        return fmt::format("point '{}@{}' should not exist", volume.name, info.name);
      if (info.kind != PointKind::kSnapshot)
        return fmt::format("point '{}@{}' has kind {}", volume.name, info.name,
                           static_cast<int>(info.kind));
      if (point->size_bytes != info.size_bytes)
        return fmt::format("point '{}@{}' has {} bytes, should have {}", volume.name, info.name,
                           info.size_bytes, point->size_bytes);
      if (point->id != 0 && point->id != info.id)
        return fmt::format("point '{}@{}' was {} and is {}", volume.name, info.name, point->id,
                           info.id);
      if (point->id == 0 && !model.learn_id(point->uid, info.id))
        return fmt::format("point '{}@{}' has the id {} of a deleted one", volume.name, info.name,
                           info.id);
    }
    for (const auto& [point_uid, point] : model.points)
      if (point->volume == uid && !names.contains(point->name))
        return fmt::format("point '{}@{}' is missing", volume.name, point->name);
  }
  return "";
}

std::string compare_history(const Pool& pool, const Model& model) {
  for (const auto& [uid, point] : model.points)
    if (std::string wrong = compare_parent(pool, model, point->id, point->parent,
                                           fmt::format("point '{}'", point->name));
        !wrong.empty())
      return wrong;
  for (const auto& [uid, volume] : model.volumes)
    if (std::string wrong = compare_parent(pool, model, volume.head_id, volume.parent,
                                           fmt::format("head of '{}'", volume.name));
        !wrong.empty())
      return wrong;
  return "";
}

// Runs of blocks to read: the windows, and every block that the model knows about.
template <typename Blocks>
std::vector<std::pair<uint64_t, uint64_t>> runs_to_read(uint64_t size_bytes, const Blocks& blocks) {
  std::vector<std::pair<uint64_t, uint64_t>> runs = volume_windows(size_bytes);
  const uint64_t end_block = divide_up(size_bytes, kPageSize);
  for (const auto& [index, block] : blocks) {
    const auto inside = [&](const auto& run) { return run.first <= index && index < run.second; };
    if (index < end_block && std::ranges::none_of(runs, inside))
      runs.emplace_back(index, index + 1);
  }
  return runs;
}

template <typename Settle>
Task<std::string> read_runs(Pool& pool, store::Target target, uint64_t size_bytes,
                            std::vector<std::pair<uint64_t, uint64_t>> runs, Settle settle) {
  const IoMemory memory(kReadBlocksMax * kPageSize, true);
  const std::span<std::byte> buffer = memory.span();
  for (const auto& [first, end] : runs) {
    for (uint64_t block = first; block < end; block += kReadBlocksMax) {
      const uint64_t offset = block * kPageSize;
      const uint64_t size =
          std::min(size_bytes, std::min(end, block + kReadBlocksMax) * kPageSize) - offset;
      const Status read = co_await pool.read(target, offset, buffer.first(size));
      if (!read) co_return fmt::format("read at {}: {}", offset, read.error().what);
      for (uint64_t at = 0; at < size; at += kSectorSize) {
        std::string wrong = settle((offset + at) / kSectorSize, buffer.subspan(at, kSectorSize));
        if (!wrong.empty()) co_return wrong;
      }
    }
  }
  co_return "";
}

Task<std::string> compare_heads(Pool& pool, Model& model, Model::After after) {
  for (const auto& [uid, volume] : model.volumes) {
    const auto target = pool.target(volume.name);
    if (!target) co_return fmt::format("target '{}': {}", volume.name, target.error().what);
    const auto settle = [&model, uid = uid, after](uint64_t sector,
                                                   std::span<const std::byte> bytes) {
      return model.settle_head(uid, sector, bytes, after);
    };
    std::string wrong = co_await read_runs(pool, *target, volume.size_bytes,
                                           runs_to_read(volume.size_bytes, volume.head), settle);
    if (!wrong.empty()) co_return fmt::format("head of '{}': {}", volume.name, wrong);
  }
  co_return "";
}

Task<std::string> run_check(Pool& pool) {
  const auto report = co_await pool.check(true);
  if (!report) co_return fmt::format("check: {}", report.error().what);
  if (!report->errors.empty()) co_return fmt::format("check: {}", fmt::join(report->errors, "; "));
  if (report->lost_blocks != 0) co_return fmt::format("check: {} lost blocks", report->lost_blocks);
  co_return "";
}

Task<std::string> settle_space(Pool& pool, const Model& model) {
  if (const Status drained = co_await pool.drain_reclaim(); !drained)
    co_return fmt::format("drain_reclaim: {}", drained.error().what);
  // Twice: what the first frees becomes reusable with the second.
  for (int i = 0; i < 2; ++i)
    if (const Status done = co_await pool.checkpoint(); !done)
      co_return fmt::format("checkpoint: {}", done.error().what);
  const store::PoolStats stats = pool.stats();
  if (stats.reclaiming != 0) co_return fmt::format("{} points still reclaiming", stats.reclaiming);
  if (stats.in_flight_bytes != stats.preparing_bytes)
    co_return fmt::format("{} bytes in flight although nothing runs",
                          stats.in_flight_bytes - stats.preparing_bytes);
  const auto report = co_await pool.check(false);
  if (!report) co_return fmt::format("check: {}", report.error().what);
  if (report->data_blocks < model.distinct_blocks())
    co_return fmt::format("check counts {} data blocks, the model {}", report->data_blocks,
                          model.distinct_blocks());
  co_return "";
}

}  // namespace

std::vector<std::pair<uint64_t, uint64_t>> volume_windows(uint64_t size_bytes) {
  const uint64_t blocks = divide_up(size_bytes, kPageSize);
  if (blocks <= 4 * kWindowBlocks) return {{0, blocks}};
  // The middle lies across a boundary of the highest level of the map, where one exists.
  uint64_t middle = 256;
  while (middle * 256 < blocks) middle *= 256;
  if (middle + kWindowBlocks / 2 >= blocks - kWindowBlocks) middle = blocks / 2;
  return {{0, kWindowBlocks},
          {middle - kWindowBlocks / 2, middle + kWindowBlocks / 2},
          {blocks - kWindowBlocks, blocks}};
}

std::string resolve_admin(const Pool& pool, Model& model) {
  const auto running = model.running_admin();
  for (const auto& [key, op] : running) {
    bool applied = false;
    std::string wrong = happened(pool, model, op, applied);
    if (!wrong.empty()) return wrong;
    model.end_admin(key, applied);
  }
  return "";
}

std::string audit_space(const store::PoolStats& stats) {
  const uint64_t sum =
      stats.live_bytes + stats.pending_bytes + stats.in_flight_bytes + stats.free_bytes;
  if (sum == stats.size_bytes) return "";
  return fmt::format("space: live {} + pending {} + in flight {} + free {} = {}, size {}",
                     stats.live_bytes, stats.pending_bytes, stats.in_flight_bytes, stats.free_bytes,
                     sum, stats.size_bytes);
}

std::string audit_listing(const Pool& pool, Model& model) {
  std::string wrong = compare_names(pool, model);
  if (wrong.empty()) wrong = compare_points(pool, model);
  if (wrong.empty()) wrong = compare_history(pool, model);
  return wrong;
}

Task<std::string> audit_head_in_use(Pool& pool, Model& model, uint64_t volume_uid) {
  const ModelVolume& volume = model.volumes.at(volume_uid);
  const auto target = pool.target(volume.name);
  if (!target) co_return fmt::format("target '{}': {}", volume.name, target.error().what);
  const Tick begun = model.begin_activity();
  const auto check = [&](uint64_t sector, std::span<const std::byte> bytes) {
    return model.check_read(volume_uid, sector, bytes, begun);
  };
  std::string wrong = co_await read_runs(pool, *target, volume.size_bytes,
                                         runs_to_read(volume.size_bytes, volume.head), check);
  model.end_activity(begun);
  co_return wrong.empty() ? "" : fmt::format("head of '{}': {}", volume.name, wrong);
}

Task<std::string> settle_whole_point(Pool& pool, Model& model, uint64_t point_uid) {
  const std::shared_ptr<const ModelPoint> point = model.points.at(point_uid);
  const std::string volume = model.volumes.at(point->volume).name;
  const auto target = pool.target(volume, point->name);
  if (!target)
    co_return fmt::format("target '{}@{}': {}", volume, point->name, target.error().what);
  auto runs = runs_to_read(point->size_bytes, point->blocks);
  for (const auto& [index, block] : point->open)
    if (point->blocks.empty() || index < divide_up(point->size_bytes, kPageSize))
      runs.emplace_back(index, index + 1);
  const auto settle = [&model, point_uid](uint64_t sector, std::span<const std::byte> bytes) {
    return model.settle_point(point_uid, sector, bytes);
  };
  std::string wrong = co_await read_runs(pool, *target, point->size_bytes, runs, settle);
  if (!wrong.empty()) co_return fmt::format("'{}@{}': {}", volume, point->name, wrong);
  co_return "";
}

Task<std::string> audit_pool(Pool& pool, Model& model, Audit what) {
  std::string wrong = audit_space(pool.stats());
  if (wrong.empty()) wrong = resolve_admin(pool, model);
  if (wrong.empty()) wrong = audit_listing(pool, model);
  if (wrong.empty()) wrong = co_await compare_heads(pool, model, what.after);
  std::vector<uint64_t> points;
  for (const auto& [uid, point] : model.points) points.push_back(uid);
  for (const uint64_t uid : points)
    if (wrong.empty()) wrong = co_await settle_whole_point(pool, model, uid);
  if (wrong.empty() && what.check) wrong = co_await audit_status(pool, model);
  if (wrong.empty() && what.check) wrong = co_await run_check(pool);
  if (wrong.empty() && what.reclaim) wrong = co_await settle_space(pool, model);
  if (wrong.empty() && what.reclaim && what.check) wrong = co_await run_check(pool);
  if (wrong.empty()) wrong = audit_space(pool.stats());
  co_return wrong;
}

}  // namespace hozon::sim
