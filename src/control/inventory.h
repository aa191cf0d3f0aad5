// src/control/inventory.h
// What an instance knows beyond its pools: machines, their snapshots, jobs. One SQLite file.
//
// Tables are described in schema.cc. Invariants
//   N1  A machine's name is unique; a snapshot's name is unique within its machine.
//   N2  A snapshot whose status is "ok" is complete: every point that it lists exists.
//   N3  Every unfinished job lists in job_steps what has to be undone or finished, in order, before
//       it was begun.
// Threading: any thread. Several changes that belong together: one Transaction of database().
#pragma once

#include <functional>
#include <optional>
#include <unordered_map>

#include "control/event_log.h"
#include "control/sqlite.h"
#include "control/types.h"

namespace hozon::control {

struct MachineRow {
  std::string uuid;
  std::string name;
  std::string description;
  std::string pool;
  uint64_t memory_bytes = 0;
  unsigned cpus = 1;
  std::string machine_type;
  std::string cpu_model;
  bool has_kernel = false;
  bool has_initrd = false;
  std::string append;
  std::string firmware = "bios";  // qemu/firmware.h; its variables are the disk "nvram"
  std::string vmgenid;
  std::string current_parent;
  uint64_t created_ns = 0;
  uint64_t started_ns = 0;
  std::vector<std::string> tags;
  bool is_template = false;      // templates.h
  std::string initial_snapshot;  // uuid of the one that it returns to when it goes down
  bool left_initial = false;     // it was started since it was there
  std::vector<Disk> disks;       // detached ones too
  std::vector<Nic> nics;
};

// What is shown of a machine beyond its own record.
struct MachineFacts {
  uint64_t snapshots = 0;  // without the trash
  uint64_t quota = 0;      // 0: none
  bool is_asleep = false;  // it has a snapshot of kind "suspend"
  std::string current_parent_name;
  std::string initial_snapshot_name;
  std::optional<Preview> preview;
};

struct SnapshotRow {
  std::string uuid;
  std::string machine_uuid;
  std::string name;
  std::string description;
  std::string kind = "user";
  std::string status = "locked";
  std::string parent;
  uint64_t created_ns = 0;
  std::string machine_state;
  nlohmann::json memory;            // null, or MemoryInfo
  nlohmann::json settings;          // settings.h
  nlohmann::json environment;       // null, or what a memory restore needs to find again
  std::vector<SnapshotDisk> disks;  // "ram" among them when it has memory
  SnapshotMarks marks;
  std::string schedule_uuid;  // of the schedule that made it, which may be gone
  std::string schedule_name;  // read only; empty when it is gone
  uint64_t due_ns = 0;        // of the run that it is of
  std::string group_uuid;     // of its group; empty: none
  std::string group_name;     // read only
};

// Snapshots of several machines that belong together (groups.h).
struct GroupRow {
  std::string uuid;
  std::string name;
  std::string description;
  uint64_t created_ns = 0;
};
struct GroupMemberRow {
  std::string machine_uuid;
  std::string machine;
  std::string snapshot_uuid;
};

// A deleted snapshot whose points are there still. Its record has the status "trashed", and its
// uuid for a name.
struct TrashRow {
  uint64_t id = 0;  // grows with time
  std::string snapshot;
  std::string name;                   // that it had
  std::string parent;                 // that it had
  std::vector<std::string> children;  // that went to its parent
  bool was_current = false;
  uint64_t trashed_ns = 0;
  uint64_t until_ns = 0;  // 0: until it is emptied
};

// A machine in preview (preview.h).
struct PreviewRow {
  std::string machine_uuid;
  std::string target;     // uuid of the snapshot that it is of
  std::string kept;       // uuid of the snapshot of what was before
  nlohmann::json before;  // the rest of what was before
  nlohmann::json parts;   // for people: which part comes from which snapshot
  uint64_t created_ns = 0;
};

struct StepRow {
  uint64_t id = 0;
  std::string op;
  nlohmann::json arguments;
};

struct JobRow {
  Job job;
  Caller caller;
  std::vector<std::string> locks;
};

struct KeyRow {
  uint64_t job = 0;
  std::string request;
};

class Inventory {
 public:
  // kUnimplemented: written by a newer Hozon. Older ones are brought up to date.
  static Result<Inventory> open(const std::string& path);
  Database& database() { return database_; }
  // From here on `publish` gets an event for every change of a record, after it is on the disk. It
  // is called under the lock of the database, and must not wait.
  Status watch(const std::function<void(Event)>& publish);
  // Of which inventory_events.cc does not say whether their changes are anybody's business.
  Result<std::vector<std::string>> tables_without_events();

  // machines
  Result<std::vector<MachineRow>> machines();                // by name, without templates
  Result<std::vector<MachineRow>> templates();               // by name
  Result<MachineRow> machine(const std::string& reference);  // name or uuid
  Result<MachineFacts> facts(const std::string& machine_uuid);
  Result<std::unordered_map<std::string, MachineFacts>> facts();  // of all machines, by uuid
  Status insert_machine(const MachineRow& row);
  // Everything but uuid, name, description, pool and tags; disks and NICs are replaced.
  Status update_machine(const MachineRow& row);
  Status set_current_parent(const std::string& machine_uuid, const std::string& snapshot_uuid);
  Status set_started(const std::string& machine_uuid, uint64_t wall_ns);
  Status set_vmgenid(const std::string& machine_uuid, const std::string& vmgenid);
  Status set_initial(const std::string& machine_uuid, const std::string& snapshot_uuid);
  Status set_left_initial(const std::string& machine_uuid, bool left);
  Status set_tags(const std::string& machine_uuid, const std::vector<std::string>& tags);
  Status delete_machine(const std::string& uuid);  // and its disks, NICs and snapshots
  Result<bool> is_mac_used(const std::string& mac);
  // "machine" or "machine@snapshot" of whoever needs the volume or point; "" when nobody does.
  Result<std::string> user_of_volume(const std::string& pool, const std::string& volume);
  Result<std::string> user_of_point(const std::string& pool, const std::string& volume,
                                    const std::string& point);
  Result<bool> is_in_other_snapshot(const std::string& pool, const std::string& volume,
                                    const std::string& snapshot_uuid);
  Result<std::string> user_of_pool(const std::string& pool);

  // snapshots
  // Oldest first, without the trash.
  Result<std::vector<SnapshotRow>> snapshots(const std::string& machine_uuid);
  // The same without settings, environment and disks: for long lists.
  Result<std::vector<SnapshotRow>> snapshot_heads(const std::string& machine_uuid);
  // Whole ones by uuid, in any order; those that are gone are left out.
  Result<std::vector<SnapshotRow>> snapshots_among(const std::vector<std::string>& uuids);
  Result<SnapshotRow> snapshot(const std::string& machine_uuid, const std::string& reference);
  Status insert_snapshot(const SnapshotRow& row);  // with its disks
  // Status, disks, memory, environment, machine_state.
  Status update_snapshot(const SnapshotRow& row);
  Status set_snapshot_status(const std::string& uuid, const std::string& status);
  // The state in which the machine sleeps: its snapshot of kind "suspend".
  Result<std::optional<SnapshotRow>> suspend_of(const std::string& machine_uuid);
  // From now on that is an ordinary snapshot, and the machine is down.
  Status end_suspend(const std::string& machine_uuid);
  Status rename_snapshot(const std::string& uuid, const std::string& name);
  Status describe_snapshot(const std::string& uuid, const std::string& description);
  // Its children and its machine's position move to its parent.
  Status delete_snapshot(const std::string& uuid);
  Result<bool> has_snapshot_name(const std::string& machine_uuid, const std::string& name);

  Result<SnapshotMarks> marks(const std::string& snapshot_uuid);
  Status set_marks(const std::string& snapshot_uuid, const SnapshotMarks& marks);
  Result<uint64_t> quota(const std::string& machine_uuid);  // 0: none
  Status set_quota(const std::string& machine_uuid, uint64_t snapshots);
  Result<std::vector<TrashRow>> trash(const std::string& machine_uuid);  // oldest first
  Status trash_snapshot(const std::string& uuid, uint64_t trashed_ns, uint64_t until_ns);
  Status restore_snapshot(const TrashRow& trash, const std::string& name);

  Result<std::optional<PreviewRow>> preview(const std::string& machine_uuid);
  Status insert_preview(const PreviewRow& row);
  Status delete_preview(const std::string& machine_uuid);
  Status set_snapshot_kind(const std::string& uuid, const std::string& kind);

  // groups
  Result<std::vector<GroupRow>> groups();  // oldest first; only those that have members
  Result<GroupRow> group(const std::string& reference);  // name or uuid
  Result<std::vector<GroupMemberRow>> group_members(const std::string& group_uuid);
  Status insert_group(const GroupRow& row);
  Status delete_group(const std::string& uuid);  // its members stay, and belong to none

  // jobs
  Result<uint64_t> insert_job(const JobRow& row);
  Result<std::optional<KeyRow>> job_of_key(const std::string& key);
  // And forgets its steps, unless its undo failed: then what is left of them is tried again.
  Status finish_job(const Job& job);
  Result<Job> job(uint64_t id);
  Result<std::vector<Job>> jobs(size_t most);  // newest first
  // Microseconds and bytes of the last ones of a kind that were done.
  Result<std::vector<std::pair<uint64_t, uint64_t>>> job_durations(const std::string& kind);
  Result<std::vector<JobRow>> unfinished_jobs();  // running, or undo_failed
  Result<uint64_t> add_step(uint64_t job, const std::string& op, const nlohmann::json& arguments);
  Status remove_step(uint64_t step);
  Status clear_steps(uint64_t job);
  Result<std::vector<StepRow>> steps(uint64_t job);  // in order
  Status trim_jobs(size_t keep);                     // the oldest ended ones go

 private:
  explicit Inventory(Database database) : database_(std::move(database)) {}
  Result<std::vector<MachineRow>> machines_where(bool is_template);
  Result<std::vector<SnapshotRow>> whole_snapshots(const char* where, const std::string& value);
  Status replace_devices(const MachineRow& row);
  Result<SnapshotRow> snapshot_of(const Row& row);
  Status replace_snapshot_disks(const SnapshotRow& row);

  Database database_;
};

// Brings the tables to the present version (schema.cc).
Status migrate_schema(Database& database);

}  // namespace hozon::control
