// hozon snapshot files, hozon snapshot extract
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <thread>
#include <utility>

#include "base/units.h"
#include "cli/commands.h"
#include "cli/unpack.h"
#include "client/interrupts.h"

namespace hozon::cli {
namespace {

namespace fs = std::filesystem;

// "-rwxr-xr-x"
std::string mode_text(const std::string& kind, uint64_t mode) {
  std::string text(1, kind == "directory" ? 'd'
                      : kind == "symlink" ? 'l'
                      : kind == "device"  ? 'b'
                      : kind == "fifo"    ? 'p'
                      : kind == "socket"  ? 's'
                      : kind == "file"    ? '-'
                                          : '?');
  for (unsigned bit = 9; bit-- > 0;) text += (mode >> bit & 1) != 0 ? "xwr"[bit % 3] : '-';
  const auto mark = [&](size_t at, unsigned bit, char with, char without) {
    if ((mode >> bit & 1) != 0) text[at] = text[at] == 'x' ? with : without;
  };
  mark(3, 11, 's', 'S');
  mark(6, 10, 's', 'S');
  mark(9, 9, 't', 'T');
  return text;
}

std::vector<client::Json> items_of(const client::Json& answer) {
  const auto items = answer.find("items");
  if (items == answer.end() || !items->is_array()) return {};
  return items->get<std::vector<client::Json>>();
}

std::vector<std::string> names_of(const std::vector<client::Json>& items) {
  std::vector<std::string> names;
  for (const client::Json& item : items) names.push_back(client::text_of(item, "name"));
  return names;
}

CommandResult list_filesystems(const Arguments& args, Context& context) {
  const client::Json answer = HOZON_TRY(context.client().filesystems(args.object, args.second));
  const std::vector<client::Json> items = items_of(answer);
  context.printer().list(items, names_of(items), [&] {
    Table table({"FILE SYSTEM", "TYPE", "LABEL", "SIZE", "NOTE"});
    for (const client::Json& item : items) {
      const std::string reason = client::text_of(item, "reason");
      table.add({client::text_of(item, "name"), client::text_of(item, "type"),
                 client::text_of(item, "label"),
                 format_bytes(client::number_of(item, "size_bytes")),
                 reason.empty() ? client::text_of(item, "note") : reason});
    }
    return table;
  });
  return ExitCode::kOk;
}

// Beside its destination while it is not whole. Gone when this is, unless it was published.
class Partial {
 public:
  static Result<Partial> make(const fs::path& place) {
    std::string pattern = (place / ".hozon-part-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr)
      return errno_error(errno, "make a directory in '{}'", place.string());
    return Partial(pattern);
  }
  Partial(Partial&& other) noexcept : path_(std::exchange(other.path_, {})) {}
  ~Partial() {
    std::error_code ignored;
    if (!path_.empty()) fs::remove_all(path_, ignored);
  }
  const std::string& path() const { return path_; }

 private:
  explicit Partial(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

struct Target {
  fs::path place;    // the directory it comes into
  std::string name;  // empty: that which it has in the snapshot
};

Result<Target> target_of(const std::string& destination) {
  const std::string whole = absolute_path(destination);
  std::error_code error;
  Target target;
  if (fs::is_directory(whole, error)) return Target{whole, ""};
  target.place = fs::path(whole).parent_path();
  target.name = fs::path(whole).filename().string();
  if (!fs::is_directory(target.place, error))
    return make_error(Code::kNotFound, "there is no directory '{}' to copy into",
                      target.place.string());
  return target;
}

Status publish(const fs::path& from, const fs::path& to, const Unpacked& what, bool force) {
  const unsigned flags = force && !what.is_directory ? 0 : RENAME_NOREPLACE;
  if (::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), flags) == 0) return {};
  if (errno == EEXIST)
    return make_error(Code::kAlreadyExists, "'{}' exists{}", to.string(),
                      what.is_directory ? ": give another name" : ": --force replaces it");
  return errno_error(errno, "name the copy '{}'", to.string());
}

Status send_all(const Fd& peer, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(peer.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) return errno_error(errno, "pass the archive on");
    bytes.remove_prefix(static_cast<size_t>(sent));
  }
  return {};
}

// Unpacks on this thread what another one downloads. The download's error is the true one, unless
// it only says that nobody took any more.
Result<Unpacked> fetch(const Arguments& args, Context& context, const std::string& directory) {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0)
    return errno_error(errno, "make a pair of sockets");
  Fd reader(ends[0]), writer(ends[1]);
  const client::Interrupts interrupts;
  Status downloaded;
  bool taken = true;
  std::thread carrier([&] {
    downloaded = context.client().download_files(args.object, args.second, args.third, true,
                                                 [&](std::string_view bytes) {
                                                   const Status sent = send_all(writer, bytes);
                                                   taken = sent.has_value();
                                                   return sent;
                                                 });
    writer = Fd();
  });
  auto unpacked = unpack(reader, directory, args.recursive, [&] { return interrupts.count() > 0; });
  // What comes behind the end of the archive is part of the answer.
  std::array<char, 16384> rest;
  while (unpacked && ::read(reader.get(), rest.data(), rest.size()) > 0) {
  }
  reader = Fd();
  carrier.join();
  if (!downloaded && taken) return std::unexpected(downloaded.error());
  return unpacked;
}

CommandResult extract_to_output(const Arguments& args, Context& context) {
  const auto write_out = [](std::string_view bytes) -> Status {
    while (!bytes.empty()) {
      const ssize_t moved = ::write(STDOUT_FILENO, bytes.data(), bytes.size());
      if (moved < 0 && errno == EINTR) continue;
      if (moved < 0) return errno_error(errno, "write to standard output");
      bytes.remove_prefix(static_cast<size_t>(moved));
    }
    return {};
  };
  HOZON_TRY(context.client().download_files(args.object, args.second, args.third, args.recursive,
                                            write_out));
  return ExitCode::kOk;
}

}  // namespace

CommandResult snapshot_files(const Arguments& args, Context& context) {
  if (args.third.empty()) return list_filesystems(args, context);
  const client::Json answer =
      HOZON_TRY(context.client().files(args.object, args.second, args.third));
  const std::vector<client::Json> items = items_of(answer);
  context.printer().list(items, names_of(items), [&] {
    Table table({"MODE", "OWNER", "SIZE", "MODIFIED", "NAME"});
    for (const client::Json& item : items) {
      const std::string kind = client::text_of(item, "kind");
      const std::string target = client::text_of(item, "target");
      const std::string name = client::text_of(item, "name");
      table.add(
          {mode_text(kind, client::number_of(item, "mode")),
           fmt::format("{}:{}", client::number_of(item, "uid"), client::number_of(item, "gid")),
           kind == "file" ? format_bytes(client::number_of(item, "size_bytes")) : "-",
           time_text(client::number_of(item, "modified_ns")),
           target.empty() ? name : name + " -> " + target});
    }
    return table;
  });
  return ExitCode::kOk;
}

CommandResult snapshot_extract(const Arguments& args, Context& context) {
  if (args.destination == "-") return extract_to_output(args, context);
  const Target target = HOZON_TRY(target_of(args.destination));
  const Partial partial = HOZON_TRY(Partial::make(target.place));
  auto fetched = fetch(args, context, partial.path());
  if (!fetched && fetched.error().code == Code::kInvalidArgument)
    return add_context(fetched.error(), fmt::format("'{}'", args.third));
  const Unpacked unpacked = HOZON_TRY(std::move(fetched));
  if (unpacked.top.empty() || unpacked.top == "." || unpacked.top == "..")
    return make_error(Code::kInvalidArgument, "there is nothing to copy at '{}'", args.third);
  const fs::path to = target.place / (target.name.empty() ? unpacked.top : target.name);
  HOZON_TRY(publish(fs::path(partial.path()) / unpacked.top, to, unpacked, args.force));
  for (const std::string& failure : unpacked.failures) context.note("not read: {}", failure);
  const std::string shown = printable(to.string());
  context.printer().done(client::Json{{"path", shown},
                                      {"files", unpacked.files},
                                      {"bytes", unpacked.bytes},
                                      {"failures", unpacked.failures}},
                         shown, "{} is copied to {}: {} files, {}.", args.third, shown,
                         unpacked.files, format_bytes(unpacked.bytes));
  if (unpacked.failures.empty()) return ExitCode::kOk;
  return make_error(Code::kIo, "{} of what is at '{}' could not be read; the rest is in {}",
                    unpacked.failures.size(), args.third, shown);
}

}  // namespace hozon::cli
