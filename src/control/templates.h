// src/control/templates.h
// A template: settings and disks, without memory, that machines are made from. It never runs and
// never changes; machines share its blocks until they write.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "control/types.h"

namespace hozon::control {

struct Template {
  std::string uuid;
  std::string name;  // machines and templates share one space of names
  std::string description;
  std::string pool;
  uint64_t memory_bytes = 0;
  unsigned cpus = 1;
  std::string firmware;
  std::vector<Disk> disks;
  uint64_t nic_count = 0;
  uint64_t created_ns = 0;
  std::vector<std::string> allowed_operations;
};

struct TemplateRequest {
  std::string name;
  std::string description;
  std::string machine;
  std::string snapshot;  // empty: the machine as it is now
};

nlohmann::json to_json(const Template& shown);

}  // namespace hozon::control
