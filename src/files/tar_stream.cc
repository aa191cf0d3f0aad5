#include "files/tar_stream.h"

#include <archive.h>
#include <archive_entry.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <span>

namespace hozon::files {
namespace {

constexpr size_t kPieceBytes = 1 << 20;
constexpr size_t kHoleBytes = 64 << 20;
constexpr size_t kFailuresMax = 10'000;  // lines
constexpr int64_t kSecond = 1'000'000'000;

struct ArchiveCloser {
  void operator()(archive* handle) const { ::archive_write_free(handle); }
};
struct EntryCloser {
  void operator()(archive_entry* entry) const { ::archive_entry_free(entry); }
};
struct HeapCloser {
  void operator()(char* memory) const { std::free(memory); }
};
using EntryPtr = std::unique_ptr<archive_entry, EntryCloser>;

la_ssize_t write_piece(archive*, void* output, const void* bytes, size_t length) {
  ssize_t moved = 0;
  do {
    moved = ::write(*static_cast<int*>(output), bytes, length);
  } while (moved < 0 && errno == EINTR);
  return moved;
}

class TarWriter {
 public:
  TarWriter(Tree& tree, int output) : tree_(tree), output_(output), room_(kPieceBytes) {}

  Status open() {
    archive_.reset(::archive_write_new());
    if (!archive_) return make_error(Code::kResourceExhausted, "no memory for an archive");
    ::archive_write_set_format_pax_restricted(archive_.get());
    ::archive_write_set_bytes_in_last_block(archive_.get(), 1);
    return checked(::archive_write_open(archive_.get(), &output_, nullptr, write_piece, nullptr));
  }

  Status add(const Node& node, const std::string& path) {
    if (++members_ > kTarMembersMax)
      return make_error(Code::kResourceExhausted, "more than {} files", kTarMembersMax);
    const std::string& kind = node.entry.kind;
    if (kind == "directory") return add_directory(node, path);
    if (kind == "file") return add_file(node, path);
    if (kind == "symlink") return add_link(node, path);
    if (kind == "other") note(path, "its record is damaged");
    return {};
  }

  Status finish() {
    if (!failures_.empty()) {
      Node node;
      node.entry.size_bytes = failures_.size();
      node.entry.mode = 0644;
      const EntryPtr entry = entry_of(node, kFailuresMember, AE_IFREG);
      HOZON_TRY(checked(::archive_write_header(archive_.get(), entry.get())));
      HOZON_TRY(put(failures_));
    }
    return checked(::archive_write_close(archive_.get()));
  }

 private:
  Status checked(int result) {
    // A warning is about a name that is no text of this locale: its bytes are kept.
    if (result >= ARCHIVE_WARN) return {};
    const char* const text = ::archive_error_string(archive_.get());
    return make_error(Code::kIo, "the archive cannot be written: {}",
                      text != nullptr ? text : "unknown error");
  }

  void note(const std::string& path, std::string_view why) {
    if (++failure_count_ > kFailuresMax) return;
    failures_ += fmt::format("{}: {}\n", link::name_text(path), why);
  }

  static EntryPtr entry_of(const Node& node, const std::string& path, unsigned type) {
    EntryPtr entry(::archive_entry_new());
    ::archive_entry_set_pathname(entry.get(), path.c_str());
    ::archive_entry_set_filetype(entry.get(), type);
    ::archive_entry_set_perm(entry.get(), static_cast<__LA_MODE_T>(node.entry.mode));
    ::archive_entry_set_uid(entry.get(), static_cast<la_int64_t>(node.entry.uid));
    ::archive_entry_set_gid(entry.get(), static_cast<la_int64_t>(node.entry.gid));
    const auto modified = static_cast<int64_t>(node.entry.modified_ns);
    ::archive_entry_set_mtime(entry.get(), modified / kSecond, modified % kSecond);
    if (type == AE_IFREG)
      ::archive_entry_set_size(entry.get(), static_cast<la_int64_t>(node.entry.size_bytes));
    return entry;
  }

  Status put(std::string_view bytes) {
    const la_ssize_t put = ::archive_write_data(archive_.get(), bytes.data(), bytes.size());
    return put == static_cast<la_ssize_t>(bytes.size()) ? Status() : checked(ARCHIVE_FATAL);
  }

  Status add_directory(const Node& node, const std::string& path) {
    if (std::ranges::find(above_, node.number) != above_.end() || above_.size() >= kTarDepthMax) {
      note(path, "a directory that contains itself, or too deep");
      return {};
    }
    const EntryPtr entry = entry_of(node, path + "/", AE_IFDIR);
    HOZON_TRY(checked(::archive_write_header(archive_.get(), entry.get())));
    const auto nodes = tree_.list(node);
    if (!nodes) {
      note(path, nodes.error().what);
      return {};
    }
    above_.push_back(node.number);
    for (const Node& below : *nodes) {
      if (is_usable_name(below.name))
        HOZON_TRY(add(below, path + "/" + below.name));
      else
        note(path, "an entry that is called '" + below.entry.name + "'");
    }
    above_.pop_back();
    return {};
  }

  Status add_link(const Node& node, const std::string& path) {
    const auto target = link::name_bytes(node.entry.target);
    if (!target || target->empty()) {
      note(path, "a symbolic link to nowhere");
      return {};
    }
    const EntryPtr entry = entry_of(node, path, AE_IFLNK);
    ::archive_entry_set_symlink(entry.get(), target->c_str());
    return checked(::archive_write_header(archive_.get(), entry.get()));
  }

  Status add_file(const Node& node, const std::string& path) {
    auto reader = tree_.open(node);
    if (!reader) {
      note(path, reader.error().what);
      return {};
    }
    const EntryPtr entry = entry_of(node, path, AE_IFREG);
    const bool whole = reader->runs().size() == 1 && reader->runs()[0].offset == 0 &&
                       reader->runs()[0].length == node.entry.size_bytes;
    if (!whole && node.entry.size_bytes > 0) {
      for (const Tree::Run& run : reader->runs())
        ::archive_entry_sparse_add_entry(entry.get(), static_cast<la_int64_t>(run.offset),
                                         static_cast<la_int64_t>(run.length));
      // An end that is a hole is told by an empty run behind it.
      ::archive_entry_sparse_add_entry(entry.get(), static_cast<la_int64_t>(node.entry.size_bytes),
                                       0);
    }
    HOZON_TRY(checked(::archive_write_header(archive_.get(), entry.get())));
    if (whole) return copy(*reader, path, {0, node.entry.size_bytes});
    return copy_with_holes(*reader, node, path);
  }

  // The archive takes all bytes of the file, and leaves out those of the holes itself.
  Status copy_with_holes(Tree::Reader& reader, const Node& node, const std::string& path) {
    uint64_t at = 0;
    for (const Tree::Run& run : reader.runs()) {
      HOZON_TRY(skip(run.offset - at));
      HOZON_TRY(copy(reader, path, run));
      at = run.offset + run.length;
    }
    return skip(node.entry.size_bytes - at);
  }

  // Of memory that is never touched, so that the 16 TiB of a file that has nothing pass quickly.
  Status skip(uint64_t length) {
    if (length > 0 && !zeros_) zeros_.reset(static_cast<char*>(std::calloc(kHoleBytes, 1)));
    if (length > 0 && !zeros_) return make_error(Code::kResourceExhausted, "no memory for a hole");
    while (length > 0) {
      const size_t piece = std::min<uint64_t>(length, kHoleBytes);
      HOZON_TRY(put({zeros_.get(), piece}));
      length -= piece;
    }
    return {};
  }

  Status copy(Tree::Reader& reader, const std::string& path, const Tree::Run& run) {
    bool failed = false;
    for (uint64_t done = 0; done < run.length;) {
      const size_t piece = std::min<uint64_t>(room_.size(), run.length - done);
      const std::span into(room_.data(), piece);
      const auto got = failed ? Result<size_t>(0) : reader.read(run.offset + done, into);
      if (!got) {
        note(path, got.error().what);
        failed = true;
      }
      const size_t good = got ? *got : 0;
      std::ranges::fill(into.subspan(good), '\0');
      HOZON_TRY(put({into.data(), piece}));
      done += piece;
    }
    return {};
  }

  Tree& tree_;
  int output_;
  std::vector<char> room_;
  std::unique_ptr<archive, ArchiveCloser> archive_;
  std::unique_ptr<char, HeapCloser> zeros_;
  std::vector<TSK_INUM_T> above_;
  std::string failures_;
  size_t failure_count_ = 0;
  size_t members_ = 0;
};

}  // namespace

Status write_bytes(int output, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t moved = ::write(output, bytes.data(), bytes.size());
    if (moved < 0 && errno == EINTR) continue;
    if (moved < 0) return errno_error(errno, "write the answer");
    bytes.remove_prefix(static_cast<size_t>(moved));
  }
  return {};
}

Status write_tar(Tree& tree, const Node& node, int output) {
  TarWriter writer(tree, output);
  HOZON_TRY(writer.open());
  HOZON_TRY(writer.add(node, node.name == "/" ? "root" : node.name));
  return writer.finish();
}

Status write_file(Tree& tree, const Node& file, int output) {
  Tree::Reader reader = HOZON_TRY(tree.open(file));
  std::vector<char> room(kPieceBytes);
  for (uint64_t at = 0; at < file.entry.size_bytes;) {
    const size_t got = HOZON_TRY(reader.read(at, room));
    HOZON_TRY(write_bytes(output, {room.data(), got}));
    at += got;
  }
  return {};
}

}  // namespace hozon::files
