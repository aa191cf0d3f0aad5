// src/control/plans.h
// What the kinds of jobs are going to do, written into a plan (types.h). Called by start_*() after
// its own checks, so that a plan refuses what the change would refuse. A return: return_plan.h.
#pragma once

#include "control/core.h"

namespace hozon::control {

// Image bytes that an import stores; unknown images count as nothing, the import refuses them.
uint64_t stored_image_bytes(const std::string& path, const Options& options);

Status plan_machine_create(Core& core, const MachineRequest& request, Plan& plan);
Status plan_machine_delete(Core& core, const MachineRow& machine, Plan& plan);
// The memory that a save is going to store, and how long the guest stands still for it.
Status plan_memory_save(Core& core, const MachineRow& machine, Plan& plan);
Status plan_snapshot_create(Core& core, const MachineRow& machine, const SnapshotRequest& request,
                            Plan& plan);
Status plan_snapshot_delete(Core& core, const MachineRow& owner,
                            const std::vector<SnapshotRow>& rows, std::optional<uint64_t> ttl_s,
                            Plan& plan);
Status plan_snapshot_clone(Core& core, const MachineRow& owner, const SnapshotRow& row,
                           const CloneRequest& request, Plan& plan);
Status plan_volume_delete(Core& core, const std::string& pool, const std::string& volume,
                          Plan& plan);

}  // namespace hozon::control
