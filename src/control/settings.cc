#include "control/settings.h"

#include <algorithm>

#include "control/firmware_state.h"
#include "control/json.h"

namespace hozon::control {

using nlohmann::json;

json settings_of(const MachineRow& machine) {
  json disks = json::array();
  for (const Disk& disk : machine.disks)
    if (disk.attached)
      disks.push_back({{"id", disk.id},
                       {"volume", disk.volume},
                       {"pool", disk.pool},
                       {"size_bytes", disk.size_bytes}});
  json nics = json::array();
  for (const Nic& nic : machine.nics) nics.push_back(to_json(nic));
  return {{"memory_bytes", machine.memory_bytes},
          {"cpus", machine.cpus},
          {"machine_type", machine.machine_type},
          {"cpu_model", machine.cpu_model},
          {"has_kernel", machine.has_kernel},
          {"has_initrd", machine.has_initrd},
          {"append", machine.append},
          {"firmware", machine.firmware},
          {"disks", disks},
          {"nics", nics}};
}

Result<MachineRow> with_settings(const MachineRow& machine, const json& settings) {
  MachineRow row = machine;
  row.memory_bytes = HOZON_TRY(link::u64_field(settings, "memory_bytes"));
  row.cpus = static_cast<unsigned>(HOZON_TRY(link::u64_field(settings, "cpus")));
  row.machine_type = HOZON_TRY(link::string_field(settings, "machine_type"));
  row.cpu_model = HOZON_TRY(link::string_field(settings, "cpu_model"));
  row.has_kernel = HOZON_TRY(link::bool_field_or(settings, "has_kernel", false));
  row.has_initrd = HOZON_TRY(link::bool_field_or(settings, "has_initrd", false));
  row.append = HOZON_TRY(link::string_field_or(settings, "append", ""));
  row.firmware = HOZON_TRY(link::string_field_or(settings, "firmware", "bios"));
  row.nics.clear();
  for (const json& nic : HOZON_TRY(link::array_field(settings, "nics")))
    row.nics.push_back({HOZON_TRY(link::string_field(nic, "id")),
                        HOZON_TRY(link::string_field(nic, "mac")),
                        HOZON_TRY(link::string_field_or(nic, "kind", "user"))});
  for (Disk& disk : row.disks) disk.attached = false;
  for (const json& saved : HOZON_TRY(link::array_field(settings, "disks"))) {
    const std::string id = HOZON_TRY(link::string_field(saved, "id"));
    const auto disk = std::ranges::find(row.disks, id, &Disk::id);
    if (disk == row.disks.end())
      return make_error(Code::kWrongState, "disk '{}' of these settings is gone", id);
    disk->attached = true;
    disk->size_bytes = HOZON_TRY(link::u64_field(saved, "size_bytes"));
  }
  return row;
}

namespace {

const json& member(const json& object, const char* name) {
  static const json none;
  const auto found = object.is_object() ? object.find(name) : object.end();
  return object.is_object() && found != object.end() ? *found : none;
}

// The members of a list of objects with an "id", without those that say nothing to people.
json parts_by_id(const json& settings, const char* list) {
  json parts = json::object();
  for (json part : member(settings, list)) {
    const std::string id = part.value("id", "");
    for (const char* plain : {"id", "volume", "pool"}) part.erase(plain);
    parts[id] = part;
  }
  return parts;
}

// Settings that were kept before there was a choice say nothing of it.
json firmware_member(const json& settings) {
  const json named = member(settings, "firmware");
  return named.is_null() && settings.is_object() ? json(firmware_name(Firmware::kBios)) : named;
}

}  // namespace

std::vector<SettingsChange> settings_changes(const json& now, const json& then) {
  std::vector<SettingsChange> changes;
  const auto compare = [&](const std::string& name, const json& a, const json& b) {
    if (a != b) changes.push_back({name, a, b});
  };
  for (const char* name :
       {"memory_bytes", "cpus", "machine_type", "cpu_model", "has_kernel", "has_initrd", "append"})
    compare(name, member(now, name), member(then, name));
  compare("firmware", firmware_member(now), firmware_member(then));
  for (const auto& [list, word] : {std::pair{"disks", "disk "}, std::pair{"nics", "nic "}}) {
    const json before = parts_by_id(now, list);
    json all = before;
    const json after = parts_by_id(then, list);
    all.update(after);
    for (const auto& [id, part] : all.items())
      compare(word + id, member(before, id.c_str()), member(after, id.c_str()));
  }
  return changes;
}

std::vector<Disk> attached_disks(const MachineRow& machine) {
  std::vector<Disk> disks;
  std::ranges::copy_if(machine.disks, std::back_inserter(disks), &Disk::attached);
  return disks;
}

MachineSpec spec_of(const MachineRow& machine, const Storage& storage,
                    const std::string& machine_directory, Accelerator accelerator) {
  MachineSpec spec;
  spec.uuid = machine.uuid;
  spec.name = machine.name;
  spec.memory_bytes = machine.memory_bytes;
  spec.cpus = machine.cpus;
  spec.machine_type = machine.machine_type;
  spec.cpu_model = machine.cpu_model;
  spec.accelerator = accelerator;
  unsigned boot_index = 1;
  for (const Disk& disk : attached_disks(machine))
    if (is_guest_disk(disk))
      spec.disks.push_back(
          {disk.id, storage.nbd_socket(disk.pool), disk.volume, boot_index++, false});
  spec.firmware = firmware_from_name(machine.firmware).value_or(Firmware::kBios);
  if (const Disk* nvram = find_disk(machine, kNvramDisk))
    spec.nvram = {"", storage.nbd_socket(nvram->pool), nvram->volume, std::nullopt, false};
  spec.tpm = find_disk(machine, kTpmDisk) != nullptr;
  for (const Nic& nic : machine.nics) spec.nics.push_back({nic.id, nic.mac, nic.kind});
  if (machine.has_kernel) spec.kernel = machine_directory + "/" + kKernelFile;
  if (machine.has_initrd) spec.initrd = machine_directory + "/" + kInitrdFile;
  spec.append = machine.append;
  spec.vmgenid = machine.vmgenid;
  return spec;
}

json to_json(const SavedEnvironment& environment) {
  return {{"normalised", environment.normalised},
          {"qemu_version", environment.qemu_version},
          {"accelerator", accelerator_name(environment.accelerator)}};
}

Result<SavedEnvironment> environment_of(const json& object) {
  SavedEnvironment environment;
  environment.normalised = HOZON_TRY(link::strings_field(object, "normalised"));
  environment.qemu_version = HOZON_TRY(link::string_field(object, "qemu_version"));
  const std::string accelerator = HOZON_TRY(link::string_field(object, "accelerator"));
  environment.accelerator =
      accelerator == accelerator_name(Accelerator::kKvm) ? Accelerator::kKvm : Accelerator::kTcg;
  return environment;
}

}  // namespace hozon::control
