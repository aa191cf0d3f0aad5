#include "control/json.h"

#include <ctime>

#include "control/explain.h"
#include "control/json_sink.h"

namespace hozon::control {
namespace {

using nlohmann::json;

template <typename T>
json optional_json(const std::optional<T>& value) {
  return value ? json(*value) : json(nullptr);
}

json to_json(const std::vector<BlockedOperation>& blocked) {
  json list = json::array();
  for (const BlockedOperation& entry : blocked)
    list.push_back({{"operation", entry.operation},
                    {"code", code_name(entry.code)},
                    {"reason", entry.reason},
                    {"remedy", entry.remedy}});
  return list;
}

}  // namespace

std::string utc_text(uint64_t wall_ns) {
  if (wall_ns == 0) return "";
  const std::time_t seconds = static_cast<std::time_t>(wall_ns / 1'000'000'000);
  std::tm parts{};
  ::gmtime_r(&seconds, &parts);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z", parts.tm_year + 1900,
                     parts.tm_mon + 1, parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec,
                     wall_ns / 1'000'000 % 1000);
}

std::string power_state_name(PowerState state) {
  switch (state) {
    case PowerState::kDown: return "down";
    case PowerState::kStarting: return "starting";
    case PowerState::kUp: return "up";
    case PowerState::kPaused: return "paused";
    case PowerState::kSuspended: return "suspended";
    case PowerState::kStopping: return "stopping";
  }
  return "down";
}

std::string job_state_name(JobState state) {
  switch (state) {
    case JobState::kRunning: return "running";
    case JobState::kDone: return "done";
    case JobState::kFailed: return "failed";
    case JobState::kCancelled: return "cancelled";
    case JobState::kUndoFailed: return "undo_failed";
  }
  return "running";
}

json to_json(const Pool& pool) {
  return {{"name", pool.name},
          {"state", pool.state},
          {"message", pool.message},
          {"size_bytes", pool.size_bytes},
          {"used_bytes", pool.used_bytes},
          {"free_bytes", pool.free_bytes},
          {"reserve_bytes", pool.reserve_bytes},
          {"volumes", pool.volumes},
          {"points", pool.points},
          {"reclaiming", pool.reclaiming},
          {"pid", pool.pid},
          {"restarts", pool.restarts},
          {"damaged", pool.damaged},
          {"damage", pool.damage}};
}

json to_json(const PoolCheck& check) {
  return {{"pool", check.pool},
          {"clean", check.clean},
          {"errors", check.errors},
          {"warnings", check.warnings},
          {"points", check.points},
          {"map_blocks", check.map_blocks},
          {"data_blocks", check.data_blocks},
          {"lost_blocks", check.lost_blocks},
          {"damaged", check.damaged}};
}

json to_json(const Volume& volume) {
  return {{"name", volume.name},
          {"pool", volume.pool},
          {"id", volume.id},
          {"size_bytes", volume.size_bytes},
          {"created_ns", volume.created_ns},
          {"created", utc_text(volume.created_ns)},
          {"point_count", volume.point_count},
          {"mapped_bytes", optional_json(volume.mapped_bytes)},
          {"uri", volume.uri},
          {"machine", volume.machine},
          {"allowed_operations", volume.allowed_operations},
          {"blocked_operations", to_json(volume.blocked_operations)}};
}

json to_json(const Point& point) {
  return {{"name", point.name},
          {"volume", point.volume},
          {"pool", point.pool},
          {"id", point.id},
          {"parent_id", point.parent_id},
          {"set_id", point.set_id},
          {"size_bytes", point.size_bytes},
          {"created_ns", point.created_ns},
          {"created", utc_text(point.created_ns)},
          {"kind", point.kind},
          {"uri", point.uri},
          {"snapshot", point.snapshot}};
}

// ---- machines and snapshots, in both forms ----

template <typename Sink>
void describe(Sink& to, const BlockedOperation& blocked) {
  to("operation", blocked.operation);
  to("code", code_name(blocked.code));
  to("reason", blocked.reason);
  to("remedy", blocked.remedy);
}

template <typename Sink>
void describe(Sink& to, const Lock& lock) {
  to("reason", lock.reason);
  to("job", lock.job);
}

template <typename Sink>
void describe(Sink& to, const Preview& preview) {
  to("snapshot", preview.snapshot);
  to("kept", preview.kept);
  to("parts", preview.parts);
  to("since_ns", preview.since_ns);
  to("since", Utc{preview.since_ns});
}

template <typename Sink>
void describe(Sink& to, const Disk& disk) {
  to("id", disk.id);
  to("volume", disk.volume);
  to("pool", disk.pool);
  to("size_bytes", disk.size_bytes);
  to("attached", disk.attached);
}

template <typename Sink>
void describe(Sink& to, const Nic& nic) {
  to("id", nic.id);
  to("mac", nic.mac);
  to("kind", nic.kind);
}

template <typename Sink>
void describe(Sink& to, const Machine& machine) {
  to("uuid", machine.uuid);
  to("name", machine.name);
  to("description", machine.description);
  to("pool", machine.pool);
  to("state", power_state_name(machine.state));
  to("state_reason", machine.state_reason);
  to("status", machine.lock ? "image_locked" : power_state_name(machine.state));
  to("lock", machine.lock);
  to("memory_bytes", machine.memory_bytes);
  to("cpus", machine.cpus);
  to("machine_type", machine.machine_type);
  to("cpu_model", machine.cpu_model);
  to("accelerator", machine.accelerator);
  to("disks", machine.disks);
  to("nics", machine.nics);
  to("has_kernel", machine.has_kernel);
  to("has_initrd", machine.has_initrd);
  to("append", machine.append);
  to("firmware", machine.firmware);
  to("tags", machine.tags);
  to("initial_snapshot", machine.initial_snapshot);
  to("current_parent", machine.current_parent);
  to("current_parent_name", machine.current_parent_name);
  to("snapshot_count", machine.snapshot_count);
  to("created_ns", machine.created_ns);
  to("created", Utc{machine.created_ns});
  to("started_ns", machine.started_ns);
  to("started", Utc{machine.started_ns});
  to("pid", machine.pid);
  to("directory", machine.directory);
  to("console_socket", machine.console_socket);
  to("console_log", machine.console_log);
  to("live_memory_obstacles", machine.live_memory_obstacles);
  to("snapshot_quota", machine.snapshot_quota);
  to("preview", machine.preview);
  to("allowed_operations", machine.allowed_operations);
  to("blocked_operations", machine.blocked_operations);
}

template <typename Sink>
void describe(Sink& to, const MemoryInfo& memory) {
  to("mode", memory.mode);
  to("mode_reason", memory.mode_reason);
  to("stop_us", memory.stop_us);
  to("ram_bytes", memory.ram_bytes);
  to("stream_bytes", memory.stream_bytes);
  to("written_bytes", memory.written_bytes);
  to("zero_pages", memory.zero_pages);
  to("unchanged_pages", memory.unchanged_pages);
  to("duration_us", memory.duration_us);
  to("state_after_load", memory.state_after_load);
  to("is_foreign", memory.is_foreign);
}

template <typename Sink>
void describe(Sink& to, const SnapshotDisk& disk) {
  to("disk", disk.disk);
  to("volume", disk.volume);
  to("pool", disk.pool);
  to("point", disk.point);
  to("size_bytes", disk.size_bytes);
  to("exclusive_bytes", disk.exclusive_bytes);
}

template <typename Sink>
void describe(Sink& to, const Snapshot& snapshot) {
  to("uuid", snapshot.uuid);
  to("name", snapshot.name);
  to("description", snapshot.description);
  to("machine", snapshot.machine);
  to("machine_uuid", snapshot.machine_uuid);
  to("kind", snapshot.kind);
  to("status", snapshot.status);
  to("parent", snapshot.parent);
  to("parent_name", snapshot.parent_name);
  to("is_current", snapshot.is_current);
  to("created_ns", snapshot.created_ns);
  to("created", Utc{snapshot.created_ns});
  to("machine_state", snapshot.machine_state);
  to("consistency", snapshot.consistency);
  to("consistency_reason", snapshot.consistency_reason);
  to("memory", snapshot.memory);
  to("disks", snapshot.disks);
  to("exclusive_bytes", snapshot.exclusive_bytes);
  to("settings", snapshot.settings);
  to("tags", snapshot.tags);
  to("expires_ns", snapshot.expires_ns);
  to("expires", Utc{snapshot.expires_ns});
  to("pinned", snapshot.pinned);
  to("pin_reason", snapshot.pin_reason);
  to("schedule", snapshot.schedule);
  to("group", snapshot.group);
  to("trashed_ns", snapshot.trashed_ns);
  to("trash_until_ns", snapshot.trash_until_ns);
  to("trash_until", Utc{snapshot.trash_until_ns});
  to("allowed_operations", snapshot.allowed_operations);
  to("blocked_operations", snapshot.blocked_operations);
}

json to_json(const Disk& disk) { return ToObject::of(disk); }
json to_json(const Nic& nic) { return ToObject::of(nic); }
json to_json(const Machine& machine) { return ToObject::of(machine); }
json to_json(const MemoryInfo& memory) { return ToObject::of(memory); }
json to_json(const SnapshotDisk& disk) { return ToObject::of(disk); }
json to_json(const Snapshot& snapshot) { return ToObject::of(snapshot); }

namespace {

template <typename T>
void write_text(std::string& out, const T& value, const Members& wanted) {
  ToText members(out, wanted);
  describe(members, value);
  members.end();
}

}  // namespace

void write_json(std::string& out, const Machine& machine, const Members& wanted) {
  write_text(out, machine, wanted);
}

void write_json(std::string& out, const Snapshot& snapshot, const Members& wanted) {
  write_text(out, snapshot, wanted);
}

void write_json(std::string& out, json object, const Members& wanted) {
  std::erase_if(object.get_ref<json::object_t&>(),
                [&](const auto& member) { return !wanted.wants(member.first); });
  out += object.dump(-1, ' ', false, json::error_handler_t::replace);
}

json to_json(const SettingsChange& change) {
  return {{"setting", change.setting}, {"now", change.now}, {"then", change.then}};
}

json to_json(const Range& range) {
  return {{"offset_bytes", range.offset_bytes}, {"length_bytes", range.length_bytes}};
}

json to_json(const VolumeDiff& diff) {
  return {{"disk", diff.disk},
          {"volume", diff.volume},
          {"pool", diff.pool},
          {"point", diff.point},
          {"base_volume", diff.base_volume},
          {"base_point", diff.base_point},
          {"changed_bytes", diff.changed_bytes},
          {"ranges", to_json(diff.ranges)},
          {"next_offset", optional_json(diff.next_offset)},
          {"note", diff.note}};
}

json to_json(const SnapshotDiff& diff) {
  return {{"from", diff.from},
          {"to", diff.to},
          {"settings_changes", to_json(diff.settings_changes)},
          {"disks", to_json(diff.disks)}};
}

json to_json(const Plan& plan) {
  json object = {{"kind", plan.kind},
                 {"object", plan.object},
                 {"allowed", !plan.refusal.has_value()},
                 {"refusal", nullptr},
                 {"writes_bytes", plan.writes_bytes},
                 {"frees_bytes", plan.frees_bytes},
                 {"later_frees_bytes", plan.later_frees_bytes},
                 {"file_bytes", plan.file_bytes},
                 {"duration_us", plan.duration_us},
                 {"guest", plan.guest},
                 {"guest_stop_us", plan.guest_stop_us},
                 {"makes", plan.makes},
                 {"removes", plan.removes},
                 {"unreachable", plan.unreachable},
                 {"identity", plan.identity},
                 {"settings_changes", to_json(plan.settings_changes)},
                 {"notes", plan.notes}};
  if (plan.refusal)
    object["refusal"] = {{"code", code_name(plan.refusal->code)},
                         {"message", plan.refusal->what},
                         {"remedy", remedy_of(plan.refusal->what)}};
  return object;
}

json to_json(const Job& job) {
  json object = {{"id", job.id.value},
                 {"kind", job.kind},
                 {"object", job.object},
                 {"owner", job.owner},
                 {"state", job_state_name(job.state)},
                 {"step", job.step},
                 {"steps_done", job.steps_done},
                 {"steps_total", job.steps_total},
                 {"progress_done", job.progress_done},
                 {"progress_total", job.progress_total},
                 {"eta_ms", optional_json(job.eta_ms)},
                 {"created_ns", job.created_ns},
                 {"created", utc_text(job.created_ns)},
                 {"ended_ns", job.ended_ns},
                 {"ended", utc_text(job.ended_ns)},
                 {"error", nullptr},
                 {"result", job.result},
                 {"allowed_operations", job.allowed_operations},
                 {"blocked_operations", to_json(job.blocked_operations)}};
  if (job.error)
    object["error"] = {{"code", code_name(job.error->code)},
                       {"message", job.error->what},
                       {"remedy", remedy_of(job.error->what)}};
  return object;
}

}  // namespace hozon::control
