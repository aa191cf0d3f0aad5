// src/qemu/qemu_binary.h
// What the installed QEMU says of itself: its version and the versioned name behind its "q35"
// alias. Both are recorded with every machine, because memory comes back only into what it was
// saved from.
#pragma once

#include <string>

#include "base/result.h"

namespace hozon {

struct QemuBinary {
  std::string path;          // absolute
  std::string version;       // "7.2.22"
  std::string machine_type;  // "pc-q35-7.2"
};

// Runs the binary (a name is looked up in PATH). kNotFound when it is not installed.
Result<QemuBinary> inspect_qemu(const std::string& name = "qemu-system-x86_64");

}  // namespace hozon
