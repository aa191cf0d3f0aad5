// src/format/journal_frame.h
// Frames of the journal and the records in them. docs/format.md, "Frame" and "Records".
// Encoding appends to a byte string; decoding accepts hostile bytes.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <type_traits>
#include <variant>
#include <vector>

#include "base/endian.h"
#include "base/result.h"

namespace hozon::format {

inline constexpr uint32_t kFrameBytesMax = 256 * 1024;

inline constexpr std::array<uint8_t, 4> kFrameMagic = {'H', 'Z', 'F', 'R'};

struct FrameHeader {
  std::array<uint8_t, 4> magic;
  Le<uint32_t> crc32c;
  Le<uint32_t> length;
  Le<uint32_t> record_count;
  Le<uint64_t> epoch;
  Le<uint64_t> sequence;
  Le<uint64_t> mark;
  std::array<uint8_t, 8> pool_tag;
  std::array<uint8_t, 16> reserved;
};
static_assert(sizeof(FrameHeader) == 64 && alignof(FrameHeader) == 1);
static_assert(std::has_unique_object_representations_v<FrameHeader>);

struct MapRecord {
  uint64_t head_id = 0;
  uint64_t first_index = 0;
  uint64_t block = 0;
  std::vector<uint32_t> crcs;  // one per block, 1..256
  bool operator==(const MapRecord&) const = default;
};
struct UnmapRecord {
  uint64_t head_id = 0;
  uint64_t first_index = 0;
  uint64_t count = 0;
  bool operator==(const UnmapRecord&) const = default;
};
struct CreateVolumeRecord {
  uint64_t volume_id = 0;
  uint64_t head_id = 0;
  uint64_t size_bytes = 0;
  uint64_t created_ns = 0;
  std::string name;
  bool operator==(const CreateVolumeRecord&) const = default;
};
struct ResizeVolumeRecord {
  uint64_t volume_id = 0;
  uint64_t size_bytes = 0;
  bool operator==(const ResizeVolumeRecord&) const = default;
};
struct RenameVolumeRecord {
  uint64_t volume_id = 0;
  std::string name;
  bool operator==(const RenameVolumeRecord&) const = default;
};
struct DeleteVolumeRecord {
  uint64_t volume_id = 0;
  bool operator==(const DeleteVolumeRecord&) const = default;
};
struct SnapshotRecord {
  struct Entry {
    uint64_t volume_id = 0;
    uint64_t point_id = 0;
    bool operator==(const Entry&) const = default;
  };
  uint64_t set_id = 0;
  uint64_t created_ns = 0;
  uint32_t kind = 0;  // 2 snapshot, 3 fork
  std::vector<Entry> entries;
  std::string name;
  bool operator==(const SnapshotRecord&) const = default;
};
struct CloneRecord {
  uint64_t source_point_id = 0;
  uint64_t volume_id = 0;
  uint64_t head_id = 0;
  uint64_t created_ns = 0;
  std::string name;
  bool operator==(const CloneRecord&) const = default;
};
struct ReturnRecord {
  struct Entry {
    uint64_t volume_id = 0;
    uint64_t target_point_id = 0;
    uint64_t head_id = 0;
    bool operator==(const Entry&) const = default;
  };
  uint64_t created_ns = 0;
  std::vector<Entry> entries;
  std::string keep_name;
  bool operator==(const ReturnRecord&) const = default;
};
struct DeletePointRecord {
  uint64_t point_id = 0;
  bool operator==(const DeletePointRecord&) const = default;
};
struct RenamePointRecord {
  uint64_t point_id = 0;
  std::string name;
  bool operator==(const RenamePointRecord&) const = default;
};

// A MAP record whose data never arrived: it counts nowhere.
struct VoidRecord {
  MapRecord was;
  bool operator==(const VoidRecord&) const = default;
};

using Record = std::variant<MapRecord, UnmapRecord, CreateVolumeRecord, ResizeVolumeRecord,
                            RenameVolumeRecord, DeleteVolumeRecord, SnapshotRecord, CloneRecord,
                            ReturnRecord, DeletePointRecord, RenamePointRecord, VoidRecord>;

// Appends the record's bytes.
void encode(const Record& record, std::string& out);
// The hot path: a MAP record straight from its parts.
void encode_map(uint64_t head_id, uint64_t first_index, uint64_t block,
                std::span<const uint32_t> crcs, std::string& out);

// Makes the MAP record that stands at `offset` of a frame being built a VOID one.
void make_void(std::string& frame, size_t offset);

// A frame being built: reserve_frame() makes room for the header, seal_frame() fills it in.
void reserve_frame(std::string& frame);
void seal_frame(std::string& frame, FrameHeader header_values);

// The header of a frame at the start of `bytes`, when magic, length and checksum are right.
// Anything else is kCorruption; that is how the end of a journal looks.
Result<FrameHeader> decode_frame(std::span<const std::byte> bytes);
// The records of a frame that decode_frame() accepted (`frame` = exactly header.length bytes).
Result<std::vector<Record>> decode_records(std::span<const std::byte> frame);

}  // namespace hozon::format
