// src/control/memory_volume.h
// The volume that holds the saved memories of a machine, one point per memory snapshot.
//
// Invariants
//   V1  Outside of a save the head holds nothing: a memory belongs to the point of its snapshot
//       alone, so its size is told truly and deleting the snapshot gives all of it back.
//   V2  A save begins on the image that the guest's memory most likely resembles, so that
//       pages that are equal stay shared with it.
//   V3  The volume goes with the last snapshot that has a memory.
// The head is emptied by returning it to the point kEmptyPoint, which costs the same for any size.
#pragma once

#include <string>

#include "control/core.h"

namespace hozon::control {

class MemoryVolume {
 public:
  static constexpr const char* kEmptyPoint = "empty";

  MemoryVolume(Core& core, const MachineRow& machine);

  const std::string& name() const { return name_; }
  // Makes the head ready for a save of `ram_bytes` (V2), creating the volume when there is none.
  // Journal clear() first.
  Status prepare(uint64_t ram_bytes, const std::string& parent_snapshot);
  // The head becomes the point `point`, and is empty again (V1).
  Status keep(const std::string& point);

  // Takes back what a save that was not kept has written. May be repeated. V1, V3.
  static Status clear(Core& core, const std::string& pool, const std::string& volume);
  // Deletes the memory of a snapshot that is being deleted. May be repeated. V3.
  static Status delete_point(Core& core, const SnapshotRow& snapshot, const SnapshotDisk& disk);

 private:
  Result<std::string> base_image(uint64_t ram_bytes, const std::string& parent_snapshot);

  Core& core_;
  const MachineRow& machine_;
  std::string name_;
};

}  // namespace hozon::control
