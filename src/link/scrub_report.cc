#include "link/scrub_report.h"

#include "link/protocol.h"

namespace hozon::link {

using nlohmann::json;

json encode(const DamagedPlace& value) {
  json touched = json::array();
  for (const TouchedPoint& one : value.touched)
    touched.push_back({{"volume", one.volume}, {"point", one.point}});
  return {{"object", value.object},
          {"volume", value.volume},
          {"offset_bytes", value.offset_bytes},
          {"length_bytes", value.length_bytes},
          {"block", value.block},
          {"what", value.what},
          {"touched", touched},
          {"touched_left_out", value.touched_left_out},
          {"first_ns", value.first_ns},
          {"last_ns", value.last_ns},
          {"times", value.times}};
}

json encode(const ScrubReport& value) {
  json damaged = json::array();
  for (const DamagedPlace& place : value.damaged) damaged.push_back(encode(place));
  return {{"scrub", value.id},
          {"state", value.state},
          {"failure", value.failure},
          {"started_ns", value.started_ns},
          {"ended_ns", value.ended_ns},
          {"total_bytes", value.total_bytes},
          {"done_bytes", value.done_bytes},
          {"points", value.points},
          {"metadata_blocks", value.metadata_blocks},
          {"map_blocks", value.map_blocks},
          {"data_blocks", value.data_blocks},
          {"damaged", damaged},
          {"damaged_left_out", value.damaged_left_out}};
}

Result<DamagedPlace> decode_damaged_place(const json& object) {
  DamagedPlace value;
  value.object = HOZON_TRY(string_field(object, "object"));
  value.volume = HOZON_TRY(string_field(object, "volume"));
  value.offset_bytes = HOZON_TRY(u64_field(object, "offset_bytes"));
  value.length_bytes = HOZON_TRY(u64_field(object, "length_bytes"));
  value.block = HOZON_TRY(u64_field(object, "block"));
  value.what = HOZON_TRY(string_field(object, "what"));
  const json touched = HOZON_TRY(array_field(object, "touched"));
  for (const json& element : touched) {
    TouchedPoint one;
    one.volume = HOZON_TRY(string_field(element, "volume"));
    one.point = HOZON_TRY(string_field(element, "point"));
    value.touched.push_back(std::move(one));
  }
  value.touched_left_out = HOZON_TRY(u64_field(object, "touched_left_out"));
  value.first_ns = HOZON_TRY(u64_field(object, "first_ns"));
  value.last_ns = HOZON_TRY(u64_field(object, "last_ns"));
  value.times = HOZON_TRY(u64_field(object, "times"));
  return value;
}

Result<std::vector<DamagedPlace>> damaged_places_field(const json& object, std::string_view name) {
  std::vector<DamagedPlace> places;
  const json array = HOZON_TRY(array_field(object, name));
  for (const json& element : array) places.push_back(HOZON_TRY(decode_damaged_place(element)));
  return places;
}

Result<ScrubReport> decode_scrub_report(const json& object) {
  ScrubReport value;
  value.id = HOZON_TRY(u64_field(object, "scrub"));
  value.state = HOZON_TRY(string_field(object, "state"));
  value.failure = HOZON_TRY(string_field(object, "failure"));
  value.started_ns = HOZON_TRY(u64_field(object, "started_ns"));
  value.ended_ns = HOZON_TRY(u64_field(object, "ended_ns"));
  value.total_bytes = HOZON_TRY(u64_field(object, "total_bytes"));
  value.done_bytes = HOZON_TRY(u64_field(object, "done_bytes"));
  value.points = HOZON_TRY(u64_field(object, "points"));
  value.metadata_blocks = HOZON_TRY(u64_field(object, "metadata_blocks"));
  value.map_blocks = HOZON_TRY(u64_field(object, "map_blocks"));
  value.data_blocks = HOZON_TRY(u64_field(object, "data_blocks"));
  value.damaged = HOZON_TRY(damaged_places_field(object, "damaged"));
  value.damaged_left_out = HOZON_TRY(u64_field(object, "damaged_left_out"));
  return value;
}

}  // namespace hozon::link
