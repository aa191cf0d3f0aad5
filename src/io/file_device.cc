// Two descriptors of one file: a direct one for data, and one through the page cache for records
// that must be in the kernel before the next step (write_now). The kernel keeps both views equal:
// a direct read writes dirty pages back first, a direct write drops the cached ones.
#include "io/file_device.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "base/bytes.h"
#include "base/units.h"

namespace hozon {
namespace {

constexpr size_t kZeroChunk = 1_MiB;

std::string directory_of(const std::string& path) {
  const size_t slash = path.find_last_of('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

std::unexpected<Error> open_error(int sys_errno, const std::string& path) {
  if (sys_errno == ENOENT) {
    Error error{Code::kNotFound, fmt::format("there is no file '{}'", path), sys_errno};
    return std::unexpected(std::move(error));
  }
  if (sys_errno == ELOOP)
    return make_error(Code::kInvalidArgument,
                      "'{}' is a symbolic link; name the file that it points to", path);
  return errno_error(sys_errno, "open '{}'", path);
}

// The opening itself must not wait (for the other end of a FIFO); what follows must, because
// io_uring answers EAGAIN for non-blocking files instead of handing the work to a thread.
Result<Fd> open_with(const std::string& path, int flags) {
  Fd file(::open(path.c_str(), flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (!file) return open_error(errno, path);
  const int status = ::fcntl(file.get(), F_GETFL);
  if (status < 0 || ::fcntl(file.get(), F_SETFL, status & ~O_NONBLOCK) < 0)
    return errno_error(errno, "open '{}'", path);
  return file;
}

// Whether direct reads of one block work: some filesystems accept the flag and fail later.
bool direct_works(const Fd& file) {
  AlignedBuffer probe(kDeviceAlignment);
  return ::pread(file.get(), probe.data(), probe.size(), 0) >= 0;
}

Result<Fd> open_data(const std::string& path, int mode, bool direct) {
  if (direct) {
    Result<Fd> file = open_with(path, mode | O_DIRECT);
    if (file ? direct_works(*file) : file.error().sys_errno != EINVAL) return file;
  }
  return open_with(path, mode);
}

Result<uint64_t> size_of(const Fd& file, const std::string& path) {
  struct stat info{};
  if (::fstat(file.get(), &info) != 0) return errno_error(errno, "examine '{}'", path);
  uint64_t size_bytes = 0;
  if (S_ISREG(info.st_mode)) {
    size_bytes = static_cast<uint64_t>(info.st_size);
  } else if (S_ISBLK(info.st_mode)) {
    if (::ioctl(file.get(), BLKGETSIZE64, &size_bytes) != 0)
      return errno_error(errno, "ask for the size of '{}'", path);
  } else {
    return make_error(Code::kInvalidArgument, "'{}' is neither a file nor a block device", path);
  }
  if (size_bytes == 0 || size_bytes % kDeviceAlignment != 0)
    return make_error(Code::kCorruption,
                      "'{}' is cut short: {} bytes are not a whole number of {}-byte blocks; "
                      "restore it from a copy",
                      path, size_bytes, kDeviceAlignment);
  return size_bytes;
}

bool same_file(const Fd& one, const Fd& other) {
  struct stat a{}, b{};
  return ::fstat(one.get(), &a) == 0 && ::fstat(other.get(), &b) == 0 && a.st_dev == b.st_dev &&
         a.st_ino == b.st_ino;
}

int write_all(int fd, uint64_t offset, std::span<const std::byte> from) {
  while (!from.empty()) {
    const ssize_t moved = ::pwrite(fd, from.data(), from.size(), static_cast<off_t>(offset));
    if (moved < 0 && errno == EINTR) continue;
    if (moved < 0) return -errno;
    if (moved == 0) return -EIO;
    from = from.subspan(static_cast<size_t>(moved));
    offset += static_cast<uint64_t>(moved);
  }
  return 0;
}

int write_zeros(const Fd& file, uint64_t begin, uint64_t end) {
  const int reserved =
      ::posix_fallocate(file.get(), static_cast<off_t>(begin), static_cast<off_t>(end - begin));
  if (reserved != 0 && reserved != EOPNOTSUPP && reserved != EINVAL) return -reserved;
  const std::vector<std::byte> zeros(
      static_cast<size_t>(std::min<uint64_t>(kZeroChunk, end - begin)));
  for (uint64_t offset = begin; offset < end; offset += kZeroChunk) {
    const uint64_t part = std::min<uint64_t>(kZeroChunk, end - offset);
    const int result = write_all(file.get(), offset, std::span(zeros).first(part));
    if (result != 0) return result;
  }
  return 0;
}

Status sync_directory(const std::string& path) {
  const Fd directory(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory) return errno_error(errno, "open directory '{}'", path);
  if (::fsync(directory.get()) != 0) return errno_error(errno, "sync directory '{}'", path);
  return {};
}

Status fill_file(const Fd& file, const std::string& path, uint64_t size_bytes,
                 uint64_t written_bytes) {
  if (::ftruncate(file.get(), static_cast<off_t>(size_bytes)) != 0)
    return errno_error(errno, "set the size of '{}' to {}", path, format_bytes(size_bytes));
  if (written_bytes > 0) {
    const int result = write_zeros(file, size_bytes - written_bytes, size_bytes);
    if (result != 0)
      return errno_error(-result, "write {} to '{}'", format_bytes(written_bytes), path);
  }
  if (::fsync(file.get()) != 0) return errno_error(errno, "sync '{}'", path);
  return sync_directory(directory_of(path));
}

}  // namespace

FileDevice::FileDevice(Loop& loop, Fd file, Fd buffered, uint64_t size_bytes)
    : loop_(loop),
      file_(std::move(file)),
      buffered_(std::move(buffered)),
      size_bytes_(size_bytes) {}

Result<std::unique_ptr<FileDevice>> FileDevice::open(Loop& loop, const std::string& path,
                                                     OpenOptions options) {
  const int mode = options.read_only ? O_RDONLY : O_RDWR;
  Fd file = HOZON_TRY(open_data(path, mode, options.direct));
  if (options.lock && ::flock(file.get(), (options.read_only ? LOCK_SH : LOCK_EX) | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK)
      return make_error(Code::kBusy, "'{}' is already open in another process", path);
    return errno_error(errno, "lock '{}'", path);
  }
  const uint64_t size_bytes = HOZON_TRY(size_of(file, path));
  Fd buffered = HOZON_TRY(open_with(path, mode));
  if (!same_file(file, buffered))
    return make_error(Code::kBusy, "'{}' was replaced while it was being opened; try again", path);
  if (!options.read_only) {
    // After a failed sync of an earlier opener the page cache may hold, as clean, what the medium
    // lacks (D3). What is read from here on must come from the medium.
    if (::fdatasync(file.get()) != 0) return errno_error(errno, "sync '{}'", path);
    (void)::posix_fadvise(buffered.get(), 0, 0, POSIX_FADV_DONTNEED);
  }
  return std::unique_ptr<FileDevice>(
      new FileDevice(loop, std::move(file), std::move(buffered), size_bytes));
}

Status FileDevice::create_file(const std::string& path, uint64_t size_bytes,
                               uint64_t written_bytes) {
  HOZON_CHECK(written_bytes <= size_bytes);
  if (size_bytes == 0 || size_bytes % kDeviceAlignment != 0 || size_bytes > (uint64_t{1} << 62))
    return make_error(Code::kInvalidArgument, "'{}' cannot have {} bytes: not a multiple of {}",
                      path, size_bytes, kDeviceAlignment);
  const Fd file(::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!file) {
    if (errno == EEXIST) return make_error(Code::kAlreadyExists, "'{}' exists already", path);
    return errno_error(errno, "make '{}'", path);
  }
  Status filled = fill_file(file, path, size_bytes, written_bytes);
  if (!filled) ::unlink(path.c_str());
  return filled;
}

Status FileDevice::keep_reserve(const std::string& path, uint64_t size_bytes) {
  reserve_ = HOZON_TRY(ReserveFile::open(path, size_bytes));
  return {};
}

uint64_t FileDevice::size_bytes() const { return size_bytes_; }

void FileDevice::submit(IoOp& op) {
  HOZON_CHECK(op.kind == IoOp::Kind::kSync ||
              (op.offset <= size_bytes_ && op.size <= size_bytes_ - op.offset));
  op.fd = file_.get();
  loop_.submit(op);
}

int FileDevice::write_now(uint64_t offset, std::span<const std::byte> from) {
  HOZON_CHECK(offset <= size_bytes_ && from.size() <= size_bytes_ - offset);
  return write_all(buffered_.get(), offset, from);
}

void FileDevice::hasten(uint64_t offset, uint64_t size) {
  (void)::sync_file_range(buffered_.get(), static_cast<off_t>(offset), static_cast<off_t>(size),
                          SYNC_FILE_RANGE_WRITE);
}

}  // namespace hozon
