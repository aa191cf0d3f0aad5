// One small coroutine per operation, found by name in a table.
#include "serve/link_operations.h"

#include <array>

namespace hozon::serve {
namespace {

using link::Request;
using nlohmann::json;
using store::Pool;
using Answer = Result<json>;

std::string_view kind_name(store::PointKind kind) {
  switch (kind) {
    case store::PointKind::kHead: return "head";
    case store::PointKind::kSnapshot: return "snapshot";
    case store::PointKind::kFork: return "fork";
    case store::PointKind::kReclaiming: return "reclaiming";
  }
  return "head";
}

link::VolumeInfo to_link(const store::VolumeInfo& info) {
  return {.id = info.id,
          .name = info.name,
          .size_bytes = info.size_bytes,
          .created_ns = info.created_ns,
          .head_point_id = info.head_point_id,
          .snapshot_count = info.snapshot_count};
}

link::PointInfo to_link(const store::PointInfo& info) {
  return {.id = info.id,
          .parent_id = info.parent_id,
          .volume_id = info.volume_id,
          .kind = std::string(kind_name(info.kind)),
          .name = info.name,
          .size_bytes = info.size_bytes,
          .created_ns = info.created_ns,
          .set_id = info.set_id};
}

std::string to_hex(std::span<const uint8_t> bytes) {
  std::string text;
  for (const uint8_t byte : bytes) text += fmt::format("{:02x}", byte);
  return text;
}

link::PoolStats to_link(const store::PoolStats& stats) {
  return {.pool_id = to_hex(stats.pool_id),
          .size_bytes = stats.size_bytes,
          .live_bytes = stats.live_bytes,
          .pending_bytes = stats.pending_bytes,
          .in_flight_bytes = stats.in_flight_bytes,
          .free_bytes = stats.free_bytes,
          .reserve_bytes = stats.reserve_bytes,
          .volumes = stats.volumes,
          .points = stats.points,
          .reclaiming = stats.reclaiming,
          .generation = stats.generation,
          .parked = stats.parked,
          .filesystem_full = stats.filesystem_full,
          .read_only = stats.read_only,
          .failure = stats.failure,
          .damaged = stats.damaged};
}

link::DamagedPlace to_link(const store::DamagedPlace& place) {
  link::DamagedPlace out{.object = place.object,
                         .volume = place.volume,
                         .offset_bytes = place.offset_bytes,
                         .length_bytes = place.length_bytes,
                         .block = place.block,
                         .what = place.what,
                         .touched = {},
                         .touched_left_out = place.touched_left_out,
                         .first_ns = place.first_ns,
                         .last_ns = place.last_ns,
                         .times = place.times};
  for (const store::TouchedPoint& one : place.touched)
    out.touched.push_back({one.volume, one.point});
  return out;
}

std::vector<link::DamagedPlace> to_link(const std::vector<store::DamagedPlace>& places) {
  std::vector<link::DamagedPlace> out;
  out.reserve(places.size());
  for (const store::DamagedPlace& place : places) out.push_back(to_link(place));
  return out;
}

std::string_view state_name(store::ScrubReport::State state) {
  using State = store::ScrubReport::State;
  switch (state) {
    case State::kNone: return "none";
    case State::kRunning: return "running";
    case State::kDone: return "done";
    case State::kCancelled: return "cancelled";
    case State::kFailed: return "failed";
  }
  return "none";
}

link::ScrubReport to_link(const store::ScrubReport& report) {
  return {.id = report.id,
          .state = std::string(state_name(report.state)),
          .failure = report.failure,
          .started_ns = report.started_ns,
          .ended_ns = report.ended_ns,
          .total_bytes = report.total_bytes,
          .done_bytes = report.done_bytes,
          .points = report.points,
          .metadata_blocks = report.metadata_blocks,
          .map_blocks = report.map_blocks,
          .data_blocks = report.data_blocks,
          .damaged = to_link(report.damaged),
          .damaged_left_out = report.damaged_left_out};
}

template <typename T>
json to_json_array(const std::vector<T>& values) {
  json array = json::array();
  for (const T& value : values) array.push_back(link::encode(to_link(value)));
  return array;
}

json nothing() { return json::object(); }

Task<Answer> pool_stats(Pool& pool, Request) { co_return link::encode(to_link(pool.stats())); }

Task<Answer> pool_check(Pool& pool, Request request) {
  HOZON_CO_TRY(const bool data, link::bool_field_or(request.parameters, "data", false));
  HOZON_CO_TRY(const store::CheckReport report, co_await pool.check(data));
  co_return link::encode(link::CheckReport{.errors = report.errors,
                                           .warnings = report.warnings,
                                           .points = report.points,
                                           .map_blocks = report.map_blocks,
                                           .data_blocks = report.data_blocks,
                                           .lost_blocks = report.lost_blocks,
                                           .damaged = to_link(report.damaged)});
}

Task<Answer> pool_damage(Pool& pool, Request) {
  co_return json{{"places", to_json_array(pool.damaged_places())}};
}

Task<Answer> scrub_start(Pool& pool, Request request) {
  HOZON_CO_TRY(const uint64_t rate, link::u64_field_or(request.parameters, "bytes_per_second", 0));
  HOZON_CO_TRY(const uint64_t id, pool.start_scrub({.bytes_per_second = rate}));
  co_return json{{"scrub", id}};
}

Task<Answer> scrub_show(Pool& pool, Request) {
  co_return link::encode(to_link(pool.scrub_report()));
}

Task<Answer> scrub_cancel(Pool& pool, Request) {
  pool.cancel_scrub();
  co_return nothing();
}

Task<Answer> pool_checkpoint(Pool& pool, Request) {
  HOZON_CO_CHECK(co_await pool.checkpoint());
  co_return nothing();
}

Task<Answer> pool_drain(Pool& pool, Request) {
  HOZON_CO_CHECK(co_await pool.drain_reclaim());
  co_return nothing();
}

Task<Answer> volume_list(Pool& pool, Request) {
  co_return json{{"volumes", to_json_array(pool.volumes())}};
}

Task<Answer> volume_show(Pool& pool, Request request) {
  HOZON_CO_TRY(const std::string name, link::string_field(request.parameters, "name"));
  HOZON_CO_TRY(const store::VolumeInfo info, pool.volume(name));
  co_return link::encode(to_link(info));
}

// A slice of the volume; the caller goes on at next_offset, until that is 0.
Task<Answer> volume_defragment(Pool& pool, Request request) {
  HOZON_CO_TRY(const std::string name, link::string_field(request.parameters, "name"));
  HOZON_CO_TRY(const uint64_t offset, link::u64_field_or(request.parameters, "offset", 0));
  HOZON_CO_TRY(const uint64_t most_bytes,
               link::u64_field_or(request.parameters, "most_bytes", ~uint64_t{0}));
  HOZON_CO_TRY(const store::DefragmentReport done,
               co_await pool.defragment(name, offset, most_bytes));
  co_return json{{"examined_bytes", done.bytes_examined},
                 {"moved_bytes", done.bytes_moved},
                 {"left_bytes", done.bytes_left},
                 {"next_offset", done.next_offset}};
}

Task<Answer> volume_create(Pool& pool, Request request) {
  HOZON_CO_TRY(const std::string name, link::string_field(request.parameters, "name"));
  HOZON_CO_TRY(const uint64_t size_bytes, link::u64_field(request.parameters, "size_bytes"));
  HOZON_CO_TRY(const store::VolumeInfo info, co_await pool.create_volume(name, size_bytes));
  co_return link::encode(to_link(info));
}

Task<Answer> volume_resize(Pool& pool, Request request) {
  HOZON_CO_TRY(const std::string name, link::string_field(request.parameters, "name"));
  HOZON_CO_TRY(const uint64_t size_bytes, link::u64_field(request.parameters, "size_bytes"));
  HOZON_CO_TRY(const bool shrink, link::bool_field_or(request.parameters, "allow_shrink", false));
  HOZON_CO_CHECK(co_await pool.resize_volume(name, size_bytes, shrink));
  HOZON_CO_TRY(const store::VolumeInfo info, pool.volume(name));
  co_return link::encode(to_link(info));
}

Task<Answer> volume_rename(Pool& pool, Request request) {
  HOZON_CO_TRY(const std::string name, link::string_field(request.parameters, "name"));
  HOZON_CO_TRY(const std::string new_name, link::string_field(request.parameters, "new_name"));
  HOZON_CO_CHECK(co_await pool.rename_volume(name, new_name));
  co_return nothing();
}

Task<Answer> volume_delete(Pool& pool, Request request) {
  HOZON_CO_TRY(const std::string name, link::string_field(request.parameters, "name"));
  HOZON_CO_TRY(const bool with_points,
               link::bool_field_or(request.parameters, "with_points", false));
  HOZON_CO_CHECK(co_await pool.delete_volume(name, with_points));
  co_return nothing();
}

Task<Answer> volume_snapshot(Pool& pool, Request request) {
  HOZON_CO_TRY(const std::vector<std::string> volumes,
               link::strings_field(request.parameters, "volumes"));
  HOZON_CO_TRY(const std::string point, link::string_field(request.parameters, "point"));
  HOZON_CO_TRY(const std::vector<store::PointInfo> points, co_await pool.snapshot(volumes, point));
  co_return json{{"points", to_json_array(points)}};
}

Task<Answer> volume_clone(Pool& pool, Request request) {
  HOZON_CO_TRY(const std::string volume, link::string_field(request.parameters, "volume"));
  HOZON_CO_TRY(const std::string point, link::string_field_or(request.parameters, "point", ""));
  HOZON_CO_TRY(const std::string new_name, link::string_field(request.parameters, "new_name"));
  HOZON_CO_TRY(const store::VolumeInfo info, co_await pool.clone(volume, point, new_name));
  co_return link::encode(to_link(info));
}

Task<Answer> volume_return(Pool& pool, Request request) {
  HOZON_CO_TRY(const json array, link::array_field(request.parameters, "items"));
  HOZON_CO_TRY(const std::string keep, link::string_field_or(request.parameters, "keep", ""));
  std::vector<store::ReturnItem> items;
  for (const json& element : array) {
    HOZON_CO_TRY(const link::ReturnItem item, link::decode_return_item(element));
    items.push_back({item.volume, item.point_volume, item.point});
  }
  HOZON_CO_CHECK(co_await pool.return_to(items, keep));
  co_return nothing();
}

Task<Answer> volume_mapped(Pool& pool, Request request) {
  HOZON_CO_TRY(const std::string volume, link::string_field(request.parameters, "volume"));
  HOZON_CO_TRY(const std::string point, link::string_field_or(request.parameters, "point", ""));
  HOZON_CO_TRY(const store::Target target, pool.target(volume, point));
  HOZON_CO_TRY(const uint64_t bytes, co_await pool.mapped_bytes(target));
  co_return json{{"bytes", bytes}};
}

Task<Answer> point_list(Pool& pool, Request request) {
  HOZON_CO_TRY(const std::string volume, link::string_field(request.parameters, "volume"));
  HOZON_CO_TRY(const bool all, link::bool_field_or(request.parameters, "all", false));
  HOZON_CO_TRY(const std::vector<store::PointInfo> points, pool.points(volume, all));
  co_return json{{"points", to_json_array(points)}};
}

Task<Answer> point_ancestors(Pool& pool, Request request) {
  HOZON_CO_TRY(const uint64_t id, link::u64_field(request.parameters, "id"));
  co_return json{{"points", to_json_array(pool.ancestors(id))}};
}

Task<Answer> point_delete(Pool& pool, Request request) {
  HOZON_CO_TRY(const std::string volume, link::string_field(request.parameters, "volume"));
  HOZON_CO_TRY(const std::string point, link::string_field(request.parameters, "point"));
  HOZON_CO_CHECK(co_await pool.delete_point(volume, point));
  co_return nothing();
}

Task<Answer> point_rename(Pool& pool, Request request) {
  HOZON_CO_TRY(const std::string volume, link::string_field(request.parameters, "volume"));
  HOZON_CO_TRY(const std::string point, link::string_field(request.parameters, "point"));
  HOZON_CO_TRY(const std::string new_name, link::string_field(request.parameters, "new_name"));
  HOZON_CO_CHECK(co_await pool.rename_point(volume, point, new_name));
  co_return nothing();
}

Task<Answer> point_exclusive(Pool& pool, Request request) {
  HOZON_CO_TRY(const std::string volume, link::string_field(request.parameters, "volume"));
  HOZON_CO_TRY(const std::string point, link::string_field(request.parameters, "point"));
  HOZON_CO_TRY(const uint64_t bytes, co_await pool.exclusive_bytes(volume, point));
  co_return json{{"bytes", bytes}};
}

// Of many points of a volume: a number for each that is still there, by name.
Task<Answer> points_exclusive(Pool& pool, Request request) {
  HOZON_CO_TRY(const std::string volume, link::string_field(request.parameters, "volume"));
  HOZON_CO_TRY(const std::vector<std::string> points,
               link::strings_field(request.parameters, "points"));
  if (points.size() > link::kPointsAtOnceMax)
    co_return make_error(Code::kInvalidArgument, "at most {} points are asked for at once",
                         link::kPointsAtOnceMax);
  HOZON_CO_TRY(const auto all, co_await pool.exclusive_bytes(volume, points));
  json bytes = json::object();
  for (size_t i = 0; i < points.size(); ++i)
    if (all[i]) bytes[points[i]] = *all[i];
  co_return json{{"bytes", std::move(bytes)}};
}

// The points are [[volume, point], ...], an empty point being the head; `volumes` adds all that
// these volumes have.
Task<Answer> points_freed(Pool& pool, Request request) {
  std::vector<store::Target> targets;
  const json points = request.parameters.value("points", json::array());
  for (const json& pair : points) {
    if (!pair.is_array() || pair.size() != 2 || !pair[0].is_string() || !pair[1].is_string())
      co_return make_error(Code::kInvalidArgument, "a point is [volume, point]");
    HOZON_CO_TRY(const store::Target target,
                 pool.target(pair[0].get<std::string>(), pair[1].get<std::string>()));
    targets.push_back(target);
  }
  if (request.parameters.contains("volumes")) {
    HOZON_CO_TRY(const auto volumes, link::strings_field(request.parameters, "volumes"));
    for (const std::string& volume : volumes) {
      HOZON_CO_TRY(const store::Target head, pool.target(volume));
      targets.push_back(head);
      HOZON_CO_TRY(const auto infos, pool.points(volume));
      for (const store::PointInfo& info : infos) targets.push_back({head.volume_id, info.id});
    }
  }
  HOZON_CO_TRY(const store::FreedBytes freed, co_await pool.freed_bytes(std::move(targets)));
  co_return json{{"data_bytes", freed.data_bytes}, {"map_bytes", freed.map_bytes}};
}

// A page of the ranges that differ between two points, of different branches too: those that begin
// in [offset, offset + length), at most `most`, and where the next page begins.
Task<Answer> point_changed(Pool& pool, Request request) {
  const json& given = request.parameters;
  HOZON_CO_TRY(const std::string volume, link::string_field(given, "volume"));
  HOZON_CO_TRY(const std::string point, link::string_field_or(given, "point", ""));
  HOZON_CO_TRY(const std::string base_volume, link::string_field(given, "base_volume"));
  HOZON_CO_TRY(const std::string base_point, link::string_field_or(given, "base_point", ""));
  HOZON_CO_TRY(uint64_t offset, link::u64_field(given, "offset"));
  HOZON_CO_TRY(const uint64_t length, link::u64_field(given, "length"));
  HOZON_CO_TRY(const uint64_t most, link::u64_field(given, "most"));
  HOZON_CO_TRY(const store::Target target, pool.target(volume, point));
  HOZON_CO_TRY(const store::Target base, pool.target(base_volume, base_point));
  constexpr uint64_t kExtentsMax = 100'000;
  if (most == 0 || most > kExtentsMax)
    co_return make_error(Code::kInvalidArgument, "a page has 1 to {} ranges", kExtentsMax);
  HOZON_CO_TRY(const auto extents, co_await pool.changed_status(target, base, offset, length,
                                                                static_cast<uint32_t>(most * 2)));
  json ranges = json::array();
  for (const store::Extent& extent : extents) {
    if (extent.changed && !ranges.empty() &&
        ranges.back()[0].get<uint64_t>() + ranges.back()[1].get<uint64_t>() == offset)
      ranges.back()[1] = ranges.back()[1].get<uint64_t>() + extent.length_bytes;
    else if (extent.changed)
      ranges.push_back(json::array({offset, extent.length_bytes}));
    offset += extent.length_bytes;
  }
  co_return json{{"ranges", std::move(ranges)}, {"next_offset", offset}};
}

struct Operation {
  std::string_view name;
  Task<Answer> (*run)(Pool&, Request);
};

constexpr std::array kOperations = {
    Operation{"pool.stats", pool_stats},
    Operation{"pool.check", pool_check},
    Operation{"pool.checkpoint", pool_checkpoint},
    Operation{"pool.drain", pool_drain},
    Operation{"volume.list", volume_list},
    Operation{"volume.show", volume_show},
    Operation{"volume.create", volume_create},
    Operation{"volume.resize", volume_resize},
    Operation{"volume.rename", volume_rename},
    Operation{"volume.delete", volume_delete},
    Operation{"volume.snapshot", volume_snapshot},
    Operation{"volume.clone", volume_clone},
    Operation{"volume.return", volume_return},
    Operation{"volume.mapped", volume_mapped},
    Operation{"point.list", point_list},
    Operation{"point.ancestors", point_ancestors},
    Operation{"point.delete", point_delete},
    Operation{"point.rename", point_rename},
    Operation{"point.changed", point_changed},
    Operation{"point.exclusive", point_exclusive},
    Operation{"points.freed", points_freed},
    Operation{"points.exclusive", points_exclusive},
    Operation{"pool.damage", pool_damage},
    Operation{"pool.scrub.start", scrub_start},
    Operation{"pool.scrub.show", scrub_show},
    Operation{"pool.scrub.cancel", scrub_cancel},
    Operation{"volume.defragment", volume_defragment},
};

}  // namespace

Task<Answer> run_operation(Pool& pool, Request request) {
  for (const Operation& operation : kOperations) {
    if (operation.name != request.op) continue;
    co_return co_await operation.run(pool, std::move(request));
  }
  co_return make_error(Code::kUnimplemented, "hozon-stored does not know the operation '{}'",
                       request.op.substr(0, 100));
}

}  // namespace hozon::serve
