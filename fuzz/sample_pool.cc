#include "sample_pool.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <functional>

#include "base/bytes.h"
#include "format/catalog_record.h"
#include "format/journal_frame.h"
#include "format/superblock.h"

namespace hozon::fuzz {
namespace {

using format::kBlockSize;
constexpr uint64_t kPoolBlocks = 512;
constexpr uint64_t kRingBytes = format::kRingBytesMin;
constexpr uint64_t kLowBytes = 300 * 512;
constexpr uint64_t kMiddleBytes = 2 << 20;
constexpr uint64_t kHighBytes = 300 << 20;

void must(const Status& status) { HOZON_CHECK(status.has_value()); }

// Where the sample's history writes, and what contents_of() looks at.
std::vector<uint64_t> places(uint64_t size_bytes) {
  const uint64_t blocks = (size_bytes + kBlockSize - 1) / kBlockSize;
  std::vector<uint64_t> found;
  for (const uint64_t first : {uint64_t{0}, blocks / 2, blocks - std::min<uint64_t>(blocks, 4)})
    for (uint64_t at = first; at < std::min(first + 24, blocks); ++at) found.push_back(at);
  return found;
}

class History {
 public:
  History(ScriptLoop& loop, store::Pool& pool) : loop_(loop), pool_(pool) {}

  void write(const std::string& volume, uint64_t block, uint64_t count) {
    std::vector<std::byte> bytes(count * kBlockSize);
    for (size_t i = 0; i < bytes.size(); ++i)
      bytes[i] = static_cast<std::byte>(serial_ * 31 + i / 97 + i % 7);
    ++serial_;
    must(run(loop_, pool_.write(*pool_.target(volume), block * kBlockSize, bytes, false)));
  }
  void snapshot(std::vector<std::string> volumes, std::string point) {
    HOZON_CHECK(run(loop_, pool_.snapshot(std::move(volumes), std::move(point))).has_value());
  }
  void create(std::string name, uint64_t size_bytes) {
    HOZON_CHECK(run(loop_, pool_.create_volume(std::move(name), size_bytes)).has_value());
  }

  void until_checkpoint() {
    create("low", kLowBytes);
    create("middle", kMiddleBytes);
    create("high", kHighBytes);
    write("low", 0, 8);
    write("middle", 0, 4);
    write("middle", 256, 6);
    snapshot({"low", "middle"}, "one");
    write("middle", 1, 2);
    write("middle", 508, 4);
    write("high", 0, 2);
    write("high", kHighBytes / kBlockSize / 2, 3);
    snapshot({"low", "middle", "high"}, "two");
    HOZON_CHECK(run(loop_, pool_.clone("middle", "one", "copy")).has_value());
    write("copy", 2, 3);
    must(run(loop_, pool_.return_to({{"middle", "middle", "one"}}, "left")));
    write("middle", 258, 2);
    must(run(loop_, pool_.delete_point("middle", "one")));  // leaves a fork
    must(run(loop_, pool_.drain_reclaim()));
    must(run(loop_, pool_.discard(*pool_.target("low"), kBlockSize, 2 * kBlockSize, false)));
    must(run(loop_, pool_.checkpoint()));
  }
  void after_checkpoint() {
    write("low", 4, 2);
    write("high", kHighBytes / kBlockSize - 4, 4);
    snapshot({"low", "high"}, "late");
    write("high", 1, 1);
    must(run(loop_, pool_.flush()));
    must(run(loop_,
             pool_.discard(*pool_.target("middle"), 256 * kBlockSize, 3 * kBlockSize, false)));
    create("new", 64 << 10);
    write("new", 3, 5);
    must(run(loop_, pool_.delete_point("low", "one")));
    write("copy", 0, 2);
    write("copy", 510, 2);
  }

 private:
  ScriptLoop& loop_;
  store::Pool& pool_;
  uint64_t serial_ = 1;
};

Image make_image() {
  ScriptLoop loop;
  MemoryDevice data(loop, std::vector<std::byte>(kPoolBlocks * kBlockSize));
  MemoryDevice journal(loop, std::vector<std::byte>(format::kJournalHeaderBytes + kRingBytes));
  must(run(loop, store::Pool::create(data, journal, {.pool_id = {1, 2, 3, 4}})));
  store::OpenOptions options;
  options.background = false;
  const auto pool = std::move(*run(loop, store::Pool::open(loop, data, journal, options)));
  History history(loop, *pool);
  history.until_checkpoint();
  history.after_checkpoint();
  return {data.bytes(), journal.bytes()};  // no close: as after a kill
}

format::Superblock superblock_of(const Image& image) {
  return *format::decode_superblock(std::span(image.data).first(kBlockSize));
}

std::vector<FramePlace> frames_of(const Image& image) {
  const format::Superblock superblock = superblock_of(image);
  std::vector<FramePlace> found;
  uint64_t end = format::kJournalHeaderBytes + superblock.journal_offset;
  uint64_t sequence = superblock.journal_sequence;
  const auto frame_at = [&](uint64_t at) {
    if (at >= image.journal.size()) return uint64_t{0};
    const auto header = format::decode_frame(std::span(image.journal).subspan(at));
    const bool right = header && header->sequence == sequence && header->epoch == superblock.epoch;
    return right ? uint64_t{header->length} : uint64_t{0};
  };
  while (true) {
    uint64_t at = end;
    uint64_t length = frame_at(at);
    if (length == 0) length = frame_at(at = (end + kBlockSize - 1) / kBlockSize * kBlockSize);
    if (length == 0) return found;
    found.push_back({at, length});
    end = at + length;
    ++sequence;
  }
}

Contents contents_after(const Image& image, std::span<const FramePlace> dropped) {
  Image cut = image;
  for (const FramePlace& frame : dropped) std::memset(cut.journal.data() + frame.offset, 0, 64);
  ScriptLoop loop;
  MemoryDevice data(loop, std::move(cut.data));
  MemoryDevice journal(loop, std::move(cut.journal));
  store::OpenOptions options;
  options.read_only = true;
  const auto pool = run(loop, store::Pool::open(loop, data, journal, options));
  HOZON_CHECK(pool.has_value());
  const Contents found = contents_of(loop, **pool);
  must(run(loop, (*pool)->close()));
  return found;
}

// Sorts the blocks below a pointer into nodes and what they lead to.
void collect(const Image& image, format::Pointer pointer, uint8_t height,
             std::vector<uint64_t>& nodes, std::vector<uint64_t>& leaves) {
  if (pointer.is_null()) return;
  (height == 0 ? leaves : nodes).push_back(pointer.block);
  if (height == 0) return;
  format::NodeBlock node;
  std::memcpy(node.pointers.data(), image.data.data() + pointer.block * kBlockSize, kBlockSize);
  for (const format::Pointer& below : node.pointers)
    collect(image, below, static_cast<uint8_t>(height - 1), nodes, leaves);
}

void sort_blocks(SamplePool& sample) {
  const format::Superblock superblock = superblock_of(sample.image);
  std::vector<uint64_t> leaves;
  collect(sample.image, superblock.catalog_root, superblock.catalog_height, sample.catalog_blocks,
          leaves);
  for (const uint64_t leaf : leaves) {
    for (uint64_t i = 0; i < format::kRecordsPerBlock; ++i) {
      format::CatalogRecord record;
      std::memcpy(&record, sample.image.data.data() + leaf * kBlockSize + i * sizeof(record),
                  sizeof(record));
      if (record.type == static_cast<uint8_t>(format::RecordType::kPoint))
        collect(sample.image, record.root, record.height, sample.node_blocks, sample.data_blocks);
    }
    sample.catalog_blocks.push_back(leaf);
  }
  collect(sample.image, superblock.bitmap_root, superblock.bitmap_height, sample.bitmap_blocks,
          sample.bitmap_blocks);
}

SamplePool make_sample() {
  SamplePool sample;
  sample.image = make_image();
  sample.frames = frames_of(sample.image);
  HOZON_CHECK(sample.frames.size() >= 8);
  for (size_t kept = 0; kept <= sample.frames.size(); ++kept)
    sample.states.push_back(contents_after(sample.image, std::span(sample.frames).subspan(kept)));
  sort_blocks(sample);
  HOZON_CHECK(sample.node_blocks.size() > 8 && sample.data_blocks.size() > 20);
  return sample;
}

Export read_export(ScriptLoop& loop, store::Pool& pool, store::Target target) {
  Export found;
  found.size_bytes = *pool.size_bytes(target);
  for (const uint64_t index : places(found.size_bytes)) {
    std::vector<std::byte> bytes(std::min(kBlockSize, found.size_bytes - index * kBlockSize));
    const Status status = run(loop, pool.read(target, index * kBlockSize, bytes));
    std::optional<uint64_t> hash;
    if (status)
      hash = std::hash<std::string_view>()(
          {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
    else
      HOZON_CHECK(status.error().code == Code::kCorruption || status.error().code == Code::kIo);
    found.hashes[index] = hash;
  }
  return found;
}

}  // namespace

void MemoryDevice::submit(IoOp& op) {
  const bool inside = op.offset <= bytes_.size() && op.size <= bytes_.size() - op.offset;
  op.result = inside ? 0 : -EIO;
  if (inside && op.size > 0) {
    if (op.kind == IoOp::Kind::kRead) std::memcpy(op.data, bytes_.data() + op.offset, op.size);
    if (op.kind == IoOp::Kind::kWrite) std::memcpy(bytes_.data() + op.offset, op.data, op.size);
    if (op.kind == IoOp::Kind::kPunch) std::memset(bytes_.data() + op.offset, 0, op.size);
  }
  loop_.post(op.waiter);
}

int MemoryDevice::write_now(uint64_t offset, std::span<const std::byte> from) {
  if (offset > bytes_.size() || from.size() > bytes_.size() - offset) return -EIO;
  std::memcpy(bytes_.data() + offset, from.data(), from.size());
  return 0;
}

Contents contents_of(ScriptLoop& loop, store::Pool& pool) {
  Contents found;
  for (const store::VolumeInfo& volume : pool.volumes()) {
    found[volume.name] = read_export(loop, pool, *pool.target(volume.name));
    const auto points = pool.points(volume.name);
    HOZON_CHECK(points.has_value());
    for (const store::PointInfo& point : *points)
      found[volume.name + "@" + point.name] =
          read_export(loop, pool, *pool.target(volume.name, point.name));
  }
  return found;
}

bool agrees(const Contents& found, const Contents& expected) {
  return std::ranges::equal(found, expected, [](const auto& one, const auto& other) {
    return one.first == other.first && one.second.size_bytes == other.second.size_bytes &&
           std::ranges::equal(one.second.hashes, other.second.hashes,
                              [](const auto& mine, const auto& theirs) {
                                return !mine.second || mine.second == theirs.second;
                              });
  });
}

const SamplePool& sample_pool() {
  static const SamplePool sample = make_sample();
  return sample;
}

}  // namespace hozon::fuzz
