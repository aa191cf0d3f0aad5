// src/control/snapshot_list.h
// A machine's snapshots, oldest first, as far as somebody wants to see them: the heads of all are
// read at once, and the rest (settings, disks, sizes) of those that are shown.
// Threading: one thread; the Control that made it lives longer.
#pragma once

#include <string>
#include <unordered_map>
#include <vector>

#include "control/inventory.h"
#include "control/json.h"

namespace hozon::control {

class Core;

class SnapshotList {
 public:
  static Result<SnapshotList> read(Core& core, const std::string& machine);

  size_t size() const { return rows_.size(); }
  // Reads what `wanted` needs of those at `places`, and their sizes if `with_sizes`: each as it is
  // in one instant. Leaves out of `places` those that were deleted meanwhile.
  Status complete(std::vector<size_t>& places, const Members& wanted, bool with_sizes);
  // Members of `wanted` that a head does not have need complete() first.
  Snapshot at(size_t place, const Members& wanted = {}) const;

 private:
  SnapshotList(Core& core, MachineRow machine) : core_(&core), machine_(std::move(machine)) {}
  Status add_sizes(const std::vector<size_t>& places);

  Core* core_;
  MachineRow machine_;
  std::optional<Lock> lock_;  // of the machine
  std::vector<SnapshotRow> rows_;
  std::unordered_map<std::string, size_t> by_uuid_;
  bool has_sizes_ = false;
};

}  // namespace hozon::control
