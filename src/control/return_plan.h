// src/control/return_plan.h
// What a return to a snapshot is going to do, decided before anything is changed, and how the
// inventory records that it has happened.
//
// Parts: each disk of the snapshot, the settings, the memory. What is not chosen stays as it is. A
// memory knows every disk and the settings of its instant, so it comes back with all of them or
// not at all. The machine's history goes on from the snapshot when all of its disks come back.
#pragma once

#include "control/core.h"
#include "link/protocol.h"

namespace hozon::control {

// What the inventory has to know of a return; journaled before the disks are switched.
struct ReturnRecord {
  std::string target;                // uuid of the snapshot
  std::string kept;                  // uuid of the record of what is left
  std::vector<std::string> disks;    // that come back: "vda"
  bool settings = true;              // come back too
  bool is_whole = true;              // the history goes on from the target
  std::vector<std::string> discard;  // uuids that go to the trash
  uint64_t restores_trash_ns = 0;    // what went to the trash then comes back
  bool reset_nvram = false;          // the firmware's variables become new
  std::string vmgenid;               // of the machine from then on; empty: no disk goes back
};
nlohmann::json to_json(const ReturnRecord& record);
Result<ReturnRecord> return_record_of(const nlohmann::json& object);

// The machine's record after the return.
Result<MachineRow> returned_machine(const MachineRow& before, const SnapshotRow& target,
                                    const ReturnRecord& record);

struct ReturnPlan {
  MachineRow before;
  MachineRow after;
  SnapshotRow target;
  SnapshotRow kept;
  ReturnRecord record;
  std::vector<link::ReturnItem> items;
  std::vector<SnapshotRow> discarded;
  PowerState state = PowerState::kDown;   // before
  PowerState wanted = PowerState::kDown;  // in the end
  bool with_memory = false;               // that is loaded
  bool instant = false;                   // page by page
};

// Refuses what cannot work, changes nothing.
Result<ReturnPlan> plan_return(Core& core, const std::string& machine_uuid,
                               const std::string& snapshot_uuid, const ReturnRequest& how);

// What grew from the target and may go to the trash; refuses when some of it may not. The memory of
// a machine that sleeps and the state before a preview do not count.
Result<std::vector<SnapshotRow>> newer_than(Core& core, const MachineRow& owner,
                                            const SnapshotRow& target);

// As people and programs read it.
void describe_return(const ReturnPlan& plan, Plan& into);

bool is_running(PowerState state);
// Whether the guest of that snapshot's memory ran when it was saved.
bool goes_on(const SnapshotRow& target);

}  // namespace hozon::control
