// Records are written and read field by field through two small cursors; every read is checked
// against the end of its record, so that no length inside can lead outside.
#include "format/journal_frame.h"

#include <algorithm>
#include <cstring>

#include "base/bytes.h"
#include "base/crc32c.h"
#include "format/catalog_record.h"

namespace hozon::format {
namespace {

constexpr size_t kRecordHeaderBytes = 8;
constexpr uint32_t kEntriesMax = 4096;  // volumes in one snapshot or return

enum class Type : uint8_t {
  kMap = 1,
  kUnmap,
  kCreateVolume,
  kResizeVolume,
  kRenameVolume,
  kDeleteVolume,
  kSnapshot,
  kClone,
  kReturn,
  kDeletePoint,
  kRenamePoint,
  kVoid
};

class Writer {
 public:
  Writer(std::string& out, Type type) : out_(out), start_(out.size()) {
    out_.push_back(static_cast<char>(type));
    out_.append(kRecordHeaderBytes - 1, '\0');
  }
  ~Writer() {
    while ((out_.size() - start_) % 8 != 0) out_.push_back('\0');
    const Le<uint32_t> length(static_cast<uint32_t>(out_.size() - start_));
    std::memcpy(out_.data() + start_ + 4, &length, sizeof(length));
  }
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;
  template <std::unsigned_integral T>
  void put(T value) {
    const Le<T> ordered(value);
    out_.append(reinterpret_cast<const char*>(&ordered), sizeof(ordered));
  }
  void put_name(const std::string& name) {
    put(static_cast<uint16_t>(name.size()));
    out_ += name;
  }

 private:
  std::string& out_;
  size_t start_;
};

class Reader {
 public:
  explicit Reader(std::span<const std::byte> bytes) : bytes_(bytes) {}
  template <std::unsigned_integral T>
  T take() {
    Le<T> value;
    if (bytes_.size() < sizeof(value)) {
      sound_ = false;
      return 0;
    }
    std::memcpy(&value, bytes_.data(), sizeof(value));
    bytes_ = bytes_.subspan(sizeof(value));
    return value;
  }
  uint32_t take_count(uint32_t most, size_t entry_bytes) {
    const auto count = take<uint32_t>();
    if (count > most || count * entry_bytes > bytes_.size()) {
      sound_ = false;
      return 0;
    }
    return count;
  }
  std::string take_name(size_t least, size_t most) {
    const auto length = take<uint16_t>();
    if (length < least || length > most || length > bytes_.size()) {
      sound_ = false;
      return {};
    }
    std::string name(reinterpret_cast<const char*>(bytes_.data()), length);
    bytes_ = bytes_.subspan(length);
    return name;
  }
  void expect_zero32() { sound_ = take<uint32_t>() == 0 && sound_; }
  // Only padding (fewer than 8 zero bytes) may remain.
  bool ended_well() const {
    return sound_ && bytes_.size() < 8 &&
           std::ranges::all_of(bytes_, [](std::byte byte) { return byte == std::byte{0}; });
  }

 private:
  std::span<const std::byte> bytes_;
  bool sound_ = true;
};

void put_map(Type type, uint64_t head_id, uint64_t first_index, uint64_t block,
             std::span<const uint32_t> crcs, std::string& out) {
  Writer w(out, type);
  w.put(head_id);
  w.put(first_index);
  w.put(block);
  w.put(static_cast<uint32_t>(crcs.size()));
  w.put(uint32_t{0});
  for (const uint32_t crc : crcs) w.put(crc);
}

struct Encoder {
  std::string& out;
  void operator()(const MapRecord& r) const {
    encode_map(r.head_id, r.first_index, r.block, r.crcs, out);
  }
  void operator()(const VoidRecord& r) const {
    put_map(Type::kVoid, r.was.head_id, r.was.first_index, r.was.block, r.was.crcs, out);
  }
  void operator()(const UnmapRecord& r) const {
    Writer w(out, Type::kUnmap);
    w.put(r.head_id);
    w.put(r.first_index);
    w.put(r.count);
  }
  void operator()(const CreateVolumeRecord& r) const {
    Writer w(out, Type::kCreateVolume);
    w.put(r.volume_id);
    w.put(r.head_id);
    w.put(r.size_bytes);
    w.put(r.created_ns);
    w.put_name(r.name);
  }
  void operator()(const ResizeVolumeRecord& r) const {
    Writer w(out, Type::kResizeVolume);
    w.put(r.volume_id);
    w.put(r.size_bytes);
  }
  void operator()(const RenameVolumeRecord& r) const {
    Writer w(out, Type::kRenameVolume);
    w.put(r.volume_id);
    w.put_name(r.name);
  }
  void operator()(const DeleteVolumeRecord& r) const {
    Writer w(out, Type::kDeleteVolume);
    w.put(r.volume_id);
  }
  void operator()(const SnapshotRecord& r) const {
    Writer w(out, Type::kSnapshot);
    w.put(r.set_id);
    w.put(r.created_ns);
    w.put(r.kind);
    w.put(static_cast<uint32_t>(r.entries.size()));
    for (const auto& entry : r.entries) {
      w.put(entry.volume_id);
      w.put(entry.point_id);
    }
    w.put_name(r.name);
  }
  void operator()(const CloneRecord& r) const {
    Writer w(out, Type::kClone);
    w.put(r.source_point_id);
    w.put(r.volume_id);
    w.put(r.head_id);
    w.put(r.created_ns);
    w.put_name(r.name);
  }
  void operator()(const ReturnRecord& r) const {
    Writer w(out, Type::kReturn);
    w.put(r.created_ns);
    w.put(static_cast<uint32_t>(r.entries.size()));
    w.put(uint32_t{0});
    for (const auto& entry : r.entries) {
      w.put(entry.volume_id);
      w.put(entry.target_point_id);
      w.put(entry.head_id);
    }
    w.put_name(r.keep_name);
  }
  void operator()(const DeletePointRecord& r) const {
    Writer w(out, Type::kDeletePoint);
    w.put(r.point_id);
  }
  void operator()(const RenamePointRecord& r) const {
    Writer w(out, Type::kRenamePoint);
    w.put(r.point_id);
    w.put_name(r.name);
  }
};

MapRecord decode_map(Reader& in) {
  MapRecord r{in.take<uint64_t>(), in.take<uint64_t>(), in.take<uint64_t>(), {}};
  const uint32_t count = in.take<uint32_t>();
  in.expect_zero32();
  for (uint32_t i = 0; i < count && i < kPointersPerNode; ++i)
    r.crcs.push_back(in.take<uint32_t>());
  return r;
}

SnapshotRecord decode_snapshot(Reader& in) {
  SnapshotRecord r;
  r.set_id = in.take<uint64_t>();
  r.created_ns = in.take<uint64_t>();
  r.kind = in.take<uint32_t>();
  const uint32_t count = in.take_count(kEntriesMax, 16);
  for (uint32_t i = 0; i < count; ++i) {
    const auto volume = in.take<uint64_t>();
    r.entries.push_back({volume, in.take<uint64_t>()});
  }
  r.name = in.take_name(0, kPointNameMax);
  return r;
}

CloneRecord decode_clone(Reader& in) {
  CloneRecord r;
  r.source_point_id = in.take<uint64_t>();
  r.volume_id = in.take<uint64_t>();
  r.head_id = in.take<uint64_t>();
  r.created_ns = in.take<uint64_t>();
  r.name = in.take_name(1, kVolumeNameMax);
  return r;
}

CreateVolumeRecord decode_create_volume(Reader& in) {
  CreateVolumeRecord r;
  r.volume_id = in.take<uint64_t>();
  r.head_id = in.take<uint64_t>();
  r.size_bytes = in.take<uint64_t>();
  r.created_ns = in.take<uint64_t>();
  r.name = in.take_name(1, kVolumeNameMax);
  return r;
}

ReturnRecord decode_return(Reader& in) {
  ReturnRecord r;
  r.created_ns = in.take<uint64_t>();
  const uint32_t count = in.take<uint32_t>();
  in.expect_zero32();
  for (uint32_t i = 0; i < count && i < kEntriesMax; ++i) {
    const auto volume = in.take<uint64_t>();
    const auto target = in.take<uint64_t>();
    r.entries.push_back({volume, target, in.take<uint64_t>()});
  }
  r.keep_name = in.take_name(0, kPointNameMax);
  return r;
}

Record decode_body(Type type, Reader& in, bool& known) {
  switch (type) {
    case Type::kMap: return decode_map(in);
    case Type::kVoid: return VoidRecord{decode_map(in)};
    case Type::kUnmap: {
      UnmapRecord r;
      r.head_id = in.take<uint64_t>();
      r.first_index = in.take<uint64_t>();
      r.count = in.take<uint64_t>();
      return r;
    }
    case Type::kCreateVolume: return decode_create_volume(in);
    case Type::kResizeVolume: {
      const auto id = in.take<uint64_t>();
      return ResizeVolumeRecord{id, in.take<uint64_t>()};
    }
    case Type::kRenameVolume: {
      const auto id = in.take<uint64_t>();
      return RenameVolumeRecord{id, in.take_name(1, kVolumeNameMax)};
    }
    case Type::kDeleteVolume: return DeleteVolumeRecord{in.take<uint64_t>()};
    case Type::kSnapshot: return decode_snapshot(in);
    case Type::kClone: return decode_clone(in);
    case Type::kReturn: return decode_return(in);
    case Type::kDeletePoint: return DeletePointRecord{in.take<uint64_t>()};
    case Type::kRenamePoint: {
      const auto id = in.take<uint64_t>();
      return RenamePointRecord{id, in.take_name(1, kPointNameMax)};
    }
  }
  known = false;
  return DeleteVolumeRecord{};
}

}  // namespace

void encode(const Record& record, std::string& out) { std::visit(Encoder{out}, record); }

void encode_map(uint64_t head_id, uint64_t first_index, uint64_t block,
                std::span<const uint32_t> crcs, std::string& out) {
  put_map(Type::kMap, head_id, first_index, block, crcs, out);
}

void make_void(std::string& frame, size_t offset) {
  HOZON_CHECK(frame.at(offset) == static_cast<char>(Type::kMap));
  frame[offset] = static_cast<char>(Type::kVoid);
}

void reserve_frame(std::string& frame) { frame.assign(sizeof(FrameHeader), '\0'); }

void seal_frame(std::string& frame, FrameHeader header) {
  header.magic = kFrameMagic;
  header.length = static_cast<uint32_t>(frame.size());
  header.crc32c = 0;
  std::memcpy(frame.data(), &header, sizeof(header));
  header.crc32c = crc32c(std::as_bytes(std::span(frame.data(), frame.size())));
  std::memcpy(frame.data(), &header, sizeof(header));
}

Result<FrameHeader> decode_frame(std::span<const std::byte> bytes) {
  const auto no_frame = [] { return make_error(Code::kCorruption, "no journal frame here"); };
  if (bytes.size() < sizeof(FrameHeader)) return no_frame();
  FrameHeader header;
  std::memcpy(&header, bytes.data(), sizeof(header));
  const uint32_t length = header.length;
  if (header.magic != kFrameMagic || length < sizeof(header) || length > kFrameBytesMax ||
      length % 8 != 0 || length > bytes.size())
    return no_frame();
  FrameHeader blank = header;
  blank.crc32c = 0;
  const uint32_t actual =
      crc32c(bytes.subspan(sizeof(header), length - sizeof(header)), crc32c(bytes_of(blank)));
  if (actual != header.crc32c) return no_frame();
  if (!std::ranges::all_of(header.reserved, [](uint8_t byte) { return byte == 0; }))
    return no_frame();
  return header;
}

Result<std::vector<Record>> decode_records(std::span<const std::byte> frame) {
  FrameHeader header;
  HOZON_CHECK(frame.size() >= sizeof(header));
  std::memcpy(&header, frame.data(), sizeof(header));
  std::vector<Record> records;
  std::span<const std::byte> rest = frame.subspan(sizeof(header));
  while (!rest.empty()) {
    if (rest.size() < kRecordHeaderBytes)
      return make_error(Code::kCorruption, "journal record is cut short");
    Le<uint32_t> length;
    std::memcpy(&length, rest.data() + 4, sizeof(length));
    if (length < kRecordHeaderBytes || length % 8 != 0 || length > rest.size())
      return make_error(Code::kCorruption, "journal record has impossible length {}",
                        static_cast<uint32_t>(length));
    Reader in(rest.subspan(kRecordHeaderBytes, length - kRecordHeaderBytes));
    bool known = true;
    records.push_back(decode_body(static_cast<Type>(rest[0]), in, known));
    const bool reserved_zero =
        rest[1] == std::byte{0} && rest[2] == std::byte{0} && rest[3] == std::byte{0};
    if (!known || !reserved_zero || !in.ended_well())
      return make_error(Code::kCorruption, "journal record of type {} is malformed",
                        static_cast<unsigned>(rest[0]));
    rest = rest.subspan(length);
  }
  if (records.size() != header.record_count)
    return make_error(Code::kCorruption, "journal frame says {} records but holds {}",
                      static_cast<uint32_t>(header.record_count), records.size());
  return records;
}

}  // namespace hozon::format
