// src/link/file_query.h
// What hozond asks hozon-files, the confined reader of guests' file systems, and what it answers.
//
// The question is one JSON line on standard input: {"op": "filesystems" | "list" | "read", "disks":
// ["vda", ...], "filesystem", "path", "as_tar", "entries_max"}. Disk N of the list is a connected
// NBD socket, descriptor kFirstDisk + N, on which nothing was said yet; its export is exports[N].
// The answer begins with one JSON line on standard output: an {"error": {"code", "message"}}, or
//   filesystems  {"filesystems": [Filesystem]}
//   list         {"filesystem", "entry": FileEntry, "entries": [FileEntry]}
//   read         {"filesystem", "entry": FileEntry}, followed by the bytes of the file, or by a tar
//                archive. Whole exactly if the program ends with 0.
//
// Names are bytes on a disk and text here: a byte that is no printable character of valid UTF-8,
// and a backslash, is written \xHH. The text says exactly which bytes are meant, so paths are given
// in that form, too; a plain name is itself.
// What a reader answers was under the hand of a hostile disk: decoding checks and bounds it all.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace hozon::link {

inline constexpr int kFirstDisk = 3;
inline constexpr size_t kFilePathMax = 4096;        // bytes of a path, as text
inline constexpr size_t kEntriesMax = 200'000;      // of one directory that is listed
inline constexpr size_t kListBytesMax = 128 << 20;  // of a list's answer
inline constexpr size_t kFilesystemsMax = 256;

struct FileQuery {
  std::string op;
  std::vector<std::string> disks;
  std::vector<std::string> exports;
  std::string filesystem;  // name of one; empty: the only one that has the path
  std::string path;
  bool as_tar = false;  // of "read": a tar archive of what is there, a directory too
  bool operator==(const FileQuery&) const = default;
};

struct Filesystem {
  std::string name;  // "vda": the whole disk; "vda1": its partition 1
  std::string disk;
  std::string type;    // "ext4", "vfat", "ntfs", ...; empty: not known
  std::string label;   // as far as it is known
  std::string reason;  // why it cannot be read; empty: it can
  std::string note;    // what to know of its content
  uint64_t offset_bytes = 0;
  uint64_t size_bytes = 0;
  bool operator==(const Filesystem&) const = default;
};

struct FileEntry {
  std::string name;
  std::string kind;    // "file", "directory", "symlink", "device", "fifo", "socket", "other"
  std::string target;  // of a symlink
  uint64_t size_bytes = 0;
  uint64_t mode = 0;  // permissions, 12 bits
  uint64_t uid = 0;
  uint64_t gid = 0;
  uint64_t modified_ns = 0;  // 0: not known, or before 1970
  bool operator==(const FileEntry&) const = default;
};

// A place: "vda1:/etc/fstab", or without a file system "/etc/fstab". kInvalidArgument otherwise.
struct FilePlace {
  std::string filesystem;
  std::string path;  // begins with '/'
};
Result<FilePlace> parse_file_place(std::string_view text);

std::string name_text(std::string_view bytes);
Result<std::string> name_bytes(std::string_view text);

std::string encode(const FileQuery& query);  // with the line's end
Result<FileQuery> decode_file_query(std::string_view line);

nlohmann::json to_json(const Filesystem& filesystem);
nlohmann::json to_json(const FileEntry& entry);
Result<Filesystem> decode_filesystem(const nlohmann::json& object);
Result<FileEntry> decode_file_entry(const nlohmann::json& object);

}  // namespace hozon::link
