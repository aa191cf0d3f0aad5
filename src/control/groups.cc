// One instant for several machines: one call to the data plane freezes the disks of all of them.
#include "control/groups.h"

#include <algorithm>

#include "control/clone_disks.h"
#include "control/firmware_state.h"
#include "control/guest_facts.h"
#include "control/json.h"
#include "control/names.h"
#include "control/preview.h"
#include "control/quiesce.h"
#include "control/settings.h"

namespace hozon::control {
namespace {

using nlohmann::json;

Result<Group> view_of(Core& core, const GroupRow& row) {
  Group group{row.uuid, row.name, row.description, row.created_ns, {}};
  for (const GroupMemberRow& member : HOZON_TRY(core.inventory.group_members(row.uuid))) {
    const SnapshotRow snapshot =
        HOZON_TRY(core.inventory.snapshot(member.machine_uuid, member.snapshot_uuid));
    std::string consistency = "crash";
    if (snapshot.environment.is_object())
      consistency = snapshot.environment.value("consistency", consistency);
    group.members.push_back({member.machine, member.machine_uuid, snapshot.name, snapshot.uuid,
                             snapshot.status, consistency});
  }
  return group;
}

Result<std::vector<MachineRow>> machines_of(Core& core, const std::vector<std::string>& names) {
  std::vector<MachineRow> machines;
  for (const std::string& name : names) {
    MachineRow row = HOZON_TRY(core.inventory.machine(name));
    HOZON_TRY(refuse_template(row));
    if (std::ranges::find(machines, row.uuid, &MachineRow::uuid) != machines.end()) continue;
    if (attached_disks(row).empty())
      return make_error(Code::kWrongState, "machine '{}' has no disks to snapshot", row.name);
    if (!machines.empty() && machines.front().pool != row.pool)
      return make_error(Code::kInvalidArgument,
                        "machines '{}' and '{}' are in different pools, which have no instant in "
                        "common",
                        machines.front().name, row.name);
    machines.push_back(std::move(row));
  }
  if (machines.empty()) return make_error(Code::kInvalidArgument, "name the machines of the group");
  if (machines.size() > kGroupMachinesMax)
    return make_error(Code::kInvalidArgument, "a group has at most {} machines", kGroupMachinesMax);
  return machines;
}

SnapshotRequest request_of(const GroupRequest& group) {
  SnapshotRequest request;
  request.name = group.name;
  request.description = group.description;
  request.tags = group.tags;
  request.expires_in_s = group.expires_in_s;
  request.quiesce = group.quiesce;
  return request;
}

}  // namespace

json to_json(const Group& group) {
  json members = json::array();
  for (const GroupMember& member : group.members)
    members.push_back({{"machine", member.machine},
                       {"machine_uuid", member.machine_uuid},
                       {"snapshot", member.snapshot},
                       {"snapshot_uuid", member.snapshot_uuid},
                       {"status", member.status},
                       {"consistency", member.consistency}});
  return {{"uuid", group.uuid},
          {"name", group.name},
          {"description", group.description},
          {"created_ns", group.created_ns},
          {"created", utc_text(group.created_ns)},
          {"members", members},
          {"allowed_operations", {"return", "delete"}},
          {"blocked_operations", json::array()}};
}

Result<std::vector<GroupMemberRow>> Core::locked_members(const JobRun& run, const GroupRow& group) {
  auto members = HOZON_TRY(inventory.group_members(group.uuid));
  std::erase_if(members, [&](const GroupMemberRow& member) {
    const auto lock = jobs.lock_of(machine_lock(member.machine_uuid));
    return !lock || lock->job != run.id().value;
  });
  return members;
}

Result<json> Core::do_group_create(JobRun& run, const GroupRow& group,
                                   const std::vector<std::string>& uuids,
                                   const GroupRequest& request) {
  const std::vector<MachineRow> machines = HOZON_TRY(machines_of(*this, uuids));
  for (const MachineRow& machine : machines)
    HOZON_TRY(refuse_in_preview(*this, "snapshot.create", machine));
  std::vector<SnapshotRow> rows;
  std::vector<std::string> volumes;
  for (const MachineRow& machine : machines) {
    rows.push_back(HOZON_TRY(new_snapshot_row(machine, request_of(request))));
    rows.back().group_uuid = group.uuid;
    for (SnapshotDisk& disk : rows.back().disks) {
      disk.point = group.uuid;
      volumes.push_back(disk.volume);
    }
    HOZON_TRY(run.journal("snapshot.forget", {{"snapshot", rows.back().uuid}}));
    HOZON_TRY(inventory.insert_snapshot(rows.back()));
  }
  const std::string& pool = machines.front().pool;
  HOZON_TRY(
      run.journal("points.delete", {{"pool", pool}, {"volumes", volumes}, {"point", group.uuid}}));
  const auto make_points = [&]() -> Status {
    for (const MachineRow& machine : machines) HOZON_TRY(keep_tpm(*this, machine));
    HOZON_TRY(storage.snapshot(pool, volumes, group.uuid));
    return {};
  };
  const std::vector<Quiesced> quiesced =
      HOZON_TRY(while_quiesced(*this, run, machines, request.quiesce, make_points));
  std::vector<json> facts = ask_guest_facts(*this, machines);
  for (size_t i = 0; i < rows.size(); ++i)
    rows[i].environment = quiesced[i].environment(std::move(facts[i]));
  const auto record = [&]() -> Status {
    HOZON_TRY(inventory.insert_group(group));
    for (size_t i = 0; i < rows.size(); ++i) {
      rows[i].status = "ok";
      HOZON_TRY(inventory.update_snapshot(rows[i]));
      HOZON_TRY(inventory.set_current_parent(machines[i].uuid, rows[i].uuid));
    }
    return {};
  };
  HOZON_TRY(run.commit(record));
  return to_json(HOZON_TRY(view_of(*this, group)));
}

Result<std::vector<Group>> Control::groups() const {
  std::vector<Group> groups;
  for (const GroupRow& row : HOZON_TRY(core_->inventory.groups()))
    groups.push_back(HOZON_TRY(view_of(*core_, row)));
  return groups;
}

Result<Group> Control::group(const std::string& group) const {
  return view_of(*core_, HOZON_TRY(core_->inventory.group(group)));
}

Result<JobId> Control::start_group_create(const GroupRequest& request, const Caller& caller) {
  if (const auto found = HOZON_TRY(core_->jobs.find_job(caller))) return *found;
  HOZON_TRY(check_snapshot_name(request.name));
  HOZON_TRY(check_description(request.description));
  HOZON_TRY(check_quiesce(request.quiesce));
  HOZON_TRY(check_tags(request.tags));
  if (request.expires_in_s > kExpirySecondsMax)
    return make_error(Code::kInvalidArgument, "an expiry is at most 100 years away");
  if (core_->inventory.group(request.name))
    return make_error(Code::kAlreadyExists, "a group named '{}' exists", request.name);
  const std::vector<MachineRow> machines = HOZON_TRY(machines_of(*core_, request.machines));
  GroupRow group{new_uuid(), request.name, request.description, wall_clock_ns()};
  std::vector<std::string> uuids;
  std::vector<std::string> locks = {"group_name:" + request.name};
  for (const MachineRow& machine : machines) {
    if (HOZON_TRY(core_->inventory.has_snapshot_name(machine.uuid, request.name)))
      return make_error(Code::kAlreadyExists,
                        "machine '{}' has a snapshot named '{}': choose another name", machine.name,
                        request.name);
    HOZON_TRY(core_->refuse_over_quota(machine));
    if (!core_->jobs.lock_of(Core::machine_lock(machine.uuid)))
      HOZON_TRY(refuse_in_preview(*core_, "snapshot.create", machine));
    uuids.push_back(machine.uuid);
    locks.push_back(Core::machine_lock(machine.uuid));
    if (caller.plan)
      caller.plan->makes.push_back(fmt::format("snapshot {}@{}", machine.name, request.name));
  }
  return core_->jobs.begin({.kind = "group.create",
                            .object = request.name,
                            .caller = caller,
                            .locks = locks,
                            .subject = "one of the machines"},
                           [core = core_.get(), group, uuids, request](JobRun& run) {
                             return core->do_group_create(run, group, uuids, request);
                           });
}

Result<JobId> Control::start_group_delete(const std::string& group, const Caller& caller) {
  if (const auto found = HOZON_TRY(core_->jobs.find_job(caller))) return *found;
  const GroupRow row = HOZON_TRY(core_->inventory.group(group));
  std::vector<std::string> locks = {Core::group_lock(row.uuid)};
  for (const GroupMemberRow& member : HOZON_TRY(core_->inventory.group_members(row.uuid))) {
    const MachineRow machine = HOZON_TRY(core_->inventory.machine(member.machine_uuid));
    if (!core_->jobs.lock_of(Core::machine_lock(machine.uuid)))
      HOZON_TRY(refuse_in_preview(*core_, "snapshot.delete", machine));
    const SnapshotRow snapshot =
        HOZON_TRY(core_->inventory.snapshot(machine.uuid, member.snapshot_uuid));
    HOZON_TRY(refuse_pinned(machine, snapshot));
    locks.push_back(Core::machine_lock(machine.uuid));
    if (caller.plan)
      caller.plan->removes.push_back(fmt::format("snapshot {}@{}", machine.name, snapshot.name));
  }
  const auto work = [core = core_.get(), row](JobRun& run) -> Result<json> {
    json deleted = json::array();
    const auto members = HOZON_TRY(core->locked_members(run, row));
    const auto change = [&]() -> Status {
      const uint64_t now = wall_clock_ns();
      for (const GroupMemberRow& member : members) {
        const MachineRow machine = HOZON_TRY(core->inventory.machine(member.machine_uuid));
        const SnapshotRow snapshot =
            HOZON_TRY(core->usable_snapshot(machine, member.snapshot_uuid));
        HOZON_TRY(refuse_pinned(machine, snapshot));
        HOZON_TRY(core->inventory.trash_snapshot(snapshot.uuid, now,
                                                 now + kTrashSeconds * 1'000'000'000));
        deleted.push_back(machine.name + "@" + snapshot.name);
      }
      if (!HOZON_TRY(core->inventory.group_members(row.uuid)).empty()) return {};
      return core->inventory.delete_group(row.uuid);
    };
    HOZON_TRY(run.commit(change));
    return json{{"deleted", deleted}};
  };
  return core_->jobs.begin({.kind = "group.delete",
                            .object = row.name,
                            .caller = caller,
                            .locks = locks,
                            .subject = "one of the machines"},
                           work);
}

}  // namespace hozon::control
