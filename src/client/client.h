// src/client/client.h
// The REST API of one instance as C++ calls: blocking, typed, for the CLI and for tests.
//
// Calls that change something are jobs on the server; here they return when the job has ended, with
// its result or its error. While it runs, the progress callback is called about five times a
// second. Each carries an idempotency key, so a call that lost its answer is repeated safely, and a
// job is followed across a restart of hozond.
// Errors: those of the server (code and sentence), and kUnavailable when no instance answers; its
// sentence says how to start one.
// Threading: one call at a time.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "client/http_connection.h"
#include "client/interrupts.h"
#include "client/types.h"

namespace hozon::client {

using Progress = std::function<void(const Job&)>;

struct DiskRequest {
  uint64_t size_bytes = 0;
  std::string image;  // absolute path; empty: an empty disk
};

struct MachineRequest {
  std::string name, description, pool;
  std::vector<DiskRequest> disks;
  uint64_t memory_bytes = 0;  // 0: the server's default
  uint64_t cpus = 0;
  std::string kernel, initrd, append;  // absolute paths
  std::string firmware;                // empty: the server's default
  bool tpm = false;
  std::vector<std::string> tags;
  std::string from_template, return_on_shutdown;
};

struct SnapshotRequest {
  std::string name, description;
  bool with_memory = false, settings_only = false;
  std::string quiesce;  // empty, require, try, skip
  std::vector<std::string> disks;
  std::vector<std::string> tags;
  uint64_t expires_in_s = 0;  // 0: never
};

struct ReturnRequest {
  bool has_parts = false;          // only these, otherwise everything
  std::vector<std::string> disks;  // ids, or "all"
  bool settings = false, memory = false;
  bool disks_only = false, discard_newer = false, instant = false, reset_nvram = false;
  std::string state;  // empty, or one of as-captured, running, paused, suspended, down
};

struct PreviewRequest {
  std::string settings, memory;              // snapshots, "current", "none"; empty: the one itself
  std::map<std::string, std::string> disks;  // "vda": snapshot
};

struct CloneRequest {
  std::string new_name, description, pool;
  bool with_memory = false, full = false;
};

struct DeleteRequest {
  std::vector<std::string> snapshots;
  bool subtree = false, all_unpinned = false;
  bool for_good = false;  // not through the trash
  bool metadata_only = false;
};

struct VolumeRequest {
  std::string name, pool, from;
  uint64_t size_bytes = 0;
};

struct ExportRequest {
  std::string volume, point, pool;
  std::string path, format;  // absolute; "raw", "qcow2"
  bool force = false;
  bool verify = true;
};

class Client {
 public:
  // Of the instance in `directory`. Connects when first used.
  explicit Client(std::string directory);
  // Of one that listens there; `name` is what sentences call it.
  Client(std::string name, Address address, std::string token);
  void on_progress(Progress progress) { progress_ = std::move(progress); }
  // Called with a sentence when Ctrl-C is pressed while a call waits for its job: the first one
  // cancels the job, the second one stops waiting and leaves it running. Without this, Ctrl-C ends
  // the program, and the job goes on.
  void on_interrupt(std::function<void(const std::string&)> say) { say_ = std::move(say); }
  // From here on nothing is changed: the first call that would begin a job asks the server what
  // that would do, keeps the answer in plan() and ends with kCancelled.
  void plan_only() { plan_only_ = true; }
  const Json& plan() const { return plan_; }  // null: none was asked for
  // From here on no call waits for its job: the first one that begins one keeps it in left() and
  // ends with kCancelled.
  void leave_jobs() { leaves_jobs_ = true; }
  const std::optional<Job>& left() const { return left_; }
  const std::string& directory() const { return directory_; }

  Result<Json> info() { return get("/v1"); }
  // What has no call of its own: a GET, and a job with its result.
  Result<Json> read(const std::string& target) { return get(target); }
  Result<Json> perform(const std::string& method, const std::string& target, const Json& body) {
    return run(method, target, body);
  }

  Result<std::vector<Pool>> pools();
  Result<Pool> pool(const std::string& name);
  Result<Json> create_pool(const std::string& name, uint64_t size_bytes);
  Result<Json> delete_pool(const std::string& name, bool force);
  // Also when errors were found (then `clean` is false).
  Result<PoolCheck> check_pool(const std::string& name, bool data);
  // Waits for its end; the report of a scrub that found damage is a result, too.
  Result<PoolScrub> scrub_pool(const std::string& name, uint64_t bytes_per_second);
  Result<Job> start_pool_scrub(const std::string& name, uint64_t bytes_per_second);

  Result<std::vector<Volume>> volumes(const std::string& pool);
  Result<Volume> volume(const std::string& name, const std::string& pool);
  Result<std::string> volume_uri(const std::string& name, const std::string& point,
                                 const std::string& pool);
  Result<std::vector<Point>> points(const std::string& volume, const std::string& pool);
  // All pages of it.
  Result<Json> volume_diff(const std::string& volume, const std::string& point,
                           const std::string& base_volume, const std::string& base_point,
                           const std::string& pool);
  Result<Json> create_volume(const VolumeRequest& request);
  Result<Json> resize_volume(const std::string& name, uint64_t size_bytes, bool allow_shrink,
                             const std::string& pool);
  Result<Json> defragment_volume(const std::string& name, uint64_t bytes_per_second,
                                 const std::string& pool);
  // One instant for all of `volumes`.
  Result<Json> snapshot_volumes(const std::vector<std::string>& volumes, const std::string& point,
                                const std::string& pool);
  Result<Json> clone_volume(const std::string& name, const std::string& point,
                            const std::string& new_name, const std::string& pool);
  Result<Json> export_volume(const ExportRequest& request);
  Result<Json> return_volume(const std::string& name, const std::string& point,
                             const std::string& pool);
  Result<Json> delete_volume(const std::string& name, bool with_points, const std::string& pool);
  Result<Json> delete_point(const std::string& volume, const std::string& point,
                            const std::string& pool);

  // `fields`: the members that are wanted, "name,state"; empty: all. Fewer are faster.
  Result<std::vector<Machine>> machines(const std::string& fields = {});
  Result<Machine> machine(const std::string& name);
  Result<Json> create_machine(const MachineRequest& request);
  Result<Json> start_machine(const std::string& name, bool paused);
  Result<Json> shutdown_machine(const std::string& name, uint64_t timeout_ms);
  // "pause", "suspend", "connect", "thaw", "kill", "undo".
  Result<Json> machine_verb(const std::string& name, const std::string& verb);
  Result<Json> freeze_machine(const std::string& name, uint64_t hold_ms);
  Result<Json> resume_machine(const std::string& name, bool connect = false, bool instant = false);
  Result<Json> delete_machine(const std::string& name);

  Result<std::vector<Snapshot>> snapshots(const std::string& machine, bool with_sizes,
                                          const std::string& fields = {});
  Result<Snapshot> snapshot(const std::string& machine, const std::string& name);
  Result<Json> create_snapshot(const std::string& machine, const SnapshotRequest& request);
  Result<Json> return_to(const std::string& machine, const std::string& snapshot,
                         const ReturnRequest& how);
  Result<Json> plan_return(const std::string& machine, const std::string& snapshot,
                           const ReturnRequest& how);
  // An empty `to`: the machine as it is now. With all pages.
  Result<Json> snapshot_diff(const std::string& machine, const std::string& from,
                             const std::string& to);
  // Of a snapshot: its file systems, a directory (`place`: "vda1:/etc"), and the bytes of a file or
  // of a tar archive, which `take` gets as they come. An error: not all of it came.
  Result<Json> filesystems(const std::string& machine, const std::string& snapshot);
  Result<Json> details(const std::string& machine, const std::string& snapshot);
  Result<Json> files(const std::string& machine, const std::string& snapshot,
                     const std::string& place);
  Status download_files(const std::string& machine, const std::string& snapshot,
                        const std::string& place, bool as_tar,
                        const std::function<Status(std::string_view)>& take);
  Result<Json> preview(const std::string& machine, const std::string& snapshot,
                       const PreviewRequest& request);
  Result<Json> commit_preview(const std::string& machine, bool discard_newer);
  Result<Json> undo_preview(const std::string& machine);
  Result<Json> clone_snapshot(const std::string& machine, const std::string& snapshot,
                              const CloneRequest& request);
  Result<Json> rename_snapshot(const std::string& machine, const std::string& snapshot,
                               const std::string& new_name);
  Result<Json> describe_snapshot(const std::string& machine, const std::string& snapshot,
                                 const std::string& description);
  Result<Json> delete_snapshots(const std::string& machine, const DeleteRequest& request);
  // "tag", "expire", "pin", "unpin", each with its body.
  Result<Json> snapshot_verb(const std::string& machine, const std::string& snapshot,
                             const std::string& verb, const Json& body);
  Result<std::vector<Snapshot>> trash(const std::string& machine);
  Result<Json> restore_from_trash(const std::string& machine, const std::string& snapshot);
  Result<Json> empty_trash(const std::string& machine);
  Result<Json> set_quota(const std::string& machine, uint64_t snapshots);

  // Of an access file of its own: no jobs. `made` has "secret".
  Result<Json> create_token(const std::string& name, const std::vector<std::string>& rights,
                            uint64_t expires_in_s);
  Result<std::vector<Json>> tokens();
  Result<Json> revoke_token(const std::string& name);
  Result<std::vector<Json>> peers();
  Result<Json> set_peer(const std::string& user, const std::vector<std::string>& rights);
  Result<Json> remove_peer(const std::string& user);
  // Newest first, at most 1000.
  Result<std::vector<Json>> audit(uint64_t most, const std::string& query);

  Result<std::vector<Job>> jobs();
  Result<Job> job(uint64_t id);
  // Asks it to stop; it may go on all the same when it is past its point of no return.
  Result<Job> cancel_job(uint64_t id);

  // Calls `take` for each event, until it says false; goes on where it was after a break, and
  // gives up when nobody answers for a while. `query`: "?kind=job&object=web", or empty.
  Status follow_events(const std::string& query, std::optional<uint64_t> after,
                       const std::function<bool(const Json& event)>& take);

  // Starts a job without waiting for its end; follow() does that.
  Result<Job> start(const std::string& method, const std::string& target, const Json& body);
  Result<Job> follow(Job job);
  // As follow(), and Ctrl-C cancels it (on_interrupt()).
  Result<Job> finish(Job job);

 private:
  std::optional<Error> absence_of(const Error& error) const;
  Result<Json> exchange(const HttpCall& call);
  Result<Json> get(const std::string& target);
  Result<Json> get(const std::string& target, int timeout_ms);
  static constexpr int kListMs = 30'000;
  template <typename T>
  Result<std::vector<T>> list(const std::string& target, int timeout_ms = kListMs);
  // Adds to a page of a diff all that come after it.
  Status add_pages(Json& diff);
  Result<Json> ask_plan(const std::string& method, const std::string& target, const Json& body);
  // start, follow, result.
  Result<Json> run(const std::string& method, const std::string& target, const Json& body);

  Result<Json> change(const std::string& method, const std::string& target, const Json& body);

  std::string directory_;
  bool is_remote_ = false;
  HttpConnection connection_;
  Result<Job> follow(Job job, const Interrupts* interrupts);

  Progress progress_;
  std::function<void(const std::string&)> say_;
  bool plan_only_ = false;
  bool leaves_jobs_ = false;
  std::optional<Job> left_;
  Json plan_;
};

}  // namespace hozon::client
