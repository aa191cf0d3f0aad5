#include "control/quiesce.h"

#include <filesystem>
#include <optional>

#include "base/log.h"
#include "control/after_load.h"
#include "control/at_once.h"
#include "qemu/files.h"
#include "qemu/freeze.h"
#include "qemu/guest_agent.h"

namespace hozon::control {
namespace {

using nlohmann::json;

constexpr int kAgentMs = 3000;

Result<FreezeStatus> held_freeze(const std::string& directory) {
  HOZON_TRY(DetachedProcess::adopt(directory, std::string(kFreezeName) + ".pid", kFreezeName));
  const auto text = read_small_file(directory + "/" + kFreezeName + ".json");
  if (!text) return make_error(Code::kNotFound, "no freeze is held");
  return decode_freeze_status(*text);
}

bool is_frozen_by_owner(const std::string& directory) {
  const auto held = held_freeze(directory);
  return held && held->phase == FreezePhase::kFrozen;
}

// How one guest is kept still while the points are made.
struct Hold {
  std::string name = {};  // of our helper; empty: there is none
  bool by_owner = false;
  std::string reason = {};  // why nothing keeps it still
  std::optional<Result<Freeze>> freeze = {};
};

Hold hold_of(Core& core, const MachineRow& machine, const std::string& word) {
  if (word == "skip") return {.reason = "not asked for"};
  if (core.guests.state(machine.uuid).state == PowerState::kDown && word != "require")
    return {.reason = "the machine is down"};
  if (is_frozen_by_owner(core.machine_directory(machine.uuid))) return {.by_owner = true};
  return {.name = "freeze-" + new_uuid()};
}

Result<Freeze> begin_freeze(Core& core, const MachineRow& machine, const std::string& name,
                            int answer_ms) {
  const GuestHandle guest = HOZON_TRY(core.guests.handle(machine.uuid));
  if (core.guests.state(machine.uuid).state != PowerState::kUp)
    return make_error(Code::kWrongState, "the guest does not run");
  if (!has_agent(*guest.qmp, answer_ms))
    return make_error(Code::kUnavailable, "the guest has no agent");
  return freeze_guest({.program = core.options.program_directory + "/hozon-freeze",
                       .directory = core.machine_directory(machine.uuid),
                       .name = name,
                       .answer_ms = answer_ms});
}

Quiesced outcome_of(const Result<FreezeStatus>& thawed) {
  if (!thawed) return {"crash", thawed.error().what, 0};
  if (thawed->phase == FreezePhase::kFailed)
    return {"crash", "the guest did not say that it was thawed: " + thawed->error.what, 0};
  if (!thawed->was_asked) return {"crash", "the freeze ended before the points were made", 0};
  return {"filesystem", "", thawed->frozen_ms};
}

// Thaws what is ours to thaw, and says what the points hold.
Quiesced end_hold(Core& core, const MachineRow& machine, const Hold& hold) {
  const std::string directory = core.machine_directory(machine.uuid);
  if (hold.by_owner && is_frozen_by_owner(directory)) return {"filesystem", "", 0};
  if (hold.by_owner) return {"crash", "the freeze ended before the points were made", 0};
  if (!hold.freeze) return {"crash", hold.reason, 0};
  Quiesced quiesced{"crash", "", 0};
  if (*hold.freeze)
    quiesced = outcome_of(thaw_guest(directory, hold.name));
  else
    quiesced.reason = hold.freeze->error().what;
  core.remove_helper_files(machine.uuid, hold.name);
  return quiesced;
}

std::unexpected<Error> not_quiesced(const MachineRow& machine, const std::string& reason) {
  return make_error(Code::kWrongState,
                    "the file systems of machine '{}' could not be frozen: {}; --quiesce try takes "
                    "the snapshot all the same",
                    machine.name, reason);
}

}  // namespace

Status check_quiesce(const std::string& word) {
  if (word.empty() || word == "require" || word == "try" || word == "skip") return {};
  return make_error(Code::kInvalidArgument, "quiesce '{}' is not one of require, try, skip", word);
}

Result<std::vector<Quiesced>> while_quiesced(Core& core, JobRun& run,
                                             const std::vector<MachineRow>& machines,
                                             const std::string& word,
                                             const std::function<Status()>& make_points) {
  std::vector<Hold> holds;
  bool any = false;
  for (const MachineRow& machine : machines) {
    holds.push_back(hold_of(core, machine, word));
    const std::string& name = holds.back().name;
    if (name.empty()) continue;
    HOZON_TRY(run.journal("freeze.end", {{"machine", machine.uuid}, {"name", name}}));
    any = true;
  }
  if (any) run.step("freezing the guest's file systems");
  const int answer_ms = word == "require" ? kFreezeAnswerMs : kTryAnswerMs;
  at_once(holds.size(), [&](size_t i) {
    if (!holds[i].name.empty())
      holds[i].freeze = begin_freeze(core, machines[i], holds[i].name, answer_ms);
  });
  for (size_t i = 0; i < holds.size() && word == "require"; ++i)
    if (holds[i].freeze && !*holds[i].freeze)
      return not_quiesced(machines[i], holds[i].freeze->error().what);
  HOZON_TRY(make_points());
  std::vector<Quiesced> quiesced(holds.size());
  at_once(holds.size(), [&](size_t i) { quiesced[i] = end_hold(core, machines[i], holds[i]); });
  for (size_t i = 0; i < holds.size() && word == "require"; ++i)
    if (quiesced[i].consistency != "filesystem")
      return not_quiesced(machines[i], quiesced[i].reason);
  return quiesced;
}

Status Core::end_freeze(const std::string& machine_uuid, const std::string& name) {
  const auto thawed = thaw_guest(machine_directory(machine_uuid), name);
  if (!thawed && thawed.error().code == Code::kUnavailable) return std::unexpected(thawed.error());
  remove_helper_files(machine_uuid, name);
  return {};
}

Result<json> Core::do_freeze(JobRun& run, const MachineRow& machine, int hold_ms) {
  if (is_frozen_by_owner(machine_directory(machine.uuid)))
    return make_error(Code::kWrongState, "machine '{}' is frozen already", machine.name);
  const GuestHandle guest = HOZON_TRY(guests.handle(machine.uuid));
  if (!has_agent(*guest.qmp))
    return make_error(Code::kUnavailable, "the guest of machine '{}' has no agent", machine.name);
  run.step("freezing the guest's file systems");
  remove_helper_files(machine.uuid, kFreezeName);
  const Freeze freeze =
      HOZON_TRY(freeze_guest({.program = options.program_directory + "/hozon-freeze",
                              .directory = machine_directory(machine.uuid),
                              .name = kFreezeName,
                              .hold_ms = hold_ms,
                              .follows_caller = false}));
  return json{{"filesystems", freeze.filesystems}, {"hold_ms", hold_ms}};
}

Result<json> Core::do_thaw(JobRun& run, const MachineRow& machine) {
  run.step("thawing the guest's file systems");
  const auto held = thaw_guest(machine_directory(machine.uuid), kFreezeName);
  if (!held && held.error().code != Code::kNotFound) return std::unexpected(held.error());
  if (held) {
    remove_helper_files(machine.uuid, kFreezeName);
    if (held->phase == FreezePhase::kFailed) return std::unexpected(held->error);
    return json{{"filesystems", held->filesystems}, {"frozen_ms", held->frozen_ms}};
  }
  // Nobody of ours holds a freeze; the guest may be frozen all the same.
  HOZON_TRY(guests.handle(machine.uuid));
  GuestAgent agent = HOZON_TRY(
      GuestAgent::connect(machine_directory(machine.uuid) + "/" + kAgentSocket, kAgentMs));
  return json{{"filesystems", HOZON_TRY(agent.thaw(kAgentMs))}, {"frozen_ms", 0}};
}

Result<JobId> Control::start_machine_freeze(const std::string& machine, int hold_ms,
                                            const Caller& caller) {
  if (const auto found = HOZON_TRY(core_->jobs.find_job(caller))) return *found;
  const MachineRow row = HOZON_TRY(core_->inventory.machine(machine));
  if (hold_ms < 1 || hold_ms > kFreezeHoldMsMax)
    return make_error(Code::kInvalidArgument, "a guest can be frozen for 1 ms to {} s",
                      kFreezeHoldMsMax / 1000);
  if (core_->guests.state(row.uuid).state != PowerState::kUp)
    return make_error(Code::kWrongState, "machine '{}' is not up: there is nothing to freeze",
                      row.name);
  return core_->begin_machine("machine.freeze", row, row.name, caller,
                              [core = core_.get(), row, hold_ms](JobRun& run) {
                                return core->do_freeze(run, row, hold_ms);
                              });
}

Result<JobId> Control::start_machine_thaw(const std::string& machine, const Caller& caller) {
  if (const auto found = HOZON_TRY(core_->jobs.find_job(caller))) return *found;
  const MachineRow row = HOZON_TRY(core_->inventory.machine(machine));
  return core_->begin_machine(
      "machine.thaw", row, row.name, caller,
      [core = core_.get(), row](JobRun& run) { return core->do_thaw(run, row); });
}

}  // namespace hozon::control
