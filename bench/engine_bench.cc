// What the engine's own operations cost on maps that no disk here could fill. Prints NAME VALUE
// UNIT, one number a line; bench/engine.py reads it.
//
// Usage: engine_bench DIRECTORY [--rounds N]
//
// Each pool holds one volume whose every block is mapped, and a history of points. It was never
// written: SynthDevice makes up the nodes, bitmap blocks and data that nobody has changed, and
// keeps what the engine writes. Reads, writes and syncs go to real files all the same, whose
// content is then replaced, so that the times include those of the storage below.
#include <sys/resource.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string_view>
#include <unordered_map>

#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/units.h"
#include "format/catalog_record.h"
#include "io/file_device.h"
#include "store/bitmap.h"
#include "store/meta_tree.h"
#include "store/pool.h"

namespace hozon::store {
namespace {

constexpr uint64_t kFan = format::kPointersPerNode;
constexpr uint64_t kDataFirst = 1 << 20;  // free space before it, and as much behind everything
constexpr uint64_t kFileBytes = 256_MiB;  // of the file that does the work of all
constexpr uint64_t kJournalBytes = 64_MiB + format::kJournalHeaderBytes;

void print(std::string_view name, double value, std::string_view unit) {
  fmt::print("{} {:.3f} {}\n", name, value, unit);
  std::fflush(stdout);
}

using Block = std::unique_ptr<format::NodeBlock>;

// The content of a pool's data before the engine changes anything, and what it has written since.
class Content {
 public:
  explicit Content(uint64_t data_blocks) : data_blocks_(data_blocks) {
    const AlignedBuffer zeros = zero_block();
    zero_crc_ = crc32c(zeros.span());
    uint64_t first = kDataFirst + data_blocks;
    height_ = format::height_for(data_blocks);
    for (uint64_t count = data_blocks / kFan; count >= 1; count /= kFan) {
      level_first_.push_back(first);
      first += count;
      if (count == 1 || level_first_.size() == height_) break;
    }
    if (level_first_.size() < height_) level_first_.push_back(first++);
    next_ = first;
    compute_leaf_checksums();
    for (uint8_t level = 2; level <= height_; ++level) compute_checksums(level);
  }

  Pointer root() const { return {level_first_[height_ - 1u], checksums_[height_ - 1u][0], 0}; }
  uint8_t height() const { return height_; }
  uint64_t take() { return next_++; }
  uint64_t next() const { return next_; }
  void put(uint64_t block, std::span<const std::byte> bytes) {
    Block& at = written_[block];
    if (!at) at = std::make_unique<format::NodeBlock>();
    std::memcpy(at.get(), bytes.data(), kBlockSize);
  }
  void get(uint64_t block, std::span<std::byte> into) const {
    const auto found = written_.find(block);
    if (found != written_.end()) {
      std::memcpy(into.data(), found->second.get(), kBlockSize);
      return;
    }
    std::memset(into.data(), 0, kBlockSize);
    for (uint8_t level = height_; level >= 1; --level) {
      if (block < level_first_[level - 1u]) continue;
      if (block - level_first_[level - 1u] >= count_of(level)) return;
      format::NodeBlock node{};
      make_node(level, block - level_first_[level - 1u], node);
      std::memcpy(into.data(), &node, kBlockSize);
      return;
    }
  }

 private:
  static AlignedBuffer zero_block() {
    AlignedBuffer zeros(kBlockSize);
    std::memset(zeros.data(), 0, kBlockSize);
    return zeros;
  }
  uint64_t count_of(uint8_t level) const { return checksums_[level - 1u].size(); }
  void make_node(uint8_t level, uint64_t index, format::NodeBlock& node) const {
    const uint64_t below = level == 1 ? data_blocks_ : count_of(static_cast<uint8_t>(level - 1));
    const uint64_t first = level == 1 ? kDataFirst : level_first_[level - 2u];
    for (uint64_t slot = 0; slot < kFan && index * kFan + slot < below; ++slot) {
      const uint64_t child = index * kFan + slot;
      node.pointers[slot] = {first + child, level == 1 ? zero_crc_ : checksums_[level - 2u][child],
                             0};
    }
  }
  void compute_checksums(uint8_t level) {
    checksums_.emplace_back((checksums_[level - 2u].size() + kFan - 1) / kFan);
    for (uint64_t i = 0; i < count_of(level); ++i) {
      format::NodeBlock node{};
      make_node(level, i, node);
      checksums_[level - 1u][i] = crc32c(bytes_of(node));
    }
  }
  // Leaf nodes differ in bits 8.. of their 256 block numbers only, and a CRC is linear: what each
  // of those bits changes is computed once. 16 TiB have 16 million leaves.
  void compute_leaf_checksums() {
    checksums_.emplace_back(data_blocks_ / kFan);
    format::NodeBlock base{};
    make_node(1, 0, base);
    for (Pointer& pointer : base.pointers) pointer.block = pointer.block & 0xff;
    const uint32_t base_crc = crc32c(bytes_of(base));
    std::array<uint32_t, 48> effect{};
    for (uint64_t bit = 0; bit < effect.size(); ++bit) {
      format::NodeBlock changed = base;
      for (Pointer& pointer : changed.pointers)
        pointer.block = pointer.block ^ (uint64_t{1} << (bit + 8));
      effect[bit] = crc32c(bytes_of(changed)) ^ base_crc;
    }
    for (uint64_t i = 0; i < count_of(1); ++i) {
      uint32_t crc = base_crc;
      for (uint64_t bits = kDataFirst / kFan + i; bits != 0; bits &= bits - 1)
        crc ^= effect[static_cast<size_t>(std::countr_zero(bits))];
      checksums_[0][i] = crc;
    }
  }

  uint64_t data_blocks_;
  uint32_t zero_crc_;
  uint8_t height_;
  std::vector<uint64_t> level_first_;
  std::vector<std::vector<uint32_t>> checksums_;
  uint64_t next_;
  std::unordered_map<uint64_t, Block> written_;
};

class SynthDevice final : public Device {
 public:
  SynthDevice(Loop& loop, Content& content, Device& file, uint64_t size_bytes)
      : loop_(loop), content_(content), file_(file), size_bytes_(size_bytes) {}
  uint64_t size_bytes() const override { return size_bytes_; }
  void submit(IoOp& op) override { spawn(serve(op)); }
  int write_now(uint64_t, std::span<const std::byte>) override { return -EROFS; }
  uint64_t read_bytes() const { return read_bytes_; }

 private:
  Task<void> serve(IoOp& op) {
    const uint64_t place = op.offset % (kFileBytes - 32_MiB);
    const std::span<std::byte> bytes(op.data, op.size);
    if (op.kind == IoOp::Kind::kRead) {
      op.result = co_await file_.read(place, bytes);
      for (uint64_t at = 0; at < op.size; at += kBlockSize)
        content_.get((op.offset + at) / kBlockSize, bytes.subspan(at, kBlockSize));
      read_bytes_ += op.size;
    } else if (op.kind == IoOp::Kind::kWrite) {
      for (uint64_t at = 0; at < op.size; at += kBlockSize)
        content_.put((op.offset + at) / kBlockSize, bytes.subspan(at, kBlockSize));
      op.result = co_await file_.write(place, bytes);
    } else if (op.kind == IoOp::Kind::kSync) {
      op.result = co_await file_.sync();
    } else {
      co_await loop_.yield();
      op.result = 0;
    }
    loop_.post(op.waiter);
  }
  Loop& loop_;
  Content& content_;
  Device& file_;
  uint64_t size_bytes_;
  uint64_t read_bytes_ = 0;
};

struct Shape {
  std::string name;
  uint64_t volume_bytes;
  uint64_t volumes;
  uint64_t points_each;
};

// Writes catalog, bitmap and superblock of a pool in which every volume and point shares one map.
class Builder {
 public:
  Builder(Content& content, const Shape& shape) : content_(content), shape_(shape) {}
  uint64_t build() {
    format::Superblock sb{};
    build_catalog(sb);
    const uint64_t groups_max = (content_.next() + 2 * kDataFirst) / format::kBitsPerBlock + 1;
    const uint64_t bitmap_blocks = groups_max + groups_max / kFan + 8;
    sb.total_blocks = content_.next() + bitmap_blocks + kDataFirst;
    build_bitmap(sb, content_.next() + bitmap_blocks);
    sb.pool_id = {1, 2, 3};
    sb.generation = 1;
    sb.epoch = 1;
    sb.journal_bytes = kJournalBytes - format::kJournalHeaderBytes;
    sb.journal_sequence = 1;
    sb.next_id = next_id_;
    format::seal(sb);
    content_.put(0, bytes_of(sb));
    content_.put(1, bytes_of(sb));
    return sb.total_blocks * kBlockSize;
  }

 private:
  void save(MetaTree& tree, uint64_t count,
            const std::function<void(uint64_t, AlignedBuffer&)>& fill) {
    tree.resize(count);
    for (uint64_t index = 0; index < count; ++index) {
      AlignedBuffer block(kBlockSize);
      std::memset(block.data(), 0, kBlockSize);
      fill(index, block);
      tree.assign(index, [this] { return content_.take(); }, [](uint64_t) {});
      tree.set_leaf_checksum(index, crc32c(block.span()));
      content_.put(tree.assigned_block(index), block.span());
    }
    tree.finish([this](uint64_t number, const format::NodeBlock& node) {
      content_.put(number, bytes_of(node));
    });
  }
  format::CatalogRecord point(uint64_t id, uint64_t parent, uint64_t volume, PointKind kind) {
    format::CatalogRecord record{};
    record.type = static_cast<uint8_t>(format::RecordType::kPoint);
    record.kind = static_cast<uint8_t>(kind);
    record.height = content_.height();
    record.id = id;
    record.link = parent;
    record.volume_id = volume;
    record.size_bytes = shape_.volume_bytes;
    record.created_ns = id;
    record.root = content_.root();
    if (kind == PointKind::kSnapshot) record.set_name(fmt::format("p{}", id));
    return record;
  }
  void build_catalog(format::Superblock& sb) {
    std::vector<format::CatalogRecord> records;
    const uint64_t origin = next_id_++;  // what all volumes share must be connected
    for (uint64_t v = 0; v < shape_.volumes; ++v) {
      format::CatalogRecord volume{};
      volume.type = static_cast<uint8_t>(format::RecordType::kVolume);
      volume.id = next_id_++;
      volume.created_ns = volume.id;
      volume.set_name(v == 0 ? "v" : fmt::format("v{}", v));
      if (v == 0) records.push_back(point(origin, 0, volume.id, PointKind::kSnapshot));
      uint64_t parent = origin;
      for (uint64_t i = 0; i < shape_.points_each; ++i) {
        records.push_back(point(next_id_, parent, volume.id, PointKind::kSnapshot));
        parent = next_id_++;
      }
      records.push_back(point(next_id_, parent, volume.id, PointKind::kHead));
      volume.link = next_id_++;
      records.push_back(volume);
    }
    MetaTree tree;
    save(tree, (records.size() + format::kRecordsPerBlock - 1) / format::kRecordsPerBlock,
         [&](uint64_t index, AlignedBuffer& block) {
           const uint64_t first = index * format::kRecordsPerBlock;
           const uint64_t count = std::min(format::kRecordsPerBlock, records.size() - first);
           std::memcpy(block.data(), records.data() + first, count * sizeof records[0]);
         });
    sb.catalog_root = tree.root();
    sb.catalog_blocks = tree.leaf_count();
    sb.catalog_height = tree.height();
  }
  void build_bitmap(format::Superblock& sb, uint64_t used_end) {
    Bitmap live(sb.total_blocks);
    live.set_run({0, format::kFirstUsableBlock});
    live.set_run({kDataFirst, used_end - kDataFirst});
    MetaTree tree;
    save(tree, live.group_count(),
         [&](uint64_t group, AlignedBuffer& block) { live.export_group(group, block.span()); });
    sb.bitmap_root = tree.root();
    sb.bitmap_blocks = tree.leaf_count();
    sb.bitmap_height = tree.height();
  }

  Content& content_;
  const Shape& shape_;
  uint64_t next_id_ = 1;
};

double rss_mib() {
  uint64_t pages = 0;
  if (std::FILE* file = std::fopen("/proc/self/statm", "r")) {
    if (std::fscanf(file, "%*u %lu", &pages) != 1) pages = 0;
    std::fclose(file);
  }
  return static_cast<double>(pages * 4096) / 1048576.0;
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values.empty() ? 0 : values[values.size() / 2];
}

// One life of the engine on the pool.
class Life {
 public:
  Life(const std::string& directory, Content& content, uint64_t size_bytes)
      : loop_(*Loop::create()),
        file_(*FileDevice::open(*loop_, directory + "/work", {.lock = false})),
        journal_(*FileDevice::open(*loop_, directory + "/journal", {.lock = false})),
        device_(*loop_, content, *file_, size_bytes) {}

  void run(Task<void> task) {
    spawn([](Loop& loop, Task<void> inner) -> Task<void> {
      co_await loop.yield();
      co_await std::move(inner);
      loop.stop();
    }(*loop_, std::move(task)));
    loop_->run();
  }
  template <typename T>
  static void must(const Result<T>& result) {
    if (result) return;
    fmt::print(stderr, "engine_bench: {}\n", result.error().what);
    std::exit(1);
  }
  Task<void> open(std::string name) {
    const double before = rss_mib();
    const uint64_t began = loop_->now_ns();
    const OpenOptions options{.checkpoint_idle_ns = 1'000'000'000};
    auto opened = co_await Pool::open(*loop_, device_, *journal_, options);
    must(opened);
    print(name, ms_since(began), "ms");
    print(name + "_read", static_cast<double>(device_.read_bytes()) / 1048576.0, "MiB");
    print(name + "_memory", rss_mib() - before, "MiB");
    pool_ = *std::move(opened);
  }
  Task<void> close() { must(co_await pool_->close()); }
  // Ends as kill -9 does: whatever runs is never resumed.
  void abandon() {
    (void)pool_.release();
    (void)loop_.release();
    (void)file_.release();
    (void)journal_.release();
  }

  Task<void> operations(std::string prefix, int rounds) {
    std::vector<double> snapshot, clone, back, removal, list;
    for (int i = 0; i < rounds; ++i) {
      co_await write_some(8);
      const std::string name = fmt::format("bench{}", i);
      uint64_t began = loop_->now_ns();
      must(co_await pool_->snapshot(only_, name));
      snapshot.push_back(ms_since(began));
      co_await write_some(8);
      began = loop_->now_ns();
      must(co_await pool_->clone("v", name, "clone"));
      clone.push_back(ms_since(began));
      must(co_await pool_->delete_volume("clone", false));
      co_await write_some(8);
      std::vector<ReturnItem> items(1);
      items[0] = {"v", "v", name};
      began = loop_->now_ns();
      must(co_await pool_->return_to(items, ""));
      back.push_back(ms_since(began));
      began = loop_->now_ns();
      must(co_await pool_->delete_point("v", name));
      removal.push_back(ms_since(began));
      began = loop_->now_ns();
      must(pool_->points("v", true));
      list.push_back(ms_since(began));
    }
    print(prefix + "_snapshot", median(snapshot), "ms");
    print(prefix + "_clone", median(clone), "ms");
    print(prefix + "_return", median(back), "ms");
    print(prefix + "_delete", median(removal), "ms");
    print(prefix + "_list", median(list), "ms");
  }
  Task<void> write_some(int count) {
    std::vector<std::byte> bytes(kBlockSize);
    const Target target = *pool_->target("v");
    const uint64_t blocks = *pool_->size_bytes(target) / kBlockSize;
    for (int i = 0; i < count; ++i) {
      std::memset(bytes.data(), static_cast<int>(random_() % 255 + 1), bytes.size());
      must(co_await pool_->write(target, random_() % blocks * kBlockSize, bytes, false));
    }
  }
  Task<void> write_many(int writers, int each) {
    Group group(*loop_);
    for (int i = 0; i < writers; ++i) group.start(write_some(each));
    co_await group.wait();
  }
  // 2 GiB rewritten after a snapshot, which then goes.
  Task<void> reclaim(std::string prefix) {
    must(co_await pool_->snapshot(only_, "big"));
    std::vector<std::byte> bytes(1_MiB, std::byte{7});
    const Target target = *pool_->target("v");
    for (uint64_t at = 0; at < 2048; ++at)
      must(co_await pool_->write(target, at * 1_MiB, bytes, false));
    must(co_await pool_->checkpoint());
    must(co_await pool_->delete_point("v", "big"));
    const uint64_t began = loop_->now_ns();
    must(co_await pool_->drain_reclaim());
    must(co_await pool_->checkpoint());
    print(prefix + "_reclaim_2gib", ms_since(began), "ms");
  }

 private:
  double ms_since(uint64_t began) const {
    return static_cast<double>(loop_->now_ns() - began) / 1e6;
  }
  std::unique_ptr<Loop> loop_;
  std::unique_ptr<FileDevice> file_;
  std::unique_ptr<FileDevice> journal_;
  SynthDevice device_;
  std::unique_ptr<Pool> pool_;
  std::vector<std::string> only_ = std::vector<std::string>(1, "v");
  std::mt19937_64 random_{1};
};

void make_journal(const std::string& directory) {
  const std::string path = directory + "/journal";
  std::remove(path.c_str());
  Life::must(FileDevice::create_file(path, kJournalBytes, kJournalBytes));
  format::JournalHeader header{};
  header.pool_id = {1, 2, 3};
  header.ring_bytes = kJournalBytes - format::kJournalHeaderBytes;
  format::seal(header);
  const std::unique_ptr<Loop> loop = *Loop::create();
  const auto file = *FileDevice::open(*loop, path, {});
  if (file->write_now(0, bytes_of(header)) != 0) std::exit(1);
}

void measure(const std::string& directory, const Shape& shape, int rounds, bool with_kill) {
  make_journal(directory);
  Content content(shape.volume_bytes / kBlockSize);
  const uint64_t size_bytes = Builder(content, shape).build();
  {
    Life life(directory, content, size_bytes);
    life.run(life.open(shape.name + "_open"));
    life.run(life.operations(shape.name, rounds));
    if (!with_kill) return life.run(life.close());
    life.run(life.reclaim(shape.name));
    life.run(life.close());
  }
  auto* killed = new Life(directory, content, size_bytes);  // what it still refers to must stay
  killed->run(killed->open(shape.name + "_open_again"));
  killed->run(killed->write_many(32, 640));
  killed->abandon();
  Life life(directory, content, size_bytes);
  life.run(life.open(shape.name + "_open_after_kill"));
  life.run(life.close());
}

int run(int argc, char** argv) {
  if (argc < 2) {
    fmt::print(stderr, "usage: engine_bench DIRECTORY [--rounds N]\n");
    return 2;
  }
  const std::string directory = argv[1];
  const int rounds = argc == 4 && std::string_view(argv[2]) == "--rounds" ? std::atoi(argv[3]) : 30;
  const std::string work = directory + "/work";
  std::remove(work.c_str());
  Life::must(FileDevice::create_file(work, kFileBytes, kFileBytes));
  for (const uint64_t points : {0, 10'000}) {
    measure(directory, {fmt::format("8gib_{}points", points), 8_GiB, 1, points}, rounds, false);
    measure(directory, {fmt::format("1tib_{}points", points), 1024_GiB, 1, points}, rounds,
            points > 0);
    measure(directory, {fmt::format("16tib_{}points", points), 16384_GiB, 1, points}, rounds,
            false);
  }
  measure(directory, {"1tib_1000volumes_100000points", 1024_GiB, 1000, 100}, rounds, false);
  std::remove(work.c_str());
  std::remove((directory + "/journal").c_str());
  return 0;
}

}  // namespace
}  // namespace hozon::store

int main(int argc, char** argv) { return hozon::store::run(argc, argv); }
