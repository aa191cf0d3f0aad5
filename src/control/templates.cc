// A template is kept as a machine that is none: a record with is_template, whose disks are clones,
// and one snapshot of them, which machines are made from. Everything that takes back or finishes a
// machine's creation and deletion serves here, too.
#include "control/templates.h"

#include <algorithm>

#include "control/clone_disks.h"
#include "control/firmware_state.h"
#include "control/json.h"
#include "control/names.h"
#include "control/plans.h"
#include "control/settings.h"

namespace hozon::control {
namespace {

using nlohmann::json;

constexpr const char* kTemplateSnapshot = "template";

Template view_of(const MachineRow& row) {
  Template shown;
  shown.uuid = row.uuid;
  shown.name = row.name;
  shown.description = row.description;
  shown.pool = row.pool;
  shown.memory_bytes = row.memory_bytes;
  shown.cpus = row.cpus;
  shown.firmware = row.firmware;
  shown.disks = row.disks;
  shown.nic_count = row.nics.size();
  shown.created_ns = row.created_ns;
  shown.allowed_operations = {"machine.create", "delete"};
  return shown;
}

Result<MachineRow> template_row(Core& core, const std::string& name) {
  const auto row = core.inventory.machine(name);
  if (row && row->is_template) return *row;
  if (!row && row.error().code != Code::kNotFound) return std::unexpected(row.error());
  return make_error(Code::kNotFound, "there is no template '{}'; `hozon template list` shows them",
                    name);
}

Status refuse_taken_name(Core& core, const std::string& name) {
  const auto found = core.inventory.machine(name);
  if (!found) return {};
  return make_error(Code::kAlreadyExists, "a {} named '{}' exists",
                    found->is_template ? "template" : "machine", name);
}

// An instant of the machine as it is now, under a name that goes when the template is made.
Result<SnapshotRow> passing_snapshot(Core& core, JobRun& run, const MachineRow& owner) {
  SnapshotRow snapshot;
  snapshot.uuid = new_uuid();
  snapshot.name = "now";
  snapshot.settings = settings_of(owner);
  std::vector<std::string> volumes;
  for (const Disk& disk : attached_disks(owner)) {
    snapshot.disks.push_back({disk.id, disk.volume, disk.pool, snapshot.uuid, disk.size_bytes, {}});
    volumes.push_back(disk.volume);
  }
  if (volumes.empty()) return snapshot;
  HOZON_TRY(run.journal("points.delete",
                        {{"pool", owner.pool}, {"volumes", volumes}, {"point", snapshot.uuid}}));
  HOZON_TRY(keep_tpm(core, owner));
  HOZON_TRY(core.storage.snapshot(owner.pool, volumes, snapshot.uuid));
  return snapshot;
}

Status delete_passing(Core& core, const SnapshotRow& snapshot) {
  for (const SnapshotDisk& disk : snapshot.disks)
    HOZON_TRY(core.delete_points(disk.pool, {disk.volume}, disk.point));
  return {};
}

}  // namespace

json to_json(const Template& shown) {
  return {{"uuid", shown.uuid},
          {"name", shown.name},
          {"description", shown.description},
          {"pool", shown.pool},
          {"memory_bytes", shown.memory_bytes},
          {"cpus", shown.cpus},
          {"firmware", shown.firmware},
          {"disks", to_json(shown.disks)},
          {"nic_count", shown.nic_count},
          {"created_ns", shown.created_ns},
          {"created", utc_text(shown.created_ns)},
          {"allowed_operations", shown.allowed_operations},
          {"blocked_operations", json::array()}};
}

Status refuse_template(const MachineRow& machine) {
  if (!machine.is_template) return {};
  return make_error(Code::kWrongState,
                    "'{}' is a template: `hozon machine create NAME --template {}` makes a machine "
                    "of it",
                    machine.name, machine.name);
}

Result<SnapshotRow> make_first_snapshot(Core& core, JobRun& run, const MachineRow& machine,
                                        const std::string& name, const std::string& description) {
  SnapshotRow snapshot;
  snapshot.uuid = new_uuid();
  snapshot.machine_uuid = machine.uuid;
  snapshot.name = name;
  snapshot.description = description;
  snapshot.status = "ok";
  snapshot.created_ns = wall_clock_ns();
  snapshot.machine_state = "down";
  snapshot.settings = settings_of(machine);
  snapshot.environment = {{"consistency", "crash"}, {"consistency_reason", "the machine is down"}};
  std::vector<std::string> volumes;
  for (const Disk& disk : machine.disks) {
    snapshot.disks.push_back({disk.id, disk.volume, disk.pool, snapshot.uuid, disk.size_bytes, {}});
    volumes.push_back(disk.volume);
  }
  // The points go with the volumes, which are journaled already.
  if (!volumes.empty()) HOZON_TRY(core.storage.snapshot(machine.pool, volumes, snapshot.uuid));
  (void)run;
  return snapshot;
}

Result<json> Core::do_template_create(JobRun& run, const std::string& machine_uuid,
                                      const std::string& snapshot_uuid, MachineRow made) {
  const MachineRow owner = HOZON_TRY(inventory.machine(machine_uuid));
  const bool passing = snapshot_uuid.empty();
  const SnapshotRow source = passing ? HOZON_TRY(passing_snapshot(*this, run, owner))
                                     : HOZON_TRY(usable_snapshot(owner, snapshot_uuid));
  std::vector<std::string> notes;
  const MachineRow settings = HOZON_TRY(with_settings(owner, source.settings));
  made.disks = disks_of_clone(settings, source, made, notes);
  HOZON_TRY(run.journal("machine.forget", {{"machine", made.uuid}}));
  HOZON_TRY(inventory.insert_machine(made));
  HOZON_TRY(copy_boot_files(made, machine_directory(owner.uuid), machine_directory(made.uuid)));
  HOZON_TRY(make_disks(*this, run, source, false, made.disks));
  const SnapshotRow first = HOZON_TRY(
      make_first_snapshot(*this, run, made, kTemplateSnapshot, "what machines are made from"));
  if (passing) HOZON_TRY(delete_passing(*this, source));
  const auto record = [&]() -> Status {
    HOZON_TRY(inventory.update_machine(made));
    HOZON_TRY(inventory.insert_snapshot(first));
    return inventory.set_current_parent(made.uuid, first.uuid);
  };
  HOZON_TRY(run.commit(record));
  return to_json(view_of(made));
}

Result<std::vector<Template>> Control::templates() const {
  std::vector<Template> all;
  for (const MachineRow& row : HOZON_TRY(core_->inventory.templates())) all.push_back(view_of(row));
  return all;
}

Result<Template> Control::template_named(const std::string& name) const {
  return view_of(HOZON_TRY(template_row(*core_, name)));
}

Result<JobId> Control::start_template_create(const TemplateRequest& request, const Caller& caller) {
  if (const auto found = HOZON_TRY(core_->jobs.find_job(caller))) return *found;
  HOZON_TRY(check_name("template", request.name, kMachineNameMax));
  HOZON_TRY(check_description(request.description));
  HOZON_TRY(refuse_taken_name(*core_, request.name));
  const MachineRow owner = HOZON_TRY(core_->inventory.machine(request.machine));
  HOZON_TRY(refuse_template(owner));
  std::optional<SnapshotRow> snapshot;
  if (!request.snapshot.empty())
    snapshot = HOZON_TRY(core_->usable_snapshot(owner, request.snapshot));
  const auto slept = HOZON_TRY(core_->inventory.suspend_of(owner.uuid));
  MachineRow made = snapshot ? HOZON_TRY(with_settings(owner, snapshot->settings)) : owner;
  made.uuid = new_uuid();
  made.name = request.name;
  made.is_template = true;
  made.description = request.description;
  if (made.description.empty())
    made.description = snapshot ? fmt::format("made from {}@{}", owner.name, snapshot->name)
                                : fmt::format("made from {}", owner.name);
  made.vmgenid = new_uuid();
  made.current_parent.clear();
  made.created_ns = wall_clock_ns();
  made.started_ns = 0;
  made.disks.clear();
  made.tags.clear();
  made.initial_snapshot.clear();
  made.left_initial = false;
  for (Nic& nic : made.nics) nic.mac = HOZON_TRY(core_->fresh_mac());
  if (caller.plan) {
    caller.plan->makes.push_back("template " + request.name);
    if ((snapshot && snapshot->memory.is_object()) || (!snapshot && slept))
      caller.plan->notes.emplace_back("the memory is left out: a template has disks and settings");
  }
  return core_->jobs.begin(
      {.kind = "template.create",
       .object = request.name,
       .caller = caller,
       .locks = {Core::machine_lock(owner.uuid), Core::machine_lock(made.uuid),
                 Core::name_lock(made.name)},
       .subject = fmt::format("machine '{}'", owner.name)},
      [core = core_.get(), owner, made, uuid = snapshot ? snapshot->uuid : ""](JobRun& run) {
        return core->do_template_create(run, owner.uuid, uuid, made);
      });
}

Result<JobId> Control::start_template_delete(const std::string& name, const Caller& caller) {
  if (const auto found = HOZON_TRY(core_->jobs.find_job(caller))) return *found;
  const MachineRow row = HOZON_TRY(template_row(*core_, name));
  if (caller.plan) {
    HOZON_TRY(plan_machine_delete(*core_, row, *caller.plan));
    std::erase(caller.plan->removes, "machine " + row.name);
    std::erase(caller.plan->unreachable, "machine " + row.name);
    caller.plan->removes.push_back("template " + row.name);
    caller.plan->unreachable.push_back("template " + row.name);
    caller.plan->notes.emplace_back("machines that were made from it keep all they have");
  }
  const auto work = [core = core_.get(), row](JobRun& run) -> Result<json> {
    // From here on it only goes forward.
    HOZON_TRY(run.journal("machine.delete", {{"machine", row.uuid}}));
    HOZON_TRY(core->delete_machine(row.uuid));
    HOZON_TRY(run.commit([] { return Status(); }));
    return json{{"deleted", row.name}};
  };
  return core_->jobs.begin({.kind = "template.delete",
                            .object = row.name,
                            .caller = caller,
                            .locks = {Core::machine_lock(row.uuid)},
                            .subject = fmt::format("template '{}'", row.name)},
                           work);
}

// Its disks, firmware and devices are the template's; memory and processors can be others.
Result<JobId> start_from_template(Core& core, const MachineRequest& request, const Caller& caller) {
  const MachineRow source = HOZON_TRY(template_row(core, request.from_template));
  HOZON_TRY(check_name("machine", request.name, kMachineNameMax));
  HOZON_TRY(check_description(request.description));
  HOZON_TRY(check_tags(request.tags));
  HOZON_TRY(refuse_taken_name(core, request.name));
  if (!request.disks.empty() || !request.kernel.empty() || !request.initrd.empty() ||
      !request.append.empty() || request.tpm)
    return make_error(Code::kInvalidArgument,
                      "disks, kernel and devices of a machine from a template are those of the "
                      "template");
  if (!request.pool.empty() && request.pool != source.pool)
    return make_error(Code::kInvalidArgument,
                      "template '{}' is in pool '{}', and so is what is made from it", source.name,
                      source.pool);
  if (!request.return_on_shutdown.empty())
    HOZON_TRY(check_snapshot_name(request.return_on_shutdown));
  const SnapshotRow snapshot = HOZON_TRY(core.inventory.snapshot(source.uuid, kTemplateSnapshot));
  MachineRow made = source;
  made.uuid = new_uuid();
  made.name = request.name;
  made.is_template = false;
  made.description = request.description.empty() ? fmt::format("made from template {}", source.name)
                                                 : request.description;
  if (request.memory_bytes != 0) made.memory_bytes = request.memory_bytes;
  if (request.cpus != 0) made.cpus = request.cpus;
  made.vmgenid = new_uuid();
  made.current_parent.clear();
  made.created_ns = wall_clock_ns();
  made.disks.clear();
  made.tags = request.tags;
  for (Nic& nic : made.nics) nic.mac = HOZON_TRY(core.fresh_mac());
  const AcceleratorChoice choice = HOZON_TRY(core.accelerator());
  MachineRow checked = made;
  checked.disks = source.disks;
  HOZON_TRY(validate_spec(
      spec_of(checked, core.storage, core.machine_directory(made.uuid), choice.accelerator)));
  CloneRequest clone;
  clone.new_name = made.name;
  clone.return_on_shutdown = request.return_on_shutdown;
  if (caller.plan) HOZON_TRY(plan_snapshot_clone(core, source, snapshot, clone, *caller.plan));
  const auto work = [&core, source, snapshot, made, clone](JobRun& run) -> Result<json> {
    const json result = HOZON_TRY(core.do_clone(run, source.uuid, snapshot.uuid, made, clone));
    return result.at("machine");
  };
  return core.jobs.begin({.kind = "machine.create",
                          .object = made.name,
                          .caller = caller,
                          .locks = {Core::machine_lock(made.uuid), Core::name_lock(made.name)},
                          .subject = fmt::format("machine name '{}'", made.name)},
                         work);
}

}  // namespace hozon::control
