// src/link/protocol.h
// What hozond and hozon-stored say to each other over a pool's link socket.
//
// JSON lines. Request {"id":N,"op":"volume.show",...parameters}; answer
// {"id":N,"ok":true,"result":{...}} or
// {"id":N,"ok":false,"error":{"code":"not_found","message":..}} with the words of base/result.h.
// One request at a time per connection, many connections. A line is at most kLineBytesMax long, its
// end included; a longer one ends the connection. Whatever arrives is checked here: a missing or
// ill-typed field is an Error, never an exception. Sizes and ids are JSON integers; a pool's id is
// 32 hexadecimal digits.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "link/scrub_report.h"

namespace hozon::link {

inline constexpr size_t kLineBytesMax = 16 << 20;
inline constexpr size_t kPointsAtOnceMax =
    1000;  // in one question: it may read some blocks for each

// ---- values ----

struct VolumeInfo {
  uint64_t id = 0;
  std::string name;
  uint64_t size_bytes = 0;
  uint64_t created_ns = 0;
  uint64_t head_point_id = 0;
  uint64_t snapshot_count = 0;
  bool operator==(const VolumeInfo&) const = default;
};

struct PointInfo {
  uint64_t id = 0;
  uint64_t parent_id = 0;
  uint64_t volume_id = 0;
  std::string kind;  // "head", "snapshot", "fork", "reclaiming"
  std::string name;
  uint64_t size_bytes = 0;
  uint64_t created_ns = 0;
  uint64_t set_id = 0;
  bool operator==(const PointInfo&) const = default;
};

struct PoolStats {
  std::string pool_id;  // hexadecimal
  uint64_t size_bytes = 0;
  uint64_t live_bytes = 0;
  uint64_t pending_bytes = 0;
  uint64_t in_flight_bytes = 0;
  uint64_t free_bytes = 0;
  uint64_t reserve_bytes = 0;
  uint64_t volumes = 0;
  uint64_t points = 0;
  uint64_t reclaiming = 0;
  uint64_t generation = 0;
  bool parked = false;
  bool filesystem_full = false;
  bool read_only = false;
  std::string failure;
  uint64_t damaged = 0;
  bool operator==(const PoolStats&) const = default;
};

struct CheckReport {
  std::vector<std::string> errors;
  std::vector<std::string> warnings;
  uint64_t points = 0;
  uint64_t map_blocks = 0;
  uint64_t data_blocks = 0;
  uint64_t lost_blocks = 0;
  std::vector<DamagedPlace> damaged;
  bool operator==(const CheckReport&) const = default;
};

struct ReturnItem {
  std::string volume;
  std::string point_volume;  // usually the same
  std::string point;
  bool operator==(const ReturnItem&) const = default;
};

nlohmann::json encode(const VolumeInfo& value);
nlohmann::json encode(const PointInfo& value);
nlohmann::json encode(const PoolStats& value);
nlohmann::json encode(const CheckReport& value);
nlohmann::json encode(const ReturnItem& value);
Result<VolumeInfo> decode_volume(const nlohmann::json& json);
Result<PointInfo> decode_point(const nlohmann::json& json);
Result<PoolStats> decode_pool_stats(const nlohmann::json& json);
Result<CheckReport> decode_check_report(const nlohmann::json& json);
Result<ReturnItem> decode_return_item(const nlohmann::json& json);

template <typename T>
nlohmann::json encode(const std::vector<T>& values) {
  nlohmann::json array = nlohmann::json::array();
  for (const T& value : values) array.push_back(encode(value));
  return array;
}

// ---- fields of an object: kInvalidArgument names the field ----

Result<std::string> string_field(const nlohmann::json& object, std::string_view name);
Result<uint64_t> u64_field(const nlohmann::json& object, std::string_view name);
// Absent fields take the given value; present ones of another type are refused.
Result<bool> bool_field_or(const nlohmann::json& object, std::string_view name, bool absent);
Result<std::string> string_field_or(const nlohmann::json& object, std::string_view name,
                                    std::string absent);
Result<uint64_t> u64_field_or(const nlohmann::json& object, std::string_view name, uint64_t absent);
Result<std::vector<std::string>> strings_field(const nlohmann::json& object, std::string_view name);
// The array called `name`; each element still has to be decoded.
Result<nlohmann::json> array_field(const nlohmann::json& object, std::string_view name);

// ---- lines (all end with '\n') ----

struct Request {
  uint64_t id = 0;
  std::string op;
  nlohmann::json parameters;  // the whole object
};

std::string encode_request(uint64_t id, std::string_view op, nlohmann::json parameters);
std::string encode_answer(uint64_t id, const Result<nlohmann::json>& result);
Result<Request> decode_request(std::string_view line);
// kUnavailable when the line is no answer to request `id`; otherwise the server's own result.
Result<nlohmann::json> decode_answer(std::string_view line, uint64_t id);

// True for operations that may be repeated when an answer got lost, because they change nothing.
bool is_read_only(std::string_view op);

}  // namespace hozon::link
