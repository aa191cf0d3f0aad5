// src/control/control.h
// The control plane of one instance: pools, volumes, machines, snapshots and the jobs that change
// them.
//
// Invariants
//   C1  What a call shows is what the inventory, the data plane and QEMU say now; nothing is cached
//       beyond the call except the power state, which a thread per running machine keeps true.
//   C2  A start_*() call either refuses (nothing has changed, no job exists) or makes a job. A job
//       that fails, is cancelled or is interrupted by the death of this process leaves either the
//       state before it or the state after it; the next open() sees to that.
//   C3  Jobs that change a machine hold its lock. A second one is refused with kBusy and the
//       sentence names the job; nobody ever waits for a lock, nobody ever has to break one.
//   C4  Machines outlive this object and this process.
//
// References: `machine` is a name or a uuid, `snapshot` a name or a uuid within its machine,
// `volume` a name; with an empty `pool` it is looked for in all pools (kInvalidArgument when two
// have one of that name).
// Threading: every member from any thread; all of them block, none for long except wait().
// `caller`: a second start_*() with the same non-empty idempotency key returns the first one's job
// as long as that job is kept (JobBoard::kKept of them are); with another request it is refused.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "control/details.h"
#include "control/event_log.h"
#include "control/groups.h"
#include "control/schedule.h"
#include "control/sizes.h"
#include "control/snapshot_files.h"
#include "control/snapshot_list.h"
#include "control/templates.h"
#include "control/types.h"

namespace hozon::control {

class Core;             // control/core.h
class ScheduleService;  // control/schedule_service.h

struct Options {
  std::string directory;          // of the instance
  std::string program_directory;  // holds hozon-stored and hozon-ram; empty: that of this program
  std::string qemu_binary = "qemu-system-x86_64";
  std::string qemu_img = "qemu-img";
};

class Control {
 public:
  // Opens the inventory, finds running machines again, and settles unfinished jobs (in the
  // background when a pool does not answer yet; their machines stay locked meanwhile).
  static Result<std::unique_ptr<Control>> open(Options options);
  ~Control();  // waits for running jobs to reach a point where they can be taken up again
  Control(const Control&) = delete;
  Control& operator=(const Control&) = delete;

  // --- jobs ---
  std::vector<Job> jobs() const;  // newest first, at most kJobsShown
  Result<Job> job(JobId id) const;
  // The job that the caller's idempotency key stands for already.
  Result<std::optional<JobId>> find_job(const Caller& caller) const;
  // Returns when the job has ended, or with its present state after `timeout_ms` (negative: never).
  Result<Job> wait(JobId id, int timeout_ms = -1) const;
  // Asks it to stop and roll back; a job past its point of no return goes on. kWrongState: ended.
  Status cancel(JobId id);
  // While it lives (on this thread) nobody else begins a job, and no job that ends frees its
  // object: to begin one only if a record is still what somebody saw.
  std::shared_ptr<void> hold_changes() const;
  static constexpr size_t kJobsShown = 1000;

  // Every change of every object; lives as long as this.
  EventLog& events() const;

  // --- pools ---
  Result<std::vector<Pool>> pools() const;
  Result<Pool> pool(const std::string& name) const;
  Result<JobId> start_pool_create(const PoolRequest& request, const Caller& caller = {});
  // kWrongState while it has volumes, unless `force`. Never while a machine uses it.
  Result<JobId> start_pool_delete(const std::string& name, bool force, const Caller& caller = {});
  // Result: PoolCheck. The job fails (kCorruption) when errors are found; the result is there then.
  Result<JobId> start_pool_check(const std::string& name, bool data, const Caller& caller = {});

  // Reads and verifies everything while the pool is used, at most `bytes_per_second` (0: as fast as
  // the disk allows). Result: the report, there when it is cancelled, too: {"pool", "clean": all
  // was read and nothing is damaged, "state", "done_bytes", "damaged": [...]}. The job fails
  // (kCorruption) when damage is found.
  Result<JobId> start_pool_scrub(const std::string& name, uint64_t bytes_per_second,
                                 const Caller& caller = {});

  // --- volumes and their points ---
  Result<std::vector<Volume>> volumes(const std::string& pool = {}) const;
  Result<Volume> volume(const std::string& name, const std::string& pool = {}) const;
  // nbd+unix:///... of the volume, or with a point of that.
  Result<std::string> volume_uri(const std::string& name, const std::string& point = {},
                                 const std::string& pool = {}) const;
  Result<std::vector<Point>> points(const std::string& volume, bool all = false,
                                    const std::string& pool = {}) const;
  Result<VolumeDiff> volume_diff(const DiffRequest& request) const;
  // Result: Volume.
  Result<JobId> start_volume_create(const VolumeRequest& request, const Caller& caller = {});
  // A file with the content of a point, or of the volume at the instant when the job begins.
  // Complete and on the disk, or not there. Result: {"path", "format", "bytes"}.
  Result<JobId> start_volume_export(const VolumeExport& request, const Caller& caller = {});
  Result<JobId> start_volume_resize(const std::string& volume, uint64_t size_bytes,
                                    bool allow_shrink, const std::string& pool = {},
                                    const Caller& caller = {});
  // Puts blocks that only the volume itself has side by side, moving at most `bytes_per_second` (0:
  // as fast as the disk allows), while everything goes on. Result, there when it is cancelled, too:
  // {"examined_bytes", "moved_bytes", "left_bytes": scattered, but no room, busy or damaged}.
  Result<JobId> start_volume_defragment(const std::string& volume, uint64_t bytes_per_second,
                                        const std::string& pool = {}, const Caller& caller = {});
  // One instant for all volumes (of one pool). Result: {"points": [Point]}.
  Result<JobId> start_volume_snapshot(const std::vector<std::string>& volumes,
                                      const std::string& point, const std::string& pool = {},
                                      const Caller& caller = {});
  // An empty point: the volume as it is now. Result: Volume.
  Result<JobId> start_volume_clone(const std::string& volume, const std::string& point,
                                   const std::string& new_volume, const std::string& pool = {},
                                   const Caller& caller = {});
  // Result: {"volume": Volume, "kept": name of the point that holds the state that was left}.
  Result<JobId> start_volume_return(const std::string& volume, const std::string& point,
                                    const std::string& pool = {}, const Caller& caller = {});
  // kWrongState while it has points, unless `with_points`; always while a machine has it.
  Result<JobId> start_volume_delete(const std::string& volume, bool with_points,
                                    const std::string& pool = {}, const Caller& caller = {});
  Result<JobId> start_point_delete(const std::string& volume, const std::string& point,
                                   const std::string& pool = {}, const Caller& caller = {});

  // --- machines. Result of every job but delete: Machine. ---
  // Of `wanted` what nobody wants is left out where that saves time.
  Result<std::vector<Machine>> machines(const Members& wanted = {}) const;
  Result<Machine> machine(const std::string& machine) const;
  Result<JobId> start_machine_create(const MachineRequest& request, const Caller& caller = {});
  Result<JobId> start_machine_start(const std::string& machine, bool paused = false,
                                    const Caller& caller = {});
  Result<JobId> start_machine_pause(const std::string& machine, const Caller& caller = {});
  // Lets a paused machine go on, or wakes a suspended one. Result: Machine, and of one that was
  // suspended {"steps": [sentence], "renewed": [Renewal], "load": MemoryLoad} too.
  Result<JobId> start_machine_resume(const std::string& machine, const Caller& caller = {},
                                     const ResumeRequest& how = {});
  // Keeps the memory in the pool and ends QEMU; the guest goes on at that instant when it is
  // resumed. Result: Machine.
  Result<JobId> start_machine_suspend(const std::string& machine, const Caller& caller = {});
  // Freezes the guest's file systems through its agent, for `hold_ms` at most; then, or when it is
  // asked to, the guest is thawed by a process of its own, whatever becomes of this one. Result:
  // {"filesystems": number, "hold_ms": number}, and of the thaw {"filesystems", "frozen_ms"}.
  Result<JobId> start_machine_freeze(const std::string& machine, int hold_ms = 10'000,
                                     const Caller& caller = {});
  Result<JobId> start_machine_thaw(const std::string& machine, const Caller& caller = {});
  // Takes the network links up, which a clone with memory starts without. Result: Machine.
  Result<JobId> start_machine_connect(const std::string& machine, const Caller& caller = {});
  // Presses the power button and waits until the guest is off; kUnavailable after `timeout_ms`.
  Result<JobId> start_machine_shutdown(const std::string& machine, int timeout_ms = 120'000,
                                       const Caller& caller = {});
  Result<JobId> start_machine_kill(const std::string& machine, const Caller& caller = {});
  // Its tags, by which schedules choose machines; none takes them away.
  Result<JobId> start_machine_tag(const std::string& machine, const std::vector<std::string>& tags,
                                  const Caller& caller = {});
  // The snapshot that it returns to whenever it goes down; empty: none. It is pinned meanwhile.
  Result<JobId> start_machine_initial(const std::string& machine, const std::string& snapshot,
                                      const Caller& caller = {});
  // With its disks and all its snapshots. kWrongState unless it is down.
  Result<JobId> start_machine_delete(const std::string& machine, const Caller& caller = {});

  // --- snapshots ---
  Result<SnapshotList> snapshots(const std::string& machine) const;
  Result<Snapshot> snapshot(const std::string& machine, const std::string& snapshot) const;
  // Result: Snapshot.
  Result<JobId> start_snapshot_create(const std::string& machine, const SnapshotRequest& request,
                                      const Caller& caller = {});
  // Result: {"machine": Machine, "snapshot": Snapshot, "kept": name of the snapshot that holds the
  // state that was left, "restarted": bool, "steps": [sentence]}. When the machine could not be
  // started again the job has failed and has this result; the disks are those of the snapshot.
  // After a return with memory also "renewed": [Renewal], what was done to bring the guest up to
  // date, and "load": MemoryLoad.
  Result<JobId> start_snapshot_return(const std::string& machine, const std::string& snapshot,
                                      const Caller& caller = {}, const ReturnRequest& how = {});
  // Result: {"machine": Machine (the new one), "notes": [sentence]}. The clone is down, or
  // `with_memory` suspended: resume wakes it where the snapshot was made.
  Result<JobId> start_snapshot_clone(const std::string& machine, const std::string& snapshot,
                                     const CloneRequest& request, const Caller& caller = {});
  // Result: Snapshot.
  Result<JobId> start_snapshot_rename(const std::string& machine, const std::string& snapshot,
                                      const std::string& new_name, const Caller& caller = {});
  Result<JobId> start_snapshot_describe(const std::string& machine, const std::string& snapshot,
                                        const std::string& description, const Caller& caller = {});
  // Refuses unless all exist and none is pinned. Result: {"deleted": [name], "trash_until_ns"}.
  Result<JobId> start_snapshot_delete(const std::string& machine, const DeleteRequest& request,
                                      const Caller& caller = {});
  // A return that is not decided yet (preview.h); the machine has to be down or suspended. Result:
  // {"machine", "snapshot", "parts", "settings_changes", "steps"}.
  Result<JobId> start_snapshot_preview(const std::string& machine, const std::string& snapshot,
                                       const PreviewRequest& request = {},
                                       const Caller& caller = {});
  // Result: {"machine", "snapshot", "kept", "discarded"}.
  Result<JobId> start_snapshot_commit(const std::string& machine, bool discard_newer,
                                      const Caller& caller = {});
  // Result: {"machine", "snapshot"}.
  Result<JobId> start_snapshot_undo(const std::string& machine, const Caller& caller = {});
  // An empty `to`: the machine as it is now. Each disk has its first page of ranges;
  // volume_diff() has the others.
  Result<SnapshotDiff> snapshot_diff(const std::string& machine, const std::string& from,
                                     const std::string& to) const;
  // Deleted ones whose time to live has not ended, oldest deletion first.
  Result<std::vector<Snapshot>> trash(const std::string& machine) const;
  // By the name that it had (the newest of that name) or its uuid. Result: {"restored": [name]}.
  Result<JobId> start_trash_restore(const std::string& machine, const std::string& snapshot,
                                    const Caller& caller = {});
  Result<JobId> start_trash_empty(const std::string& machine, const Caller& caller = {});
  // Undoes the newest of: the last return (by returning to what it left, so that undoing twice goes
  // forward again) and the last deletion.
  Result<JobId> start_machine_undo(const std::string& machine, const Caller& caller = {});
  // Result of these: Snapshot.
  Result<JobId> start_snapshot_tag(const std::string& machine, const std::string& snapshot,
                                   const std::vector<std::string>& tags, const Caller& caller = {});
  // 0: never. An expired snapshot goes to the trash.
  Result<JobId> start_snapshot_expire(const std::string& machine, const std::string& snapshot,
                                      uint64_t in_s, const Caller& caller = {});
  // A pinned snapshot is neither deleted nor expired.
  Result<JobId> start_snapshot_pin(const std::string& machine, const std::string& snapshot,
                                   const std::string& reason, const Caller& caller = {});
  Result<JobId> start_snapshot_unpin(const std::string& machine, const std::string& snapshot,
                                     const Caller& caller = {});
  // How many snapshots the machine may have, those of the system counted; 0: any number.
  Result<JobId> start_machine_quota(const std::string& machine, uint64_t snapshots,
                                    const Caller& caller = {});

  // --- sizes (sizes.h). Each costs walks through the maps of what it is about. ---
  // Without names: all snapshots of the machine.
  Result<MachineSizes> machine_sizes(const std::string& machine,
                                     const std::vector<std::string>& snapshots) const;
  Result<PoolSizes> pool_sizes(const std::string& pool) const;

  // --- files of a snapshot (snapshot_files.h). `place`: "vda1:/etc", or "/etc" when only one file
  // system has that. Each is a process of its own that reads the disks of the point. ---
  Result<std::vector<link::Filesystem>> snapshot_filesystems(const std::string& machine,
                                                             const std::string& snapshot) const;
  Result<FileListing> snapshot_files(const std::string& machine, const std::string& snapshot,
                                     const std::string& place) const;
  // All that is known of it (details.h). What cannot be read of its disks is left empty, with the
  // reason.
  Result<SnapshotDetails> snapshot_details(const std::string& machine,
                                           const std::string& snapshot) const;
  // The content of a file, or with `as_tar` an archive of a file or of a directory with all below.
  Result<FileDownload> read_snapshot_files(const std::string& machine, const std::string& snapshot,
                                           const std::string& place, bool as_tar) const;

  // --- templates (templates.h). Result of create: Template. Machines are made from one by
  // start_machine_create(). ---
  Result<std::vector<Template>> templates() const;
  Result<Template> template_named(const std::string& name) const;
  Result<JobId> start_template_create(const TemplateRequest& request, const Caller& caller = {});
  Result<JobId> start_template_delete(const std::string& name, const Caller& caller = {});

  // --- groups (groups.h). `group`: name or uuid. Result of create: Group. ---
  Result<std::vector<Group>> groups() const;
  Result<Group> group(const std::string& group) const;
  Result<JobId> start_group_create(const GroupRequest& request, const Caller& caller = {});
  // All of its machines or, whatever happens, none. Result: {"group", "machines": [{"machine",
  // "kept", "restarted"}]}.
  Result<JobId> start_group_return(const std::string& group, const std::string& state,
                                   const Caller& caller = {});
  // Its snapshots go to the trash, all or none. Result: {"deleted": ["machine@snapshot"]}.
  Result<JobId> start_group_delete(const std::string& group, const Caller& caller = {});

  // --- schedules (schedule.h). `schedule`: name or uuid. Result of a job: Schedule. ---
  Result<std::vector<Schedule>> schedules() const;
  Result<Schedule> schedule(const std::string& schedule) const;  // with its latest runs
  Result<SchedulePreview> schedule_preview(const std::string& schedule,
                                           const SchedulePreviewRequest& request) const;
  Result<JobId> start_schedule_create(const ScheduleRequest& request, const Caller& caller = {});
  // A new rule or zone counts from now on.
  Result<JobId> start_schedule_edit(const std::string& schedule, const ScheduleChange& change,
                                    const Caller& caller = {});
  // Nothing is made up for that was due while it was disabled.
  Result<JobId> start_schedule_enable(const std::string& schedule, bool enabled,
                                      const Caller& caller = {});
  // Its snapshots stay, and nobody drops them any more.
  Result<JobId> start_schedule_delete(const std::string& schedule, const Caller& caller = {});
  // One run now. Result: ScheduleRun, when all its tasks have ended; a job that is cancelled leaves
  // what has been made, and begins no more. kUnavailable when a task failed.
  Result<JobId> start_schedule_run(const std::string& schedule, const Caller& caller = {});

 private:
  explicit Control(std::unique_ptr<Core> core);
  std::unique_ptr<Core> core_;
  std::unique_ptr<ScheduleService> schedules_;  // uses core_
};

}  // namespace hozon::control
