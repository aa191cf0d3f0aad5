#include "files/tree.h"

#include <algorithm>
#include <cstring>
#include <deque>

namespace hozon::files {
namespace {

constexpr int kLinksMax = 40;       // as Linux
constexpr size_t kPartsMax = 4096;  // of a path with its links put in
constexpr size_t kRunsMax = 1 << 20;
constexpr TSK_INUM_T kNtfsReserved = 24;  // records below are the file system's own

struct DirectoryCloser {
  void operator()(TSK_FS_DIR* directory) const { ::tsk_fs_dir_close(directory); }
};

std::string kind_of(TSK_FS_META_TYPE_ENUM type) {
  switch (type) {
    case TSK_FS_META_TYPE_REG: return "file";
    case TSK_FS_META_TYPE_DIR: return "directory";
    case TSK_FS_META_TYPE_LNK: return "symlink";
    case TSK_FS_META_TYPE_CHR:
    case TSK_FS_META_TYPE_BLK: return "device";
    case TSK_FS_META_TYPE_FIFO: return "fifo";
    case TSK_FS_META_TYPE_SOCK: return "socket";
    default: return "other";
  }
}

std::deque<std::string> split(const std::string& path) {
  std::deque<std::string> parts;
  for (size_t at = 0; at <= path.size();) {
    const size_t end = std::min(path.find('/', at), path.size());
    if (end > at) parts.push_back(path.substr(at, end - at));
    at = end + 1;
  }
  return parts;
}

void fill_entry(const TSK_FS_META& meta, Node& node) {
  constexpr uint64_t kSecond = 1'000'000'000;
  constexpr time_t kSecondsMax = 9'000'000'000;
  link::FileEntry& entry = node.entry;
  entry.kind = kind_of(meta.type);
  entry.size_bytes = meta.size > 0 ? static_cast<uint64_t>(meta.size) : 0;
  entry.mode = static_cast<uint64_t>(meta.mode) & 07777U;
  entry.uid = meta.uid;
  entry.gid = meta.gid;
  if (meta.mtime > 0 && meta.mtime < kSecondsMax)
    entry.modified_ns = static_cast<uint64_t>(meta.mtime) * kSecond + meta.mtime_nano % kSecond;
  if (entry.kind == "symlink" && meta.link != nullptr) entry.target = link::name_text(meta.link);
}

bool same_letter(char a, char b) {
  const auto low = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; };
  return low(a) == low(b);
}

}  // namespace

bool is_usable_name(const std::string& bytes) {
  return !bytes.empty() && bytes != "." && bytes != ".." && bytes.find('/') == std::string::npos &&
         bytes.find('\0') == std::string::npos;
}

std::unexpected<Error> Tree::damaged(const std::string& what) {
  const std::string reason = tsk_reason();
  if (const std::string failure = disk_.take_read_failure(); !failure.empty())
    return make_error(Code::kIo, "{} of file system {} cannot be read: {}", what, name_, failure);
  return make_error(Code::kWrongState, "{} of file system {} is damaged: {}", what, name_, reason);
}

// The library's own directories, and the records of NTFS and FAT that are no files of anybody.
bool Tree::is_hidden(const TSK_FS_NAME& name) const {
  if ((name.flags & TSK_FS_NAME_FLAG_ALLOC) == 0 || name.name == nullptr) return true;
  if (name.type == TSK_FS_NAME_TYPE_VIRT || name.type == TSK_FS_NAME_TYPE_VIRT_DIR) return true;
  if (std::strcmp(name.name, ".") == 0 || std::strcmp(name.name, "..") == 0) return true;
  return TSK_FS_TYPE_ISNTFS(info_->ftype) && name.meta_addr < kNtfsReserved && name.name[0] == '$';
}

Result<Node> Tree::node_of(TSK_INUM_T number, std::string name) {
  const OpenFile file(::tsk_fs_file_open_meta(info_.get(), nullptr, number));
  if (!file || file->meta == nullptr) return damaged("'" + link::name_text(name) + "'");
  Node node;
  node.number = number;
  node.entry.name = link::name_text(name);
  node.name = std::move(name);
  fill_entry(*file->meta, node);
  return node;
}

Result<Node> Tree::root() {
  Node node = HOZON_TRY(node_of(info_->root_inum, "/"));
  node.entry.kind = "directory";
  return node;
}

Result<std::vector<Node>> Tree::list(const Node& directory) {
  const std::unique_ptr<TSK_FS_DIR, DirectoryCloser> open(
      ::tsk_fs_dir_open_meta(info_.get(), directory.number));
  if (!open) return damaged("directory '" + directory.entry.name + "'");
  std::vector<Node> nodes;
  const size_t count = ::tsk_fs_dir_getsize(open.get());
  if (count > link::kEntriesMax)
    return make_error(Code::kResourceExhausted,
                      "directory '{}' of file system {} has {} entries, and {} are read at most",
                      directory.entry.name, name_, count, link::kEntriesMax);
  for (size_t i = 0; i < count; ++i) {
    const OpenFile file(::tsk_fs_dir_get(open.get(), i));
    if (!file || file->name == nullptr || is_hidden(*file->name)) continue;
    Node node;
    node.number = file->name->meta_addr;
    node.name = file->name->name;
    node.entry.name = link::name_text(node.name);
    node.entry.kind = "other";  // stays so when its record is damaged
    if (file->meta != nullptr) fill_entry(*file->meta, node);
    nodes.push_back(std::move(node));
  }
  ::tsk_error_reset();
  if (const std::string failure = disk_.take_read_failure(); !failure.empty())
    return make_error(Code::kIo, "directory '{}' of file system {} cannot be read: {}",
                      directory.entry.name, name_, failure);
  std::ranges::sort(nodes, {}, &Node::name);
  return nodes;
}

Result<Node> Tree::child(const Node& directory, const std::string& name) {
  std::vector<Node> nodes = HOZON_TRY(list(directory));
  auto found = std::ranges::find(nodes, name, &Node::name);
  const bool ignores_case = TSK_FS_TYPE_ISNTFS(info_->ftype) || TSK_FS_TYPE_ISFAT(info_->ftype);
  if (found == nodes.end() && ignores_case)
    found = std::ranges::find_if(
        nodes, [&](const Node& node) { return std::ranges::equal(node.name, name, same_letter); });
  if (found == nodes.end() || !is_usable_name(found->name))
    return make_error(Code::kNotFound, "there is no '{}'", link::name_text(name));
  Node node = std::move(*found);
  return node;
}

Result<Node> Tree::find(const std::string& path_bytes) {
  std::deque<std::string> parts = split(path_bytes);
  std::vector<Node> way = {HOZON_TRY(root())};
  int links = 0;
  const std::string shown = link::name_text(path_bytes);
  while (!parts.empty()) {
    const std::string part = parts.front();
    parts.pop_front();
    if (part == ".") continue;
    if (part == "..") {
      if (way.size() > 1) way.pop_back();
      continue;
    }
    if (way.back().entry.kind != "directory")
      return make_error(Code::kInvalidArgument,
                        "'{}' in '{}' is a {} of file system {}, not a "
                        "directory",
                        way.back().entry.name, shown, way.back().entry.kind, name_);
    auto next = child(way.back(), part);
    if (!next && next.error().code == Code::kNotFound)
      return make_error(Code::kNotFound, "'{}' is not in file system {}: {}", shown, name_,
                        next.error().what);
    if (!next) return next;
    if (next->entry.kind != "symlink") {
      way.push_back(*std::move(next));
      if (way.size() > kPartsMax) break;
      continue;
    }
    const std::string target = HOZON_TRY(link::name_bytes(next->entry.target));
    std::deque<std::string> more = split(target);
    if (++links > kLinksMax || more.size() + parts.size() > kPartsMax)
      return make_error(Code::kInvalidArgument,
                        "'{}' in file system {} goes through more than {} symbolic links", shown,
                        name_, kLinksMax);
    if (target.starts_with('/')) way.resize(1);
    parts.insert(parts.begin(), more.begin(), more.end());
  }
  Node found = std::move(way.back());
  return found;
}

Result<Tree::Reader> Tree::open(const Node& file) {
  Reader reader;
  reader.disk_ = &disk_;
  reader.name_ = fmt::format("'{}' of file system {}", file.entry.name, name_);
  reader.size_ = file.entry.size_bytes;
  reader.file_.reset(::tsk_fs_file_open_meta(info_.get(), nullptr, file.number));
  if (!reader.file_) return damaged("'" + file.entry.name + "'");
  const TSK_FS_ATTR* const content = ::tsk_fs_file_attr_get(reader.file_.get());
  if (content == nullptr && reader.size_ > 0) return damaged("'" + file.entry.name + "'");
  ::tsk_error_reset();
  const bool plain = content != nullptr && (content->flags & TSK_FS_ATTR_NONRES) != 0 &&
                     (content->flags & TSK_FS_ATTR_COMP) == 0 && content->nrd.skiplen == 0;
  if (!plain) {
    if (reader.size_ > 0) reader.runs_.push_back({0, reader.size_});
    return reader;
  }
  const uint64_t block = info_->block_size;
  uint64_t end = 0;
  for (const TSK_FS_ATTR_RUN* run = content->nrd.run; run != nullptr; run = run->next) {
    const bool stored =
        (run->flags & (TSK_FS_ATTR_RUN_FLAG_SPARSE | TSK_FS_ATTR_RUN_FLAG_FILLER)) == 0;
    // Runs of a disk that lies may overlap, be too long or out of order: then all of it is read.
    if (run->offset > reader.size_ / block + 1 || run->offset * block < end ||
        reader.runs_.size() > kRunsMax) {
      reader.runs_ = {{0, reader.size_}};
      break;
    }
    const uint64_t first = run->offset * block;
    const uint64_t last = run->len > (reader.size_ - std::min(first, reader.size_)) / block
                              ? reader.size_
                              : std::min(first + run->len * block, reader.size_);
    if (stored && last > first) {
      if (!reader.runs_.empty() && reader.runs_.back().offset + reader.runs_.back().length == first)
        reader.runs_.back().length += last - first;
      else
        reader.runs_.push_back({first, last - first});
    }
    end = std::max(end, last);
  }
  return reader;
}

Result<size_t> Tree::Reader::read(uint64_t offset, std::span<char> into) {
  size_t done = 0;
  while (done < into.size() && offset + done < size_) {
    const size_t wanted = std::min<uint64_t>(into.size() - done, size_ - offset - done);
    const ssize_t got = ::tsk_fs_file_read(file_.get(), static_cast<TSK_OFF_T>(offset + done),
                                           into.data() + done, wanted, TSK_FS_FILE_READ_FLAG_NONE);
    if (got <= 0) {
      const std::string reason = tsk_reason();
      const std::string failure = disk_->take_read_failure();
      return make_error(failure.empty() ? Code::kWrongState : Code::kIo,
                        "{} cannot be read at byte {}: {}", name_, offset + done,
                        failure.empty() ? reason : failure);
    }
    done += static_cast<size_t>(got);
  }
  return done;
}

}  // namespace hozon::files
