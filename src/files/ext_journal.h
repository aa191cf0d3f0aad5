// src/files/ext_journal.h
// The journal (jbd2) of an ext3 or ext4 file system, replayed in memory: where blocks of the file
// system have a newer content in the journal than in their own place. Nothing is written.
//
// Format and rules: Documentation/filesystems/ext4/journal.rst of Linux, "Journal (jbd2)", and the
// three passes of a recovery described there (scan, revoke, replay). Only transactions with their
// commit record count, in order, and a block that a later one revoked is left alone.
// A disk may lie: whatever the journal says is bounded by its own length.
// Threading: any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <unordered_map>

#include "base/result.h"

namespace hozon::files {

inline constexpr uint64_t kJournalBlocksMax = 10'240'000;  // as mke2fs

struct JournalCopy {
  uint64_t journal_block = 0;  // index in the journal
  // The first four bytes were those that mark the journal's own blocks, and are stored as zeros.
  bool is_escaped = false;
};
inline constexpr uint32_t kJournalMagic = 0xc03b3998;

struct JournalReplay {
  std::unordered_map<uint64_t, JournalCopy> copies;  // by block of the file system
  // The file system may have changes in the journal that are of another kind (fast commits), which
  // are not read.
  bool may_have_more = false;
};
using ReadJournalBlock = std::function<Status(uint64_t index, std::span<std::byte> into)>;

struct JournalShape {
  uint64_t blocks = 0;       // of the journal's file
  uint32_t block_bytes = 0;  // of the file system, and so of the journal
  uint64_t filesystem_blocks = 0;
};
// No copies: everything is in its place. kCorruption: the journal is damaged. kUnimplemented: it
// uses what is not known here. Errors of `read` as they are.
Result<JournalReplay> replay_ext_journal(const JournalShape& shape, const ReadJournalBlock& read);

}  // namespace hozon::files
