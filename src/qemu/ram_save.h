// src/qemu/ram_save.h
// Saving a machine's memory to a memory volume and bringing it back, by the helper program
// hozon-ram.
//
// The helper is a process of its own because QEMU freezes its guest whenever nobody reads the
// stream: it must outlive hozond and hozon-stored. The order of a save:
//   1  start_ram_save(): the helper runs, is connected to the volume and has marked it "no image".
//   2  QMP stop; make the disks' points; send_fd("mig", helper.stream); migrate {"uri":"fd:mig"};
//      reset helper.stream (or the helper never sees the end of the stream). No `cont`, unless QEMU
//      sent no RESUME and first_page_ns != 0 (qemu-facts.md, 1).
//      With `is_held` QEMU prepares ahead, while the guest runs: send_fd; migrate; reset
//      helper.stream; wait until QEMU is at rest (thread_watch.h); stop; points; the status of the
//      migration must be "setup" still; reset helper.gate.
//   3  wait for MIGRATION completed|failed, and with wait_ram_helper() for the phase kDone or
//   kFailed.
//      Only both together make a memory snapshot: then make the point of the volume.
// When the save failed for QEMU: free_write_protection(qemu pid). Never migrate_cancel. A hozond
// that starts again adopts the helper (DetachedProcess::adopt with `name`) or just reads its status
// file.
//
// The order of a load: launch QEMU with StartMode::kIncoming and the read end of a pipe,
// start_ram_load() with the write end, wait for kDone and for QEMU to leave "inmigrate". On
// kFailed: kill QEMU. The helper closes the stream before the device state when any checksum is
// wrong, so QEMU cannot run such a memory.
#pragma once

#include <csignal>
#include <cstdint>
#include <string>

#include "base/fd.h"
#include "base/result.h"
#include "base/units.h"
#include "qemu/process.h"

namespace hozon {

// Size of the volume that holds the memory of a machine (docs/memory-image.md).
constexpr uint64_t kMemoryVolumeTailBytes = 64_MiB;
constexpr uint64_t memory_volume_bytes(uint64_t ram_bytes) {
  return round_up(ram_bytes, 1_MiB) + kMemoryVolumeTailBytes;
}

struct RamHelperRequest {
  std::string program = "hozon-ram";  // path of the helper
  std::string directory;  // the machine's directory: status, log and spill files go here
  std::string name;  // "save-<id>": <name>.{json,log,pid} in `directory`; also the adopt() mark
  std::string uri;   // NBD URI of the memory volume, or of its point
  uint64_t ram_bytes = 0;
  int patience_ms = 60'000;  // how long a silent NBD server is waited for
  bool is_mapped = false;    // load: QEMU maps the image, so only the devices' state is sent
  bool is_held = false;      // save: the stream takes nothing before RamHelper::gate is closed
};

enum class RamPhase {
  kStarting,
  kReady,    // save: connected, waiting for the first byte
  kRunning,  // the stream flows
  kDone,     // save: all is flushed and verified complete; load: QEMU has been given everything
  kFailed,   // final; a save goes on draining until QEMU ends the stream
};

// Content of the status file <name>.json, replaced atomically at every change of phase and ten
// times a second in between.
struct RamStatus {
  RamPhase phase = RamPhase::kStarting;
  uint64_t stream_bytes = 0;  // read from (written to) QEMU so far
  uint64_t pages_seen = 0;    // page records of m0, zero pages included
  uint64_t pages_total = 0;   // ram_bytes / 4096
  uint64_t pages_zero = 0;
  uint64_t pages_written = 0;  // pages that differed from what the volume held, now written
  uint64_t thin_bytes = 0;
  uint64_t buffered_bytes = 0;  // arrived but not stored yet
  uint64_t first_page_ns = 0;   // CLOCK_MONOTONIC of the first RAM page record; 0: none yet
  bool stream_ended = false;
  Error error;  // when kFailed
};

// Sent to the helper of a save: it stops storing at once, lets go of the volume, and only drains
// the stream from then on (the status becomes kFailed).
constexpr int kGiveUpSignal = SIGUSR1;

struct RamHelper {
  DetachedProcess process;
  std::string status_path;
  Fd stream;  // save: the write end for QEMU. load: empty
  // Of a held save: its stream is full to the brim, so that QEMU, which writes its first bytes
  // after it has walked through all of the memory and before it touches the guest, waits there.
  // Closing this, also by the death of its owner, lets the stream flow.
  Fd gate;
};

// Returns when the helper is kReady; an error when it fails before or is not ready in `timeout_ms`.
Result<RamHelper> start_ram_save(const RamHelperRequest& request, int timeout_ms = 10'000);
// `stream`: write end of the pipe whose read end QEMU got. The caller closes its own copy
// afterwards.
Result<RamHelper> start_ram_load(const RamHelperRequest& request, int stream);

Result<RamStatus> read_ram_status(const std::string& status_path);
// Waits until the phase is final, or (`first_page`) the first page was seen. kUnavailable: not in
// time. A helper that died without a verdict is reported as kFailed.
Result<RamStatus> wait_ram_helper(const RamHelper& helper, int timeout_ms, bool first_page = false);

}  // namespace hozon
