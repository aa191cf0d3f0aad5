#include "io/reserve_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "base/log.h"
#include "base/units.h"

namespace hozon {
namespace {

// What must be left beside the reserve before a shortage counts as over.
constexpr uint64_t kBesideBytes = 1_MiB;

// 0 or -errno.
int allocate(const Fd& file, uint64_t offset, uint64_t length) {
  while (::fallocate(file.get(), 0, static_cast<off_t>(offset), static_cast<off_t>(length)) != 0)
    if (errno != EINTR) return -errno;
  return 0;
}

int cut(const Fd& file, uint64_t size_bytes) {
  return ::ftruncate(file.get(), static_cast<off_t>(size_bytes)) == 0 ? 0 : -errno;
}

}  // namespace

Result<ReserveFile> ReserveFile::open(const std::string& path, uint64_t size_bytes) {
  ReserveFile reserve;
  reserve.path_ = path;
  reserve.size_bytes_ = size_bytes;
  reserve.file_ = Fd(::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW));
  if (!reserve.file_ && errno != ENOENT) return errno_error(errno, "open '{}'", path);
  if (reserve.file_) {
    struct stat info{};
    if (::fstat(reserve.file_.get(), &info) != 0) return errno_error(errno, "examine '{}'", path);
    reserve.state_ = info.st_size == 0 ? State::kUsed : State::kWhole;
    if (reserve.is_used()) (void)reserve.renew();  // perhaps there is room again
    return reserve;
  }
  if (const Status made = reserve.make(); !made)
    log_warning("no room is kept aside, deleting may not work when the filesystem is full: {}",
                made.error().what);
  return reserve;
}

// Whole, or still absent: an empty file would say that the room was used.
Status ReserveFile::make() {
  Fd file(::open(path_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!file) return errno_error(errno, "make '{}'", path_);
  const int error = allocate(file, 0, size_bytes_);
  if (error == 0) {
    file_ = std::move(file);
    state_ = State::kWhole;
    return {};
  }
  ::unlink(path_.c_str());
  if (error == -EOPNOTSUPP) {
    size_bytes_ = 0;  // this filesystem cannot keep room
    return {};
  }
  return errno_error(-error, "keep {} aside in '{}'", format_bytes(size_bytes_), path_);
}

bool ReserveFile::release() {
  if (state_ != State::kWhole || cut(file_, 0) != 0) return false;
  state_ = State::kUsed;
  return true;
}

int ReserveFile::renew() {
  if (size_bytes_ == 0) return 0;
  if (state_ == State::kAbsent) {
    if (const Status made = make(); !made) return -made.error().sys_errno;
    if (size_bytes_ == 0) return 0;
  }
  if (state_ == State::kUsed) {
    if (const int error = allocate(file_, 0, size_bytes_); error != 0) {
      (void)cut(file_, 0);
      return error;
    }
    state_ = State::kWhole;
  }
  const int beside = allocate(file_, size_bytes_, kBesideBytes);
  (void)cut(file_, size_bytes_);
  return beside;
}

}  // namespace hozon
