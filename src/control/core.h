// src/control/core.h
// What the parts of Control share: the inventory, the pools, the running guests, the jobs, and the
// work that jobs do. Inside of this room only; control.h is for everybody else.
//
// The parts: pools.cc, volumes.cc, volume_export.cc, machines.cc, machine_create.cc, snapshots.cc
// (bookkeeping), snapshot_memory.cc, save_settle.cc, memory_volume.cc, memory_load.cc,
// memory_image.cc, snapshot_return.cc, snapshot_clone.cc, undo.cc (what takes steps back),
// views.cc.
#pragma once

#include <atomic>
#include <optional>

#include "control/control.h"
#include "control/guests.h"
#include "control/inventory.h"
#include "control/job_board.h"
#include "control/json.h"
#include "control/memory_image.h"
#include "control/memory_load.h"
#include "control/storage.h"
#include "qemu/qemu_binary.h"
#include "qemu/spec.h"

namespace hozon::control {

struct ReturnRecord;  // return_plan.h

// kWrongState with the reason when it is.
Status refuse_pinned(const MachineRow& owner, const SnapshotRow& row);

class Core {
 public:
  static Result<std::unique_ptr<Core>> open(Options options);
  ~Core();

  // --- locks ---
  static std::string machine_lock(const std::string& uuid) { return "machine:" + uuid; }
  static std::string name_lock(const std::string& name) { return "machine_name:" + name; }
  static std::string volume_lock(const std::string& pool, const std::string& name) {
    return "volume:" + pool + "/" + name;
  }
  static std::string group_lock(const std::string& uuid) { return "group:" + uuid; }
  static std::string pool_lock(const std::string& pool) { return "pool:" + pool; }
  Result<JobId> begin_machine(const std::string& kind, const MachineRow& machine,
                              const std::string& object, const Caller& caller, JobBoard::Work work);
  Result<JobId> begin_volume(const std::string& kind, const std::string& pool,
                             const std::vector<std::string>& names, const std::string& object,
                             const Caller& caller, JobBoard::Work work);

  // --- views ---
  // What is possible (explain.h) is left out unless it is wanted.
  Result<Machine> view(const MachineRow& row);
  Machine view(const MachineRow& row, const MachineFacts& facts, const Members& wanted = {});
  // Without the name of its parent. `lock`: of its machine.
  Snapshot view(const SnapshotRow& row, const MachineRow& machine, const std::optional<Lock>& lock,
                const Members& wanted = {});
  Result<nlohmann::json> machine_json(const std::string& uuid);
  Result<nlohmann::json> snapshot_json(const std::string& machine_uuid, const std::string& uuid);
  Volume view(const link::VolumeInfo& info, const std::string& pool);
  Point view(const link::PointInfo& info, const std::string& volume, const std::string& pool);
  Result<Pool> pool_view(const std::string& name);
  // What a pool's daemon says of damage, with the names of the machines that are touched.
  nlohmann::json damage_json(const std::string& pool,
                             const std::vector<link::DamagedPlace>& places);

  // --- volumes ---
  // The pool that has the volume (kNotFound, kInvalidArgument: several).
  Result<std::string> find_pool(const std::string& volume, const std::string& pool);
  Status refuse_if_machines(const std::string& pool, const std::string& volume,
                            const std::string& instead);
  // Fails without a trace when the volume exists. Journaled; it is deleted again by an undo.
  Status create_volume(JobRun& run, const std::string& pool, const std::string& name,
                       uint64_t size_bytes, const std::string& from);
  Result<nlohmann::json> do_export(JobRun& run, const VolumeExport& request);

  // --- machines ---
  std::string machine_directory(const std::string& uuid) const {
    return directory + "/machines/" + uuid;
  }
  Result<QemuBinary> qemu();
  Result<AcceleratorChoice> accelerator();
  // Starts QEMU; with kIncoming the caller feeds it and then calls guests.settle().
  // `memory_file`: an image that QEMU maps as its memory; empty: memory of its own.
  Status boot(const MachineRow& machine, StartMode mode, int incoming_fd = -1,
              const std::string& memory_file = {});
  Status delete_machine(const std::string& uuid);  // may be repeated
  // Journals where the machine's guest shall be in the end, so that a job that was interrupted is
  // done exactly if it is there.
  Status journal_power(JobRun& run, const std::string& uuid, std::vector<std::string> states);
  Result<std::string> fresh_mac();
  Result<nlohmann::json> do_create(JobRun& run, const MachineRequest& request, MachineRow machine);
  Result<nlohmann::json> do_shutdown(JobRun& run, const MachineRow& machine, int timeout_ms);

  // --- snapshots ---
  Result<SnapshotRow> listed_snapshot(const MachineRow& machine, const std::string& reference);
  Status refuse_over_quota(const MachineRow& machine);
  void expire(uint64_t now_ns);
  // Takes machines that went down back to their initial state.
  void return_to_initial();
  Result<SnapshotRow> usable_snapshot(const MachineRow& machine, const std::string& reference);
  Result<std::string> free_snapshot_name(const std::string& machine_uuid, const std::string& base);
  Result<nlohmann::json> do_disk_snapshot(JobRun& run, const MachineRow& machine, SnapshotRow row,
                                          const std::string& quiesce);
  // The record of a snapshot of the machine as it is now; nothing exists of it yet.
  Result<SnapshotRow> new_snapshot_row(const MachineRow& machine, const SnapshotRequest& request);
  // Saves disks and memory of one instant and completes `row`. The caller commits it: until then
  // the job's way back removes everything. With the kind "suspend" the guest does not go on.
  Status save_memory(JobRun& run, const MachineRow& machine, SnapshotRow& row);
  Result<nlohmann::json> do_memory_snapshot(JobRun& run, const MachineRow& machine,
                                            SnapshotRow row);
  Result<nlohmann::json> do_return(JobRun& run, const std::string& machine_uuid,
                                   const std::string& snapshot_uuid, const ReturnRequest& how);
  Result<nlohmann::json> do_clone(JobRun& run, const std::string& machine_uuid,
                                  const std::string& snapshot_uuid, MachineRow clone,
                                  const CloneRequest& request);
  Result<nlohmann::json> do_suspend(JobRun& run, const std::string& machine_uuid);
  Result<nlohmann::json> do_resume(JobRun& run, const std::string& machine_uuid,
                                   const ResumeRequest& how);
  // hold_ms: after that the guest is thawed whatever happens.
  Result<nlohmann::json> do_freeze(JobRun& run, const MachineRow& machine, int hold_ms);
  Result<nlohmann::json> do_thaw(JobRun& run, const MachineRow& machine);
  Status end_freeze(const std::string& machine_uuid, const std::string& name);
  Status settle_resume(const std::string& machine_uuid);
  Status delete_points(const std::string& pool, const std::vector<std::string>& volumes,
                       const std::string& point);
  Status delete_snapshot(const std::string& machine_uuid, const std::string& uuid);
  // After the disks were switched: what the TPM and the firmware go on with. May be repeated.
  Status settle_firmware(const MachineRow& machine, const ReturnRecord& record);
  // Makes the inventory say that the return has happened.
  Status record_return(const std::string& machine_uuid, const ReturnRecord& record);
  // Brings these back from the trash, newest first, so that what went together finds its children
  // again; their names. Called inside a transaction.
  Result<std::vector<std::string>> restore_trash(const std::string& machine_uuid,
                                                 std::vector<TrashRow> rows);
  // Brings the machine up with the snapshot's memory. May be repeated: a QEMU that is half loaded
  // is replaced, one that runs is left alone. It goes on if `run`, and stands still otherwise.
  // After a failure the machine is down. `instant`: its pages come when they are touched, if this
  // host can do that.
  Result<MemoryLoad> load_memory(const MachineRow& machine, const SnapshotRow& target, bool run,
                                 bool instant = false);
  // After an interrupted or failed save: QEMU has ended it, its guest is free, and goes on if
  // `run`. kUnavailable while a live save goes on, which cannot be stopped.
  Status settle_save(const std::string& machine_uuid, bool run, bool live);
  // The memory helper `name` of a save stores nothing any more when this returns; it goes on
  // reading the stream.
  Status drain_helper(const std::string& machine_uuid, const std::string& name);
  // Ends the memory helper `name`, once QEMU is done with it, and removes what it left.
  Status end_helper(const std::string& machine_uuid, const std::string& name);
  // What hozon-ram left in the machine's directory.
  void remove_helper_files(const std::string& machine_uuid, const std::string& name) const;

  // --- groups.cc, group_return.cc, templates.cc, initial.cc ---
  // The members whose machines this job has locked. One that came back from the trash after it was
  // begun is not among them.
  Result<std::vector<GroupMemberRow>> locked_members(const JobRun& run, const GroupRow& group);
  Result<nlohmann::json> do_group_create(JobRun& run, const GroupRow& group,
                                         const std::vector<std::string>& machines,
                                         const GroupRequest& request);
  Result<nlohmann::json> do_group_return(JobRun& run, const GroupRow& group,
                                         const std::string& state);
  // Takes back a return that was not completed: the machines end, and all `volumes` are what they
  // were before, in one step. May be repeated.
  Status take_group_back(const std::string& pool, const std::vector<std::string>& volumes,
                         const std::vector<std::string>& machines, const std::string& kept);
  Result<nlohmann::json> do_template_create(JobRun& run, const std::string& machine_uuid,
                                            const std::string& snapshot_uuid, MachineRow made);

  // --- undo.cc ---
  // A deletion was journaled as one to be finished. When it was refused, nothing is to finish.
  static Status finish_or_forget(JobRun& run, uint64_t step, Status deleted);
  Result<Settled> undo(const std::string& action, const nlohmann::json& arguments);

  // --- core_events.cc ---
  void tell_of_job(const JobBoard::News& news);
  void tell_of_storage(const std::string& pool, const std::string& op,
                       const nlohmann::json& parameters);
  void complete_event(Event& event);
  Status begin_events();
  void look_at_pools();

  Options options;
  std::string directory;
  EventLog events;
  Inventory inventory;
  Storage storage;
  Guests guests;
  MemoryImages images;
  JobBoard jobs;
  std::atomic<bool> qemu_can_be_held = true;  // false once it did not answer (snapshot_memory.cc)
  // Set once, when this is part of a whole Control; what begins jobs by itself waits for that.
  std::atomic<Control*> control = nullptr;

 private:
  Core(Options options, Inventory inventory);
  void adopt_guests();
  void watch_expiry();
  std::condition_variable expiry_changed_;
  std::mutex expiry_mutex_;
  bool ending_ = false;
  bool look_now_ = false;  // the watch shall not wait for its time
  std::thread expiry_;
  std::map<std::string, std::string> machine_names_;  // by uuid; of the log's thread
  std::map<std::string, std::string> pool_states_;    // as the watch saw them last
  bool looked_at_pools_ = false;
  std::mutex qemu_mutex_;
  std::optional<QemuBinary> qemu_;
};

}  // namespace hozon::control
