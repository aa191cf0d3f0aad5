#include "qemu/fuse_file.h"

#include <linux/fuse.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string_view>

#include "base/bytes.h"
#include "base/log.h"
#include "base/units.h"

namespace hozon {
namespace {

constexpr uint64_t kRoot = FUSE_ROOT_ID;
constexpr uint64_t kFile = 2;
constexpr uint64_t kForEver = 1ULL << 30;  // seconds that the kernel may remember an answer
constexpr uint64_t kUnit = 4096;
constexpr uint32_t kMinorVersion = 31;

using Bytes = std::vector<std::byte>;

class Reply {
 public:
  explicit Reply(uint64_t unique) : unique_(unique), bytes_(sizeof(fuse_out_header)) {}
  template <typename T>
  Reply& add(const T& part) {
    const auto view = bytes_of(part);
    bytes_.insert(bytes_.end(), view.begin(), view.end());
    return *this;
  }
  // Room for `size` bytes; what is not kept by shrink() is taken back.
  std::span<std::byte> room(size_t size) {
    bytes_.resize(sizeof(fuse_out_header) + size);
    return std::span(bytes_).subspan(sizeof(fuse_out_header));
  }
  Bytes end(int error = 0) {
    if (error != 0) bytes_.resize(sizeof(fuse_out_header));
    const fuse_out_header header{static_cast<uint32_t>(bytes_.size()), -error, unique_};
    std::memcpy(bytes_.data(), &header, sizeof(header));
    return std::move(bytes_);
  }

 private:
  uint64_t unique_;
  Bytes bytes_;
};

// The argument of a request; false when it is too short.
template <typename T>
bool take(std::span<const std::byte> arguments, T& into) {
  if (arguments.size() < sizeof(T)) return false;
  std::memcpy(&into, arguments.data(), sizeof(T));
  return true;
}

fuse_attr attributes(uint64_t node, const FuseContent& content) {
  fuse_attr attr{};
  attr.ino = node;
  attr.mode = node == kFile ? S_IFREG | 0600U : S_IFDIR | 0700U;
  attr.size = node == kFile ? content.size_bytes() : 0;
  attr.blocks = attr.size / 512;
  attr.nlink = node == kFile ? 1 : 2;
  attr.uid = ::getuid();
  attr.gid = ::getgid();
  attr.blksize = kUnit;
  return attr;
}

Bytes answer_init(Reply reply, std::span<const std::byte> arguments) {
  // Only what every version of the structure begins with is looked at.
  uint32_t words[4] = {};
  if (arguments.size() < sizeof(words)) return reply.end(EPROTO);
  std::memcpy(words, arguments.data(), sizeof(words));
  fuse_init_out out{};
  out.major = FUSE_KERNEL_VERSION;
  out.minor = kMinorVersion;
  if (words[0] < FUSE_KERNEL_VERSION || (words[0] == FUSE_KERNEL_VERSION && words[1] < 28))
    return reply.end(EPROTO);  // Linux before 4.20
  out.max_readahead = std::min<uint32_t>(words[2], kFuseReadMax);
  out.flags = words[3] & (FUSE_ASYNC_READ | FUSE_MAX_PAGES);
  out.max_background = 64;
  out.congestion_threshold = 48;
  out.max_write = kUnit;
  out.time_gran = 1;
  out.max_pages = kFuseReadMax / kUnit;
  return reply.add(out).end();
}

Bytes answer_lookup(Reply reply, uint64_t node, std::span<const std::byte> arguments,
                    const FuseContent& content) {
  const auto* text = reinterpret_cast<const char*>(arguments.data());
  const std::string_view name(text, ::strnlen(text, arguments.size()));
  if (node != kRoot || name != kFuseFileName) return reply.end(ENOENT);
  fuse_entry_out out{};
  out.nodeid = kFile;
  out.entry_valid = kForEver;
  out.attr_valid = kForEver;
  out.attr = attributes(kFile, content);
  return reply.add(out).end();
}

Bytes answer_read(Reply reply, uint64_t node, std::span<const std::byte> arguments,
                  FuseContent& content) {
  fuse_read_in in{};
  if (node != kFile || !take(arguments, in)) return reply.end(EINVAL);
  if (in.offset % kUnit != 0 || in.size > kFuseReadMax) return reply.end(EINVAL);
  if (in.offset >= content.size_bytes()) return reply.end();
  const uint64_t whole = round_up(in.size, kUnit);
  const uint64_t length = std::min<uint64_t>(whole, content.size_bytes() - in.offset);
  const Status read = content.read(in.offset, reply.room(length));
  if (!read) {
    log_error("page {} of the memory image: {}", in.offset / kUnit, read.error().what);
    return reply.end(EIO);
  }
  if (length > in.size) (void)reply.room(in.size);
  return reply.end();
}

Bytes answer_open(Reply reply, uint64_t node, bool is_file, std::span<const std::byte> arguments) {
  fuse_open_in in{};
  if (!take(arguments, in) || (node == kFile) != is_file) return reply.end(EINVAL);
  fuse_open_out out{};
  // Pages that one guest has read are there for the next one.
  if (is_file) out.open_flags = FOPEN_KEEP_CACHE;
  return reply.add(out).end();
}

Bytes answer_statfs(Reply reply, const FuseContent& content) {
  fuse_statfs_out out{};
  out.st.bsize = kUnit;
  out.st.frsize = kUnit;
  out.st.blocks = content.size_bytes() / kUnit;
  out.st.files = 1;
  out.st.namelen = 255;
  return reply.add(out).end();
}

Bytes answer_getattr(Reply reply, uint64_t node, const FuseContent& content) {
  if (node != kRoot && node != kFile) return reply.end(ENOENT);
  fuse_attr_out out{};
  out.attr_valid = kForEver;
  out.attr = attributes(node, content);
  return reply.add(out).end();
}

}  // namespace

Bytes answer_fuse(std::span<const std::byte> request, FuseContent& content) {
  fuse_in_header header{};
  if (!take(request, header) || header.len > request.size() || header.len < sizeof(header))
    return {};
  const auto arguments = request.subspan(sizeof(header), header.len - sizeof(header));
  Reply reply(header.unique);
  switch (header.opcode) {
    case FUSE_INIT: return answer_init(std::move(reply), arguments);
    case FUSE_LOOKUP: return answer_lookup(std::move(reply), header.nodeid, arguments, content);
    case FUSE_GETATTR: return answer_getattr(std::move(reply), header.nodeid, content);
    case FUSE_OPEN: return answer_open(std::move(reply), header.nodeid, true, arguments);
    case FUSE_OPENDIR: return answer_open(std::move(reply), header.nodeid, false, arguments);
    case FUSE_READ: return answer_read(std::move(reply), header.nodeid, arguments, content);
    case FUSE_STATFS: return answer_statfs(std::move(reply), content);
    case FUSE_READDIR:  // nobody needs the list
    case FUSE_RELEASE:
    case FUSE_RELEASEDIR:
    case FUSE_FLUSH:
    case FUSE_FSYNC:
    case FUSE_DESTROY: return reply.end();
    case FUSE_FORGET:
    case FUSE_BATCH_FORGET: return {};
    case FUSE_SETATTR:
    case FUSE_WRITE:
    case FUSE_FALLOCATE: return reply.end(EROFS);
    default: return reply.end(ENOSYS);
  }
}

}  // namespace hozon
