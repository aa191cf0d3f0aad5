// src/control/types.h
// What the control plane shows and accepts, as plain values. Sizes are bytes, times are nanoseconds
// since 1970 UTC (0: never). control/json.h gives the JSON form, with the member names used here.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/units.h"

namespace hozon::control {

// ---- pools ----

struct Pool {
  std::string name;
  // "ok", "damaged" (see `damage`), "full" (guest writes wait), "read_only" (after a failed sync),
  // "down"
  std::string state;
  std::string message;  // why it is not "ok", and what to do
  uint64_t size_bytes = 0;
  uint64_t used_bytes = 0;  // live + pending + in flight
  uint64_t free_bytes = 0;
  uint64_t reserve_bytes = 0;
  uint64_t volumes = 0;
  uint64_t points = 0;
  uint64_t reclaiming = 0;
  int pid = 0;  // of its hozon-stored, 0: none
  uint64_t restarts = 0;
  uint64_t damaged = 0;  // places known to be damaged
  // Those places, as the link has them (link/scrub_report.h), each with "machines". At most 256.
  nlohmann::json damage = nlohmann::json::array();
};

struct PoolRequest {
  std::string name;
  uint64_t size_bytes = 0;
};

struct PoolCheck {
  std::string pool;
  bool clean = false;
  std::vector<std::string> errors;
  std::vector<std::string> warnings;
  uint64_t points = 0;
  uint64_t map_blocks = 0;
  uint64_t data_blocks = 0;
  uint64_t lost_blocks = 0;
  nlohmann::json damaged = nlohmann::json::array();  // as Pool::damage
};

// Why a record does not allow an operation now (explain.h).
struct BlockedOperation {
  std::string operation;
  Code code;
  std::string reason;
  std::string remedy;  // a command, or empty
};

// ---- volumes ----

// One setting that differs between two states of a machine: "memory_bytes", "disk vdb", "nic net0".
struct SettingsChange {
  std::string setting;
  nlohmann::json now;   // null: not there
  nlohmann::json then;  // null: not there
};

struct Volume {
  std::string name;
  std::string pool;
  uint64_t id = 0;
  uint64_t size_bytes = 0;
  uint64_t created_ns = 0;
  uint64_t point_count = 0;
  std::optional<uint64_t> mapped_bytes;  // in volume() only
  std::string uri;
  std::string machine;  // that it belongs to; empty: none
  std::vector<std::string> allowed_operations;
  std::vector<BlockedOperation> blocked_operations;
};

struct Point {
  std::string name;
  std::string volume;
  std::string pool;
  uint64_t id = 0;
  uint64_t parent_id = 0;
  uint64_t set_id = 0;  // points made at one instant share it
  uint64_t size_bytes = 0;
  uint64_t created_ns = 0;
  std::string kind;  // "snapshot", or with `all`: "head", "fork", "reclaiming"
  std::string uri;
  std::string snapshot;  // "machine@name" when it is part of a machine's snapshot
};

struct Range {
  uint64_t offset_bytes = 0;
  uint64_t length_bytes = 0;
};

// What differs between two points, of different branches too. Equal blocks that were written twice
// count as different.
struct VolumeDiff {
  std::string disk;  // of a machine's disk: "vda"
  std::string volume, pool;
  std::string point, base_volume, base_point;  // empty points: as it is now
  uint64_t changed_bytes = 0;                  // of these ranges
  std::vector<Range> ranges;                   // in order, not touching each other
  std::optional<uint64_t> next_offset;         // where the rest begins; empty: this is all
  std::string note;  // of a disk that only one side has: then there are no ranges
};

struct DiffRequest {
  std::string volume, point, base_volume, base_point, pool;
  uint64_t offset_bytes = 0;
  uint64_t most = 1000;  // ranges
};
inline constexpr uint64_t kDiffRangesMax = 10'000;

struct SnapshotDiff {
  std::string from, to;  // names; an empty `to`: the machine as it is now
  std::vector<SettingsChange> settings_changes;
  std::vector<VolumeDiff> disks;
};

struct VolumeRequest {
  std::string name;
  std::string pool = "main";
  uint64_t size_bytes = 0;  // with `from`: 0 means the image's size; larger is allowed
  std::string from;         // image file: raw or qcow2
};

struct VolumeExport {
  std::string volume, point, pool;  // without a point: the volume as it is now
  std::string path;                 // absolute
  std::string format;               // "raw", "qcow2"
  bool force = false;               // replace a file that exists
  bool verify = true;               // read both again and compare
};

// ---- machines ----

enum class PowerState { kDown, kStarting, kUp, kPaused, kSuspended, kStopping };
std::string power_state_name(PowerState state);  // "down", "starting", ...

struct Disk {
  std::string id;  // "vda"
  std::string volume;
  std::string pool;
  uint64_t size_bytes = 0;
  bool attached = true;  // false: belongs to the machine, but its present settings do not use it
  bool operator==(const Disk&) const = default;
};

struct Nic {
  std::string id;  // "net0"
  std::string mac;
  std::string kind = "user";
  bool operator==(const Nic&) const = default;
};

// A lock always names the living job that holds it.
struct Lock {
  std::string reason;  // kind of the job: "snapshot.create"
  uint64_t job = 0;
};

// A return that is not decided yet.
struct Preview {
  std::string snapshot;  // name of the one that it is of
  std::string kept;      // name of the snapshot of what was before
  nlohmann::json parts;  // {"settings": name or null, "memory": .., "disks": {"vda": name}}
  uint64_t since_ns = 0;
};

struct Machine {
  std::string uuid;
  std::string name;
  std::string description;
  std::string pool;
  PowerState state = PowerState::kDown;
  std::string state_reason;  // why it is down or paused, when it is not what somebody asked for
  std::optional<Lock> lock;  // set: the machine is image_locked
  uint64_t memory_bytes = 0;
  unsigned cpus = 1;
  std::string machine_type;  // "pc-q35-7.2"
  std::string cpu_model;
  std::string accelerator;  // of the running QEMU
  std::vector<Disk> disks;
  std::vector<Nic> nics;
  bool has_kernel = false;
  bool has_initrd = false;
  std::string append;
  std::string firmware;             // "bios", "uefi", "uefi-secure"
  std::string current_parent;       // uuid of the snapshot the machine's present state grew from
  std::string current_parent_name;  // "" when none
  uint64_t snapshot_count = 0;
  uint64_t created_ns = 0;
  uint64_t started_ns = 0;
  int pid = 0;
  std::string directory;
  std::string console_socket;  // serial console, a unix stream socket while the machine is up
  std::string console_log;
  std::vector<std::string> allowed_operations;  // "start", "pause", "snapshot.create", ...
  std::vector<BlockedOperation> blocked_operations;
  uint64_t snapshot_quota = 0;  // 0: none
  std::vector<std::string> tags;
  // Name of the snapshot that it returns to when it goes down; empty: none.
  std::string initial_snapshot;
  std::optional<Preview> preview;
  // Why a snapshot with memory would have to stop the guest; in machine() only. Empty: nothing.
  std::vector<std::string> live_memory_obstacles;
};

struct DiskRequest {
  uint64_t size_bytes = 0;  // with `image`: 0 means the image's size
  std::string image;        // empty: an empty disk
};

struct MachineRequest {
  std::string name;
  std::string description;
  std::string pool = "main";
  std::vector<DiskRequest> disks;  // become vda, vdb, ... in this order
  uint64_t memory_bytes = 512_MiB;
  unsigned cpus = 1;
  unsigned nic_count = 1;  // user networking
  std::string kernel;      // files, copied into the instance
  std::string initrd;
  std::string append;
  std::string firmware = "bios";  // or "uefi", "uefi-secure"
  bool tpm = false;
  std::vector<std::string> tags;
  // What it is made from; then disks, firmware and devices are those of the template, and 0 of
  // memory and processors means its.
  std::string from_template;
  // A snapshot of this name is made with it, to which it returns whenever it goes down.
  std::string return_on_shutdown;
};

// ---- snapshots ----

struct SnapshotDisk {
  std::string disk;  // "vda", or "ram": the memory volume
  std::string volume;
  std::string pool;
  std::string point;  // the snapshot's uuid
  uint64_t size_bytes = 0;
  std::optional<uint64_t> exclusive_bytes;  // freed if this snapshot alone were deleted
};

struct MemoryInfo {
  std::string mode;              // "live", or "stopped" when the guest stood still for the save
  std::string mode_reason;       // why it was "stopped"
  uint64_t stop_us = 0;          // how long the guest stood still
  uint64_t ram_bytes = 0;        // of the machine
  uint64_t stream_bytes = 0;     // that QEMU sent
  uint64_t written_bytes = 0;    // stored: pages that differ from the memory saved before, and
                                 // the state of the devices
  uint64_t zero_pages = 0;       // of 4 KiB, not stored because they hold zeros
  uint64_t unchanged_pages = 0;  // not stored because the memory saved before has them
  uint64_t duration_us = 0;      // of the whole save
  std::string state_after_load;  // "up" or "paused"
  // It came from another machine: the guest knows that one's addresses, so its network stays
  // unplugged until somebody connects it.
  bool is_foreign = false;
};

struct Snapshot {
  std::string uuid;
  std::string name;
  std::string description;
  std::string machine;
  std::string machine_uuid;
  std::string kind;    // "user"; "system": the state that a return left;
                       // "preview": the state before a preview; "suspend": the state in
                       // which the machine sleeps; "user" when it does not any more
  std::string status;  // "locked" while a job works on it, "ok", "in_preview"
  std::string parent;  // uuid, "" for a root
  std::string parent_name;
  bool is_current = false;  // the machine's present state grew from this one
  uint64_t created_ns = 0;
  std::string machine_state;  // power state at its instant
  // What a start from it finds: "crash" (as after a power cut), "filesystem" (file systems had
  // written everything), "memory" (the guest goes on).
  std::string consistency;
  std::string consistency_reason;  // why it is not "filesystem", of a snapshot of disks
  std::optional<MemoryInfo> memory;
  std::vector<SnapshotDisk> disks;
  std::optional<uint64_t> exclusive_bytes;  // sum over the disks; when sizes were asked for
  nlohmann::json settings;                  // memory_bytes, cpus, nics, disks, append, ...
  std::vector<std::string> tags;
  uint64_t expires_ns = 0;  // 0: never
  bool pinned = false;
  std::string pin_reason;
  std::string group;        // name of the group that it belongs to (groups.h); empty: none
  std::string schedule;     // name of the schedule that made it; empty: none, or it is gone
  uint64_t trashed_ns = 0;  // in trash() only
  uint64_t trash_until_ns = 0;
  std::vector<std::string> allowed_operations;
  std::vector<BlockedOperation> blocked_operations;
};

// What people put on a snapshot.
struct SnapshotMarks {
  std::vector<std::string> tags;
  uint64_t expires_ns = 0;
  bool pinned = false;
  std::string pin_reason;
};

inline constexpr uint64_t kTrashSeconds = 7ULL * 24 * 3600;
inline constexpr uint64_t kInitialKeepSeconds = 24ULL * 3600;  // what returns to an initial state
                                                               // left
inline constexpr uint64_t kTrashSecondsMax = 366ULL * 24 * 3600;

struct DeleteRequest {
  std::vector<std::string> snapshots;
  bool subtree = false;            // and all that grew from them
  bool all_unpinned = false;       // all of the machine's that are not pinned
  uint64_t ttl_s = kTrashSeconds;  // in the trash; 0: for good, at once
  // Only the record leaves the list: the points stay, in the trash, until it is emptied.
  bool metadata_only = false;
};

struct SnapshotRequest {
  std::string name;  // empty: snap-<UTC time>
  std::string description;
  bool with_memory = false;
  std::vector<std::string> disks;  // empty: all attached disks
  bool settings_only = false;      // no disk at all
  std::vector<std::string> tags;
  uint64_t expires_in_s = 0;  // 0: never
  // Whether the guest's agent freezes its file systems meanwhile: "require", "try" (or empty),
  // "skip". Not with memory, which needs no order on the disks.
  std::string quiesce;
  // Of one that a schedule makes: for whom, for when, and what its name begins with.
  std::string schedule_uuid;
  uint64_t due_ns = 0;
  std::string name_base;
};

// Parts of a snapshot. What is not named stays as it is now.
struct ReturnParts {
  std::vector<std::string> disks;  // "vda", or "all" that the snapshot has
  bool settings = false;
  bool memory = false;  // only with the settings and all disks of the same instant
};

struct ReturnRequest {
  std::optional<ReturnParts> parts;  // absent: all that the snapshot has
  bool disks_only = false;   // leaves a saved memory aside: the machine boots, as after a power cut
  std::string state;         // "as-captured" (or empty), "running", "paused", "suspended", "down"
  bool instant = false;      // its memory comes page by page, when the guest touches it
  bool reset_nvram = false;  // the firmware's variables become those of a new machine
  bool discard_newer = false;       // what grew from the snapshot goes to the trash
  uint64_t keep_s = kTrashSeconds;  // how long the state that is left is kept
  uint64_t restores_trash_ns = 0;   // of an undo: what went to the trash at that time comes back
};

struct ResumeRequest {
  bool connect = false;  // a clone's network links are up at once
  bool instant = false;  // as of a return
};

struct CloneRequest {
  std::string new_name;
  std::string description;         // empty: says what it is a clone of
  bool with_memory = false;        // it sleeps where the snapshot was made
  bool full = false;               // copies every block: nothing is shared with the original
  std::string pool;                // of a full clone; empty: that of the original
  std::string return_on_shutdown;  // name of a snapshot that is made with it; it returns to that
};

// From which snapshot each part of a preview comes. Names or uuids; "current": as it is now.
struct PreviewRequest {
  std::string settings;                      // empty: the snapshot that is previewed
  std::string memory;                        // empty: its memory, if everything is of it; "none"
  std::map<std::string, std::string> disks;  // those that are not: {"vda": "before"}
};

// ---- jobs ----

struct JobId {
  uint64_t value = 0;
  auto operator<=>(const JobId&) const = default;
};

// What a change would do, found out without doing it.
struct Plan {
  std::string kind;  // of the job that it would be
  std::string object;
  std::optional<Error> refusal;  // why it would not be begun now
  // Of a memory that is saved for the first time: at most.
  uint64_t writes_bytes = 0;       // that it stores in pools itself, metadata aside
  uint64_t frees_bytes = 0;        // that come back to pools by it
  uint64_t later_frees_bytes = 0;  // and those that come back when the trash ends
  uint64_t file_bytes = 0;         // that it writes outside of pools
  uint64_t duration_us = 0;        // about, from jobs of this kind that ended, or a rule of thumb
  // What a running guest notices: "none", "pause" (it stands still and goes on), "restart" (it is
  // ended and another state runs), "end".
  std::string guest = "none";
  uint64_t guest_stop_us = 0;            // about, of "pause" and "restart"
  std::vector<std::string> makes;        // "machine web2", "snapshot web@before"
  std::vector<std::string> removes;      // from the lists; the trash may hold them still
  std::vector<std::string> unreachable;  // what nobody gets back afterwards
  std::vector<std::string> identity;     // addresses and ids that change, or come twice
  std::vector<SettingsChange> settings_changes;
  std::vector<std::string> notes;
};

// Who asks for a change.
struct Caller {
  std::string key;      // idempotency key; empty: none
  std::string request;  // what the key stands for: the same key with another request is refused
  std::string owner;    // for people: "root"
  // Set: nothing is begun, and what would be is written here. The number of the job is 0 then.
  std::shared_ptr<Plan> plan = nullptr;
};

// kUndoFailed: it failed, and part of what it had begun could not be taken back. Its locks are
// free; every start of hozond tries again.
enum class JobState { kRunning, kDone, kFailed, kCancelled, kUndoFailed };
// "running", "done", "failed", "cancelled", "undo_failed"
std::string job_state_name(JobState state);

struct Job {
  JobId id;
  std::string kind;    // "snapshot.create"
  std::string object;  // what it works on: "web", "web@before"
  std::string owner;   // who asked for it; empty: this program itself
  JobState state = JobState::kRunning;
  std::string step;                // what it does now, or did last, in words
  uint64_t steps_done = 0;         // before the present one
  uint64_t steps_total = 0;        // 0: unknown
  uint64_t progress_done = 0;      // bytes
  uint64_t progress_total = 0;     // 0: unknown
  std::optional<uint64_t> eta_ms;  // until all bytes are moved, at the pace so far
  uint64_t created_ns = 0;
  uint64_t ended_ns = 0;
  std::optional<Error> error;  // kFailed, kCancelled, kUndoFailed
  // Of a job that is done (or failed after it changed something): the object made or changed, in
  // the form of control/json.h, and what each kind adds (control.h).
  nlohmann::json result;
  std::vector<std::string> allowed_operations;
  std::vector<BlockedOperation> blocked_operations;
  bool is_ended() const { return state != JobState::kRunning; }
};

}  // namespace hozon::control
