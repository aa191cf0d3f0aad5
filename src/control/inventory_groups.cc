// Groups of snapshots, and which snapshots are in them.
#include "control/inventory.h"

namespace hozon::control {
namespace {

GroupRow group_of(const Row& row) { return {row.text(0), row.text(1), row.text(2), row.number(3)}; }

}  // namespace

Result<std::vector<GroupRow>> Inventory::groups() {
  std::vector<GroupRow> groups;
  for (const Row& row : HOZON_TRY(database_.query(
           "SELECT uuid, name, description, created_ns FROM snapshot_groups g WHERE EXISTS (SELECT "
           "1 FROM snapshots s WHERE s.group_uuid = g.uuid AND s.group_uuid <> '' AND s.status <> "
           "'trashed') ORDER BY created_ns, uuid")))
    groups.push_back(group_of(row));
  return groups;
}

Result<GroupRow> Inventory::group(const std::string& reference) {
  const auto rows =
      HOZON_TRY(database_.query("SELECT uuid, name, description, created_ns FROM snapshot_groups g "
                                "WHERE (uuid = ?1 OR name = "
                                "?1) AND EXISTS (SELECT 1 FROM snapshots s WHERE s.group_uuid = "
                                "g.uuid AND s.group_uuid <> '') "
                                "ORDER BY uuid = ?1",
                                {sql(reference)}));
  if (rows.empty())
    return make_error(Code::kNotFound, "there is no group '{}'; `hozon group list` shows them",
                      reference);
  return group_of(rows.front());
}

Result<std::vector<GroupMemberRow>> Inventory::group_members(const std::string& group_uuid) {
  std::vector<GroupMemberRow> members;
  for (const Row& row : HOZON_TRY(database_.query(
           "SELECT m.uuid, m.name, s.uuid FROM snapshots s JOIN machines m ON m.uuid = s.machine "
           "WHERE s.group_uuid = ? AND s.group_uuid <> '' AND s.status <> 'trashed' ORDER BY "
           "m.name",
           {sql(group_uuid)})))
    members.push_back({row.text(0), row.text(1), row.text(2)});
  return members;
}

// One whose last snapshot is gone for good does not stand in the way of its name.
Status Inventory::insert_group(const GroupRow& row) {
  HOZON_TRY(database_.run(
      "DELETE FROM snapshot_groups WHERE name = ? AND NOT EXISTS (SELECT 1 FROM snapshots s WHERE "
      "s.group_uuid = snapshot_groups.uuid AND s.group_uuid <> '')",
      {sql(row.name)}));
  const Status inserted = database_.run(
      "INSERT INTO snapshot_groups (uuid, name, description, created_ns) VALUES (?, ?, ?, ?)",
      {sql(row.uuid), sql(row.name), sql(row.description), sql(row.created_ns)});
  if (!inserted && inserted.error().code == Code::kAlreadyExists)
    return make_error(Code::kAlreadyExists, "a group named '{}' exists", row.name);
  return inserted;
}

Status Inventory::delete_group(const std::string& uuid) {
  return database_.run("DELETE FROM snapshot_groups WHERE uuid = ?", {sql(uuid)});
}

}  // namespace hozon::control
