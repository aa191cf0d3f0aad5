// Encoding and decoding by hand, field by field: every field that comes from the other side is
// checked for presence and type, and nlohmann's exceptions never get a chance to be thrown.
#include "link/protocol.h"

#include <algorithm>
#include <array>

namespace hozon::link {
namespace {

using nlohmann::json;

const json* find_field(const json& object, std::string_view name) {
  if (!object.is_object()) return nullptr;
  const auto found = object.find(std::string(name));
  return found == object.end() ? nullptr : &*found;
}

std::unexpected<Error> bad_field(std::string_view name, std::string_view expected) {
  return make_error(Code::kInvalidArgument, "field '{}' is missing or is not {}", name, expected);
}

// Text from outside may hold bytes that are no UTF-8; they are replaced, not thrown about.
std::string dump_line(const json& object) {
  return object.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
}

}  // namespace

Result<std::string> string_field(const json& object, std::string_view name) {
  const json* const field = find_field(object, name);
  if (field == nullptr || !field->is_string()) return bad_field(name, "text");
  return field->get<std::string>();
}

Result<uint64_t> u64_field(const json& object, std::string_view name) {
  const json* const field = find_field(object, name);
  if (field == nullptr || !field->is_number_integer() ||
      (!field->is_number_unsigned() && field->get<int64_t>() < 0))
    return bad_field(name, "a whole number that is not negative");
  return field->get<uint64_t>();
}

Result<bool> bool_field_or(const json& object, std::string_view name, bool absent) {
  const json* const field = find_field(object, name);
  if (field == nullptr) return absent;
  if (!field->is_boolean()) return bad_field(name, "true or false");
  return field->get<bool>();
}

Result<std::string> string_field_or(const json& object, std::string_view name, std::string absent) {
  if (find_field(object, name) == nullptr) return absent;
  return string_field(object, name);
}

Result<uint64_t> u64_field_or(const json& object, std::string_view name, uint64_t absent) {
  if (find_field(object, name) == nullptr) return absent;
  return u64_field(object, name);
}

Result<std::vector<std::string>> strings_field(const json& object, std::string_view name) {
  const json* const field = find_field(object, name);
  if (field == nullptr || !field->is_array()) return bad_field(name, "a list of texts");
  std::vector<std::string> texts;
  for (const json& element : *field) {
    if (!element.is_string()) return bad_field(name, "a list of texts");
    texts.push_back(element.get<std::string>());
  }
  return texts;
}

Result<json> array_field(const json& object, std::string_view name) {
  const json* const field = find_field(object, name);
  if (field == nullptr || !field->is_array()) return bad_field(name, "a list");
  return *field;
}

json encode(const VolumeInfo& value) {
  return {{"id", value.id},
          {"name", value.name},
          {"size_bytes", value.size_bytes},
          {"created_ns", value.created_ns},
          {"head_point_id", value.head_point_id},
          {"snapshot_count", value.snapshot_count}};
}

json encode(const PointInfo& value) {
  return {{"id", value.id},
          {"parent_id", value.parent_id},
          {"volume_id", value.volume_id},
          {"kind", value.kind},
          {"name", value.name},
          {"size_bytes", value.size_bytes},
          {"created_ns", value.created_ns},
          {"set_id", value.set_id}};
}

json encode(const PoolStats& value) {
  return {{"pool_id", value.pool_id},
          {"size_bytes", value.size_bytes},
          {"live_bytes", value.live_bytes},
          {"pending_bytes", value.pending_bytes},
          {"in_flight_bytes", value.in_flight_bytes},
          {"free_bytes", value.free_bytes},
          {"reserve_bytes", value.reserve_bytes},
          {"volumes", value.volumes},
          {"points", value.points},
          {"reclaiming", value.reclaiming},
          {"generation", value.generation},
          {"parked", value.parked},
          {"filesystem_full", value.filesystem_full},
          {"read_only", value.read_only},
          {"failure", value.failure},
          {"damaged", value.damaged}};
}

json encode(const CheckReport& value) {
  return {{"errors", value.errors},           {"warnings", value.warnings},
          {"points", value.points},           {"map_blocks", value.map_blocks},
          {"data_blocks", value.data_blocks}, {"lost_blocks", value.lost_blocks},
          {"damaged", encode(value.damaged)}};
}

json encode(const ReturnItem& value) {
  return {{"volume", value.volume}, {"point_volume", value.point_volume}, {"point", value.point}};
}

Result<VolumeInfo> decode_volume(const json& object) {
  VolumeInfo value;
  value.id = HOZON_TRY(u64_field(object, "id"));
  value.name = HOZON_TRY(string_field(object, "name"));
  value.size_bytes = HOZON_TRY(u64_field(object, "size_bytes"));
  value.created_ns = HOZON_TRY(u64_field(object, "created_ns"));
  value.head_point_id = HOZON_TRY(u64_field(object, "head_point_id"));
  value.snapshot_count = HOZON_TRY(u64_field(object, "snapshot_count"));
  return value;
}

Result<PointInfo> decode_point(const json& object) {
  PointInfo value;
  value.id = HOZON_TRY(u64_field(object, "id"));
  value.parent_id = HOZON_TRY(u64_field(object, "parent_id"));
  value.volume_id = HOZON_TRY(u64_field(object, "volume_id"));
  value.kind = HOZON_TRY(string_field(object, "kind"));
  value.name = HOZON_TRY(string_field(object, "name"));
  value.size_bytes = HOZON_TRY(u64_field(object, "size_bytes"));
  value.created_ns = HOZON_TRY(u64_field(object, "created_ns"));
  value.set_id = HOZON_TRY(u64_field(object, "set_id"));
  return value;
}

Result<PoolStats> decode_pool_stats(const json& object) {
  PoolStats value;
  value.pool_id = HOZON_TRY(string_field(object, "pool_id"));
  value.size_bytes = HOZON_TRY(u64_field(object, "size_bytes"));
  value.live_bytes = HOZON_TRY(u64_field(object, "live_bytes"));
  value.pending_bytes = HOZON_TRY(u64_field(object, "pending_bytes"));
  value.in_flight_bytes = HOZON_TRY(u64_field(object, "in_flight_bytes"));
  value.free_bytes = HOZON_TRY(u64_field(object, "free_bytes"));
  value.reserve_bytes = HOZON_TRY(u64_field(object, "reserve_bytes"));
  value.volumes = HOZON_TRY(u64_field(object, "volumes"));
  value.points = HOZON_TRY(u64_field(object, "points"));
  value.reclaiming = HOZON_TRY(u64_field(object, "reclaiming"));
  value.generation = HOZON_TRY(u64_field(object, "generation"));
  value.parked = HOZON_TRY(bool_field_or(object, "parked", false));
  value.filesystem_full = HOZON_TRY(bool_field_or(object, "filesystem_full", false));
  value.read_only = HOZON_TRY(bool_field_or(object, "read_only", false));
  value.failure = HOZON_TRY(string_field_or(object, "failure", ""));
  value.damaged = HOZON_TRY(u64_field_or(object, "damaged", 0));
  return value;
}

Result<CheckReport> decode_check_report(const json& object) {
  CheckReport value;
  value.errors = HOZON_TRY(strings_field(object, "errors"));
  value.warnings = HOZON_TRY(strings_field(object, "warnings"));
  value.points = HOZON_TRY(u64_field(object, "points"));
  value.map_blocks = HOZON_TRY(u64_field(object, "map_blocks"));
  value.data_blocks = HOZON_TRY(u64_field(object, "data_blocks"));
  value.lost_blocks = HOZON_TRY(u64_field(object, "lost_blocks"));
  if (object.contains("damaged"))
    value.damaged = HOZON_TRY(damaged_places_field(object, "damaged"));
  return value;
}

Result<ReturnItem> decode_return_item(const json& object) {
  ReturnItem value;
  value.volume = HOZON_TRY(string_field(object, "volume"));
  value.point_volume = HOZON_TRY(string_field_or(object, "point_volume", value.volume));
  value.point = HOZON_TRY(string_field(object, "point"));
  return value;
}

std::string encode_request(uint64_t id, std::string_view op, json parameters) {
  if (!parameters.is_object()) parameters = json::object();
  parameters["id"] = id;
  parameters["op"] = op;
  return dump_line(parameters);
}

std::string encode_answer(uint64_t id, const Result<json>& result) {
  if (result) return dump_line({{"id", id}, {"ok", true}, {"result", *result}});
  const Error& error = result.error();
  return dump_line({{"id", id},
                    {"ok", false},
                    {"error", {{"code", code_name(error.code)}, {"message", error.what}}}});
}

Result<Request> decode_request(std::string_view line) {
  json object = json::parse(line, nullptr, false);
  if (!object.is_object())
    return make_error(Code::kInvalidArgument, "a request is one JSON object on one line");
  Request request;
  request.id = HOZON_TRY(u64_field(object, "id"));
  request.op = HOZON_TRY(string_field(object, "op"));
  request.parameters = std::move(object);
  return request;
}

Result<json> decode_answer(std::string_view line, uint64_t id) {
  json object = json::parse(line, nullptr, false);
  const Result<uint64_t> answered = u64_field(object, "id");
  const json* const ok = find_field(object, "ok");
  if (!answered || *answered != id || ok == nullptr || !ok->is_boolean())
    return make_error(Code::kUnavailable, "the storage daemon sent something that is no answer");
  if (ok->get<bool>()) {
    const json* const result = find_field(object, "result");
    return result == nullptr ? json::object() : *result;
  }
  const json* const error = find_field(object, "error");
  if (error == nullptr) return make_error(Code::kInternal, "the storage daemon gave no reason");
  const std::string code = HOZON_TRY(string_field_or(*error, "code", "internal"));
  const std::string message = HOZON_TRY(string_field_or(*error, "message", "no reason given"));
  return std::unexpected(Error{code_from_name(code), message, 0});
}

bool is_read_only(std::string_view op) {
  constexpr std::array kReading = {
      std::string_view{"pool.stats"},       std::string_view{"pool.check"},
      std::string_view{"pool.checkpoint"},  std::string_view{"pool.drain"},
      std::string_view{"volume.list"},      std::string_view{"volume.show"},
      std::string_view{"volume.mapped"},    std::string_view{"point.list"},
      std::string_view{"point.ancestors"},  std::string_view{"point.exclusive"},
      std::string_view{"points.exclusive"}, std::string_view{"pool.damage"},
      std::string_view{"pool.scrub.show"},  std::string_view{"pool.scrub.cancel"},
      std::string_view{"point.changed"},    std::string_view{"points.freed"},
  };
  return std::ranges::find(kReading, op) != kReading.end();
}

}  // namespace hozon::link
