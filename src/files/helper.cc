#include "files/helper.h"

#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <clocale>

#include "files/confine.h"
#include "files/tar_stream.h"

namespace hozon::files {
namespace {

using link::FileQuery;
using nlohmann::json;

constexpr uint64_t kQuestionCpuSeconds = 30;
constexpr uint64_t kCopyCpuSeconds = 12ULL * 3600;
constexpr size_t kQuestionBytesMax = 1 << 20;
using Disks = std::vector<std::unique_ptr<Disk>>;

Status put_line(const json& answer) {
  return write_bytes(STDOUT_FILENO,
                     answer.dump(-1, ' ', false, json::error_handler_t::replace) + "\n");
}

Result<FileQuery> read_question() {
  std::string line;
  char piece[4096];
  for (;;) {
    const ssize_t got = ::read(STDIN_FILENO, piece, sizeof(piece));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return errno_error(errno, "read the question");
    if (got == 0) return link::decode_file_query(line);
    line.append(piece, static_cast<size_t>(got));
    if (line.size() > kQuestionBytesMax)
      return make_error(Code::kInvalidArgument, "the question is too long");
  }
}

Result<Disks> open_disks(const FileQuery& query) {
  Disks disks;
  for (size_t i = 0; i < query.disks.size(); ++i)
    disks.push_back(HOZON_TRY(
        Disk::open(Fd(link::kFirstDisk + static_cast<int>(i)), query.disks[i], query.exports[i])));
  return disks;
}

// The file system that is meant, and the place in it. Without a name: the only one that has it.
struct Found {
  std::unique_ptr<Tree> tree;
  Node node;
};

std::string names_of(const std::vector<link::Filesystem>& all) {
  std::vector<std::string> names;
  for (const link::Filesystem& one : all)
    names.push_back(one.reason.empty() ? one.name : fmt::format("{} ({})", one.name, one.reason));
  return fmt::format("{}", fmt::join(names, ", "));
}

Result<std::unique_ptr<Tree>> open_tree(Disk& disk, const link::Filesystem& which) {
  OpenFilesystem open = disk.open_filesystem(which.offset_bytes);
  if (!open)
    return make_error(Code::kWrongState, "file system {} cannot be opened: {}", which.name,
                      tsk_reason());
  return std::make_unique<Tree>(disk, std::move(open), which.name);
}

Result<Found> find_named(Disks& disks, const FileQuery& query, const std::string& path) {
  std::vector<link::Filesystem> all;
  for (const auto& disk : disks) {
    // Only the disk that the name begins with is looked at.
    if (!query.filesystem.starts_with(disk->name())) continue;
    for (link::Filesystem& one : disk->filesystems()) {
      if (one.name != query.filesystem) {
        all.push_back(std::move(one));
        continue;
      }
      if (!one.reason.empty())
        return make_error(Code::kUnimplemented, "file system {} cannot be read: {}", one.name,
                          one.reason);
      Found found;
      found.tree = HOZON_TRY(open_tree(*disk, one));
      found.node = HOZON_TRY(found.tree->find(path));
      return found;
    }
  }
  return make_error(Code::kNotFound, "there is no file system '{}'{}", query.filesystem,
                    all.empty() ? "" : "; this disk has " + names_of(all));
}

Result<Found> find_anywhere(Disks& disks, const std::string& path) {
  std::vector<Found> found;
  std::vector<link::Filesystem> all;
  Error last{Code::kNotFound, "", 0};
  for (const auto& disk : disks)
    for (link::Filesystem& one : disk->filesystems()) {
      all.push_back(one);
      if (!one.reason.empty()) continue;
      Found here;
      here.tree = HOZON_TRY(open_tree(*disk, one));
      auto node = here.tree->find(path);
      if (node) {
        here.node = *std::move(node);
        found.push_back(std::move(here));
      } else if (last.what.empty() || node.error().code != Code::kNotFound) {
        last = node.error();
      }
    }
  if (found.size() == 1) return std::move(found.front());
  if (found.size() > 1) {
    const std::string& first = found[0].tree->name();
    return make_error(Code::kInvalidArgument,
                      "'{}' is in more than one file system: say which, such as {}:{}",
                      link::name_text(path), first, link::name_text(path));
  }
  const bool any = std::ranges::any_of(all, [](const auto& one) { return one.reason.empty(); });
  if (!any)
    return make_error(Code::kUnimplemented, "no file system of it can be read: {}", names_of(all));
  return std::unexpected(last);
}

Result<Found> find(Disks& disks, const FileQuery& query) {
  const std::string path = HOZON_TRY(link::name_bytes(query.path));
  return query.filesystem.empty() ? find_anywhere(disks, path) : find_named(disks, query, path);
}

Status answer_filesystems(Disks& disks) {
  json all = json::array();
  for (const auto& disk : disks)
    for (const link::Filesystem& one : disk->filesystems()) all.push_back(to_json(one));
  return put_line({{"filesystems", all}});
}

Status answer_list(Disks& disks, const FileQuery& query) {
  const Found found = HOZON_TRY(find(disks, query));
  json entries = json::array();
  if (found.node.entry.kind == "directory") {
    for (const Node& node : HOZON_TRY(found.tree->list(found.node)))
      entries.push_back(to_json(node.entry));
  } else {
    entries.push_back(to_json(found.node.entry));
  }
  return put_line({{"filesystem", found.tree->name()},
                   {"entry", to_json(found.node.entry)},
                   {"entries", std::move(entries)}});
}

// Sets `begun` when the answer's first line is out: an error cannot be told any more then.
Status answer_read(Disks& disks, const FileQuery& query, bool& begun) {
  const Found found = HOZON_TRY(find(disks, query));
  const std::string& kind = found.node.entry.kind;
  if (!query.as_tar && kind != "file")
    return make_error(
        Code::kInvalidArgument, "'{}' of file system {} is a {}, not a file{}",
        link::name_text(HOZON_TRY(link::name_bytes(query.path))), found.tree->name(), kind,
        kind == "directory" ? ": take all of it with --recursive (REST: as=tar)" : "");
  if (!query.as_tar) HOZON_TRY(found.tree->open(found.node));  // damage is told while it can be
  HOZON_TRY(put_line({{"filesystem", found.tree->name()}, {"entry", to_json(found.node.entry)}}));
  begun = true;
  return query.as_tar ? write_tar(*found.tree, found.node, STDOUT_FILENO)
                      : write_file(*found.tree, found.node, STDOUT_FILENO);
}

Status answer(bool& begun) {
  const FileQuery query = HOZON_TRY(read_question());
  Disks disks = HOZON_TRY(open_disks(query));
  const Bounds bounds{.cpu_seconds = query.op == "read" ? kCopyCpuSeconds : kQuestionCpuSeconds};
  HOZON_TRY(confine(bounds, ::getppid()));
  if (query.op == "filesystems") return answer_filesystems(disks);
  if (query.op == "list") return answer_list(disks, query);
  if (query.op == "read") return answer_read(disks, query, begun);
  return make_error(Code::kInvalidArgument, "nobody knows how to '{}'", query.op);
}

}  // namespace

int run_helper() {
  std::setlocale(LC_CTYPE, "C.UTF-8");  // names in archives are text where they can be
  bool begun = false;
  const Status answered = answer(begun);
  if (answered) return 0;
  if (!begun)
    (void)put_line(
        {{"error",
          {{"code", code_name(answered.error().code)}, {"message", answered.error().what}}}});
  return 1;
}

}  // namespace hozon::files
