#include "files/disk.h"

#include <libnbd.h>

#include <algorithm>
#include <array>
#include <cstring>

namespace hozon::files {
namespace {

constexpr uint64_t kUnit = 512;  // of requests; Hozon's server takes nothing smaller
constexpr size_t kRequestMax = 1 << 20;
constexpr size_t kHeadBytes = 68 << 10;  // as far as the marks below are looked for

std::string nbd_reason() {
  const char* const text = ::nbd_get_error();
  return text != nullptr ? text : "unknown error";
}

// What is recognised so that it can be named, but is not read.
struct Mark {
  size_t offset;
  std::string_view bytes;
  std::string_view type;
};
constexpr std::array kMarks = {
    Mark{0, "XFSB", "xfs"},
    Mark{0x10040, "_BHRfS_M", "btrfs"},
    Mark{0x218, "LVM2 001", "LVM"},
    Mark{0, "LUKS\xba\xbe", "LUKS"},
    Mark{4086, "SWAPSPACE2", "swap"},
    Mark{0, "hsqs", "squashfs"},
    Mark{0x400, "\x10\x20\xf5\xf2", "f2fs"},
    Mark{4096, "\xfc\x4e\x2b\xa9", "RAID member"},
    Mark{0, "-FVE-FS-", "BitLocker"},
    Mark{3, "-FVE-FS-", "BitLocker"},
};

std::string_view type_by_mark(const std::string& head) {
  for (const Mark& mark : kMarks)
    if (head.size() >= mark.offset + mark.bytes.size() &&
        head.compare(mark.offset, mark.bytes.size(), mark.bytes) == 0)
      return mark.type;
  return {};
}

std::string type_name(TSK_FS_TYPE_ENUM type) {
  switch (type) {
    case TSK_FS_TYPE_EXT2: return "ext2";
    case TSK_FS_TYPE_EXT3: return "ext3";
    case TSK_FS_TYPE_EXT4: return "ext4";
    case TSK_FS_TYPE_FAT12:
    case TSK_FS_TYPE_FAT16:
    case TSK_FS_TYPE_FAT32: return "vfat";
    case TSK_FS_TYPE_EXFAT: return "exfat";
    case TSK_FS_TYPE_NTFS: return "ntfs";
    case TSK_FS_TYPE_ISO9660: return "iso9660";
    case TSK_FS_TYPE_HFS: return "hfs+";
    case TSK_FS_TYPE_FFS1:
    case TSK_FS_TYPE_FFS1B:
    case TSK_FS_TYPE_FFS2: return "ufs";
    default: return {};
  }
}

// Of the superblock of ext2, ext3 and ext4.
std::string ext_label(const std::string& head) {
  constexpr size_t kLabel = 1024 + 120, kLabelBytes = 16;
  if (head.size() < kLabel + kLabelBytes) return {};
  const std::string label = head.substr(kLabel, kLabelBytes);
  return link::name_text(label.substr(0, label.find('\0')));
}

std::string note_of_use(const JournalOverlay& overlay) {
  if (overlay.failure().empty())
    return "was in use: shown as after a power cut, with its journal replayed; what the guest had "
           "not written yet is missing, and a snapshot with --quiesce require has everything";
  return "was in use, and files of the last seconds may be missing or old: " + overlay.failure() +
         "; a snapshot with --quiesce require has everything";
}

bool has_journal(TSK_FS_TYPE_ENUM type) {
  return type == TSK_FS_TYPE_EXT3 || type == TSK_FS_TYPE_EXT4;
}

// 1 to 4 and 5... as Linux numbers partitions of an MBR, the entry's number for a GPT; 0: no such.
int partition_number(const TSK_VS_INFO& table, const TSK_VS_PART_INFO& part, int& logical) {
  if ((part.flags & TSK_VS_PART_FLAG_ALLOC) == 0 || (part.flags & TSK_VS_PART_FLAG_META) != 0)
    return 0;
  if (table.vstype != TSK_VS_TYPE_DOS) return part.slot_num >= 0 ? part.slot_num + 1 : 0;
  return part.table_num == 0 ? part.slot_num + 1 : ++logical;
}

struct TableCloser {
  void operator()(TSK_VS_INFO* table) const { ::tsk_vs_close(table); }
};

}  // namespace

std::string tsk_reason() {
  const char* const text = ::tsk_error_get();
  std::string reason = link::name_text(text != nullptr ? text : "unknown error");
  ::tsk_error_reset();
  return reason;
}

Disk::Disk(nbd_handle* handle, std::string name, uint64_t size_bytes)
    : handle_(handle), name_(std::move(name)), size_bytes_(size_bytes) {}

Result<std::unique_ptr<Disk>> Disk::open(Fd socket, std::string name,
                                         const std::string& export_name) {
  nbd_handle* const handle = ::nbd_create();
  if (handle == nullptr) return make_error(Code::kResourceExhausted, "{}", nbd_reason());
  std::unique_ptr<Disk> disk(new Disk(handle, std::move(name), 0));
  if (::nbd_set_export_name(handle, export_name.c_str()) != 0 ||
      ::nbd_connect_socket(handle, socket.release()) != 0)
    return make_error(Code::kUnavailable, "disk {} cannot be reached: {}", disk->name_,
                      nbd_reason());
  if (::nbd_is_read_only(handle) != 1)
    return make_error(Code::kInternal, "disk {} is offered for writing", disk->name_);
  const int64_t size = ::nbd_get_size(handle);
  if (size < 0) return make_error(Code::kIo, "size of disk {}: {}", disk->name_, nbd_reason());
  disk->size_bytes_ = static_cast<uint64_t>(size);
  if (disk->size_bytes_ < kUnit)
    return make_error(Code::kInvalidArgument, "disk {} is empty", disk->name_);
  TSK_IMG_INFO& info = disk->image_.info;
  disk->image_.disk = disk.get();
  if (::tsk_img_open_external(
          &info, size, kUnit, read_image, [](TSK_IMG_INFO*) {}, [](TSK_IMG_INFO*, FILE*) {}) ==
      nullptr)
    return make_error(Code::kInternal, "disk {}: {}", disk->name_, tsk_reason());
  return disk;
}

Disk::~Disk() { ::nbd_close(handle_); }

Status Disk::read(uint64_t offset, std::span<std::byte> into) {
  while (!into.empty()) {
    const size_t piece = std::min(into.size(), kRequestMax);
    if (::nbd_pread(handle_, into.data(), piece, offset, 0) != 0) {
      read_failure_ = fmt::format("byte {} of disk {}: {}", offset, name_, nbd_reason());
      return make_error(Code::kIo, "{}", read_failure_);
    }
    offset += piece;
    into = into.subspan(piece);
  }
  return {};
}

Status Disk::read_patched(uint64_t offset, std::span<std::byte> into) {
  HOZON_TRY(read(offset, into));
  for (const auto& overlay : overlays_) HOZON_TRY(overlay->patch(offset, into));
  return {};
}

const JournalOverlay* Disk::overlay_at(uint64_t offset) const {
  const auto found = std::ranges::find_if(
      overlays_, [offset](const auto& overlay) { return overlay->offset() == offset; });
  return found == overlays_.end() ? nullptr : found->get();
}

// The library asks for what it likes; the end of a disk is a short answer, as of a file.
ssize_t Disk::read_image(TSK_IMG_INFO* info, TSK_OFF_T offset, char* into, size_t length) {
  Disk& disk = *reinterpret_cast<Image*>(info)->disk;
  const auto from = static_cast<uint64_t>(offset);
  if (offset < 0 || from >= disk.size_bytes_) return 0;
  length = std::min<uint64_t>(length, disk.size_bytes_ - from);
  const uint64_t first = from / kUnit * kUnit;
  const uint64_t end = std::min((from + length + kUnit - 1) / kUnit * kUnit, disk.size_bytes_);
  const std::span bytes = std::as_writable_bytes(std::span(into, length));
  if (first == from && end == from + length)
    return disk.read_patched(from, bytes) ? static_cast<ssize_t>(length) : -1;
  std::vector<std::byte> whole(end - first);
  if (!disk.read_patched(first, whole)) return -1;
  std::memcpy(into, whole.data() + (from - first), length);
  return static_cast<ssize_t>(length);
}

std::string Disk::head_of(uint64_t offset) {
  if (offset >= size_bytes_) return {};
  std::string head(std::min<uint64_t>(kHeadBytes, size_bytes_ - offset), '\0');
  const ssize_t got =
      read_image(&image_.info, static_cast<TSK_OFF_T>(offset), head.data(), head.size());
  head.resize(got < 0 ? 0 : static_cast<size_t>(got));
  return head;
}

OpenFilesystem Disk::open_filesystem(uint64_t offset) {
  const auto open = [&] {
    OpenFilesystem info(
        ::tsk_fs_open_img(image(), static_cast<TSK_OFF_T>(offset), TSK_FS_TYPE_DETECT));
    if (info && type_name(info->ftype).empty()) info.reset();
    return info;
  };
  OpenFilesystem info = open();
  if (!info || !has_journal(info->ftype) || overlay_at(offset) != nullptr) return info;
  overlays_.push_back(std::make_unique<JournalOverlay>(
      *info, [this](uint64_t at, std::span<std::byte> bytes) { return read(at, bytes); }));
  (void)take_read_failure();  // of the journal: told with the file system
  if (overlays_.back()->is_empty()) return info;
  // Again, from the beginning: nothing that the library has read so far counts any more.
  info.reset();
  std::ranges::fill(image_.info.cache_len, 0);
  return open();
}

link::Filesystem Disk::look_at(std::string name, uint64_t offset, uint64_t size) {
  link::Filesystem found{.name = std::move(name),
                         .disk = name_,
                         .type = {},
                         .label = {},
                         .reason = {},
                         .note = {},
                         .offset_bytes = offset,
                         .size_bytes = size};
  const std::string head = head_of(offset);
  if (const std::string failure = take_read_failure(); !failure.empty()) {
    found.reason = "its beginning cannot be read: " + failure;
    return found;
  }
  // First what is not read: it is never taken for a file system by mistake.
  found.type = type_by_mark(head);
  if (!found.type.empty()) {
    found.reason = found.type + " is not read yet";
    return found;
  }
  const OpenFilesystem open = open_filesystem(offset);
  const std::string reason = tsk_reason();
  if (open) {
    found.type = type_name(open->ftype);
    if (found.type.starts_with("ext")) found.label = ext_label(head);
    const JournalOverlay* const overlay = overlay_at(offset);
    if (overlay != nullptr && overlay->was_in_use()) found.note = note_of_use(*overlay);
    return found;
  }
  const bool blank = std::ranges::all_of(head, [](char c) { return c == 0; });
  found.reason = blank ? "there is nothing in it" : "no file system that is known: " + reason;
  return found;
}

std::vector<link::Filesystem> Disk::filesystems() {
  std::vector<link::Filesystem> found;
  // A file system without a partition table is tried first where its own mark says so, because
  // boot sectors of some look like a table.
  const std::unique_ptr<TSK_VS_INFO, TableCloser> table(
      ::tsk_vs_open(image(), 0, TSK_VS_TYPE_DETECT));
  ::tsk_error_reset();
  int logical = 4;
  const TSK_VS_PART_INFO* part = table ? table->part_list : nullptr;
  for (; part != nullptr && found.size() < link::kFilesystemsMax; part = part->next) {
    const int number = partition_number(*table, *part, logical);
    if (number == 0) continue;
    const uint64_t block = table->block_size;
    if (part->start > size_bytes_ / block) continue;
    const uint64_t offset = part->start * block;
    const uint64_t size = std::min<uint64_t>(part->len, (size_bytes_ - offset) / block) * block;
    found.push_back(look_at(fmt::format("{}{}", name_, number), offset, size));
  }
  if (found.empty()) found.push_back(look_at(name_, 0, size_bytes_));
  return found;
}

}  // namespace hozon::files
