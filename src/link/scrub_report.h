// src/link/scrub_report.h
// Damage and scrubs, as hozon-stored tells hozond of them. The rules are those of link/protocol.h.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/result.h"

namespace hozon::link {

struct TouchedPoint {
  std::string volume;
  std::string point;  // empty: the volume as it is now
  bool operator==(const TouchedPoint&) const = default;
};

struct DamagedPlace {
  std::string object;
  std::string volume;  // empty: the pool's own metadata
  uint64_t offset_bytes = 0;
  uint64_t length_bytes = 0;
  uint64_t block = 0;
  std::string what;
  std::vector<TouchedPoint> touched;
  uint64_t touched_left_out = 0;
  uint64_t first_ns = 0;
  uint64_t last_ns = 0;
  uint64_t times = 0;
  bool operator==(const DamagedPlace&) const = default;
};

struct ScrubReport {
  uint64_t id = 0;    // 0: none since the pool was opened
  std::string state;  // "none", "running", "done", "cancelled", "failed"
  std::string failure;
  uint64_t started_ns = 0;
  uint64_t ended_ns = 0;
  uint64_t total_bytes = 0;
  uint64_t done_bytes = 0;
  uint64_t points = 0;
  uint64_t metadata_blocks = 0;
  uint64_t map_blocks = 0;
  uint64_t data_blocks = 0;
  std::vector<DamagedPlace> damaged;
  uint64_t damaged_left_out = 0;
  bool operator==(const ScrubReport&) const = default;
};

nlohmann::json encode(const DamagedPlace& value);
nlohmann::json encode(const ScrubReport& value);
Result<DamagedPlace> decode_damaged_place(const nlohmann::json& json);
// The elements of the array called `name`.
Result<std::vector<DamagedPlace>> damaged_places_field(const nlohmann::json& object,
                                                       std::string_view name);
Result<ScrubReport> decode_scrub_report(const nlohmann::json& json);

}  // namespace hozon::link
