// The qcow2 header is read twice: here, for the rules that are ours, and by `qemu-img info`, which
// knows the format's own rules better than we ever should.
#include "control/image.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/bytes.h"
#include "base/endian.h"
#include "base/fd.h"
#include "base/units.h"
#include "control/names.h"
#include "control/program.h"
#include "control/qemu_img.h"

namespace hozon::control {
namespace {

using nlohmann::json;

constexpr uint64_t kInfoMemory = 1_GiB;
constexpr uint64_t kInfoSeconds = 30;

// The part of the qcow2 header that decides whether we take the file (QEMU docs/interop/qcow2.txt).
struct Qcow2Header {
  std::array<char, 4> magic;
  Be<uint32_t> version;
  Be<uint64_t> backing_file_offset;
  Be<uint32_t> backing_file_size;
  Be<uint32_t> cluster_bits;
  Be<uint64_t> size;
  Be<uint32_t> crypt_method;
  std::array<uint8_t, 36> tables;
  Be<uint64_t> incompatible_features;  // version 3
};
static_assert(sizeof(Qcow2Header) == 80 && alignof(Qcow2Header) == 1);
static_assert(offsetof(Qcow2Header, incompatible_features) == 72);

constexpr std::array<char, 4> kQcow2Magic = {'Q', 'F', 'I', '\xfb'};
constexpr uint64_t kFeatureCorrupt = 1U << 1;
constexpr uint64_t kFeatureExternalData = 1U << 2;
constexpr uint64_t kFeaturesKnown = 0x1f;  // dirty, corrupt, external data, compression, large L2

struct Magic {
  std::string_view bytes;
  std::string_view name;
};
// Formats that would otherwise be taken for raw disks and give a guest that cannot boot.
constexpr std::array kForeign = {Magic{"KDMV", "VMDK"},
                                 Magic{"# Disk DescriptorFile", "VMDK descriptor"},
                                 Magic{"vhdxfile", "VHDX"},
                                 Magic{"conectix", "VHD"},
                                 Magic{"<<< ", "VDI"},
                                 Magic{std::string_view("QED\0", 4), "QED"},
                                 Magic{"LUKS\xba\xbe", "LUKS (encrypted)"},
                                 Magic{"\x1f\x8b", "gzip-compressed"},
                                 Magic{"\xfd"
                                       "7zXZ",
                                       "xz-compressed"},
                                 Magic{"\x28\xb5\x2f\xfd", "zstd-compressed"},
                                 Magic{"PK\x03\x04", "ZIP"}};

std::unexpected<Error> refuse(const std::string& path, std::string_view reason) {
  return make_error(Code::kInvalidArgument, "image '{}' {}", path, reason);
}

Status check_qcow2_header(const std::string& path, const Qcow2Header& header) {
  if (header.version != 2 && header.version != 3)
    return refuse(path, fmt::format("is qcow2 version {}, and 2 and 3 are known",
                                    static_cast<uint32_t>(header.version)));
  if (header.backing_file_offset != 0)
    return refuse(path,
                  "needs a backing file: make it independent first with "
                  "`qemu-img convert -O qcow2 IMAGE NEW`");
  if (header.crypt_method != 0)
    return refuse(path, "is encrypted: decrypt it first with `qemu-img convert`");
  if (header.version == 2) return {};
  const uint64_t features = header.incompatible_features;
  if ((features & kFeatureExternalData) != 0)
    return refuse(path,
                  "keeps its data in another file: make it independent first with "
                  "`qemu-img convert -O qcow2 IMAGE NEW`");
  if ((features & kFeatureCorrupt) != 0)
    return make_error(Code::kCorruption,
                      "image '{}' is marked as corrupt: `qemu-img check -r all` may repair a copy",
                      path);
  if ((features & ~kFeaturesKnown) != 0)
    return refuse(path, fmt::format("uses unknown qcow2 features (0x{:x})", features));
  return {};
}

Result<uint64_t> virtual_size(const std::string& path, const std::string& format,
                              const std::string& qemu_img) {
  const ProgramEnd end =
      HOZON_TRY(run_program({.argv = {qemu_img, "info", "--output=json", "-f", format, path},
                             .address_space_bytes = kInfoMemory,
                             .cpu_seconds = kInfoSeconds,
                             .on_output = {}}));
  if (end.exit_status != 0)
    return make_error(Code::kCorruption, "image '{}' cannot be read as {}: {}", path, format,
                      complaint_of(end));
  const json info = json::parse(end.output, nullptr, false);
  if (!info.is_object() || !info.contains("virtual-size") ||
      !info["virtual-size"].is_number_unsigned())
    return make_error(Code::kInternal, "qemu-img said nothing usable about '{}'", path);
  for (const char* forbidden : {"backing-filename", "full-backing-filename"})
    if (info.contains(forbidden)) return refuse(path, "needs a backing file");
  if (info.value("encrypted", false)) return refuse(path, "is encrypted");
  if (info.contains("format-specific") && info["format-specific"].contains("data") &&
      info["format-specific"]["data"].contains("data-file"))
    return refuse(path, "keeps its data in another file");
  return info["virtual-size"].get<uint64_t>();
}

}  // namespace

Result<Image> inspect_image(const std::string& path, const std::string& qemu_img) {
  if (path.find('\0') != std::string::npos) return refuse("", "has an impossible name");
  std::error_code error;
  Image image{std::filesystem::canonical(path, error).string(), "raw", 0};
  if (error) return errno_error(error.value(), "image '{}'", path);
  // O_NONBLOCK: a FIFO must not hold us.
  const Fd file(::open(image.path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!file) return errno_error(errno, "image '{}'", path);
  struct stat status{};
  if (::fstat(file.get(), &status) != 0) return errno_error(errno, "image '{}'", path);
  if (!S_ISREG(status.st_mode) && !S_ISBLK(status.st_mode))
    return refuse(path, "is neither a file nor a block device");
  Qcow2Header header{};
  const ssize_t length = ::pread(file.get(), &header, sizeof(header), 0);
  if (length < 0) return errno_error(errno, "read image '{}'", path);
  if (length == 0) return refuse(path, "is empty");
  const std::string_view start(reinterpret_cast<const char*>(&header), static_cast<size_t>(length));
  for (const Magic& foreign : kForeign)
    if (start.starts_with(foreign.bytes))
      return refuse(path, fmt::format("is {}, and raw and qcow2 are taken: convert it first with "
                                      "`qemu-img convert -O qcow2 IMAGE NEW`",
                                      foreign.name));
  if (header.magic == kQcow2Magic) {
    image.format = "qcow2";
    if (static_cast<size_t>(length) < sizeof(header))
      return make_error(Code::kCorruption, "image '{}' is cut inside its header", path);
    HOZON_TRY(check_qcow2_header(path, header));
  }
  const uint64_t bytes = HOZON_TRY(virtual_size(image.path, image.format, qemu_img));
  image.size_bytes = round_up(bytes, kSectorBytes);
  if (const Status fits = check_volume_size(image.size_bytes); !fits)
    return add_context(fits.error(), fmt::format("image '{}'", path));
  return image;
}

Status import_image(const Image& image, const std::string& uri, const std::string& qemu_img,
                    const std::function<bool(uint64_t)>& on_progress) {
  // -t writeback: qemu-img's default would never flush the target. -W: a volume takes its blocks in
  // any order, and one write at a time would leave the disk idle.
  const std::string complaint =
      HOZON_TRY(run_qemu_img({qemu_img, "convert", "-n", "-p", "-W", "-t", "writeback", "-f",
                              image.format, "-O", "raw", image.path, uri},
                             image.size_bytes, on_progress));
  if (complaint.empty()) return {};
  return make_error(Code::kCorruption, "image '{}' could not be imported: {}", image.path,
                    complaint);
}

}  // namespace hozon::control
