#include "files/ext_journal.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/endian.h"

namespace hozon::files {
namespace {

enum BlockType : uint32_t {
  kDescriptor = 1,
  kCommit = 2,
  kSuperblock1 = 3,
  kSuperblock2 = 4,
  kRevoke = 5,
};
enum Feature : uint32_t {
  kFeature64Bit = 0x2,
  kFeatureAsyncCommit = 0x4,
  kFeatureChecksum2 = 0x8,
  kFeatureChecksum3 = 0x10,
  kFeatureFastCommit = 0x20,
};
constexpr uint32_t kFeaturesKnown = 0x3f;  // revokes are the first bit
enum TagFlag : uint32_t { kEscaped = 1, kSameUuid = 2, kLastTag = 8 };
constexpr uint8_t kChecksumCrc32c = 4;
constexpr size_t kUuidBytes = 16;
constexpr size_t kTailBytes = 4;  // the checksum at the end of descriptor and revoke blocks
constexpr uint32_t kFastCommitBlocks = 256;  // where the superblock does not say

struct Header {
  Be<uint32_t> magic;
  Be<uint32_t> type;
  Be<uint32_t> sequence;
};
struct Superblock {
  Header header;
  Be<uint32_t> block_bytes;
  Be<uint32_t> blocks;
  Be<uint32_t> first;     // block of the log
  Be<uint32_t> sequence;  // of the first transaction that is expected
  Be<uint32_t> start;     // its block; 0: the log is empty
  Be<uint32_t> error;
  Be<uint32_t> compatible;
  Be<uint32_t> incompatible;
  Be<uint32_t> read_only;
  std::array<uint8_t, kUuidBytes> uuid;
  Be<uint32_t> users;
  std::array<uint8_t, 12> unused;
  uint8_t checksum_type;
  std::array<uint8_t, 3> padding;
  Be<uint32_t> fast_commit_blocks;
};
static_assert(offsetof(Superblock, uuid) == 0x30 && offsetof(Superblock, checksum_type) == 0x50 &&
              offsetof(Superblock, fast_commit_blocks) == 0x54);
constexpr size_t kSuperblockBytes = 1024;
constexpr size_t kSuperblockChecksum = 0xfc;
constexpr size_t kCommitChecksum = 0x10;
struct RevokeHead {
  Header header;
  Be<uint32_t> bytes;  // of the block that are used, this head included
};

// What is added to the sequence numbers wraps around; so does their order.
bool is_before(uint32_t a, uint32_t b) { return static_cast<int32_t>(a - b) < 0; }

std::unexpected<Error> damaged(std::string_view what) {
  return make_error(Code::kCorruption, "its journal is damaged ({})", what);
}

template <typename T>
T load(std::span<const std::byte> block, size_t offset) {
  T value;
  std::memcpy(&value, block.data() + offset, sizeof(value));
  return value;
}

// As ext4 chains CRC-32C: without the inversion at either end.
uint32_t chained(uint32_t seed, std::span<const std::byte> data) { return ~crc32c(data, ~seed); }

struct Tag {
  uint64_t block = 0;
  uint32_t flags = 0;
  uint32_t checksum = 0;
};

class Replay {
 public:
  Replay(const JournalShape& shape, const ReadJournalBlock& read)
      : shape_(shape), read_(read), block_(shape.block_bytes) {}

  Result<JournalReplay> run() {
    HOZON_TRY(load_superblock());
    if (super_.start == 0) return JournalReplay();
    found_.may_have_more = has(kFeatureFastCommit);
    HOZON_TRY(scan());
    for (const Transaction& one : transactions_)
      for (const uint64_t index : one.revokes) HOZON_TRY(revoke(one.sequence, index));
    for (const Transaction& one : transactions_) HOZON_TRY(replay(one));
    return std::move(found_);
  }

 private:
  struct Transaction {
    uint32_t sequence = 0;
    std::vector<uint64_t> descriptors;  // blocks of the journal
    std::vector<uint64_t> revokes;
  };

  bool has(uint32_t feature) const { return (super_.incompatible & feature) != 0; }
  bool is_checked() const { return has(kFeatureChecksum2 | kFeatureChecksum3); }
  uint64_t next(uint64_t index) const {
    return index + 1 < end_ ? index + 1 : uint64_t{super_.first};
  }

  Status load_superblock() {
    if (shape_.block_bytes < kSuperblockBytes || shape_.blocks < 2) return damaged("its length");
    HOZON_TRY(read_(0, block_));
    super_ = load<Superblock>(block_, 0);
    const uint32_t type = super_.header.type;
    if (super_.header.magic != kJournalMagic || (type != kSuperblock1 && type != kSuperblock2))
      return damaged("its superblock");
    if (type == kSuperblock1) super_.incompatible = 0;
    if ((super_.incompatible & ~kFeaturesKnown) != 0)
      return make_error(Code::kUnimplemented, "its journal has unknown features (0x{:x})",
                        static_cast<uint32_t>(super_.incompatible));
    if (has(kFeatureChecksum2) && has(kFeatureChecksum3)) return damaged("its features");
    if (has(kFeatureAsyncCommit) && !is_checked())
      return make_error(Code::kUnimplemented, "its journal commits without checksums");
    if (is_checked()) {
      if (super_.checksum_type != kChecksumCrc32c)
        return make_error(Code::kUnimplemented, "its journal has unknown checksums");
      if (!is_sound(kSuperblockChecksum, kSuperblockBytes, ~uint32_t{0}))
        return damaged("checksum of its superblock");
      seed_ = chained(~uint32_t{0}, std::as_bytes(std::span(super_.uuid)));
    }
    return check_bounds();
  }

  Status check_bounds() {
    end_ = super_.blocks;
    if (super_.block_bytes != shape_.block_bytes || end_ > shape_.blocks || end_ < 2)
      return damaged("its size");
    if (has(kFeatureFastCommit)) {
      const uint32_t said = super_.fast_commit_blocks;
      const uint32_t fast = said == 0 ? kFastCommitBlocks : said;
      if (fast >= end_) return damaged("its size");
      end_ -= fast;
    }
    if (super_.first == 0 || super_.first >= end_) return damaged("its first block");
    if (super_.start != 0 && (super_.start < super_.first || super_.start >= end_))
      return damaged("its start");
    return {};
  }

  // The checksum at `offset` of the block is that of its first `length` bytes with zeros there.
  bool is_sound(size_t offset, size_t length, uint32_t seed) {
    const uint32_t told = load<Be<uint32_t>>(block_, offset);
    std::vector<std::byte> bytes(block_.begin(), block_.begin() + static_cast<ptrdiff_t>(length));
    std::fill_n(bytes.begin() + static_cast<ptrdiff_t>(offset), sizeof(told), std::byte{0});
    return chained(seed, bytes) == told;
  }
  bool is_sound_with_tail() {
    return !is_checked() || is_sound(block_.size() - kTailBytes, block_.size(), seed_);
  }

  // Finds the transactions that are whole. What does not fit any more is the log's end.
  Status scan() {
    Transaction open{.sequence = super_.sequence, .descriptors = {}, .revokes = {}};
    uint64_t index = super_.start;
    for (uint64_t seen = 0; seen < end_ - super_.first;) {
      HOZON_TRY(read_(index, block_));
      const auto header = load<Header>(block_, 0);
      if (header.magic != kJournalMagic || header.sequence != open.sequence) return {};
      uint64_t length = 1;
      if (header.type == kDescriptor) {
        if (!is_sound_with_tail()) return {};
        open.descriptors.push_back(index);
        length += HOZON_TRY(tags()).size();
      } else if (header.type == kRevoke) {
        if (!is_sound_with_tail()) return {};
        open.revokes.push_back(index);
      } else if (header.type == kCommit) {
        if (is_checked() && !is_sound(kCommitChecksum, block_.size(), seed_)) return {};
        const uint32_t following = open.sequence + 1;
        transactions_.push_back(std::move(open));
        open = {.sequence = following, .descriptors = {}, .revokes = {}};
      } else {
        return {};
      }
      for (uint64_t i = 0; i < length; ++i) index = next(index);
      seen += length;
    }
    return {};
  }

  size_t tag_bytes() const {
    if (has(kFeatureChecksum3)) return 16;
    return 8 + (has(kFeatureChecksum2) ? 2 : 0) + (has(kFeature64Bit) ? 4 : 0);
  }

  Tag tag_at(size_t at) const {
    Tag tag{.block = load<Be<uint32_t>>(block_, at), .flags = 0, .checksum = 0};
    if (has(kFeatureChecksum3)) {
      tag.flags = load<Be<uint32_t>>(block_, at + 4);
      tag.block |= uint64_t{load<Be<uint32_t>>(block_, at + 8)} << 32;
      tag.checksum = load<Be<uint32_t>>(block_, at + 12);
    } else {
      tag.checksum = load<Be<uint16_t>>(block_, at + 4);
      tag.flags = load<Be<uint16_t>>(block_, at + 6);
      if (has(kFeature64Bit)) tag.block |= uint64_t{load<Be<uint32_t>>(block_, at + 8)} << 32;
    }
    if (!has(kFeature64Bit)) tag.block &= 0xffffffff;
    return tag;
  }

  // Of the descriptor in block_.
  Result<std::vector<Tag>> tags() const {
    std::vector<Tag> found;
    const size_t end = block_.size() - (is_checked() ? kTailBytes : 0);
    for (size_t at = sizeof(Header); at + tag_bytes() <= end;) {
      found.push_back(tag_at(at));
      at += tag_bytes();
      if ((found.back().flags & kSameUuid) == 0) at += kUuidBytes;
      if ((found.back().flags & kLastTag) != 0) break;
    }
    if (found.empty() || found.size() >= end_) return damaged("a descriptor");
    return found;
  }

  Status revoke(uint32_t sequence, uint64_t index) {
    HOZON_TRY(read_(index, block_));
    const uint64_t used = load<RevokeHead>(block_, 0).bytes;
    const size_t room = block_.size() - (is_checked() ? kTailBytes : 0);
    if (used < sizeof(RevokeHead) || used > room) return damaged("a revoke block");
    const size_t size = has(kFeature64Bit) ? 8 : 4;
    for (size_t at = sizeof(RevokeHead); at + size <= used; at += size) {
      const uint64_t block = size == 8 ? uint64_t{load<Be<uint64_t>>(block_, at)}
                                       : uint64_t{load<Be<uint32_t>>(block_, at)};
      const auto [place, is_new] = revoked_.try_emplace(block, sequence);
      if (!is_new && is_before(place->second, sequence)) place->second = sequence;
    }
    return {};
  }

  bool is_revoked(uint64_t block, uint32_t sequence) const {
    const auto found = revoked_.find(block);
    return found != revoked_.end() && !is_before(found->second, sequence);
  }

  Status replay(const Transaction& one) {
    for (const uint64_t descriptor : one.descriptors) {
      HOZON_TRY(read_(descriptor, block_));
      const std::vector<Tag> all = HOZON_TRY(tags());
      uint64_t index = descriptor;
      for (const Tag& tag : all) {
        index = next(index);
        if (is_revoked(tag.block, one.sequence)) continue;
        if (tag.block >= shape_.filesystem_blocks) return damaged("a block beyond the end");
        HOZON_TRY(check_content(tag, one.sequence, index));
        found_.copies[tag.block] = {index, (tag.flags & kEscaped) != 0};
      }
    }
    return {};
  }

  Status check_content(const Tag& tag, uint32_t sequence, uint64_t index) {
    if (!is_checked()) return {};
    HOZON_TRY(read_(index, block_));
    const Be<uint32_t> number = sequence;
    const uint32_t sum = chained(chained(seed_, bytes_of(number)), block_);
    if ((has(kFeatureChecksum3) ? sum : sum & 0xffff) != tag.checksum)
      return damaged("checksum of a block");
    return {};
  }

  const JournalShape& shape_;
  const ReadJournalBlock& read_;
  std::vector<std::byte> block_;
  Superblock super_{};
  uint64_t end_ = 0;  // of the log
  uint32_t seed_ = 0;
  std::vector<Transaction> transactions_;
  std::unordered_map<uint64_t, uint32_t> revoked_;  // block: the last sequence that did
  JournalReplay found_;
};

}  // namespace

Result<JournalReplay> replay_ext_journal(const JournalShape& shape, const ReadJournalBlock& read) {
  return Replay(shape, read).run();
}

}  // namespace hozon::files
