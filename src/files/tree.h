// src/files/tree.h
// The files of one file system, by path. What is deleted, and what the library makes up, is not
// shown. Symbolic links are followed inside of this file system only: an absolute one begins at
// its root, and `..` never leads out of it.
//
// A disk may lie: everything that is walked has a bound, and a name that cannot be one ('/' or a
// zero byte in it, "." or "..") is listed but leads nowhere.
// Threading: one thread. The disk outlives this.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "files/disk.h"

namespace hozon::files {

struct Node {
  TSK_INUM_T number = 0;
  link::FileEntry entry;  // its name is text (link/file_query.h)
  std::string name;       // in bytes
};

class Tree {
 public:
  Tree(Disk& disk, OpenFilesystem info, std::string name)
      : disk_(disk), info_(std::move(info)), name_(std::move(name)) {}

  const std::string& name() const { return name_; }
  Result<Node> root();
  // kNotFound, kInvalidArgument (something on the way is no directory, or a circle of links),
  // kWrongState (it is damaged). The last part of the path is followed, too, when it is a link.
  Result<Node> find(const std::string& path_bytes);
  // kResourceExhausted beyond kEntriesMax.
  Result<std::vector<Node>> list(const Node& directory);

  // Runs of bytes that are stored; between them the file reads as zeros.
  struct Run {
    uint64_t offset = 0, length = 0;
  };
  class Reader {
   public:
    // All of `into`, unless the file ends.
    Result<size_t> read(uint64_t offset, std::span<char> into);
    const std::vector<Run>& runs() const { return runs_; }

   private:
    friend class Tree;
    Disk* disk_ = nullptr;
    OpenFile file_;
    std::string name_;
    uint64_t size_ = 0;
    std::vector<Run> runs_;
  };
  Result<Reader> open(const Node& file);

 private:
  Result<Node> node_of(TSK_INUM_T number, std::string name);
  Result<Node> child(const Node& directory, const std::string& name);
  std::unexpected<Error> damaged(const std::string& what);
  bool is_hidden(const TSK_FS_NAME& name) const;

  Disk& disk_;
  OpenFilesystem info_;
  std::string name_;
};

// True when it can be the name of a file in a directory.
bool is_usable_name(const std::string& bytes);

}  // namespace hozon::files
