// src/qemu/files.h
// The few small-file and clock helpers that this room shares. Any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/result.h"

namespace hozon {

// The whole content (at most 1 MiB); nothing when the file cannot be read.
std::optional<std::string> read_small_file(const std::string& path);
// Readers see the old or the new content, never half of it. Mode 0600. Not synced to the medium.
Status replace_file(const std::string& path, const std::string& content);
// Differs after every boot of the host.
std::string host_boot_id();
uint64_t monotonic_ns();

}  // namespace hozon
