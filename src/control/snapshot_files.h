// src/control/snapshot_files.h
// Files of a snapshot, read by hozon-files (src/files), a confined process for each question.
//
// What a guest's disk says never reaches this process unchecked: a reader is given one connection
// per disk, to an export that takes no writes, and its answers are decoded as a stranger's.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "link/file_query.h"

namespace hozon::control {

inline constexpr int kFileReadersMax = 4;  // at a time
inline constexpr int kFileAnswerMs = 45'000;

struct FileListing {
  std::string filesystem;
  link::FileEntry entry;                 // what the path leads to
  std::vector<link::FileEntry> entries;  // of a directory; otherwise only that one
};

nlohmann::json to_json(const FileListing& listing);

// A reader that answers. It ends with this, and with this program.
class FileReader {
 public:
  // `sockets`: connected, one for each disk of the query. kUnavailable: too many at a time.
  static Result<std::unique_ptr<FileReader>> start(const std::string& program,
                                                   const link::FileQuery& query,
                                                   std::vector<Fd> sockets);
  ~FileReader();
  FileReader(const FileReader&) = delete;
  FileReader& operator=(const FileReader&) = delete;

  // The first line, decoded; the reader's own error, if that is what it says.
  Result<nlohmann::json> first_line();
  // What follows, as it comes; 0: the end. Waits until there is something or stop() is called
  // (kCancelled).
  Result<size_t> read(std::span<char> into);
  // After the end: whether all of it was there.
  Status finish();
  void stop() { stopped_ = true; }  // any thread

 private:
  FileReader() = default;
  Status wait_readable(int64_t deadline_ms);
  Status end_error();

  pid_t pid_ = -1;
  Fd output_;
  std::string pending_;
  std::atomic<bool> stopped_{false};
  std::shared_ptr<void> slot_;
};

// A file, or a tar archive of what is at a place, on its way.
struct FileDownload {
  std::string filesystem;
  link::FileEntry entry;
  std::unique_ptr<FileReader> reader;
};

}  // namespace hozon::control
