#include "control/firmware_state.h"

#include <algorithm>

#include "control/stop_point.h"
#include "qemu/files.h"
#include "qemu/firmware.h"
#include "qemu/nbd_volume.h"
#include "qemu/tpm.h"

namespace hozon::control {
namespace {

constexpr int kPatienceMs = 20'000;

}  // namespace

bool is_guest_disk(const Disk& disk) { return disk.id != kNvramDisk && disk.id != kTpmDisk; }

const Disk* find_disk(const MachineRow& machine, const std::string& id) {
  const auto found = std::ranges::find_if(
      machine.disks, [&](const Disk& disk) { return disk.id == id && disk.attached; });
  return found == machine.disks.end() ? nullptr : &*found;
}

Status keep_tpm(Core& core, const MachineRow& machine) {
  const Disk* disk = find_disk(machine, kTpmDisk);
  const std::string place = core.machine_directory(machine.uuid);
  if (disk == nullptr || !has_tpm_directory(place)) return {};
  return store_tpm_state(core.storage.uri(disk->pool, disk->volume), read_tpm_state(place));
}

Status prepare_tpm(Core& core, const MachineRow& machine) {
  const Disk* disk = find_disk(machine, kTpmDisk);
  if (disk == nullptr) return {};
  const std::string place = core.machine_directory(machine.uuid);
  if (!has_tpm_directory(place)) {
    const std::string state = HOZON_TRY(load_tpm_state(core.storage.uri(disk->pool, disk->volume)));
    HOZON_TRY(write_tpm_state(place, state));
  }
  return start_tpm(place);
}

Status forget_tpm(Core& core, const MachineRow& machine) {
  if (find_disk(machine, kTpmDisk) == nullptr) return {};
  return remove_tpm_state(core.machine_directory(machine.uuid));
}

Status reset_nvram(Core& core, const MachineRow& machine) {
  const Disk* disk = find_disk(machine, kNvramDisk);
  if (disk == nullptr)
    return make_error(Code::kWrongState, "machine '{}' has no firmware variables", machine.name);
  const Firmware firmware = HOZON_TRY(firmware_from_name(machine.firmware));
  const std::string file = firmware_files(firmware).variables;
  const auto content = read_small_file(file);
  if (!content) return make_error(Code::kNotFound, "'{}' cannot be read", file);
  const auto volume =
      HOZON_TRY(NbdVolume::open(core.storage.uri(disk->pool, disk->volume), kPatienceMs));
  HOZON_TRY(volume->zero(0, volume->size_bytes()));
  HOZON_TRY(volume->flush());
  stop_point("firmware.reset");
  HOZON_TRY(volume->write(0, std::as_bytes(std::span(content->data(), content->size()))));
  return volume->flush();
}

}  // namespace hozon::control
