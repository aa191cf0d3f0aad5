// A new pool is made in a hidden directory beside its final place and renamed at the end. What a
// killed attempt left there is removed by the next one; a lock on the hidden directory tells the
// two apart.
#include "serve/pool_directory.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

#include "base/units.h"

namespace hozon::serve {
namespace {

constexpr const char* kData = "/data";
constexpr const char* kJournal = "/journal";
constexpr const char* kReserve = "/reserve";
// A checkpoint writes at most what fits into this, but for pools with very many points.
constexpr uint64_t kReserveBytesMin = 1_MiB;
constexpr uint64_t kReserveBytesMax = 64_MiB;

struct Place {
  std::string path;
  std::string parent;
  std::string hidden;
};

Result<Place> place_of(std::string path) {
  while (path.size() > 1 && path.ends_with('/')) path.pop_back();
  const size_t slash = path.find_last_of('/');
  const std::string name = slash == std::string::npos ? path : path.substr(slash + 1);
  if (name.empty() || name == "." || name == "..")
    return make_error(Code::kInvalidArgument, "'{}' cannot become a pool directory", path);
  const std::string parent = slash == std::string::npos ? "." : path.substr(0, slash);
  return Place{path, parent.empty() ? "/" : parent, parent + "/." + name + ".half-made"};
}

Status sync_directory(const std::string& path) {
  const Fd directory(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory || ::fsync(directory.get()) != 0)
    return errno_error(errno, "sync directory '{}'", path);
  return {};
}

// The second of the three is of earlier versions.
void empty_hidden(const Place& place) {
  for (const char* name : {kData, kJournal, kReserve}) ::unlink((place.hidden + name).c_str());
}

void remove_hidden(const Place& place) {
  empty_hidden(place);
  ::rmdir(place.hidden.c_str());
}

// The hidden directory, empty and locked by us.
Result<Fd> make_hidden(const Place& place) {
  if (::mkdir(place.hidden.c_str(), 0700) != 0 && errno != EEXIST)
    return errno_error(errno, "make a directory in '{}'", place.parent);
  Fd directory(::open(place.hidden.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
  if (!directory) return errno_error(errno, "open '{}'", place.hidden);
  if (::flock(directory.get(), LOCK_EX | LOCK_NB) != 0)
    return make_error(Code::kBusy, "another process is making pool '{}' now", place.path);
  empty_hidden(place);  // of an attempt that was killed
  return directory;
}

Status format_pool(Loop& loop, const PoolFiles& files, uint64_t journal_bytes) {
  store::CreateOptions options;
  options.journal_bytes = journal_bytes;
  if (::getrandom(options.pool_id.data(), options.pool_id.size(), 0) !=
      static_cast<ssize_t>(options.pool_id.size()))
    return errno_error(errno, "get a random pool id");
  Status result;
  spawn([](Loop& on, const PoolFiles& in, store::CreateOptions with, Status& out) -> Task<void> {
    co_await on.yield();
    out = co_await store::Pool::create(*in.data, in.journal(), with);
    on.stop();
  }(loop, files, options, result));
  loop.run();
  return result;
}

Status fill_hidden(Loop& loop, const Place& place, uint64_t size_bytes) {
  const uint64_t journal_bytes =
      round_up(std::clamp(size_bytes / 64, kJournalBytesMin, kJournalBytesMax), kDeviceAlignment);
  HOZON_TRY(
      FileDevice::create_file(place.hidden + kData, size_bytes + journal_bytes, journal_bytes));
  const PoolFiles files = HOZON_TRY(open_pool_files(loop, place.hidden, 0));
  return format_pool(loop, files, journal_bytes);
}

Status make_at(Loop& loop, const Place& place, uint64_t size_bytes) {
  const Fd lock = HOZON_TRY(make_hidden(place));
  Status made = fill_hidden(loop, place, size_bytes);
  if (made && ::renameat2(AT_FDCWD, place.hidden.c_str(), AT_FDCWD, place.path.c_str(),
                          RENAME_NOREPLACE) != 0) {
    if (errno == EEXIST)
      made = make_error(Code::kAlreadyExists, "'{}' exists already", place.path);
    else
      made = errno_error(errno, "put the new pool at '{}'", place.path);
  }
  if (!made) {
    remove_hidden(place);
    return made;
  }
  return sync_directory(place.parent);
}

Result<std::unique_ptr<FileDevice>> open_file(Loop& loop, const std::string& path, const char* name,
                                              unsigned patience_ms) {
  constexpr unsigned kStepMs = 5;
  auto file = FileDevice::open(loop, path + name, {});
  for (unsigned waited = 0; waited < patience_ms; waited += kStepMs) {
    if (file || file.error().code != Code::kBusy) break;
    ::usleep(kStepMs * 1000);
    file = FileDevice::open(loop, path + name, {});
  }
  if (file) return file;
  Error error = std::move(file.error());
  if (error.code == Code::kNotFound)
    error.what = fmt::format("'{}' is not a pool directory: it has no file '{}'", path, name + 1);
  else if (error.code == Code::kBusy)
    error.what = fmt::format("pool '{}' is already open in another process", path);
  return std::unexpected(std::move(error));
}

}  // namespace

Status create_pool_directory(Loop& loop, const std::string& path, uint64_t size_bytes) {
  const Place place = HOZON_TRY(place_of(path));
  if (size_bytes < kPoolBytesMin)
    return make_error(Code::kInvalidArgument, "a pool has at least {}, not {}",
                      format_bytes(kPoolBytesMin), format_bytes(size_bytes));
  struct stat existing{};
  if (::lstat(place.path.c_str(), &existing) == 0)
    return make_error(Code::kAlreadyExists, "'{}' exists already; choose another place",
                      place.path);
  if (::stat(place.parent.c_str(), &existing) != 0)
    return make_error(Code::kNotFound, "there is no directory '{}' to make the pool in",
                      place.parent);
  return make_at(loop, place, size_bytes / kDeviceAlignment * kDeviceAlignment);
}

Result<PoolFiles> open_pool_files(Loop& loop, const std::string& path, unsigned patience_ms) {
  PoolFiles files;
  files.data = HOZON_TRY(open_file(loop, path, kData, patience_ms));
  auto journal = open_file(loop, path, kJournal, patience_ms);
  if (journal)
    files.own_journal = std::move(*journal);
  else if (journal.error().code != Code::kNotFound)
    return std::unexpected(journal.error());
  HOZON_TRY(files.data->keep_reserve(
      path + kReserve,
      std::clamp(files.data->size_bytes() / 64, kReserveBytesMin, kReserveBytesMax)));
  return files;
}

}  // namespace hozon::serve
