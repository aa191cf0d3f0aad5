// src/control/names.h
// Which names and sizes are allowed, and the names that Hozon gives by itself.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace hozon::control {

inline constexpr size_t kPoolNameMax = 32;
inline constexpr size_t kMachineNameMax = 64;
inline constexpr size_t kVolumeNameMax = 128;
inline constexpr size_t kPointNameMax = 255;
inline constexpr size_t kSnapshotNameMax = 128;
inline constexpr size_t kDescriptionMax = 4096;
inline constexpr uint64_t kSectorBytes = 512;
inline constexpr uint64_t kVolumeBytesMax = uint64_t{4} << 50;

// kInvalidArgument says what is allowed. `what`: "pool", "machine", "volume".
Status check_name(std::string_view what, std::string_view name, size_t most);
// Snapshots and points: any printable text without "@" and "/".
Status check_snapshot_name(std::string_view name);
Status check_point_name(std::string_view name);
Status check_description(std::string_view text);
// A positive multiple of 512 bytes, within what a volume can have.
Status check_volume_size(uint64_t size_bytes);

inline constexpr size_t kTagsMax = 16;
inline constexpr size_t kTagMax = 64;
inline constexpr uint64_t kExpirySecondsMax = 100ULL * 366 * 24 * 3600;
Status check_tags(const std::vector<std::string>& tags);

uint64_t wall_clock_ns();
uint64_t monotonic_us();
// "<prefix>20260131T120000Z"
std::string name_with_time(std::string_view prefix, uint64_t wall_ns);

// "web" and "vda" -> "web.vda". The memory volume's disk is "ram".
std::string volume_of_disk(const std::string& machine, const std::string& disk);
inline constexpr const char* kMemoryDisk = "ram";
std::string disk_id(size_t index);  // 0: "vda"

}  // namespace hozon::control
