// src/control/image_export.h
// A volume's content as a disk image file outside of the pool.
//
// Invariants
//   E1  At `path` there is nothing, the old file, or the whole image: it is written under another
//       name in the same directory, flushed, compared with the source, and renamed.
//   E2  A file that exists is replaced only when `force` was given, also if it appears meanwhile.
//   E3  Symbolic links at either name are never followed.
// Threading: any thread.
#pragma once

#include <functional>
#include <string>

#include "base/result.h"

namespace hozon::control {

struct ImageTarget {
  std::string path;  // absolute
  std::string format;
  bool force = false;
};

// Refuses what could not be published later: kInvalidArgument (format, not a plain file, a place
// inside `instance_directory`), kNotFound (directory), kAlreadyExists (file, without force).
Status check_image_target(const ImageTarget& target, const std::string& instance_directory);

// Makes the empty file that export_image() fills; kAlreadyExists when something is there (E3).
Status create_partial_image(const std::string& partial);

// Writes the content behind `uri`, of `size_bytes`, to the file `partial`, leaving out what is
// zero, and flushes it. `on_progress` gets bytes done, and ends it when it answers false.
Status export_image(const std::string& uri, uint64_t size_bytes, const std::string& partial,
                    const std::string& format, const std::string& qemu_img,
                    const std::function<bool(uint64_t)>& on_progress);

// Reads both again. kCorruption when they differ.
Status compare_image(const std::string& uri, uint64_t size_bytes, const std::string& partial,
                     const std::string& format, const std::string& qemu_img,
                     const std::function<bool(uint64_t)>& on_progress);

// The partial file gets its name, and the directory is synced. Keeps E2.
Status publish_image(const std::string& partial, const ImageTarget& target);

}  // namespace hozon::control
