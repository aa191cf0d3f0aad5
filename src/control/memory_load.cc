// The way back to a saved memory: QEMU is started waiting, is given the state of the devices and,
// unless it maps them, all pages; then its guest may run.
#include "control/memory_load.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <thread>

#include "base/log.h"
#include "control/after_load.h"
#include "control/core.h"
#include "control/names.h"
#include "qemu/ram_save.h"

namespace hozon::control {
namespace {

using nlohmann::json;

constexpr int kLoadMs = 600'000;
constexpr int kContinueMs = 60'000;
constexpr int kHelperEndMs = 10'000;
constexpr int kPipeBytes = 1 << 20;

Result<std::array<Fd, 2>> make_pipe() {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return errno_error(errno, "make a pipe");
  ::fcntl(ends[0], F_SETPIPE_SZ, kPipeBytes);  // only a help
  return std::array<Fd, 2>{Fd(ends[0]), Fd(ends[1])};
}

// Until QEMU has taken in the whole stream, and says so.
Status wait_loaded(Core& core, const MachineRow& machine) {
  const uint64_t deadline = monotonic_us() + uint64_t{kLoadMs} * 1000;
  while (monotonic_us() < deadline) {
    const GuestHandle guest = HOZON_TRY(core.guests.handle(machine.uuid));
    const json status = HOZON_TRY(guest.qmp->call("query-status"));
    if (status.value("status", "") != "inmigrate") return {};
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return make_error(Code::kUnavailable, "QEMU did not take in the memory in time");
}

// `memory_file`: the image that QEMU maps, or empty.
Status feed_memory(Core& core, const MachineRow& machine, const SnapshotRow& target,
                   const std::string& memory_file) {
  auto pipe = HOZON_TRY(make_pipe());
  // The helper reads ahead while QEMU starts; the pipe holds what QEMU does not take yet.
  const std::string name = "load-" + new_uuid();
  RamHelperRequest request;
  request.program = core.options.program_directory + "/hozon-ram";
  request.directory = core.machine_directory(machine.uuid);
  request.name = name;
  request.uri =
      core.storage.uri(machine.pool, volume_of_disk(machine.name, kMemoryDisk), target.uuid);
  request.ram_bytes = machine.memory_bytes;
  request.is_mapped = !memory_file.empty();
  RamHelper helper = HOZON_TRY(start_ram_load(request, pipe[1].get()));
  pipe[1] = Fd();
  const Status booted = core.boot(machine, StartMode::kIncoming, pipe[0].get(), memory_file);
  if (!booted) (void)core.end_helper(machine.uuid, name);
  HOZON_TRY(booted);
  pipe[0] = Fd();
  const RamStatus verdict = HOZON_TRY(wait_ram_helper(helper, kLoadMs));
  if (verdict.phase != RamPhase::kDone)
    return add_context(verdict.error, "the saved memory could not be given to QEMU");
  HOZON_TRY(wait_loaded(core, machine));
  (void)helper.process.wait_end(kHelperEndMs);  // its last words go into the status file
  core.remove_helper_files(machine.uuid, name);
  return {};
}

Status continue_loaded(Core& core, const MachineRow& machine) {
  const GuestHandle guest = HOZON_TRY(core.guests.handle(machine.uuid));
  HOZON_TRY(guest.qmp->call("cont", json::object(), kContinueMs));
  return {};
}

Status bring_up(Core& core, const MachineRow& machine, const SnapshotRow& target, bool run,
                const std::string& memory_file) {
  if (core.guests.state(machine.uuid).state == PowerState::kDown)
    HOZON_TRY(feed_memory(core, machine, target, memory_file));
  if (target.memory.value("is_foreign", false)) HOZON_TRY(set_links(core, machine, false));
  return run ? continue_loaded(core, machine) : Status();
}

}  // namespace

json to_json(const MemoryLoad& load) {
  return {{"mode", load.mode},
          {"mode_reason", load.mode_reason},
          {"qemu_us", load.qemu_us},
          {"total_us", load.total_us}};
}

std::string sentence_of(const MemoryLoad& load, bool runs) {
  const std::string where =
      runs ? "the machine goes on where it was" : "the machine is paused there";
  if (load.mode == "instant")
    return fmt::format(
        "{}; its memory comes page by page: until it is suspended and resumed, snapshots with "
        "memory stop it while they are written",
        where);
  if (load.mode_reason.empty()) return "memory loaded; " + where;
  return fmt::format("memory loaded whole, because {}; {}", load.mode_reason, where);
}

Result<MemoryLoad> Core::load_memory(const MachineRow& machine, const SnapshotRow& target, bool run,
                                     bool instant) {
  const uint64_t began_us = monotonic_us();
  MemoryLoad load{.mode = "full", .mode_reason = {}};
  if (const auto guest = guests.handle(machine.uuid)) {
    const auto status = guest->qmp->call("query-status");
    if (!status || status->value("status", "") == "inmigrate")
      HOZON_TRY(guests.kill(machine.uuid, ""));
  }
  std::optional<MemoryImages::Lease> image;
  if (instant) {
    auto served = images.acquire(machine, target);
    if (served)
      image.emplace(*std::move(served));
    else
      load.mode_reason = served.error().what;
    if (served) load.mode = "instant";
  }
  const uint64_t start_us = monotonic_us();
  const Status loaded = bring_up(*this, machine, target, run, image ? image->file() : "");
  if (!loaded) {
    (void)guests.kill(machine.uuid, "the saved memory could not be loaded");
    return std::unexpected(loaded.error());
  }
  load.qemu_us = monotonic_us() - start_us;
  load.total_us = monotonic_us() - began_us;
  HOZON_TRY(guests.settle(machine.uuid));
  return load;
}

}  // namespace hozon::control
