// src/qemu/firmware.h
// Which firmware a machine boots with, and where this host has it (the package ovmf).
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"

namespace hozon {

enum class Firmware : uint8_t {
  kBios,        // SeaBIOS, built into QEMU: it keeps nothing
  kUefi,        // OVMF without Secure Boot
  kUefiSecure,  // OVMF with Secure Boot and Microsoft's keys; variables only through SMM
};

std::string firmware_name(Firmware firmware);  // "bios", "uefi", "uefi-secure"
Result<Firmware> firmware_from_name(const std::string& name);

struct FirmwareFiles {
  std::string code;       // absolute paths
  std::string variables;  // what a new machine's variables begin with
};
// In $HOZON_FIRMWARE, or /usr/share/OVMF. Empty for kBios.
FirmwareFiles firmware_files(Firmware firmware);
// kNotFound names the package.
Status check_firmware(Firmware firmware);

}  // namespace hozon
