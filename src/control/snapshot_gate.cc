#include "control/snapshot_gate.h"

#include "control/settings.h"
#include "qemu/write_protection.h"

namespace hozon::control {

using nlohmann::json;

namespace {

constexpr int kAnswerMs = 2000;

bool knows_background_snapshot(const json& capabilities) {
  if (!capabilities.is_array()) return false;
  for (const json& entry : capabilities)
    if (entry.is_object() && entry.value("capability", "") == "background-snapshot") return true;
  return false;
}

}  // namespace

Status check_memory_gate(Core& core, const MachineRow& machine, const SnapshotRow& snapshot) {
  const SavedEnvironment saved = HOZON_TRY(environment_of(snapshot.environment));
  SavedEnvironment now;
  const AcceleratorChoice choice = HOZON_TRY(core.accelerator());
  now.accelerator = choice.accelerator;
  now.qemu_version = HOZON_TRY(core.qemu()).version;
  now.normalised = HOZON_TRY(normalised_command_line(
      spec_of(machine, core.storage, core.machine_directory(machine.uuid), choice.accelerator)));
  return check_memory_restorable(saved, now);
}

std::string mapped_memory_sentence(const std::string& machine) {
  return fmt::format(
      "its memory comes page by page from a saved one (--instant), which QEMU saves only while "
      "the guest stands still; `hozon machine suspend {}` and `resume` give it memory of its own",
      machine);
}

std::vector<std::string> live_memory_obstacles(Core& core, const std::string& machine_uuid) {
  std::vector<std::string> obstacles;
  if (const Status possible = check_live_save_possible(); !possible)
    obstacles.push_back(possible.error().what);
  const auto guest = core.guests.handle(machine_uuid);
  if (!guest) return obstacles;
  if (const auto machine = core.inventory.machine(machine_uuid);
      machine && core.images.is_mapped(machine_uuid))
    obstacles.push_back(mapped_memory_sentence(machine->name));
  const auto capabilities =
      guest->qmp->call("query-migrate-capabilities", json::object(), kAnswerMs);
  if (capabilities && !knows_background_snapshot(*capabilities))
    obstacles.push_back(
        fmt::format("QEMU {} cannot save memory in the background", guest->qmp->qemu_version()));
  // Devices that refuse to be saved say so here.
  const auto migration = guest->qmp->call("query-migrate", json::object(), kAnswerMs);
  if (!migration || !migration->is_object() || !migration->contains("blocked-reasons"))
    return obstacles;
  for (const json& reason : (*migration)["blocked-reasons"])
    if (reason.is_string()) obstacles.push_back(reason.get<std::string>());
  return obstacles;
}

}  // namespace hozon::control
