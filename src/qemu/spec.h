// src/qemu/spec.h
// From the description of a machine to QEMU's command line, and the rule that says whether a saved
// memory may be loaded under another description.
//
// Invariants
//   I1  Every PCI device has a pinned address; disks and NICs keep theirs when others come or go.
//   I2  The machine type is versioned and the CPU model named; neither "host" nor "max" is
//   accepted.
//   I3  Guest RAM is one block called m0, because the name is part of the migration stream. It is
//       anonymous, because background saving needs that, unless it is mapped from a saved image.
//   I4  Sockets and logs are named relative to the machine's directory, QEMU's working directory,
//   so a
//       long path does not matter and the command line holds nothing of it.
//   I5  A disk that stays away longer than kReconnectSeconds pauses the guest; it never fails a
//   write.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "qemu/accelerator.h"
#include "qemu/firmware.h"

namespace hozon {

constexpr int kReconnectSeconds = 60;
constexpr size_t kDisksMax = 8;
constexpr size_t kNicsMax = 8;
constexpr unsigned kCpusMax = 64;
constexpr uint64_t kMemoryBytesMin = 32ULL << 20;
constexpr uint64_t kMemoryBytesMax = 1ULL << 40;

// Names inside a machine's directory (contracts with hozond's console and agent code).
inline constexpr const char* kQmpSocket = "qmp.sock";
inline constexpr const char* kSerialSocket = "serial.sock";
inline constexpr const char* kSerialLog = "serial.log";
inline constexpr const char* kAgentSocket = "agent.sock";
inline constexpr const char* kQemuLog = "qemu.log";
inline constexpr const char* kQemuPidFile = "qemu.pid";

struct DiskSpec {
  std::string id;          // "vda" .. "vdh": fixes the PCI address (I1)
  std::string nbd_socket;  // absolute path
  std::string nbd_export;
  std::optional<unsigned> boot_index;
  bool read_only = false;
};

struct NicSpec {
  std::string id;   // "net0" .. "net7": fixes the PCI address (I1)
  std::string mac;  // "52:54:00:12:34:56"
  std::string kind = "user";
};

struct MachineSpec {
  std::string uuid;
  std::string name;
  uint64_t memory_bytes = 0;  // a multiple of 1 MiB
  unsigned cpus = 1;
  std::string machine_type;  // "pc-q35-7.2"
  std::string cpu_model;
  Accelerator accelerator = Accelerator::kTcg;
  std::vector<DiskSpec> disks;
  std::vector<NicSpec> nics;
  std::string kernel;  // absolute paths; empty: boot from disk
  std::string initrd;
  std::string append;
  std::string vmgenid;  // uuid, or "auto"; empty: no such device
  bool agent = true;    // a virtio-serial port for the guest agent
  bool vga = false;
  Firmware firmware = Firmware::kBios;
  DiskSpec nvram;    // of a UEFI machine: where its variables are; no id
  bool tpm = false;  // swtpm listens at kTpmSocket
  // Absolute path of a memory image that QEMU maps privately (ram_serve.h); empty: fresh memory.
  std::string memory_file;
};

enum class StartMode {
  kRun,       // boots and runs
  kPaused,    // boots, and stands still until `cont`
  kIncoming,  // waits for a migration stream on the descriptor kIncomingFd, then stands still
};
constexpr int kIncomingFd = 3;  // pass it with LaunchRequest::fds

// kInvalidArgument names the field and the remedy.
Status validate_spec(const MachineSpec& spec);
// argv[0] is `qemu_binary`. QEMU's working directory must be the machine's directory (I4).
Result<std::vector<std::string>> build_command_line(const MachineSpec& spec, StartMode mode,
                                                    const std::string& qemu_binary);

// The part of the command line that a saved memory depends on, to be kept with a memory snapshot:
// no sockets, exports, paths, accelerator, uuid, name, MAC or boot order. Order and text are
// stable.
Result<std::vector<std::string>> normalised_command_line(const MachineSpec& spec);

// The gate before a memory restore: QEMU itself checks only some of this, and accepts another CPU
// model or an extra device without a word. kWrongState names what differs and the remedy.
struct SavedEnvironment {
  std::vector<std::string> normalised;
  std::string qemu_version;
  Accelerator accelerator = Accelerator::kTcg;
};
Status check_memory_restorable(const SavedEnvironment& saved, const SavedEnvironment& now);

std::string new_uuid();         // random, version 4
std::string new_mac_address();  // random, 52:54:00:xx:xx:xx

}  // namespace hozon
