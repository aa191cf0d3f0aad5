// src/files/disk.h
// One disk of a snapshot as The Sleuth Kit sees an image: bytes that come over NBD, and the file
// systems in it, found by a partition table (MBR, GPT) or at its very beginning.
//
// Nothing here writes: the export is a point, which takes no writes, and no write is ever sent. A
// file system that was in use is shown as it is after its journal was replayed, where that is ext3
// or ext4 (journal_overlay.h).
// Threading: one thread.
#pragma once

#include <tsk/libtsk.h>

#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "files/journal_overlay.h"
#include "link/file_query.h"

struct nbd_handle;

namespace hozon::files {

// What The Sleuth Kit says of the last thing that failed, and forgets it.
std::string tsk_reason();

struct FilesystemCloser {
  void operator()(TSK_FS_INFO* info) const { ::tsk_fs_close(info); }
};
using OpenFilesystem = std::unique_ptr<TSK_FS_INFO, FilesystemCloser>;
struct FileCloser {
  void operator()(TSK_FS_FILE* file) const { ::tsk_fs_file_close(file); }
};
using OpenFile = std::unique_ptr<TSK_FS_FILE, FileCloser>;

class Disk {
 public:
  // `socket`: connected to an NBD server; the handshake is made here.
  static Result<std::unique_ptr<Disk>> open(Fd socket, std::string name,
                                            const std::string& export_name);
  Disk(const Disk&) = delete;
  Disk& operator=(const Disk&) = delete;
  ~Disk();

  const std::string& name() const { return name_; }
  uint64_t size_bytes() const { return size_bytes_; }
  TSK_IMG_INFO* image() { return &image_.info; }
  // Why bytes could not be read, since the last call; empty: nothing failed.
  std::string take_read_failure() { return std::exchange(read_failure_, {}); }

  // In the order of their places, at most kFilesystemsMax. What is in a partition and is no file
  // system that is read is listed with the reason.
  std::vector<link::Filesystem> filesystems();
  // Null: it is none that is read.
  OpenFilesystem open_filesystem(uint64_t offset);

 private:
  // The library hands out a pointer to its part, which is the first member.
  struct Image {
    TSK_IMG_INFO info;
    Disk* disk;
  };
  Disk(nbd_handle* handle, std::string name, uint64_t size_bytes);
  static ssize_t read_image(TSK_IMG_INFO* info, TSK_OFF_T offset, char* into, size_t length);
  Status read(uint64_t offset, std::span<std::byte> into);
  Status read_patched(uint64_t offset, std::span<std::byte> into);
  const JournalOverlay* overlay_at(uint64_t offset) const;
  std::string head_of(uint64_t offset);
  link::Filesystem look_at(std::string name, uint64_t offset, uint64_t size);

  nbd_handle* handle_;
  std::string name_;
  uint64_t size_bytes_;
  Image image_{};
  std::string read_failure_;
  std::vector<std::unique_ptr<JournalOverlay>>
      overlays_;  // of the file systems that were looked at
};

}  // namespace hozon::files
