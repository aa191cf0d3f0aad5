// Machines that return to an initial state whenever they go down. What is on record is enough:
// which snapshot it is, and whether the machine was started since it was there; so nothing is lost
// when the guest switches itself off while nobody watches.
#include "base/log.h"
#include "control/clone_disks.h"
#include "control/json.h"
#include "control/names.h"

namespace hozon::control {
namespace {

using nlohmann::json;

constexpr const char* kOwner = "initial state";

}  // namespace

SnapshotMarks marks_of_initial(const std::string& machine) {
  SnapshotMarks marks;
  marks.pinned = true;
  marks.pin_reason = fmt::format("machine '{}' returns to it when it goes down", machine);
  return marks;
}

Status record_initial(Core& core, const MachineRow& machine, const SnapshotRow& initial) {
  HOZON_TRY(core.inventory.insert_snapshot(initial));
  HOZON_TRY(core.inventory.set_current_parent(machine.uuid, initial.uuid));
  return core.inventory.set_initial(machine.uuid, initial.uuid);
}

void Core::return_to_initial() {
  Control* const whole = control.load();
  const auto rows = inventory.database().query(
      "SELECT uuid, name, initial_snapshot FROM machines WHERE initial_snapshot <> '' AND "
      "left_initial <> 0");
  if (whole == nullptr || !rows) return;
  for (const Row& row : *rows) {
    const std::string uuid = row.text(0);
    if (guests.state(uuid).state != PowerState::kDown) continue;
    if (inventory.suspend_of(uuid).value_or(std::nullopt)) continue;
    Caller caller;
    caller.owner = kOwner;
    ReturnRequest how;
    how.state = "down";
    how.keep_s = kInitialKeepSeconds;
    const auto begun = whole->start_snapshot_return(uuid, row.text(2), caller, how);
    if (begun || begun.error().code == Code::kBusy || begun.error().code == Code::kWrongState)
      continue;
    log_error("machine '{}' does not return to its initial state: {}", row.text(1),
              begun.error().what);
    // Somebody unpinned and deleted it: then there is none.
    if (begun.error().code == Code::kNotFound) (void)inventory.set_initial(uuid, "");
  }
}

Result<JobId> Control::start_machine_initial(const std::string& machine,
                                             const std::string& snapshot, const Caller& caller) {
  if (const auto found = HOZON_TRY(core_->jobs.find_job(caller))) return *found;
  const MachineRow owner = HOZON_TRY(core_->inventory.machine(machine));
  std::optional<SnapshotRow> row;
  if (!snapshot.empty()) row = HOZON_TRY(core_->usable_snapshot(owner, snapshot));
  if (row && row->kind == "suspend")
    return make_error(Code::kWrongState,
                      "snapshot '{}' is the state in which machine '{}' sleeps: `hozon machine "
                      "resume {}` wakes it",
                      row->name, owner.name, owner.name);
  const auto work = [core = core_.get(), owner, row](JobRun& run) -> Result<json> {
    const auto write = [&]() -> Status {
      const MachineRow now = HOZON_TRY(core->inventory.machine(owner.uuid));
      const std::string before = now.initial_snapshot;
      if (!before.empty() && core->inventory.snapshot(owner.uuid, before)) {
        SnapshotMarks marks = HOZON_TRY(core->inventory.marks(before));
        if (marks.pin_reason == marks_of_initial(owner.name).pin_reason) {
          marks.pinned = false;
          marks.pin_reason.clear();
          HOZON_TRY(core->inventory.set_marks(before, marks));
        }
      }
      HOZON_TRY(core->inventory.set_initial(owner.uuid, row ? row->uuid : ""));
      if (!row) return {};
      SnapshotMarks marks = HOZON_TRY(core->inventory.marks(row->uuid));
      const SnapshotMarks wanted = marks_of_initial(owner.name);
      if (!marks.pinned) {
        marks.pinned = wanted.pinned;
        marks.pin_reason = wanted.pin_reason;
      }
      HOZON_TRY(core->inventory.set_marks(row->uuid, marks));
      // A machine that is down is not taken there at once: only what it does from now on is undone.
      const bool is_down = core->guests.state(owner.uuid).state == PowerState::kDown;
      return core->inventory.set_left_initial(owner.uuid, !is_down);
    };
    HOZON_TRY(run.commit(write));
    return core->machine_json(owner.uuid);
  };
  return core_->begin_machine("machine.initial", owner, owner.name, caller, work);
}

}  // namespace hozon::control
