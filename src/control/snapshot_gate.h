// src/control/snapshot_gate.h
// Whether a saved memory can be loaded here and now: QEMU itself checks only some of what it
// depends on, and accepts another processor or a further device without a word.
#pragma once

#include "control/core.h"

namespace hozon::control {

// `machine`: with the settings that it will have. kWrongState names what differs and the way
// around.
Status check_memory_gate(Core& core, const MachineRow& machine, const SnapshotRow& snapshot);
// Why a machine that was started with --instant is not saved while it runs, and the way around.
std::string mapped_memory_sentence(const std::string& machine);
// What would make a snapshot with memory stop this machine's guest for the whole save.
std::vector<std::string> live_memory_obstacles(Core& core, const std::string& machine_uuid);

}  // namespace hozon::control
