// libarchive does the formats and keeps inside of the working directory, so that is moved for the
// time being: the command line has one thread that cares.
#include "cli/unpack.h"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <clocale>
#include <memory>

namespace hozon::cli {
namespace {

constexpr const char* kFailuresMember = "HOZON-COULD-NOT-READ";
constexpr size_t kFailuresBytesMax = 4 << 20;
constexpr int kTickMs = 200;

struct ReadCloser {
  void operator()(archive* handle) const { ::archive_read_free(handle); }
};
struct WriteCloser {
  void operator()(archive* handle) const { ::archive_write_free(handle); }
};
using Reading = std::unique_ptr<archive, ReadCloser>;
using Writing = std::unique_ptr<archive, WriteCloser>;

struct Source {
  int fd;
  const std::function<bool()>* interrupted;
  bool was_interrupted = false;
  std::array<char, 65536> room{};
};

la_ssize_t read_source(archive*, void* data, const void** bytes) {
  Source& source = *static_cast<Source*>(data);
  *bytes = source.room.data();
  for (;;) {
    source.was_interrupted = (*source.interrupted)();
    if (source.was_interrupted) return -1;
    pollfd polled{source.fd, POLLIN, 0};
    if (::poll(&polled, 1, kTickMs) <= 0) continue;
    const ssize_t got = ::read(source.fd, source.room.data(), source.room.size());
    if (got >= 0 || errno != EINTR) return got;
  }
}

// The working directory, and back.
class Inside {
 public:
  static Result<Inside> enter(const std::string& directory) {
    Fd before(::open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!before) return errno_error(errno, "open the working directory");
    if (::chdir(directory.c_str()) != 0) return errno_error(errno, "enter '{}'", directory);
    return Inside(std::move(before));
  }
  Inside(Inside&& other) noexcept = default;
  ~Inside() {
    if (before_) (void)!::fchdir(before_.get());
  }

 private:
  explicit Inside(Fd before) : before_(std::move(before)) {}
  Fd before_;
};

std::unexpected<Error> failed(archive* handle, std::string_view what) {
  const char* const text = ::archive_error_string(handle);
  return make_error(Code::kIo, "{}: {}", what, text != nullptr ? text : "unknown error");
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    lines.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return lines;
}

Result<std::string> read_text(archive* from) {
  std::string text;
  std::array<char, 16384> piece;
  for (;;) {
    const la_ssize_t got = ::archive_read_data(from, piece.data(), piece.size());
    if (got < 0) return failed(from, "read the archive");
    if (got == 0 || text.size() > kFailuresBytesMax) return text;
    text.append(piece.data(), static_cast<size_t>(got));
  }
}

Status copy_data(archive* from, archive* to) {
  for (;;) {
    const void* bytes = nullptr;
    size_t length = 0;
    la_int64_t offset = 0;
    const int got = ::archive_read_data_block(from, &bytes, &length, &offset);
    if (got == ARCHIVE_EOF) return {};
    if (got < ARCHIVE_WARN) return failed(from, "read the archive");
    if (::archive_write_data_block(to, bytes, length, offset) < ARCHIVE_WARN)
      return failed(to, "write a file");
  }
}

// Ours to read and to remove, and nobody's to run as somebody else.
void tame(archive_entry* entry, bool is_directory) {
  constexpr unsigned kPlain = 0777;
  const unsigned mode = (::archive_entry_perm(entry) & kPlain) | (is_directory ? 0700U : 0600U);
  ::archive_entry_set_perm(entry, mode);
}

class Unpacker {
 public:
  Unpacker(archive* from, archive* to, bool may_have_directories)
      : from_(from), to_(to), may_have_directories_(may_have_directories) {}

  Status member(archive_entry* entry) {
    const char* const name = ::archive_entry_pathname(entry);
    if (name == nullptr) return make_error(Code::kIo, "the archive has a member without a name");
    const std::string path = name;
    if (path == kFailuresMember) {
      done_.failures = lines_of(HOZON_TRY(read_text(from_)));
      return {};
    }
    const auto type = ::archive_entry_filetype(entry);
    const bool is_directory = type == AE_IFDIR;
    if (done_.top.empty()) {
      done_.top = path.substr(0, path.find('/'));
      done_.is_directory = is_directory;
    }
    if (is_directory && !may_have_directories_)
      return make_error(Code::kInvalidArgument,
                        "it is a directory: --recursive takes it with all below it");
    const bool plain = is_directory || type == AE_IFREG || type == AE_IFLNK;
    if (!plain || ::archive_entry_hardlink(entry) != nullptr) return {};
    tame(entry, is_directory);
    if (::archive_write_header(to_, entry) < ARCHIVE_WARN)
      return failed(to_, "write '" + path + "'");
    if (type == AE_IFREG) {
      HOZON_TRY(copy_data(from_, to_));
      done_.bytes += static_cast<uint64_t>(::archive_entry_size(entry));
    }
    if (!is_directory) ++done_.files;
    if (::archive_write_finish_entry(to_) < ARCHIVE_WARN)
      return failed(to_, "write '" + path + "'");
    return {};
  }

  Result<Unpacked> end() {
    if (::archive_write_close(to_) < ARCHIVE_WARN) return failed(to_, "finish the copy");
    return std::move(done_);
  }

 private:
  archive* from_;
  archive* to_;
  bool may_have_directories_;
  Unpacked done_;
};

}  // namespace

Result<Unpacked> unpack(const Fd& archive, const std::string& directory, bool may_have_directories,
                        const std::function<bool()>& interrupted) {
  std::setlocale(LC_CTYPE, "C.UTF-8");  // names come as they are
  const Inside inside = HOZON_TRY(Inside::enter(directory));
  auto source = std::make_unique<Source>(Source{archive.get(), &interrupted});
  const Reading from(::archive_read_new());
  const Writing to(::archive_write_disk_new());
  if (!from || !to) return make_error(Code::kResourceExhausted, "no memory for an archive");
  ::archive_read_support_format_tar(from.get());
  ::archive_write_disk_set_options(
      to.get(), ARCHIVE_EXTRACT_TIME | ARCHIVE_EXTRACT_PERM | ARCHIVE_EXTRACT_SECURE_SYMLINKS |
                    ARCHIVE_EXTRACT_SECURE_NODOTDOT | ARCHIVE_EXTRACT_SECURE_NOABSOLUTEPATHS |
                    ARCHIVE_EXTRACT_NO_OVERWRITE);
  Unpacker unpacker(from.get(), to.get(), may_have_directories);
  Status status;
  if (::archive_read_open(from.get(), source.get(), nullptr, read_source, nullptr) < ARCHIVE_WARN)
    status = failed(from.get(), "read the archive");
  while (status) {
    archive_entry* entry = nullptr;
    const int got = ::archive_read_next_header(from.get(), &entry);
    if (got == ARCHIVE_EOF) break;
    status = got < ARCHIVE_WARN ? Status(failed(from.get(), "read the archive"))
                                : unpacker.member(entry);
  }
  if (source->was_interrupted) return make_error(Code::kCancelled, "interrupted");
  if (!status) return std::unexpected(status.error());
  return unpacker.end();
}

}  // namespace hozon::cli
