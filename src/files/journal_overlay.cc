#include "files/journal_overlay.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/endian.h"
#include "files/disk.h"
#include "files/ext_journal.h"

namespace hozon::files {
namespace {

// The part of the superblock of ext2, ext3 and ext4 that is about the journal
// (Documentation/filesystems/ext4/super.rst of Linux).
struct ExtSuperblock {
  std::array<uint8_t, 92> unused;
  Le<uint32_t> compatible;
  Le<uint32_t> incompatible;
  std::array<uint8_t, 124> unused2;
  Le<uint32_t> journal_inode;  // 0: none, or on another disk
};
static_assert(offsetof(ExtSuperblock, journal_inode) == 0xe0);
constexpr uint64_t kSuperblockOffset = 1024;
constexpr uint64_t kSectorBytes = 512;
constexpr uint32_t kHasJournal = 0x4;
constexpr uint32_t kNeedsRecovery = 0x4;

TSK_WALK_RET_ENUM note_block(TSK_FS_FILE*, TSK_OFF_T, TSK_DADDR_T address, char*, size_t,
                             TSK_FS_BLOCK_FLAG_ENUM, void* into) {
  auto& blocks = *static_cast<std::vector<uint64_t>*>(into);
  if (blocks.size() >= kJournalBlocksMax) return TSK_WALK_STOP;
  blocks.push_back(address);
  return TSK_WALK_CONT;
}

// Of the journal's file, in their order.
Result<std::vector<uint64_t>> journal_blocks(TSK_FS_INFO& info, uint32_t inode) {
  const OpenFile file(::tsk_fs_file_open_meta(&info, nullptr, inode));
  std::vector<uint64_t> blocks;
  if (!file ||
      ::tsk_fs_file_walk(file.get(), TSK_FS_FILE_WALK_FLAG_AONLY, note_block, &blocks) != 0)
    return make_error(Code::kCorruption, "its journal cannot be found: {}", tsk_reason());
  if (std::ranges::any_of(blocks,
                          [&](uint64_t block) { return block == 0 || block >= info.block_count; }))
    return make_error(Code::kCorruption, "its journal is damaged (its place)");
  return blocks;
}

}  // namespace

JournalOverlay::JournalOverlay(TSK_FS_INFO& info, ReadBytes read)
    : read_(std::move(read)),
      offset_(static_cast<uint64_t>(info.offset)),
      block_bytes_(info.block_size) {
  const Status loaded = load(info);
  if (loaded) return;
  failure_ = loaded.error().what;
  copies_.clear();
}

Status JournalOverlay::load(TSK_FS_INFO& info) {
  std::array<std::byte, kSectorBytes> sector{};
  HOZON_TRY(read_(offset_ + kSuperblockOffset, sector));
  ExtSuperblock super;
  std::memcpy(&super, sector.data(), sizeof(super));
  was_in_use_ = (super.compatible & kHasJournal) != 0 && (super.incompatible & kNeedsRecovery) != 0;
  if (!was_in_use_) return {};
  if (super.journal_inode == 0)
    return make_error(Code::kUnimplemented, "its journal is on another disk");
  const auto blocks = HOZON_TRY(journal_blocks(info, super.journal_inode));
  const auto read_block = [&](uint64_t index, std::span<std::byte> into) -> Status {
    if (index >= blocks.size()) return make_error(Code::kCorruption, "its journal is too short");
    return read_(offset_ + blocks[index] * block_bytes_, into);
  };
  const JournalShape shape{.blocks = blocks.size(),
                           .block_bytes = info.block_size,
                           .filesystem_blocks = info.block_count};
  const JournalReplay replay = HOZON_TRY(replay_ext_journal(shape, read_block));
  for (const auto& [block, copy] : replay.copies)
    copies_[block] = {offset_ + blocks[copy.journal_block] * block_bytes_, copy.is_escaped};
  if (replay.may_have_more) failure_ = "its fast commits are not read";
  return {};
}

Status JournalOverlay::patch(uint64_t from, std::span<std::byte> bytes) const {
  const uint64_t end = from + bytes.size();
  if (copies_.empty() || end <= offset_) return {};
  const uint64_t start = std::max(from, offset_);
  std::vector<std::byte> content(block_bytes_);
  for (uint64_t block = (start - offset_) / block_bytes_; offset_ + block * block_bytes_ < end;
       ++block) {
    const auto copy = copies_.find(block);
    if (copy == copies_.end()) continue;
    HOZON_TRY(read_(copy->second.offset, content));
    if (copy->second.is_escaped) {
      const Be<uint32_t> magic = kJournalMagic;
      std::memcpy(content.data(), &magic, sizeof(magic));
    }
    const uint64_t place = offset_ + block * block_bytes_;
    const uint64_t first = std::max(place, from);
    const uint64_t last = std::min(place + block_bytes_, end);
    std::memcpy(bytes.data() + (first - from), content.data() + (first - place), last - first);
  }
  return {};
}

}  // namespace hozon::files
