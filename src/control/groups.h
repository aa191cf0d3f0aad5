// src/control/groups.h
// A group: snapshots of several machines of one instant. Each is a snapshot of its machine like any
// other; the group says that they belong together.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "control/types.h"

namespace hozon::control {

inline constexpr size_t kGroupMachinesMax = 64;

struct GroupMember {
  std::string machine, machine_uuid;
  std::string snapshot, snapshot_uuid;  // its name and uuid
  std::string status, consistency;
};

struct Group {
  std::string uuid;
  std::string name;
  std::string description;
  uint64_t created_ns = 0;
  std::vector<GroupMember> members;  // by machine; without those in the trash
};

struct GroupRequest {
  std::string name;  // of the group, and of each snapshot
  std::string description;
  std::vector<std::string> machines;  // of one pool
  std::string quiesce;                // as of a snapshot
  std::vector<std::string> tags;
  uint64_t expires_in_s = 0;
};

nlohmann::json to_json(const Group& group);

}  // namespace hozon::control
