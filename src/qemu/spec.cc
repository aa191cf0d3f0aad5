// Approach: every piece of the command line is added together with what a saved memory depends on
// of it, so the two lists cannot drift apart. Where QEMU takes JSON (-blockdev, -device, -netdev)
// we give JSON: no escaping rules, and values from people cannot add options of their own.
#include "qemu/spec.h"

#include <sys/random.h>

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <set>

#include "base/units.h"
#include "qemu/tpm.h"

namespace hozon {
namespace {

using Json = nlohmann::json;

// I1: the slots of the root bus. 0x00 is the host bridge, 0x1f belongs to the chipset.
constexpr unsigned kSlotVga = 0x01;
constexpr unsigned kSlotRng = 0x02;
constexpr unsigned kSlotSerial = 0x03;
constexpr unsigned kSlotNicFirst = 0x08;
constexpr unsigned kSlotDiskFirst = 0x10;

constexpr size_t kNameMax = 200;
constexpr size_t kAppendMax = 2048;  // what a Linux kernel takes
constexpr size_t kSocketPathMax = 107;

std::string slot(unsigned number) { return fmt::format("0x{:02x}", number); }

// In QEMU's key=value syntax a comma is doubled.
std::string escaped(std::string_view value) {
  std::string text;
  for (const char c : value) {
    text += c;
    if (c == ',') text += ',';
  }
  return text;
}

bool is_uuid(std::string_view text) {
  if (text.size() != 36) return false;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool dash = i == 8 || i == 13 || i == 18 || i == 23;
    if (dash ? text[i] != '-' : !std::isxdigit(static_cast<unsigned char>(text[i]))) return false;
  }
  return true;
}

bool is_mac(std::string_view text) {
  if (text.size() != 17) return false;
  for (size_t i = 0; i < text.size(); ++i)
    if (i % 3 == 2 ? text[i] != ':' : !std::isxdigit(static_cast<unsigned char>(text[i])))
      return false;
  const std::string first(text.substr(0, 2));
  return (std::stoi(first, nullptr, 16) & 1) == 0;  // not a multicast address
}

bool has_control_characters(std::string_view text) {
  return std::ranges::any_of(
      text, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
}

// The number in "vda" or "net0", or nothing.
std::optional<unsigned> disk_number(std::string_view id) {
  if (id.size() != 3 || !id.starts_with("vd")) return std::nullopt;
  if (id[2] < 'a' || id[2] >= static_cast<char>('a' + kDisksMax)) return std::nullopt;
  return static_cast<unsigned>(id[2] - 'a');
}
std::optional<unsigned> nic_number(std::string_view id) {
  if (id.size() != 4 || !id.starts_with("net")) return std::nullopt;
  if (id[3] < '0' || id[3] >= static_cast<char>('0' + kNicsMax)) return std::nullopt;
  return static_cast<unsigned>(id[3] - '0');
}

template <typename... Args>
Status bad(const MachineSpec& spec, fmt::format_string<Args...> format, Args&&... args) {
  return make_error(Code::kInvalidArgument, "machine '{}': {}", spec.name,
                    fmt::format(format, std::forward<Args>(args)...));
}

Status check_identity(const MachineSpec& spec) {
  if (spec.name.empty() || spec.name.size() > kNameMax || has_control_characters(spec.name))
    return make_error(Code::kInvalidArgument,
                      "a machine's name must have 1 to {} printable characters", kNameMax);
  if (!is_uuid(spec.uuid)) return bad(spec, "'{}' is not a uuid", spec.uuid);
  if (!spec.vmgenid.empty() && spec.vmgenid != "auto" && !is_uuid(spec.vmgenid))
    return bad(spec, "generation id '{}' is not a uuid", spec.vmgenid);
  return {};
}

Status check_processor(const MachineSpec& spec) {
  if (spec.memory_bytes < kMemoryBytesMin || spec.memory_bytes > kMemoryBytesMax)
    return bad(spec, "memory {} is outside {} to {}", format_bytes(spec.memory_bytes),
               format_bytes(kMemoryBytesMin), format_bytes(kMemoryBytesMax));
  if (spec.memory_bytes % 1_MiB != 0)
    return bad(spec, "memory of {} bytes is not a multiple of 1 MiB", spec.memory_bytes);
  if (!spec.memory_file.empty() && !spec.memory_file.starts_with('/'))
    return bad(spec, "memory image '{}' is not an absolute path", spec.memory_file);
  if (spec.cpus < 1 || spec.cpus > kCpusMax)
    return bad(spec, "{} CPUs; choose 1 to {}", spec.cpus, kCpusMax);
  if (!spec.machine_type.starts_with("pc-q35-") || has_control_characters(spec.machine_type) ||
      spec.machine_type.find(',') != std::string::npos)
    return bad(spec, "machine type '{}' is not a versioned one such as pc-q35-7.2",
               spec.machine_type);
  const std::string model = spec.cpu_model.substr(0, spec.cpu_model.find(','));
  if (model.empty() || has_control_characters(spec.cpu_model))
    return bad(spec, "no CPU model is given");
  if (model == "host" || model == "max" || model == "base")  // I2
    return bad(spec, "CPU model '{}' differs from host to host; name one, such as qemu64", model);
  return {};
}

Status check_disks(const MachineSpec& spec) {
  std::set<std::string> ids;
  std::set<unsigned> boot_indexes;
  for (const DiskSpec& disk : spec.disks) {
    if (!disk_number(disk.id)) return bad(spec, "disk '{}' must be one of vda to vdh", disk.id);
    if (!ids.insert(disk.id).second) return bad(spec, "disk '{}' is there twice", disk.id);
    if (!disk.nbd_socket.starts_with('/') || disk.nbd_socket.size() > kSocketPathMax)
      return bad(spec,
                 "disk '{}': NBD socket '{}' must be an absolute path of at most {} characters",
                 disk.id, disk.nbd_socket, kSocketPathMax);
    if (disk.nbd_export.empty()) return bad(spec, "disk '{}' names no NBD export", disk.id);
    if (disk.boot_index && !boot_indexes.insert(*disk.boot_index).second)
      return bad(spec, "boot index {} is there twice", *disk.boot_index);
  }
  return {};
}

Status check_firmware_volume(const MachineSpec& spec) {
  const bool has_volume = !spec.nvram.nbd_export.empty();
  if (has_volume == (spec.firmware == Firmware::kBios))
    return bad(spec, "firmware '{}' {}", firmware_name(spec.firmware),
               has_volume ? "keeps no variables" : "needs a volume for its variables");
  if (has_volume && !spec.nvram.nbd_socket.starts_with('/'))
    return bad(spec, "NBD socket '{}' of the variables is not an absolute path",
               spec.nvram.nbd_socket);
  return {};
}

Status check_nics(const MachineSpec& spec) {
  std::set<std::string> seen;
  for (const NicSpec& nic : spec.nics) {
    if (!nic_number(nic.id))
      return bad(spec, "network interface '{}' must be one of net0 to net7", nic.id);
    if (!is_mac(nic.mac))
      return bad(spec, "'{}' is not a usable MAC address (such as 52:54:00:12:34:56)", nic.mac);
    if (!seen.insert(nic.id).second || !seen.insert(nic.mac).second)
      return bad(spec, "network interface '{}' or its address {} is there twice", nic.id, nic.mac);
    if (nic.kind != "user") return bad(spec, "network '{}' is not known; use 'user'", nic.kind);
  }
  return {};
}

Status check_kernel(const MachineSpec& spec) {
  if (spec.kernel.empty()) {
    if (!spec.initrd.empty()) return bad(spec, "an initrd needs a kernel");
    if (!spec.append.empty()) return bad(spec, "kernel arguments need a kernel");
    return {};
  }
  if (!spec.kernel.starts_with('/'))
    return bad(spec, "kernel '{}' is not an absolute path", spec.kernel);
  if (!spec.initrd.empty() && !spec.initrd.starts_with('/'))
    return bad(spec, "initrd '{}' is not an absolute path", spec.initrd);
  if (spec.append.size() > kAppendMax || has_control_characters(spec.append))
    return bad(spec, "kernel arguments must be one line of at most {} characters", kAppendMax);
  return {};
}

class CommandLine {
 public:
  // `kept`: what a saved memory depends on; empty when nothing.
  void add(std::string option, std::string value, std::string kept = {}) {
    arguments_.push_back(std::move(option));
    if (!value.empty()) arguments_.push_back(std::move(value));
    if (!kept.empty()) kept_.push_back(std::move(kept));
  }
  // A device depends on all its properties but those in `own`, which belong to this machine only.
  void add_device(Json properties, const Json& own = Json::object()) {
    std::string kept = "device " + properties.dump();
    properties.update(own);
    add("-device", properties.dump(), std::move(kept));
  }
  std::vector<std::string> take_arguments() { return std::move(arguments_); }
  std::vector<std::string> take_kept() { return std::move(kept_); }

 private:
  std::vector<std::string> arguments_;
  std::vector<std::string> kept_;
};

void add_board(CommandLine& line, const MachineSpec& spec) {
  line.add("-name", "guest=" + escaped(spec.name) + ",debug-threads=on");
  line.add("-uuid", spec.uuid);
  line.add("-nodefaults", "");
  line.add("-no-user-config", "");
  line.add("-display", "none");
  line.add("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
  line.add("-accel", accelerator_name(spec.accelerator));
  const bool secure = spec.firmware == Firmware::kUefiSecure;
  const std::string machine = fmt::format(
      "{},smm={},vmport=off,memory-backend=m0{}", spec.machine_type, secure ? "on" : "off",  // I3
      spec.firmware == Firmware::kBios ? "" : ",pflash0=firmware,pflash1=nvram");
  line.add("-machine", machine, "machine " + machine);
  line.add("-cpu", spec.cpu_model, "cpu " + spec.cpu_model);
  const std::string topology = fmt::format("{},sockets=1,cores={},threads=1", spec.cpus, spec.cpus);
  line.add("-smp", topology, "smp " + topology);
  const std::string size = fmt::format("{}M", spec.memory_bytes / 1_MiB);
  line.add("-m", size, "memory " + size);
  line.add("-object", spec.memory_file.empty()
                          ? "memory-backend-ram,id=m0,size=" + size
                          : "memory-backend-file,id=m0,share=off,size=" + size +
                                ",mem-path=" + escaped(spec.memory_file));
  line.add("-rtc", "base=utc,clock=host");
  if (!spec.vmgenid.empty()) line.add_device({{"driver", "vmgenid"}}, {{"guid", spec.vmgenid}});
  if (!spec.kernel.empty()) {
    line.add("-kernel", spec.kernel);
    if (!spec.initrd.empty()) line.add("-initrd", spec.initrd);
    if (!spec.append.empty()) line.add("-append", spec.append);
  }
}

// The node of a volume. direct: no second cache in QEMU. no-flush off: every flush of the guest
// reaches the pool.
Json nbd_node(const std::string& name, const DiskSpec& disk) {
  return {{"driver", "nbd"},
          {"node-name", name},
          {"server", {{"type", "unix"}, {"path", disk.nbd_socket}}},
          {"export", disk.nbd_export},
          {"reconnect-delay", kReconnectSeconds},
          {"read-only", disk.read_only},
          {"discard", "unmap"},
          {"detect-zeroes", disk.read_only ? "off" : "unmap"},
          {"cache", {{"direct", true}, {"no-flush", false}}}};
}

void add_firmware(CommandLine& line, const MachineSpec& spec) {
  if (spec.tpm) {
    line.add("-chardev", fmt::format("socket,id=tpm,path={}", kTpmSocket));
    line.add("-tpmdev", "emulator,id=tpm0,chardev=tpm");
    line.add_device({{"driver", "tpm-crb"}, {"tpmdev", "tpm0"}});
  }
  if (spec.firmware == Firmware::kBios) return;
  const Json code = {{"driver", "file"},
                     {"node-name", "firmware"},
                     {"filename", firmware_files(spec.firmware).code},
                     {"read-only", true}};
  line.add("-blockdev", code.dump());
  line.add("-blockdev", nbd_node("nvram", spec.nvram).dump());
  if (spec.firmware != Firmware::kUefiSecure) return;
  // Only code in system management mode may write variables, and it does not survive S3.
  for (const char* property : {"driver=cfi.pflash01,property=secure,value=on",
                               "driver=ICH9-LPC,property=disable_s3,value=1"})
    line.add("-global", property, std::string("global ") + property);
}

void add_sockets(CommandLine& line, const MachineSpec& spec) {  // I4
  line.add("-chardev", fmt::format("socket,id=qmp,path={},server=on,wait=off", kQmpSocket));
  line.add("-mon", "chardev=qmp,mode=control");
  line.add("-chardev",
           fmt::format("socket,id=serial,path={},server=on,wait=off,logfile={},logappend=on",
                       kSerialSocket, kSerialLog));
  line.add("-serial", "chardev:serial", "serial isa");
  if (spec.vga) line.add_device({{"driver", "VGA"}, {"id", "vga"}, {"addr", slot(kSlotVga)}});
  line.add("-object", "rng-random,id=rng0,filename=/dev/urandom");
  line.add_device({{"driver", "virtio-rng-pci"}, {"rng", "rng0"}, {"addr", slot(kSlotRng)}});
  if (!spec.agent) return;
  line.add_device(
      {{"driver", "virtio-serial-pci"}, {"id", "vserial"}, {"addr", slot(kSlotSerial)}});
  line.add("-chardev", fmt::format("socket,id=agent,path={},server=on,wait=off", kAgentSocket));
  line.add_device({{"driver", "virtserialport"},
                   {"bus", "vserial.0"},
                   {"nr", 1},
                   {"chardev", "agent"},
                   {"name", "org.qemu.guest_agent.0"}});
}

void add_disks(CommandLine& line, const MachineSpec& spec) {
  std::vector<DiskSpec> disks = spec.disks;
  std::ranges::sort(disks, {}, &DiskSpec::id);  // the order they were given in means nothing
  for (const DiskSpec& disk : disks) {
    line.add("-blockdev", nbd_node(disk.id, disk).dump());
    Json own = {{"werror", "stop"}, {"rerror", "stop"}};  // I5
    if (disk.boot_index) own["bootindex"] = *disk.boot_index;
    line.add_device({{"driver", "virtio-blk-pci"},
                     {"id", "disk-" + disk.id},
                     {"drive", disk.id},
                     {"serial", disk.id},
                     {"write-cache", "on"},
                     {"addr", slot(kSlotDiskFirst + *disk_number(disk.id))}},
                    own);
  }
}

void add_nics(CommandLine& line, const MachineSpec& spec) {
  std::vector<NicSpec> nics = spec.nics;
  std::ranges::sort(nics, {}, &NicSpec::id);
  for (const NicSpec& nic : nics) {
    const Json backend = {{"type", nic.kind}, {"id", nic.id}};
    line.add("-netdev", backend.dump());
    line.add_device({{"driver", "virtio-net-pci"},
                     {"id", "nic-" + nic.id},
                     {"netdev", nic.id},
                     {"romfile", ""},
                     {"addr", slot(kSlotNicFirst + *nic_number(nic.id))}},
                    {{"mac", nic.mac}});
  }
}

CommandLine compose(const MachineSpec& spec, StartMode mode) {
  CommandLine line;
  add_board(line, spec);
  add_firmware(line, spec);
  add_sockets(line, spec);
  add_disks(line, spec);
  add_nics(line, spec);
  if (mode != StartMode::kRun) line.add("-S", "");
  if (mode == StartMode::kIncoming) line.add("-incoming", fmt::format("fd:{}", kIncomingFd));
  return line;
}

std::vector<int> version_numbers(const std::string& version) {
  std::vector<int> numbers;
  const char* at = version.data();
  const char* const end = at + version.size();
  while (at < end) {
    int number = 0;
    const auto [next, error] = std::from_chars(at, end, number);
    if (error != std::errc{}) break;
    numbers.push_back(number);
    at = next < end && *next == '.' ? next + 1 : end;
  }
  return numbers;
}

void fill_random(std::span<unsigned char> bytes) {
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t got = ::getrandom(bytes.data() + done, bytes.size() - done, 0);
    if (got > 0) done += static_cast<size_t>(got);
  }
}

}  // namespace

Status validate_spec(const MachineSpec& spec) {
  if (Status status = check_identity(spec); !status) return status;
  if (Status status = check_processor(spec); !status) return status;
  if (Status status = check_disks(spec); !status) return status;
  if (Status status = check_nics(spec); !status) return status;
  if (Status status = check_firmware_volume(spec); !status) return status;
  return check_kernel(spec);
}

Result<std::vector<std::string>> build_command_line(const MachineSpec& spec, StartMode mode,
                                                    const std::string& qemu_binary) {
  if (Status status = validate_spec(spec); !status) return std::unexpected(status.error());
  std::vector<std::string> arguments = compose(spec, mode).take_arguments();
  arguments.insert(arguments.begin(), qemu_binary);
  return arguments;
}

Result<std::vector<std::string>> normalised_command_line(const MachineSpec& spec) {
  if (Status status = validate_spec(spec); !status) return std::unexpected(status.error());
  return compose(spec, StartMode::kRun).take_kept();
}

Status check_memory_restorable(const SavedEnvironment& saved, const SavedEnvironment& now) {
  constexpr std::string_view kRemedy = "`--disk-only` returns without the memory";
  const auto refuse = [&](const std::string& why) {
    return make_error(Code::kWrongState, "the saved memory cannot be loaded: {}; {}", why, kRemedy);
  };
  if (saved.accelerator != now.accelerator)
    return refuse(fmt::format("it was saved under {} and this machine runs under {}",
                              accelerator_name(saved.accelerator),
                              accelerator_name(now.accelerator)));
  if (version_numbers(now.qemu_version) < version_numbers(saved.qemu_version))
    return refuse(fmt::format("it was saved by QEMU {}, which is newer than QEMU {} here",
                              saved.qemu_version, now.qemu_version));
  for (const std::string& piece : saved.normalised)
    if (std::ranges::find(now.normalised, piece) == now.normalised.end())
      return refuse(fmt::format("it needs '{}', which this machine does not have", piece));
  for (const std::string& piece : now.normalised)
    if (std::ranges::find(saved.normalised, piece) == saved.normalised.end())
      return refuse(fmt::format("this machine has '{}', which the saved one did not", piece));
  return {};
}

std::string new_uuid() {
  std::array<unsigned char, 16> b{};
  fill_random(b);
  b[6] = static_cast<unsigned char>((b[6] & 0x0f) | 0x40);
  b[8] = static_cast<unsigned char>((b[8] & 0x3f) | 0x80);
  std::string text;
  for (size_t i = 0; i < b.size(); ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) text += '-';
    text += fmt::format("{:02x}", static_cast<unsigned>(b[i]));
  }
  return text;
}

std::string new_mac_address() {
  std::array<unsigned char, 3> b{};
  fill_random(b);
  return fmt::format("52:54:00:{:02x}:{:02x}:{:02x}", static_cast<unsigned>(b[0]),
                     static_cast<unsigned>(b[1]), static_cast<unsigned>(b[2]));
}

}  // namespace hozon
