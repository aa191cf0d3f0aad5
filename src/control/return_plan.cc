#include "control/return_plan.h"

#include <fmt/ranges.h>

#include <algorithm>

#include "control/firmware_state.h"
#include "control/names.h"
#include "control/preview.h"
#include "control/settings.h"
#include "control/snapshot_gate.h"

namespace hozon::control {
namespace {

using nlohmann::json;

constexpr const char* kAllDisks = "all";

bool has(const std::vector<std::string>& words, const std::string& word) {
  return std::ranges::find(words, word) != words.end();
}

std::vector<std::string> disks_of(const SnapshotRow& snapshot) {
  std::vector<std::string> disks;
  for (const SnapshotDisk& disk : snapshot.disks)
    if (disk.disk != kMemoryDisk) disks.push_back(disk.disk);
  return disks;
}

Result<std::vector<std::string>> chosen_disks(const SnapshotRow& target,
                                              const std::vector<std::string>& wanted) {
  const std::vector<std::string> known = disks_of(target);
  std::vector<std::string> chosen;
  for (const std::string& id : wanted) {
    if (id == kAllDisks) return known;
    if (!has(known, id))
      return make_error(Code::kInvalidArgument, "snapshot '{}' has no disk '{}'; it has {}",
                        target.name, id,
                        known.empty() ? "none" : fmt::to_string(fmt::join(known, ", ")));
    if (!has(chosen, id)) chosen.push_back(id);
  }
  return chosen;
}

// Fills in what comes back, of the disks and settings; true: with the memory.
Result<bool> choose_parts(const SnapshotRow& target, const ReturnRequest& how,
                          ReturnRecord& record) {
  const bool has_memory = target.memory.is_object();
  record.disks = disks_of(target);
  if (!how.parts) return has_memory && !how.disks_only;
  if (how.disks_only)
    return make_error(Code::kInvalidArgument,
                      "give the parts or --disk-only, which stands for all of them but memory");
  const size_t all = record.disks.size();
  record.disks = HOZON_TRY(chosen_disks(target, how.parts->disks));
  record.settings = how.parts->settings;
  record.is_whole = record.disks.size() == all && (all > 0 || record.settings);
  const bool memory = how.parts->memory;
  if (record.disks.empty() && !record.settings && !memory)
    return make_error(Code::kInvalidArgument, "name at least one part: disks, settings, memory");
  if (memory && !has_memory)
    return make_error(Code::kWrongState, "snapshot '{}' has no memory: leave out --memory",
                      target.name);
  if (memory && (record.disks.size() < all || !record.settings))
    return make_error(Code::kInvalidArgument,
                      "the memory of '{}' knows all disks and the settings of its instant: give "
                      "--disks all --settings with --memory, or leave out --memory",
                      target.name);
  return memory;
}

Status check_reset(const ReturnPlan& plan) {
  if (!plan.record.reset_nvram) return {};
  if (find_disk(plan.before, kNvramDisk) == nullptr)
    return make_error(Code::kWrongState,
                      "machine '{}' has no firmware variables: leave out --reset-nvram",
                      plan.before.name);
  if (!plan.with_memory) return {};
  return make_error(Code::kInvalidArgument,
                    "a guest that goes on knows its firmware's variables: --reset-nvram needs "
                    "--disk-only");
}

Status check_instant(const ReturnPlan& plan) {
  if (!plan.instant) return {};
  if (!plan.with_memory)
    return make_error(Code::kInvalidArgument, "this return loads no memory: leave out --instant");
  if (plan.wanted != PowerState::kSuspended) return {};
  return make_error(Code::kInvalidArgument,
                    "a machine that ends suspended is read whole: leave out --instant");
}

// In which state the machine shall be in the end.
Result<PowerState> final_state(const ReturnPlan& plan, const std::string& wanted) {
  if (wanted == "running") return PowerState::kUp;
  if (wanted == "paused") return PowerState::kPaused;
  if (wanted == "down") return PowerState::kDown;
  if (wanted == "suspended") {
    if (plan.with_memory) return PowerState::kSuspended;
    return make_error(
        Code::kInvalidArgument,
        "only a return with memory can end suspended: choose running, paused or down");
  }
  if (!wanted.empty() && wanted != "as-captured")
    return make_error(Code::kInvalidArgument,
                      "state '{}' is not one of as-captured, running, paused, suspended, down",
                      wanted);
  if (plan.with_memory) return goes_on(plan.target) ? PowerState::kUp : PowerState::kPaused;
  // Disks hold no power state: the machine is as it is.
  return is_running(plan.state) ? plan.state : PowerState::kDown;
}

Result<SnapshotRow> kept_record(Core& core, const ReturnPlan& plan, uint64_t keep_s) {
  SnapshotRow kept;
  kept.uuid = new_uuid();
  kept.machine_uuid = plan.before.uuid;
  kept.kind = "system";
  kept.created_ns = wall_clock_ns();
  kept.name = HOZON_TRY(
      core.free_snapshot_name(plan.before.uuid, name_with_time("before-return-", kept.created_ns)));
  kept.marks.expires_ns = kept.created_ns + keep_s * 1'000'000'000;
  kept.description = fmt::format("what returning to '{}' left", plan.target.name);
  kept.parent = plan.before.current_parent;
  kept.machine_state = power_state_name(plan.state);
  kept.settings = settings_of(plan.before);
  return kept;
}

std::string guest_words(const ReturnPlan& plan) {
  const bool was = is_running(plan.state);
  const bool will = is_running(plan.wanted);
  if (!was) return "none";
  return will ? "restart" : "end";
}

}  // namespace

bool is_running(PowerState state) {
  return state == PowerState::kUp || state == PowerState::kPaused;
}

bool goes_on(const SnapshotRow& target) {
  return target.memory.value("state_after_load", "up") == "up";
}

json to_json(const ReturnRecord& record) {
  return {{"target", record.target},
          {"kept", record.kept},
          {"disks", record.disks},
          {"settings", record.settings},
          {"is_whole", record.is_whole},
          {"discard", record.discard},
          {"restores_trash_ns", record.restores_trash_ns},
          {"reset_nvram", record.reset_nvram},
          {"vmgenid", record.vmgenid}};
}

Result<ReturnRecord> return_record_of(const json& object) {
  ReturnRecord record;
  record.target = HOZON_TRY(link::string_field(object, "target"));
  record.kept = HOZON_TRY(link::string_field(object, "kept"));
  record.settings = HOZON_TRY(link::bool_field_or(object, "settings", true));
  record.is_whole = HOZON_TRY(link::bool_field_or(object, "is_whole", true));
  record.restores_trash_ns = HOZON_TRY(link::u64_field_or(object, "restores_trash_ns", 0));
  record.reset_nvram = HOZON_TRY(link::bool_field_or(object, "reset_nvram", false));
  record.vmgenid = HOZON_TRY(link::string_field_or(object, "vmgenid", ""));
  if (object.contains("disks")) record.disks = HOZON_TRY(link::strings_field(object, "disks"));
  if (object.contains("discard"))
    record.discard = HOZON_TRY(link::strings_field(object, "discard"));
  return record;
}

Result<MachineRow> returned_machine(const MachineRow& before, const SnapshotRow& target,
                                    const ReturnRecord& record) {
  MachineRow after = before;
  if (record.settings) after = HOZON_TRY(with_settings(before, target.settings));
  for (Disk& disk : after.disks) {
    const auto saved = std::ranges::find(target.disks, disk.id, &SnapshotDisk::disk);
    const auto old = std::ranges::find(before.disks, disk.id, &Disk::id);
    const bool returns = has(record.disks, disk.id) && saved != target.disks.end();
    if (returns)
      disk.size_bytes = saved->size_bytes;
    else if (old != before.disks.end())
      disk.size_bytes = old->size_bytes;
  }
  if (record.is_whole) after.current_parent = target.uuid;
  if (!record.vmgenid.empty()) after.vmgenid = record.vmgenid;
  return after;
}

Result<std::vector<SnapshotRow>> newer_than(Core& core, const MachineRow& owner,
                                            const SnapshotRow& target) {
  const auto all = HOZON_TRY(core.inventory.snapshots(owner.uuid));
  std::vector<std::string> above = {target.uuid};
  for (size_t i = 0; i < above.size(); ++i)
    for (const SnapshotRow& row : all)
      if (row.parent == above[i] && row.kind != "suspend" && row.kind != "preview")
        above.push_back(row.uuid);
  std::vector<SnapshotRow> newer;
  std::ranges::copy_if(all, std::back_inserter(newer), [&](const SnapshotRow& row) {
    return row.uuid != target.uuid && has(above, row.uuid);
  });
  for (const SnapshotRow& row : newer) {
    HOZON_TRY(core.usable_snapshot(owner, row.uuid));
    HOZON_TRY(refuse_pinned(owner, row));
  }
  return newer;
}

Result<ReturnPlan> plan_return(Core& core, const std::string& machine_uuid,
                               const std::string& snapshot_uuid, const ReturnRequest& how) {
  ReturnPlan plan;
  plan.before = HOZON_TRY(core.inventory.machine(machine_uuid));
  HOZON_TRY(refuse_in_preview(core, "snapshot.return", plan.before));
  plan.target = HOZON_TRY(core.usable_snapshot(plan.before, snapshot_uuid));
  plan.with_memory = HOZON_TRY(choose_parts(plan.target, how, plan.record));
  plan.state = core.guests.state(machine_uuid).state;
  plan.wanted = HOZON_TRY(final_state(plan, how.state));
  if (plan.wanted == PowerState::kDown) plan.with_memory = false;
  plan.instant = how.instant;
  HOZON_TRY(check_instant(plan));
  plan.record.reset_nvram = how.reset_nvram;
  HOZON_TRY(check_reset(plan));
  if (plan.state != PowerState::kDown && !is_running(plan.state))
    return make_error(Code::kWrongState, "machine '{}' is {}: wait until it is up, paused or down",
                      plan.before.name, power_state_name(plan.state));
  plan.record.target = plan.target.uuid;
  plan.record.restores_trash_ns = how.restores_trash_ns;
  if (!plan.record.disks.empty()) plan.record.vmgenid = new_uuid();
  plan.after = HOZON_TRY(returned_machine(plan.before, plan.target, plan.record));
  if (how.discard_newer) plan.discarded = HOZON_TRY(newer_than(core, plan.before, plan.target));
  for (const SnapshotRow& row : plan.discarded) plan.record.discard.push_back(row.uuid);
  plan.kept = HOZON_TRY(kept_record(core, plan, how.keep_s));
  plan.record.kept = plan.kept.uuid;
  for (const SnapshotDisk& disk : plan.target.disks) {
    HOZON_TRY(core.storage.point(disk.pool, disk.volume, disk.point));
    if (!has(plan.record.disks, disk.disk)) continue;
    plan.items.push_back({disk.volume, disk.volume, disk.point});
    const uint64_t bytes = HOZON_TRY(core.storage.volume(disk.pool, disk.volume)).size_bytes;
    plan.kept.disks.push_back({disk.disk, disk.volume, disk.pool, plan.kept.uuid, bytes, {}});
  }
  if (plan.with_memory) HOZON_TRY(check_memory_gate(core, plan.after, plan.target));
  return plan;
}

void describe_return(const ReturnPlan& plan, Plan& into) {
  into.guest = guest_words(plan);
  into.settings_changes = settings_changes(settings_of(plan.before), settings_of(plan.after));
  into.makes.push_back(
      fmt::format("snapshot {}@{} (the state that is left)", plan.before.name, plan.kept.name));
  for (const SnapshotRow& row : plan.discarded)
    into.removes.push_back(fmt::format("snapshot {}@{}", plan.before.name, row.name));
  if (!plan.record.disks.empty())
    into.notes.push_back(fmt::format("disks that go back: {}", fmt::join(plan.record.disks, ", ")));
  into.notes.push_back(plan.with_memory ? "memory: the guest goes on where the snapshot was made"
                                        : "memory: none is loaded");
  into.notes.push_back(fmt::format("in the end the machine is {}", power_state_name(plan.wanted)));
  if (is_running(plan.state) && !plan.with_memory)
    into.unreachable.emplace_back("the memory of the guest that runs now");
  if (is_running(plan.state) && plan.with_memory)
    into.unreachable.emplace_back("the memory of the guest that runs now (its disks are kept)");
  if (plan.after.vmgenid != plan.before.vmgenid)
    into.identity.emplace_back("new VM generation id; uuid and MAC addresses stay");
}

}  // namespace hozon::control
