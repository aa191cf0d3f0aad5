#include "control/json.h"

#include <ctime>

#include "control/explain.h"

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

json to_json(const Disk& disk) {
  return {{"id", disk.id},
          {"volume", disk.volume},
          {"pool", disk.pool},
          {"size_bytes", disk.size_bytes},
          {"attached", disk.attached}};
}

json to_json(const Nic& nic) { return {{"id", nic.id}, {"mac", nic.mac}, {"kind", nic.kind}}; }

json to_json(const Machine& machine) {
  json object = {
      {"uuid", machine.uuid},
      {"name", machine.name},
      {"description", machine.description},
      {"pool", machine.pool},
      {"state", power_state_name(machine.state)},
      {"state_reason", machine.state_reason},
      {"status", machine.lock ? json("image_locked") : json(power_state_name(machine.state))},
      {"lock", nullptr},
      {"memory_bytes", machine.memory_bytes},
      {"cpus", machine.cpus},
      {"machine_type", machine.machine_type},
      {"cpu_model", machine.cpu_model},
      {"accelerator", machine.accelerator},
      {"disks", to_json(machine.disks)},
      {"nics", to_json(machine.nics)},
      {"has_kernel", machine.has_kernel},
      {"has_initrd", machine.has_initrd},
      {"append", machine.append},
      {"firmware", machine.firmware},
      {"tags", machine.tags},
      {"initial_snapshot", machine.initial_snapshot},
      {"current_parent", machine.current_parent},
      {"current_parent_name", machine.current_parent_name},
      {"snapshot_count", machine.snapshot_count},
      {"created_ns", machine.created_ns},
      {"created", utc_text(machine.created_ns)},
      {"started_ns", machine.started_ns},
      {"started", utc_text(machine.started_ns)},
      {"pid", machine.pid},
      {"directory", machine.directory},
      {"console_socket", machine.console_socket},
      {"console_log", machine.console_log},
      {"live_memory_obstacles", machine.live_memory_obstacles},
      {"snapshot_quota", machine.snapshot_quota},
      {"allowed_operations", machine.allowed_operations},
      {"blocked_operations", to_json(machine.blocked_operations)}};
  object["preview"] = nullptr;
  if (machine.preview)
    object["preview"] = {{"snapshot", machine.preview->snapshot},
                         {"kept", machine.preview->kept},
                         {"parts", machine.preview->parts},
                         {"since_ns", machine.preview->since_ns},
                         {"since", utc_text(machine.preview->since_ns)}};
  if (machine.lock) object["lock"] = {{"reason", machine.lock->reason}, {"job", machine.lock->job}};
  return object;
}

json to_json(const MemoryInfo& memory) {
  return {{"mode", memory.mode},
          {"mode_reason", memory.mode_reason},
          {"stop_us", memory.stop_us},
          {"ram_bytes", memory.ram_bytes},
          {"stream_bytes", memory.stream_bytes},
          {"written_bytes", memory.written_bytes},
          {"zero_pages", memory.zero_pages},
          {"unchanged_pages", memory.unchanged_pages},
          {"duration_us", memory.duration_us},
          {"state_after_load", memory.state_after_load},
          {"is_foreign", memory.is_foreign}};
}

json to_json(const SnapshotDisk& disk) {
  return {{"disk", disk.disk},
          {"volume", disk.volume},
          {"pool", disk.pool},
          {"point", disk.point},
          {"size_bytes", disk.size_bytes},
          {"exclusive_bytes", optional_json(disk.exclusive_bytes)}};
}

json to_json(const Snapshot& snapshot) {
  return {{"uuid", snapshot.uuid},
          {"name", snapshot.name},
          {"description", snapshot.description},
          {"machine", snapshot.machine},
          {"machine_uuid", snapshot.machine_uuid},
          {"kind", snapshot.kind},
          {"status", snapshot.status},
          {"parent", snapshot.parent},
          {"parent_name", snapshot.parent_name},
          {"is_current", snapshot.is_current},
          {"created_ns", snapshot.created_ns},
          {"created", utc_text(snapshot.created_ns)},
          {"machine_state", snapshot.machine_state},
          {"consistency", snapshot.consistency},
          {"consistency_reason", snapshot.consistency_reason},
          {"memory", snapshot.memory ? to_json(*snapshot.memory) : json(nullptr)},
          {"disks", to_json(snapshot.disks)},
          {"exclusive_bytes", optional_json(snapshot.exclusive_bytes)},
          {"settings", snapshot.settings},
          {"tags", snapshot.tags},
          {"expires_ns", snapshot.expires_ns},
          {"expires", utc_text(snapshot.expires_ns)},
          {"pinned", snapshot.pinned},
          {"pin_reason", snapshot.pin_reason},
          {"schedule", snapshot.schedule},
          {"group", snapshot.group},
          {"trashed_ns", snapshot.trashed_ns},
          {"trash_until_ns", snapshot.trash_until_ns},
          {"trash_until", utc_text(snapshot.trash_until_ns)},
          {"allowed_operations", snapshot.allowed_operations},
          {"blocked_operations", to_json(snapshot.blocked_operations)}};
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
