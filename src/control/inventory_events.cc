// Events of what the inventory holds. Triggers note each changed row in a temporary table, in the
// transaction that changes it; when that transaction is on the disk the notes are read and
// published, one event for each object. So a change can neither be forgotten nor be reported
// without having happened, whoever makes it. The triggers are temporary, too: they belong to the
// program, and no file has old ones.
#include <algorithm>
#include <array>

#include "control/inventory.h"

namespace hozon::control {
namespace {

// A table whose rows are objects, or parts of one ("changed" whatever happens to them). '@' stands
// for NEW or OLD.
struct Watched {
  const char* table;
  const char* kind;
  bool is_part;
  const char* uuid;
  const char* name;
  const char* parent;  // a machine's uuid becomes its name later
  const char* status;
  const char* detail;
};

constexpr const char* kNone = "''";
// A deleted snapshot is shown by the name that it had.
constexpr const char* kSnapshotName =
    "CASE @.status WHEN 'trashed' THEN coalesce((SELECT name FROM trash WHERE snapshot = @.uuid), "
    "@.name) ELSE @.name END";
constexpr const char* kMarkedName = "(SELECT name FROM snapshots WHERE uuid = @.snapshot)";
constexpr const char* kMarkedMachine = "(SELECT machine FROM snapshots WHERE uuid = @.snapshot)";
// What a schedule's task comes to: the status of the event is that of the task.
constexpr const char* kTaskSchedule = "(SELECT schedule FROM schedule_runs WHERE id = @.run)";
constexpr const char* kTaskScheduleName =
    "(SELECT s.name FROM schedule_runs r JOIN schedules s ON s.uuid = r.schedule WHERE r.id = "
    "@.run)";

constexpr std::array kWatched = {
    Watched{"machines", "machine", false, "@.uuid", "@.name", kNone, kNone, kNone},
    Watched{"disks", "machine", true, "@.machine", kNone, kNone, kNone, kNone},
    Watched{"nics", "machine", true, "@.machine", kNone, kNone, kNone, kNone},
    Watched{"machine_quotas", "machine", true, "@.machine", kNone, kNone, kNone, kNone},
    Watched{"previews", "machine", true, "@.machine", kNone, kNone, kNone, kNone},
    Watched{"snapshots", "snapshot", false, "@.uuid", kSnapshotName, "@.machine", "@.status",
            kNone},
    Watched{"snapshot_marks", "snapshot", true, "@.snapshot", kMarkedName, kMarkedMachine, kNone,
            kNone},
    Watched{"schedules", "schedule", false, "@.uuid", "@.name", kNone,
            "iif(@.enabled, 'enabled', 'disabled')", kNone},
    Watched{"schedule_tasks", "schedule", true, kTaskSchedule, kTaskScheduleName, kNone, "@.state",
            "@.machine_name || iif(@.message = '', '', ': ' || @.message)"},
    Watched{"snapshot_groups", "group", false, "@.uuid", "@.name", kNone, kNone, kNone},
    Watched{"jobs", "job", false, "CAST(@.id AS TEXT)", "@.object", kNone, "@.state", "@.kind"},
};

// What belongs to objects whose own row changes with it, and what nobody sees.
constexpr std::array kUnwatched = {"snapshot_disks", "trash",         "job_steps",
                                   "settings",       "schedule_runs", "sqlite_sequence"};

std::string with_row(std::string text, std::string_view row) {
  for (size_t at = 0; (at = text.find('@', at)) != std::string::npos; at += row.size())
    text.replace(at, 1, row);
  return text;
}

std::string trigger_of(const Watched& watched, const char* event) {
  const std::string_view word = event;
  const char* change = "changed";
  if (!watched.is_part && word == "INSERT") change = "created";
  if (!watched.is_part && word == "DELETE") change = "deleted";
  const std::string values = with_row(fmt::format("{}, {}, {}, {}, {}", watched.uuid, watched.name,
                                                  watched.parent, watched.status, watched.detail),
                                      word == "DELETE" ? "OLD" : "NEW");
  return fmt::format(
      "CREATE TEMP TRIGGER note_{0}_{1} AFTER {1} ON main.{0} BEGIN "
      "INSERT INTO notes (kind, change, uuid, name, parent, status, detail) "
      "VALUES ('{2}', '{3}', {4}); END;",
      watched.table, event, watched.kind, change, values);
}

// One event for each object: what a transaction did to it, taken together.
void merge(std::vector<Event>& events, Event next) {
  const auto same = std::ranges::find_if(events, [&](const Event& event) {
    return event.kind == next.kind && event.uuid == next.uuid && event.change != "deleted";
  });
  if (same == events.end()) {
    events.push_back(std::move(next));
    return;
  }
  if (next.change == "deleted" && same->change == "created") {
    events.erase(same);
    return;
  }
  if (next.change == "deleted") same->change = "deleted";
  if (!next.name.empty()) same->name = next.name;
  if (!next.parent.empty()) same->parent = next.parent;
  if (!next.status.empty()) same->status = next.status;
  if (!next.detail.empty()) same->detail = next.detail;
}

}  // namespace

std::set<std::string> event_kinds() {
  std::set<std::string> kinds = {"pool", "volume", "point"};
  for (const Watched& watched : kWatched) kinds.insert(watched.kind);
  return kinds;
}

Status Inventory::watch(const std::function<void(Event)>& publish) {
  std::string script =
      "CREATE TEMP TABLE notes (id INTEGER PRIMARY KEY, kind TEXT, change TEXT, uuid TEXT, "
      "name TEXT, parent TEXT, status TEXT, detail TEXT);";
  for (const Watched& watched : kWatched)
    for (const char* event : {"INSERT", "UPDATE", "DELETE"}) script += trigger_of(watched, event);
  HOZON_TRY(database_.run_script(script.c_str()));
  database_.on_commit([publish](Database& database) {
    const auto rows = database.query(
        "DELETE FROM notes RETURNING kind, change, uuid, name, parent, status, detail, id");
    if (!rows) return;
    std::vector<Row> ordered = *rows;
    std::ranges::sort(ordered, {}, [](const Row& row) { return row.number(7); });
    // A part whose object is gone by now tells nothing.
    std::erase_if(ordered, [](const Row& row) { return row.text(2).empty(); });
    std::vector<Event> events;
    for (const Row& row : ordered)
      merge(events, Event{.kind = row.text(0),
                          .change = row.text(1),
                          .uuid = row.text(2),
                          .name = row.text(3),
                          .parent = row.text(4),
                          .status = row.text(5),
                          .detail = row.text(6)});
    for (Event& event : events) publish(std::move(event));
  });
  return {};
}

Result<std::vector<std::string>> Inventory::tables_without_events() {
  std::vector<std::string> missing;
  for (const Row& row : HOZON_TRY(database_.query(
           "SELECT name FROM main.sqlite_master WHERE type = 'table' ORDER BY name"))) {
    const std::string table = row.text(0);
    const bool known = std::ranges::find(kUnwatched, table) != kUnwatched.end() ||
                       std::ranges::find_if(kWatched, [&](const Watched& w) {
                         return table == w.table;
                       }) != kWatched.end();
    if (!known) missing.push_back(table);
  }
  return missing;
}

}  // namespace hozon::control
