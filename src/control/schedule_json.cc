#include "control/json.h"
#include "control/schedule.h"

namespace hozon::control {
namespace {

using nlohmann::json;

json retention_json(const Retention& rules) {
  return {{"last", rules.last},    {"within_s", rules.within_s}, {"hourly", rules.hourly},
          {"daily", rules.daily},  {"weekly", rules.weekly},     {"monthly", rules.monthly},
          {"yearly", rules.yearly}};
}

Retention retention_of(const json& object) {
  const auto number = [&](const char* name) { return object.value(name, uint64_t{0}); };
  return {.last = number("last"),
          .within_s = number("within_s"),
          .hourly = number("hourly"),
          .daily = number("daily"),
          .weekly = number("weekly"),
          .monthly = number("monthly"),
          .yearly = number("yearly")};
}

json to_json(const PreviewedSnapshot& snapshot) {
  return {{"name", snapshot.name},
          {"due_ns", snapshot.due_ns},
          {"due", utc_text(snapshot.due_ns)},
          {"reasons", snapshot.reasons},
          {"dropped_ns", snapshot.dropped_ns},
          {"dropped", utc_text(snapshot.dropped_ns)}};
}

json list_json(const std::vector<PreviewedSnapshot>& snapshots) {
  json list = json::array();
  for (const PreviewedSnapshot& snapshot : snapshots) list.push_back(to_json(snapshot));
  return list;
}

}  // namespace

json settings_json(const ScheduleSettings& settings) {
  return {{"description", settings.description},
          {"rule", settings.rule},
          {"zone", settings.zone},
          {"machines",
           {{"names", settings.machines.names},
            {"tags", settings.machines.tags},
            {"states", settings.machines.states},
            {"all", settings.machines.all}}},
          {"kind", settings.kind},
          {"retention", retention_json(settings.retention)},
          {"jitter_s", settings.jitter_s},
          {"parallel", settings.parallel},
          {"catch_up", settings.catch_up}};
}

// Written by settings_json() only, so that what is missing is what an older version did not know.
ScheduleSettings schedule_settings_of(const json& object) {
  ScheduleSettings settings;
  settings.description = object.value("description", "");
  settings.rule = object.value("rule", "");
  settings.zone = object.value("zone", "UTC");
  const json machines = object.value("machines", json::object());
  settings.machines.names = machines.value("names", std::vector<std::string>());
  settings.machines.tags = machines.value("tags", std::vector<std::string>());
  settings.machines.states = machines.value("states", std::vector<std::string>());
  settings.machines.all = machines.value("all", false);
  settings.kind = object.value("kind", settings.kind);
  settings.retention = retention_of(object.value("retention", json::object()));
  settings.jitter_s = object.value("jitter_s", settings.jitter_s);
  settings.parallel = object.value("parallel", settings.parallel);
  settings.catch_up = object.value("catch_up", settings.catch_up);
  return settings;
}

json to_json(const ScheduleTask& task) {
  return {{"machine", task.machine},   {"machine_uuid", task.machine_uuid},
          {"state", task.state},       {"attempts", task.attempts},
          {"at_ns", task.at_ns},       {"at", utc_text(task.at_ns)},
          {"snapshot", task.snapshot}, {"removed", task.removed},
          {"code", task.code},         {"message", task.message}};
}

json to_json(const ScheduleRun& run) {
  json tasks = json::array();
  for (const ScheduleTask& task : run.tasks) tasks.push_back(to_json(task));
  return {{"id", run.id},
          {"due_ns", run.due_ns},
          {"due", utc_text(run.due_ns)},
          {"cause", run.cause},
          {"missed", run.missed},
          {"ended_ns", run.ended_ns},
          {"ended", utc_text(run.ended_ns)},
          {"tasks", tasks}};
}

json to_json(const Schedule& schedule) {
  json object = settings_json(schedule.settings);
  object["uuid"] = schedule.uuid;
  object["name"] = schedule.name;
  object["enabled"] = schedule.enabled;
  object["created_ns"] = schedule.created_ns;
  object["created"] = utc_text(schedule.created_ns);
  object["next_ns"] = schedule.next_ns;
  object["next"] = utc_text(schedule.next_ns);
  object["snapshot_count"] = schedule.snapshot_count;
  object["latest"] = schedule.latest ? to_json(*schedule.latest) : json(nullptr);
  object["failed"] = schedule.failed;
  object["runs"] = json::array();
  for (const ScheduleRun& run : schedule.runs) object["runs"].push_back(to_json(run));
  object["allowed_operations"] = schedule.allowed_operations;
  object["blocked_operations"] = json::array();
  for (const BlockedOperation& blocked : schedule.blocked_operations)
    object["blocked_operations"].push_back({{"operation", blocked.operation},
                                            {"code", code_name(blocked.code)},
                                            {"reason", blocked.reason},
                                            {"remedy", blocked.remedy}});
  return object;
}

json to_json(const SchedulePreview& preview) {
  json runs = json::array();
  for (const auto& [due_ns, words] : preview.runs)
    runs.push_back({{"due_ns", due_ns}, {"due", utc_text(due_ns)}, {"local", words}});
  json machines = json::array();
  for (const PreviewedMachine& machine : preview.machines)
    machines.push_back({{"machine", machine.machine},
                        {"kept", list_json(machine.kept)},
                        {"dropped", list_json(machine.dropped)}});
  return {{"schedule", preview.schedule},
          {"zone", preview.zone},
          {"runs", runs},
          {"until_ns", preview.until_ns},
          {"until", utc_text(preview.until_ns)},
          {"machines", machines}};
}

}  // namespace hozon::control
