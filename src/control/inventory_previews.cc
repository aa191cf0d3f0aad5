// Machines that are in preview of a snapshot.
#include "control/inventory.h"

namespace hozon::control {
namespace {

using nlohmann::json;

std::string text_of(const json& object) {
  return object.dump(-1, ' ', false, json::error_handler_t::replace);
}

}  // namespace

Result<std::optional<PreviewRow>> Inventory::preview(const std::string& machine_uuid) {
  std::optional<PreviewRow> preview;
  const auto rows = HOZON_TRY(database_.query(
      "SELECT target, kept, before, parts, created_ns FROM previews WHERE machine = ?",
      {sql(machine_uuid)}));
  if (rows.empty()) return preview;
  const Row& row = rows.front();
  preview = PreviewRow{.machine_uuid = machine_uuid,
                       .target = row.text(0),
                       .kept = row.text(1),
                       .before = json::parse(row.text(2), nullptr, false),
                       .parts = json::parse(row.text(3), nullptr, false),
                       .created_ns = row.number(4)};
  return preview;
}

Status Inventory::insert_preview(const PreviewRow& row) {
  return database_.run(
      "INSERT INTO previews (machine, target, kept, before, parts, created_ns) "
      "VALUES (?, ?, ?, ?, ?, ?)",
      {sql(row.machine_uuid), sql(row.target), sql(row.kept), sql(text_of(row.before)),
       sql(text_of(row.parts)), sql(row.created_ns)});
}

Status Inventory::delete_preview(const std::string& machine_uuid) {
  return database_.run("DELETE FROM previews WHERE machine = ?", {sql(machine_uuid)});
}

Status Inventory::set_snapshot_kind(const std::string& uuid, const std::string& kind) {
  return database_.run("UPDATE snapshots SET kind = ? WHERE uuid = ?", {sql(kind), sql(uuid)});
}

}  // namespace hozon::control
