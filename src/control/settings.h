// src/control/settings.h
// The settings of a machine that belong to a snapshot and come back with it, and the way from a
// machine's record to what the room qemu wants.
//
// As JSON: {"memory_bytes", "cpus", "machine_type", "cpu_model", "has_kernel", "has_initrd",
// "append", "firmware", "disks": [{"id", "volume", "pool", "size_bytes"}], "nics": [{"id", "mac",
// "kind"}]}. Identity (uuid, name, description) is not among them.
#pragma once

#include "control/inventory.h"
#include "control/storage.h"
#include "qemu/spec.h"

namespace hozon::control {

nlohmann::json settings_of(const MachineRow& machine);

// The machine as it was: disks that the settings do not mention become detached, never lost.
Result<MachineRow> with_settings(const MachineRow& machine, const nlohmann::json& settings);

// What differs between two such JSON forms, in their order; both may be null.
std::vector<SettingsChange> settings_changes(const nlohmann::json& now, const nlohmann::json& then);

std::vector<Disk> attached_disks(const MachineRow& machine);

MachineSpec spec_of(const MachineRow& machine, const Storage& storage,
                    const std::string& machine_directory, Accelerator accelerator);

nlohmann::json to_json(const SavedEnvironment& environment);
Result<SavedEnvironment> environment_of(const nlohmann::json& json);

inline constexpr const char* kKernelFile = "kernel";
inline constexpr const char* kInitrdFile = "initrd";

}  // namespace hozon::control
