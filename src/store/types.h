// src/store/types.h
// Values that the store's callers see: names, sizes and states of volumes and points.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <string>
#include <vector>

namespace hozon::store {

inline constexpr uint64_t kBlockSize = 4096;
inline constexpr uint64_t kVolumeBytesMax = uint64_t{4} << 50;  // 4 PiB, map height 5
inline constexpr size_t kVolumeNameMax = 128;
inline constexpr size_t kPointNameMax = 255;

enum class PointKind : uint8_t {
  kHead = 1,        // live: what a volume's writer sees
  kSnapshot = 2,    // named, never changes
  kFork = 3,        // nameless, kept only because two or more branches share its blocks
  kReclaiming = 4,  // deleted by name, its space is being given back
};

struct PointInfo {
  uint64_t id = 0;         // unique in the pool for ever
  uint64_t parent_id = 0;  // 0: none
  uint64_t volume_id = 0;
  PointKind kind = PointKind::kHead;
  std::string name;  // of snapshots
  uint64_t size_bytes = 0;
  uint64_t created_ns = 0;  // wall clock, since 1970 UTC
  uint64_t set_id = 0;      // points of one snapshot call share it
};

struct VolumeInfo {
  uint64_t id = 0;
  std::string name;
  uint64_t size_bytes = 0;
  uint64_t created_ns = 0;
  uint64_t head_point_id = 0;
  uint64_t snapshot_count = 0;
};

struct PoolStats {
  std::array<uint8_t, 16> pool_id{};
  uint64_t size_bytes = 0;       // of the data file
  uint64_t live_bytes = 0;       // reachable from some point, or pool metadata
  uint64_t pending_bytes = 0;    // freed, not yet reusable
  uint64_t in_flight_bytes = 0;  // of running writes
  uint64_t preparing_bytes = 0;  // part of these: no guest's, written ahead of need
  uint64_t free_bytes = 0;       // live + pending + in flight + free == size
  uint64_t reserve_bytes = 0;    // part of free that guests cannot take
  uint64_t volumes = 0;
  uint64_t points = 0;
  uint64_t reclaiming = 0;       // points whose space is still being given back
  uint64_t generation = 0;       // of the last checkpoint
  uint64_t early_writes = 0;     // since the opening (early_writes.h)
  bool parked = false;           // guest writes wait for space
  bool filesystem_full = false;  // the space that is missing is below the pool
  bool read_only = false;        // after a failed sync or journal write
  std::string failure;           // why it is read-only
  uint64_t damaged = 0;          // places known to be damaged (Pool::damaged_places)
};

// A point that holds a damaged place. `point` is empty for the volume's head.
struct TouchedPoint {
  std::string volume;
  std::string point;
  bool operator==(const TouchedPoint&) const = default;
};

// A place that could not be read, or whose bytes are not those that were written. Nothing of it is
// ever delivered.
struct DamagedPlace {
  static constexpr size_t kTouchedMax = 32;
  std::string object;         // a sentence's name for where it was found: "volume 'web'"
  std::string volume;         // empty: the pool's own metadata
  uint64_t offset_bytes = 0;  // in the volume
  uint64_t length_bytes = 0;
  uint64_t block = 0;                 // of the pool, in its file `data`
  std::string what;                   // what is there and what is wrong with it
  std::vector<TouchedPoint> touched;  // who holds it
  uint64_t touched_left_out = 0;      // how many more than kTouchedMax
  uint64_t first_ns = 0;              // wall clock
  uint64_t last_ns = 0;
  uint64_t times = 0;  // it was found
};
// One sentence that says all of it but the times.
std::string to_sentence(const DamagedPlace& place);

struct ScrubReport {
  static constexpr size_t kDamagedMax = 256;
  enum class State : uint8_t { kNone, kRunning, kDone, kCancelled, kFailed };
  uint64_t id = 0;  // of this scrub, counted since the pool was opened
  State state = State::kNone;
  std::string failure;  // why it ended early
  uint64_t started_ns = 0;
  uint64_t ended_ns = 0;
  uint64_t total_bytes = 0;  // estimate: what was in use when it began
  uint64_t done_bytes = 0;
  uint64_t points = 0;
  uint64_t metadata_blocks = 0;  // superblocks, journal header, catalog, bitmap
  uint64_t map_blocks = 0;
  uint64_t data_blocks = 0;
  std::vector<DamagedPlace> damaged;
  uint64_t damaged_left_out = 0;
};

// What deleting a set of points would give back.
struct FreedBytes {
  uint64_t data_bytes = 0;
  uint64_t map_bytes = 0;  // of nodes that lead to data
};

// What defragmenting a volume did.
struct DefragmentReport {
  uint64_t bytes_examined = 0;  // mapped
  uint64_t bytes_moved = 0;
  uint64_t bytes_left = 0;   // scattered, but no room, changed meanwhile, or damaged
  uint64_t next_offset = 0;  // bytes; where another call goes on. 0: the volume's end was reached
};

// A stretch of a volume with one answer.
struct Extent {
  uint64_t length_bytes = 0;
  bool mapped = false;   // block status: some block is there. Otherwise it reads as zeros.
  bool changed = false;  // changed status: differs from the point compared with
};

}  // namespace hozon::store
