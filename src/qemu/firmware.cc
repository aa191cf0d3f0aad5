#include "qemu/firmware.h"

#include <unistd.h>

#include <cstdlib>
#include <utility>

namespace hozon {
namespace {

constexpr std::pair<Firmware, const char*> kNames[] = {
    {Firmware::kBios, "bios"}, {Firmware::kUefi, "uefi"}, {Firmware::kUefiSecure, "uefi-secure"}};

}  // namespace

std::string firmware_name(Firmware firmware) {
  for (const auto& [known, name] : kNames)
    if (known == firmware) return name;
  return "";
}

Result<Firmware> firmware_from_name(const std::string& name) {
  for (const auto& [firmware, known] : kNames)
    if (name == known) return firmware;
  return make_error(Code::kInvalidArgument,
                    "firmware '{}' is not known: choose bios, uefi or uefi-secure", name);
}

FirmwareFiles firmware_files(Firmware firmware) {
  if (firmware == Firmware::kBios) return {};
  const char* elsewhere = std::getenv("HOZON_FIRMWARE");
  const std::string place = elsewhere != nullptr && *elsewhere != 0 ? elsewhere : "/usr/share/OVMF";
  if (firmware == Firmware::kUefi) return {place + "/OVMF_CODE_4M.fd", place + "/OVMF_VARS_4M.fd"};
  return {place + "/OVMF_CODE_4M.secboot.fd", place + "/OVMF_VARS_4M.ms.fd"};
}

Status check_firmware(Firmware firmware) {
  const FirmwareFiles files = firmware_files(firmware);
  for (const std::string& file : {files.code, files.variables})
    if (!file.empty() && ::access(file.c_str(), R_OK) != 0)
      return make_error(Code::kNotFound,
                        "firmware '{}' needs '{}', which is not there: install the package ovmf",
                        firmware_name(firmware), file);
  return {};
}

}  // namespace hozon
