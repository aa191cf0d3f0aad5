#include "control/memory_image.h"

#include <algorithm>
#include <filesystem>

#include "base/log.h"
#include "control/core.h"
#include "control/names.h"
#include "qemu/files.h"
#include "qemu/ram_serve.h"

namespace hozon::control {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kVolumePrefix = "ram-image-";
constexpr const char* kNote = "image";  // in a machine's directory: the id
constexpr const char* kPool = "pool";   // in an image's directory: its pool

std::string volume_of(const std::string& id) { return std::string(kVolumePrefix) + id; }

}  // namespace

std::string MemoryImages::id_of(const SnapshotRow& snapshot) {
  return snapshot.memory.value("image", snapshot.uuid);
}

bool MemoryImages::is_image_volume(const std::string& volume) {
  return volume.starts_with(kVolumePrefix);
}

std::string MemoryImages::directory_of(const std::string& id) const {
  return core_.directory + "/images/" + id;
}

std::string MemoryImages::note_of(const std::string& machine_uuid) const {
  return core_.machine_directory(machine_uuid) + "/" + kNote;
}

Status MemoryImages::serve(const std::string& id, const MachineRow& machine,
                           const SnapshotRow& snapshot) {
  const std::string place = directory_of(id);
  if (is_ram_image_served(place)) return {};
  std::error_code error;
  fs::create_directories(place, error);
  if (error) return errno_error(error.value(), "make '{}'", place);
  fs::permissions(place, fs::perms::owner_all, error);
  HOZON_TRY(replace_file(place + "/" + kPool, machine.pool));
  const std::string volume = volume_of(id);
  const auto existing = core_.storage.volume(machine.pool, volume);
  if (!existing && existing.error().code != Code::kNotFound)
    return std::unexpected(existing.error());
  if (!existing)
    HOZON_TRY(core_.storage.clone(machine.pool, volume_of_disk(machine.name, kMemoryDisk),
                                  snapshot.uuid, volume));
  HOZON_TRY(serve_ram_image({.program = core_.options.program_directory + "/hozon-ram",
                             .directory = place,
                             .uri = core_.storage.uri(machine.pool, volume),
                             .ram_bytes = machine.memory_bytes}));
  return {};
}

Result<MemoryImages::Lease> MemoryImages::acquire(const MachineRow& machine,
                                                  const SnapshotRow& snapshot) {
  const std::string id = id_of(snapshot);
  const std::lock_guard guard(mutex_);
  HOZON_TRY(serve(id, machine, snapshot));
  HOZON_TRY(replace_file(note_of(machine.uuid), id));
  ++starting_[id];
  return Lease(*this, id, ram_image_file(directory_of(id)));
}

void MemoryImages::release(const std::string& id) {
  const std::lock_guard guard(mutex_);
  if (--starting_[id] == 0) starting_.erase(id);
}

void MemoryImages::forget(const std::string& machine_uuid) {
  std::error_code ignored;
  fs::remove(note_of(machine_uuid), ignored);
}

bool MemoryImages::is_mapped(const std::string& machine_uuid) const {
  std::error_code ignored;
  return core_.guests.state(machine_uuid).state != PowerState::kDown &&
         fs::exists(note_of(machine_uuid), ignored);
}

bool MemoryImages::is_used(const std::string& id) const {
  if (starting_.contains(id)) return true;
  const auto machines = core_.inventory.machines();
  if (!machines) return true;  // not known: nothing is taken from a guest
  return std::ranges::any_of(*machines, [&](const MachineRow& machine) {
    return is_mapped(machine.uuid) && read_small_file(note_of(machine.uuid)) == id;
  });
}

// May be repeated; the directory goes last, because it tells what else is to go.
Status MemoryImages::remove(const std::string& id) {
  const std::string place = directory_of(id);
  HOZON_TRY(end_ram_image(place));
  if (is_ram_image_served(place)) return make_error(Code::kBusy, "it is served still");
  if (const auto pool = read_small_file(place + "/" + kPool);
      pool && core_.storage.has_pool(*pool)) {
    const Status deleted = core_.storage.delete_volume(*pool, volume_of(id), true);
    if (!deleted && deleted.error().code != Code::kNotFound) return deleted;
  }
  std::error_code error;
  fs::remove_all(place, error);
  if (error) return errno_error(error.value(), "remove '{}'", place);
  return {};
}

void MemoryImages::collect() {
  std::error_code ignored;
  const std::string home = core_.directory + "/images";
  if (!fs::exists(home, ignored)) return;
  const std::lock_guard guard(mutex_);
  std::vector<std::string> ids;
  for (const auto& entry : fs::directory_iterator(home, ignored))
    ids.push_back(entry.path().filename().string());
  for (const std::string& id : ids) {
    if (is_used(id)) continue;
    if (const Status removed = remove(id); !removed)
      log_warning("memory image {} stays for now: {}", id, removed.error().what);
  }
}

}  // namespace hozon::control
