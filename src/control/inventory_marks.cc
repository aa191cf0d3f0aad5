// What people put on snapshots (tags, expiry, pin), how many a machine may have, and the trash.
#include "control/inventory.h"

namespace hozon::control {
namespace {

using nlohmann::json;

std::string text_of(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

std::vector<std::string> texts_of(const std::string& text) {
  std::vector<std::string> texts;
  const json list = json::parse(text, nullptr, false);
  if (!list.is_array()) return texts;
  for (const json& item : list)
    if (item.is_string()) texts.push_back(item.get<std::string>());
  return texts;
}

TrashRow trash_of(const Row& row) {
  TrashRow trash;
  trash.id = row.number(0);
  trash.snapshot = row.text(1);
  trash.name = row.text(2);
  trash.parent = row.text(3);
  trash.children = texts_of(row.text(4));
  trash.was_current = row.flag(5);
  trash.trashed_ns = row.number(6);
  trash.until_ns = row.number(7);
  return trash;
}

}  // namespace

Result<SnapshotMarks> Inventory::marks(const std::string& snapshot_uuid) {
  SnapshotMarks marks;
  const auto rows = HOZON_TRY(database_.query(
      "SELECT tags, expires_ns, pinned, pin_reason FROM snapshot_marks WHERE snapshot = ?",
      {sql(snapshot_uuid)}));
  if (rows.empty()) return marks;
  marks.tags = texts_of(rows.front().text(0));
  marks.expires_ns = rows.front().number(1);
  marks.pinned = rows.front().flag(2);
  marks.pin_reason = rows.front().text(3);
  return marks;
}

Status Inventory::set_marks(const std::string& snapshot_uuid, const SnapshotMarks& marks) {
  return database_.run(
      "INSERT OR REPLACE INTO snapshot_marks (snapshot, tags, expires_ns, pinned, pin_reason) "
      "VALUES (?, ?, ?, ?, ?)",
      {sql(snapshot_uuid), sql(text_of(json(marks.tags))), sql(marks.expires_ns), sql(marks.pinned),
       sql(marks.pin_reason)});
}

Result<uint64_t> Inventory::quota(const std::string& machine_uuid) {
  const auto rows = HOZON_TRY(database_.query(
      "SELECT snapshots FROM machine_quotas WHERE machine = ?", {sql(machine_uuid)}));
  return rows.empty() ? 0 : rows.front().number(0);
}

Status Inventory::set_quota(const std::string& machine_uuid, uint64_t snapshots) {
  return database_.run("INSERT OR REPLACE INTO machine_quotas (machine, snapshots) VALUES (?, ?)",
                       {sql(machine_uuid), sql(snapshots)});
}

Result<std::vector<TrashRow>> Inventory::trash(const std::string& machine_uuid) {
  std::vector<TrashRow> rows;
  for (const Row& row : HOZON_TRY(database_.query(
           "SELECT t.id, t.snapshot, t.name, t.parent, t.children, t.was_current, t.trashed_ns, "
           "t.until_ns FROM trash t JOIN snapshots s ON s.uuid = t.snapshot WHERE s.machine = ? "
           "ORDER BY t.id",
           {sql(machine_uuid)})))
    rows.push_back(trash_of(row));
  return rows;
}

// The name becomes free, so the record takes its uuid for one. Children and the machine's position
// move to the parent, as when it is deleted for good; the trash remembers what moved.
Status Inventory::trash_snapshot(const std::string& uuid, uint64_t trashed_ns, uint64_t until_ns) {
  Transaction transaction = HOZON_TRY(Transaction::begin(database_));
  json children = json::array();
  for (const Row& row : HOZON_TRY(database_.query(
           "SELECT uuid FROM snapshots WHERE parent = ? AND status <> 'trashed'", {sql(uuid)})))
    children.push_back(row.text(0));
  HOZON_TRY(database_.run(
      "INSERT INTO trash (snapshot, name, parent, children, was_current, trashed_ns, until_ns) "
      "SELECT uuid, name, parent, ?2, EXISTS (SELECT 1 FROM machines WHERE current_parent = ?1), "
      "?3, ?4 FROM snapshots WHERE uuid = ?1",
      {sql(uuid), sql(text_of(children)), sql(trashed_ns), sql(until_ns)}));
  HOZON_TRY(
      database_.run("UPDATE snapshots SET parent = (SELECT parent FROM snapshots WHERE uuid = ?1) "
                    "WHERE parent = ?1 AND status <> 'trashed'",
                    {sql(uuid)}));
  HOZON_TRY(database_.run(
      "UPDATE machines SET current_parent = (SELECT parent FROM snapshots WHERE uuid = ?1) "
      "WHERE current_parent = ?1",
      {sql(uuid)}));
  // The memory of a machine that sleeps comes back as an ordinary one: meanwhile its disks may have
  // gone on, and only a return sets them to the same instant.
  HOZON_TRY(
      database_.run("UPDATE snapshots SET name = uuid, status = 'trashed', "
                    "kind = CASE kind WHEN 'suspend' THEN 'user' ELSE kind END WHERE uuid = ?",
                    {sql(uuid)}));
  return transaction.commit();
}

// Its place is below the nearest ancestor that is not in the trash; what it took along when it went
// comes back to it, as long as nobody moved it elsewhere.
Status Inventory::restore_snapshot(const TrashRow& trash, const std::string& name) {
  Transaction transaction = HOZON_TRY(Transaction::begin(database_));
  std::string parent = trash.parent;
  while (!parent.empty()) {
    const auto above =
        HOZON_TRY(database_.query("SELECT parent FROM trash WHERE snapshot = ?", {sql(parent)}));
    if (above.empty()) break;
    parent = above.front().text(0);
  }
  const auto exists =
      HOZON_TRY(database_.query("SELECT 1 FROM snapshots WHERE uuid = ?", {sql(parent)}));
  if (exists.empty()) parent.clear();
  HOZON_TRY(database_.run("UPDATE snapshots SET name = ?, status = 'ok', parent = ? WHERE uuid = ?",
                          {sql(name), sql_or_null(parent), sql(trash.snapshot)}));
  for (const std::string& child : trash.children)
    HOZON_TRY(database_.run(
        "UPDATE snapshots SET parent = ? WHERE uuid = ? AND parent IS ? AND status <> 'trashed'",
        {sql(trash.snapshot), sql(child), sql_or_null(parent)}));
  if (trash.was_current)
    HOZON_TRY(database_.run(
        "UPDATE machines SET current_parent = ?1 WHERE current_parent IS ?2 AND uuid = "
        "(SELECT machine FROM snapshots WHERE uuid = ?1)",
        {sql(trash.snapshot), sql_or_null(parent)}));
  HOZON_TRY(database_.run("DELETE FROM trash WHERE snapshot = ?", {sql(trash.snapshot)}));
  return transaction.commit();
}

}  // namespace hozon::control
