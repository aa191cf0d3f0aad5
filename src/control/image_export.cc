// qemu-img does the formats. What is ours is that nobody ever sees half an image.
#include "control/image_export.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>

#include "base/fd.h"
#include "control/qemu_img.h"

namespace hozon::control {
namespace {

namespace fs = std::filesystem;

bool is_inside(const fs::path& place, const fs::path& directory) {
  return std::mismatch(directory.begin(), directory.end(), place.begin(), place.end()).first ==
         directory.end();
}

Status sync_path(const std::string& path, int flags) {
  const Fd file(::open(path.c_str(), flags | O_CLOEXEC));
  if (!file || ::fsync(file.get()) != 0) return errno_error(errno, "sync '{}'", path);
  return {};
}

// Past the host's page cache where the filesystem can do that: an image is larger than what should
// be pushed out of it, its writing does not wait for one long sync at the end, and what is compared
// is what the disk has. Else with a cache that is flushed, which qemu-img's default never does.
const char* cache_mode(const std::string& partial) {
  const Fd direct(::open(partial.c_str(), O_WRONLY | O_DIRECT | O_NOFOLLOW | O_CLOEXEC));
  return direct ? "none" : "writeback";
}

}  // namespace

Status check_image_target(const ImageTarget& target, const std::string& instance_directory) {
  if (target.format != "raw" && target.format != "qcow2")
    return make_error(Code::kInvalidArgument, "format '{}' is not known: raw or qcow2",
                      target.format);
  const fs::path path(target.path);
  if (target.path.find('\0') != std::string::npos || !path.is_absolute() || !path.has_filename())
    return make_error(Code::kInvalidArgument, "'{}' cannot be the name of a file", target.path);
  std::error_code error;
  const fs::path place = fs::canonical(path.parent_path(), error);
  if (error) return errno_error(error.value(), "directory of '{}'", target.path);
  if (is_inside(place, fs::canonical(instance_directory, error)))
    return make_error(Code::kInvalidArgument,
                      "'{}' is inside of Hozon's own directory: export to another place",
                      target.path);
  struct stat status{};
  if (::lstat(target.path.c_str(), &status) != 0)
    return errno == ENOENT ? Status() : errno_error(errno, "file '{}'", target.path);
  if (!S_ISREG(status.st_mode))
    return make_error(Code::kInvalidArgument, "'{}' exists and is not a plain file", target.path);
  if (target.force) return {};
  return make_error(Code::kAlreadyExists, "file '{}' exists: use --force to replace it",
                    target.path);
}

Status create_partial_image(const std::string& partial) {
  // Only its owner may read what was on somebody's disk.
  const Fd file(
      ::open(partial.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!file) return errno_error(errno, "make file '{}'", partial);
  return {};
}

Status export_image(const std::string& uri, uint64_t size_bytes, const std::string& partial,
                    const std::string& format, const std::string& qemu_img,
                    const std::function<bool(uint64_t)>& on_progress) {
  const std::string complaint =
      HOZON_TRY(run_qemu_img({qemu_img, "convert", "-p", "-t", cache_mode(partial), "-f", "raw",
                              "-O", format, uri, partial},
                             size_bytes, on_progress));
  if (complaint.empty()) return sync_path(partial, O_RDONLY);
  return make_error(Code::kIo, "image '{}' could not be written: {}", partial, complaint);
}

Status compare_image(const std::string& uri, uint64_t size_bytes, const std::string& partial,
                     const std::string& format, const std::string& qemu_img,
                     const std::function<bool(uint64_t)>& on_progress) {
  const std::string complaint =
      HOZON_TRY(run_qemu_img({qemu_img, "compare", "-p", "-T", cache_mode(partial), "-f", "raw",
                              "-F", format, uri, partial},
                             size_bytes, on_progress));
  if (complaint.empty()) return {};
  return make_error(Code::kCorruption, "image '{}' is not what was exported: {}", partial,
                    complaint);
}

Status publish_image(const std::string& partial, const ImageTarget& target) {
  const unsigned flags = target.force ? 0 : RENAME_NOREPLACE;
  if (::renameat2(AT_FDCWD, partial.c_str(), AT_FDCWD, target.path.c_str(), flags) != 0)
    return errno == EEXIST ? make_error(Code::kAlreadyExists,
                                        "file '{}' appeared meanwhile and was kept", target.path)
                           : errno_error(errno, "name the image '{}'", target.path);
  return sync_path(fs::path(target.path).parent_path().string(), O_RDONLY | O_DIRECTORY);
}

}  // namespace hozon::control
