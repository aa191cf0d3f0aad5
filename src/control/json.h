// src/control/json.h
// The JSON form of the control plane's values: the API's resources and the results of jobs.
// Members are named as in control/types.h; times also appear as ISO 8601 text ("created").
// Absent optionals are null.
#pragma once

#include <nlohmann/json.hpp>

#include "control/types.h"

namespace hozon::control {

nlohmann::json to_json(const Pool& pool);
nlohmann::json to_json(const PoolCheck& check);
nlohmann::json to_json(const Volume& volume);
nlohmann::json to_json(const Point& point);
nlohmann::json to_json(const Disk& disk);
nlohmann::json to_json(const Nic& nic);
nlohmann::json to_json(const Machine& machine);
nlohmann::json to_json(const MemoryInfo& memory);
nlohmann::json to_json(const SnapshotDisk& disk);
nlohmann::json to_json(const Snapshot& snapshot);
nlohmann::json to_json(const Job& job);
nlohmann::json to_json(const SettingsChange& change);
nlohmann::json to_json(const Plan& plan);
nlohmann::json to_json(const Range& range);
nlohmann::json to_json(const VolumeDiff& diff);
nlohmann::json to_json(const SnapshotDiff& diff);

template <typename T>
nlohmann::json to_json(const std::vector<T>& values) {
  nlohmann::json array = nlohmann::json::array();
  for (const T& value : values) array.push_back(to_json(value));
  return array;
}

// "2026-01-31T12:00:00.123Z"; "" for 0.
std::string utc_text(uint64_t wall_ns);

}  // namespace hozon::control
