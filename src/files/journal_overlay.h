// src/files/journal_overlay.h
// A file system as it would be found after its journal was replayed: blocks that the journal has
// newer are read from there. The disk itself stays as it is.
// Threading: one thread.
#pragma once

#include <tsk/libtsk.h>

#include <functional>
#include <span>
#include <string>
#include <unordered_map>

#include "base/result.h"

namespace hozon::files {

using ReadBytes = std::function<Status(uint64_t offset, std::span<std::byte> into)>;

class JournalOverlay {
 public:
  // Of the file system that `info` shows as it is on the disk, whose bytes `read` gives. Never
  // fails: failure() says what was not replayed, and why.
  JournalOverlay(TSK_FS_INFO& info, ReadBytes read);

  uint64_t offset() const { return offset_; }
  bool was_in_use() const { return was_in_use_; }
  bool is_empty() const { return copies_.empty(); }
  const std::string& failure() const { return failure_; }
  // Puts what is newer into `bytes`, which are those of the disk from `from` on.
  Status patch(uint64_t from, std::span<std::byte> bytes) const;

 private:
  struct Copy {
    uint64_t offset = 0;  // on the disk
    bool is_escaped = false;
  };
  Status load(TSK_FS_INFO& info);

  ReadBytes read_;
  uint64_t offset_ = 0;  // on the disk
  uint64_t block_bytes_ = 0;
  bool was_in_use_ = false;
  std::unordered_map<uint64_t, Copy> copies_;  // by block
  std::string failure_;
};

}  // namespace hozon::files
