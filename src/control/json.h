// src/control/json.h
// The JSON form of the control plane's values: the API's resources and the results of jobs.
// Members are named as in control/types.h; times also appear as ISO 8601 text ("created").
// Absent optionals are null.
#pragma once

#include <algorithm>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "control/types.h"

namespace hozon::control {

// The members of a value that somebody wants to see: all, or some.
class Members {
 public:
  using Names = std::set<std::string, std::less<>>;
  Members() = default;
  explicit Members(Names names) : names_(std::move(names)) {}
  bool wants(std::string_view name) const { return !names_ || names_->contains(name); }
  bool wants_any(std::initializer_list<std::string_view> names) const {
    return std::ranges::any_of(names, [this](std::string_view name) { return wants(name); });
  }

 private:
  std::optional<Names> names_;
};

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

// Adds the text of an object with the wanted members. Of the two that come by the thousand the
// object is not made at all.
void write_json(std::string& out, const Machine& machine, const Members& wanted);
void write_json(std::string& out, const Snapshot& snapshot, const Members& wanted);
void write_json(std::string& out, nlohmann::json object, const Members& wanted);
template <typename T>
void write_json(std::string& out, const T& value, const Members& wanted) {
  write_json(out, to_json(value), wanted);
}

template <typename T>
nlohmann::json to_json(const std::vector<T>& values) {
  nlohmann::json array = nlohmann::json::array();
  for (const T& value : values) array.push_back(to_json(value));
  return array;
}

// "2026-01-31T12:00:00.123Z"; "" for 0.
std::string utc_text(uint64_t wall_ns);

}  // namespace hozon::control
