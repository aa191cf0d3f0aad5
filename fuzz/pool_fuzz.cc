// A whole pool, hurt: a small valid image gets the changes that the input says, with checksums made
// right again up to the roots, or not. Then it is opened, checked and read.
//
// Whatever was done: no crash, no endless run, memory in proportion to the pool. Without mending,
// every byte that is served must be one of a state that the journal passed through, all of the same
// state: the reads either show what was written or are refused. Then the pool is opened for
// writing, written, cleaned up, closed, and must hold what it answered.
// Input: flags (bit 0: mend), then changes of 13 bytes: kind of block 1, which 1, offset 2, change
// 1, value 8.
#include <algorithm>
#include <array>
#include <cstring>
#include <set>
#include <utility>

#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/log.h"
#include "format/catalog_record.h"
#include "format/journal_frame.h"
#include "format/superblock.h"
#include "sample_pool.h"

namespace {

using namespace hozon;
using namespace hozon::fuzz;
using format::kBlockSize;
using format::Pointer;

constexpr size_t kChangeBytes = 13;
constexpr size_t kChangesMax = 12;

struct Change {
  uint8_t kind, which;
  uint16_t offset;
  uint8_t how;
  uint64_t value;
};

Change read_change(std::span<const uint8_t> bytes) {
  Change change{bytes[0], bytes[1], static_cast<uint16_t>(bytes[2] | bytes[3] << 8), bytes[4], 0};
  std::memcpy(&change.value, bytes.data() + 5, sizeof(change.value));
  return change;
}

// Megabytes, for each input: one call, where a loop over bytes would report each to the fuzzer.
bool is_equal(std::span<const std::byte> one, std::span<const std::byte> other) {
  return one.size() == other.size() && std::memcmp(one.data(), other.data(), one.size()) == 0;
}

std::span<std::byte> block_of(Image& image, uint64_t block) {
  return std::span(image.data).subspan(block * kBlockSize, kBlockSize);
}

std::span<std::byte> victim_of(Image& image, const Change& change) {
  const SamplePool& sample = sample_pool();
  const auto one_of = [&](const std::vector<uint64_t>& blocks) {
    return block_of(image, blocks[change.which % blocks.size()]);
  };
  switch (change.kind % 8) {
    case 0: return block_of(image, change.which % 2);
    case 1: return one_of(sample.catalog_blocks);
    case 2: return one_of(sample.bitmap_blocks);
    case 3: return one_of(sample.node_blocks);
    case 4: return one_of(sample.data_blocks);
    case 5: return std::span(image.journal).first(kBlockSize);
    case 6: {
      const FramePlace frame = sample.frames[change.which % sample.frames.size()];
      return std::span(image.journal).subspan(frame.offset, frame.length);
    }
    default: return block_of(image, (change.which * 2u) % (image.data.size() / kBlockSize));
  }
}

void apply(Image& image, const Change& change) {
  const std::span<std::byte> victim = victim_of(image, change);
  const size_t at = change.offset % victim.size();
  switch (change.how % 6) {
    case 0: victim[at] ^= static_cast<std::byte>(change.value | 1); break;
    case 1:
    case 2: {  // a number, as wide as fits
      const size_t width =
          std::min<size_t>({victim.size() - at, size_t{1} << (change.how / 6 % 4)});
      std::memcpy(victim.data() + at, &change.value, width);
      break;
    }
    case 3: std::ranges::fill(victim, std::byte{0}); break;
    case 4: {  // a misdirected write, or a stale block
      const auto from = block_of(image, change.value % (image.data.size() / kBlockSize));
      std::vector<std::byte> copy(from.begin(), from.begin() + static_cast<ptrdiff_t>(std::min(
                                                                   victim.size(), from.size())));
      std::ranges::copy(copy, victim.begin());
      break;
    }
    default:  // torn: the second half is gone
      std::ranges::fill(victim.subspan(victim.size() / 2), std::byte{0});
  }
}

// --- mending ---

class Mender {
 public:
  explicit Mender(Image& image) : image_(image) {}

  void mend() {
    for (uint64_t slot = 0; slot < 2; ++slot) {
      format::Superblock superblock;
      std::memcpy(&superblock, block_of(image_, slot).data(), kBlockSize);
      tree(superblock.catalog_root, superblock.catalog_height, true);
      tree(superblock.bitmap_root, superblock.bitmap_height, false);
      format::seal(superblock);
      std::memcpy(block_of(image_, slot).data(), &superblock, kBlockSize);
    }
    format::JournalHeader header;
    std::memcpy(&header, image_.journal.data(), sizeof(header));
    format::seal(header);
    std::memcpy(image_.journal.data(), &header, sizeof(header));
    for (const FramePlace& frame : sample_pool().frames) {
      std::string bytes(reinterpret_cast<const char*>(image_.journal.data()) + frame.offset,
                        frame.length);
      format::FrameHeader values;
      std::memcpy(&values, bytes.data(), sizeof(values));
      format::seal_frame(bytes, values);
      std::memcpy(image_.journal.data() + frame.offset, bytes.data(), bytes.size());
    }
  }

 private:
  // Makes the pointer's checksum, and those of everything below, right. Heights only go down and
  // nothing is done twice, so that pointers in circles do no harm.
  void tree(Pointer& pointer, uint8_t height, bool is_catalog) {
    if (pointer.block < format::kFirstUsableBlock ||
        pointer.block >= image_.data.size() / kBlockSize)
      return;
    const std::span<std::byte> block = block_of(image_, pointer.block);
    if (height <= format::kHeightMax && done_.emplace(pointer.block, height).second) {
      for (size_t slot = 0; height > 0 && slot < format::kPointersPerNode; ++slot) {
        Pointer below;
        std::memcpy(&below, block.data() + slot * sizeof(below), sizeof(below));
        tree(below, static_cast<uint8_t>(height - 1), is_catalog);
        std::memcpy(block.data() + slot * sizeof(below), &below, sizeof(below));
      }
      if (height == 0 && is_catalog) records(block);
    }
    pointer.crc32c = crc32c(block);
  }
  void records(std::span<std::byte> block) {
    for (size_t i = 0; i < format::kRecordsPerBlock; ++i) {
      format::CatalogRecord record;
      std::memcpy(&record, block.data() + i * sizeof(record), sizeof(record));
      if (record.type != static_cast<uint8_t>(format::RecordType::kPoint)) continue;
      tree(record.root, record.height, false);
      std::memcpy(block.data() + i * sizeof(record), &record, sizeof(record));
    }
  }

  Image& image_;
  std::set<std::pair<uint64_t, uint8_t>> done_;
};

// Whether a header or frame is not the original, and yet has a right checksum: a fuzzer that sees
// comparisons can mend what it changed.
bool is_forged(const Image& image) {
  const SamplePool& sample = sample_pool();
  for (uint64_t slot = 0; slot < 2; ++slot) {
    const auto now = std::span(image.data).subspan(slot * kBlockSize, kBlockSize);
    const auto was = std::span(sample.image.data).subspan(slot * kBlockSize, kBlockSize);
    if (!is_equal(now, was) && format::decode_superblock(now)) return true;
  }
  for (const FramePlace& frame : sample.frames) {
    const auto now = std::span(image.journal).subspan(frame.offset, frame.length);
    const auto was = std::span(sample.image.journal).subspan(frame.offset, frame.length);
    if (!is_equal(now, was) && format::decode_frame(now)) return true;
  }
  return false;
}

// --- what is done with it ---

store::OpenOptions options_for(bool read_only) {
  store::OpenOptions options;
  options.read_only = read_only;
  options.background = false;
  options.node_cache_bytes = 1 << 20;
  return options;
}

// Two disks that hold an image. Their memory is used again and again: to get megabytes from the
// kernel for each input took longer than what is done with them.
class Disks {
 public:
  explicit Disks(const Image& image)
      : data(loop, filled(0, image.data)), journal(loop, filled(1, image.journal)) {}
  ~Disks() {
    memory()[0] = std::move(data.bytes());
    memory()[1] = std::move(journal.bytes());
  }
  Disks(const Disks&) = delete;
  Disks& operator=(const Disks&) = delete;
  bool hold(const Image& image) {
    return is_equal(data.bytes(), image.data) && is_equal(journal.bytes(), image.journal);
  }

  ScriptLoop loop;
  MemoryDevice data, journal;

 private:
  static std::array<std::vector<std::byte>, 2>& memory() {
    static std::array<std::vector<std::byte>, 2> kept;
    return kept;
  }
  static std::vector<std::byte> filled(size_t which, const std::vector<std::byte>& from) {
    memory()[which] = from;
    return std::move(memory()[which]);
  }
};

void look(const Image& image, bool mended) {
  Disks disks(image);
  ScriptLoop& loop = disks.loop;
  const auto pool =
      run(loop, store::Pool::open(loop, disks.data, disks.journal, options_for(true)));
  if (!pool) {
    HOZON_CHECK(!pool.error().what.empty());
    return;
  }
  (void)run(loop, (*pool)->check(true));
  const Contents found = contents_of(loop, **pool);
  if (!mended)
    HOZON_CHECK(std::ranges::any_of(sample_pool().states,
                                    [&](const Contents& state) { return agrees(found, state); }));
  (void)run(loop, (*pool)->close());
  HOZON_CHECK(disks.hold(image));
}

using PoolResult = Result<std::unique_ptr<store::Pool>>;

void use(const Image& image) {
  Disks disks(image);
  ScriptLoop& loop = disks.loop;
  std::vector<std::byte> mine(3 * kBlockSize, std::byte{0x5a});
  bool written = false;
  {
    const PoolResult pool =
        run(loop, store::Pool::open(loop, disks.data, disks.journal, options_for(false)));
    if (!pool) return;
    if (const auto target = (*pool)->target("low"))
      written = run(loop, (*pool)->write(*target, 8 * kBlockSize, mine, true)).has_value();
    (void)run(loop, (*pool)->delete_point("middle", "left"));
    (void)run(loop, (*pool)->delete_volume("copy", true));
    (void)run(loop, (*pool)->drain_reclaim());
    (void)run(loop, (*pool)->check(true));
    const Status closed = run(loop, (*pool)->close());
    written = written && closed.has_value();
  }
  if (!written) return;
  const PoolResult again =
      run(loop, store::Pool::open(loop, disks.data, disks.journal, options_for(true)));
  HOZON_CHECK(again.has_value());
  std::vector<std::byte> back(mine.size());
  HOZON_CHECK(
      run(loop, (*again)->read(*(*again)->target("low"), 8 * kBlockSize, back)).has_value());
  HOZON_CHECK(back == mine);
  (void)run(loop, (*again)->close());
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  log_start("pool_fuzz", LogLevel::kError);
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 1) return 0;
  const bool mend = (data[0] & 1) != 0;
  static Image image;
  image = sample_pool().image;
  std::span<const uint8_t> rest(data + 1, size - 1);
  for (size_t i = 0; i < kChangesMax && rest.size() >= kChangeBytes; ++i) {
    apply(image, read_change(rest));
    rest = rest.subspan(kChangeBytes);
  }
  if (mend) Mender(image).mend();
  look(image, mend || is_forged(image));
  if (!mend) use(image);
  return 0;
}
