// src/control/sizes.h
// What snapshots cost. Bytes of pools: data, and the blocks of the maps that lead to it.
//
// Of a snapshot or of a set
//   freed      comes back when exactly these are deleted, together. Of a set it is more than the
//   sum
//              of its members: what only they share comes back, too.
//   referenced data that it can read; shared = referenced data that would stay
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "control/types.h"

namespace hozon::control {

struct SnapshotSize {
  std::string name, uuid;
  uint64_t referenced_bytes = 0;
  uint64_t shared_bytes = 0;
  uint64_t freed_bytes = 0;
};

struct MachineSizes {
  std::string machine;
  std::vector<SnapshotSize> snapshots;  // those that were asked for, or all
  uint64_t set_bytes = 0;               // freed by deleting all of these together
  uint64_t now_bytes = 0;               // referenced by its disks as they are now
  uint64_t machine_bytes = 0;           // freed by deleting the machine with all its snapshots
};

struct OwnerSize {
  std::string name;  // of a machine, template, or volume of nobody
  std::string kind;  // "machine", "template", "volume"
  uint64_t freed_bytes = 0;
};

// used = freed of all owners + shared + own + reclaiming
struct PoolSizes {
  std::string pool;
  uint64_t used_bytes = 0;
  std::vector<OwnerSize> owners;
  uint64_t shared_bytes = 0;  // of several owners: comes back with the last of them
  uint64_t own_bytes = 0;     // the pool's own records, and what is just being given back
};

nlohmann::json to_json(const MachineSizes& sizes);
nlohmann::json to_json(const PoolSizes& sizes);

}  // namespace hozon::control
