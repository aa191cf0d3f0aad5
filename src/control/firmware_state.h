// src/control/firmware_state.h
// What a machine's firmware and TPM remember: two small volumes among its disks, "nvram" and "tpm",
// so that they are part of every point, return, clone and deletion like any other disk.
//
// QEMU writes the variables into their volume. The TPM's state is a file of swtpm in the machine's
// directory; it is kept in the volume before points are made, and made from the volume again when
// a return has removed it or a clone never had it.
#pragma once

#include "control/core.h"

namespace hozon::control {

inline constexpr const char* kNvramDisk = "nvram";
inline constexpr const char* kTpmDisk = "tpm";

// Neither is seen by the guest as a disk.
bool is_guest_disk(const Disk& disk);
const Disk* find_disk(const MachineRow& machine, const std::string& id);
// Before points are made or disks are switched. Does nothing without a TPM.
Status keep_tpm(Core& core, const MachineRow& machine);
// Before QEMU is started. Does nothing without a TPM.
Status prepare_tpm(Core& core, const MachineRow& machine);
// After disks were switched: what is in the machine's directory is of another time.
Status forget_tpm(Core& core, const MachineRow& machine);
// The variables become those of a new machine.
Status reset_nvram(Core& core, const MachineRow& machine);

}  // namespace hozon::control
