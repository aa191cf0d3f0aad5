#include <unordered_map>

#include "control/inventory.h"

namespace hozon::control {
namespace {

// Columns as record_of() reads them. A head has the texts of its documents left out, which are most
// of what a snapshot's record has.
std::string select_snapshots(const std::string& where, bool head = false) {
  return fmt::format(
      "SELECT s.uuid, s.machine, s.name, s.description, s.kind, s.status, s.parent, s.created_ns, "
      "s.machine_state, s.memory, {}, s.schedule, s.due_ns, "
      "(SELECT name FROM schedules WHERE uuid = s.schedule), s.group_uuid, "
      "(SELECT name FROM snapshot_groups g WHERE g.uuid = s.group_uuid), "
      "m.tags, m.expires_ns, m.pinned, m.pin_reason "
      "FROM snapshots s LEFT JOIN snapshot_marks m ON m.snapshot = s.uuid WHERE {}",
      head ? "'', ''" : "s.settings, s.environment", where);
}

constexpr const char* kOfMachine = "s.machine = ?1 AND s.status <> 'trashed'";
constexpr const char* kAmong = "s.uuid IN (SELECT value FROM json_each(?1))";
constexpr const char* kInOrder = " ORDER BY s.created_ns, s.uuid";

std::string text_of(const nlohmann::json& object) {
  return object.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

nlohmann::json json_of(const std::string& text) {
  if (text.empty() || text == "null") return nullptr;
  nlohmann::json object = nlohmann::json::parse(text, nullptr, false);
  return object.is_discarded() ? nlohmann::json(nullptr) : object;
}

// Everything but the disks.
SnapshotRow record_of(const Row& row) {
  SnapshotRow snapshot;
  snapshot.uuid = row.text(0);
  snapshot.machine_uuid = row.text(1);
  snapshot.name = row.text(2);
  snapshot.description = row.text(3);
  snapshot.kind = row.text(4);
  snapshot.status = row.text(5);
  snapshot.parent = row.text(6);
  snapshot.created_ns = row.number(7);
  snapshot.machine_state = row.text(8);
  snapshot.memory = json_of(row.text(9));
  snapshot.settings = json_of(row.text(10));
  snapshot.environment = json_of(row.text(11));
  snapshot.schedule_uuid = row.text(12);
  snapshot.due_ns = row.number(13);
  snapshot.schedule_name = row.text(14);
  snapshot.group_uuid = row.text(15);
  snapshot.group_name = row.text(16);
  const nlohmann::json tags = json_of(row.text(17));
  if (tags.is_array()) snapshot.marks.tags = tags.get<std::vector<std::string>>();
  snapshot.marks.expires_ns = row.number(18);
  snapshot.marks.pinned = row.flag(19);
  snapshot.marks.pin_reason = row.text(20);
  return snapshot;
}

// Columns: disk, volume, pool, point, size_bytes.
SnapshotDisk disk_of(const Row& row) {
  return {row.text(0), row.text(1), row.text(2), row.text(3), row.number(4), {}};
}

}  // namespace

Result<SnapshotRow> Inventory::snapshot_of(const Row& row) {
  SnapshotRow snapshot = record_of(row);
  for (const Row& disk : HOZON_TRY(database_.query(
           "SELECT disk, volume, pool, point, size_bytes FROM snapshot_disks WHERE snapshot = ? "
           "ORDER BY disk",
           {sql(snapshot.uuid)})))
    snapshot.disks.push_back(disk_of(disk));
  return snapshot;
}

// Two statements, however many there are.
Result<std::vector<SnapshotRow>> Inventory::whole_snapshots(const char* where,
                                                            const std::string& value) {
  std::vector<SnapshotRow> snapshots;
  std::unordered_map<std::string, std::vector<SnapshotDisk>> disks;
  const std::string of_disks = fmt::format(
      "SELECT d.disk, d.volume, d.pool, d.point, d.size_bytes, d.snapshot FROM snapshots s "
      "JOIN snapshot_disks d ON d.snapshot = s.uuid WHERE {} ORDER BY d.disk",
      where);
  const std::string of_records = select_snapshots(where) + kInOrder;
  const Transaction view = HOZON_TRY(Transaction::begin(database_));
  for (const Row& row : HOZON_TRY(database_.query(of_disks.c_str(), {sql(value)})))
    disks[row.text(5)].push_back(disk_of(row));
  for (const Row& row : HOZON_TRY(database_.query(of_records.c_str(), {sql(value)}))) {
    snapshots.push_back(record_of(row));
    snapshots.back().disks = std::move(disks[snapshots.back().uuid]);
  }
  return snapshots;
}

Result<std::vector<SnapshotRow>> Inventory::snapshots(const std::string& machine_uuid) {
  return whole_snapshots(kOfMachine, machine_uuid);
}

Result<std::vector<SnapshotRow>> Inventory::snapshots_among(const std::vector<std::string>& uuids) {
  return whole_snapshots(kAmong, nlohmann::json(uuids).dump());
}

Result<std::vector<SnapshotRow>> Inventory::snapshot_heads(const std::string& machine_uuid) {
  std::vector<SnapshotRow> heads;
  const std::string statement = select_snapshots(kOfMachine, true) + kInOrder;
  for (const Row& row : HOZON_TRY(database_.query(statement.c_str(), {sql(machine_uuid)})))
    heads.push_back(record_of(row));
  return heads;
}

Result<SnapshotRow> Inventory::snapshot(const std::string& machine_uuid,
                                        const std::string& reference) {
  const std::string statement =
      select_snapshots("s.machine = ?1 AND (s.uuid = ?2 OR s.name = ?2) ORDER BY s.uuid = ?2");
  const auto rows =
      HOZON_TRY(database_.query(statement.c_str(), {sql(machine_uuid), sql(reference)}));
  if (rows.empty()) {
    const MachineRow owner = HOZON_TRY(machine(machine_uuid));
    return make_error(Code::kNotFound,
                      "machine '{}' has no snapshot '{}'; `hozon snapshot list {}` shows them",
                      owner.name, reference, owner.name);
  }
  return snapshot_of(rows.front());
}

Status Inventory::insert_snapshot(const SnapshotRow& row) {
  Transaction transaction = HOZON_TRY(Transaction::begin(database_));
  const Status inserted = database_.run(
      "INSERT INTO snapshots VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
      {sql(row.uuid), sql(row.machine_uuid), sql(row.name), sql(row.description), sql(row.kind),
       sql(row.status), sql_or_null(row.parent), sql(row.created_ns), sql(row.machine_state),
       sql(text_of(row.memory)), sql(text_of(row.settings)), sql(text_of(row.environment)),
       sql(row.schedule_uuid), sql(row.due_ns), sql(row.group_uuid)});
  if (!inserted && inserted.error().code == Code::kAlreadyExists)
    return make_error(Code::kAlreadyExists,
                      "the machine has a snapshot named '{}': choose another name", row.name);
  HOZON_TRY(inserted);
  HOZON_TRY(replace_snapshot_disks(row));
  HOZON_TRY(set_marks(row.uuid, row.marks));
  return transaction.commit();
}

Status Inventory::replace_snapshot_disks(const SnapshotRow& row) {
  HOZON_TRY(database_.run("DELETE FROM snapshot_disks WHERE snapshot = ?", {sql(row.uuid)}));
  for (const SnapshotDisk& disk : row.disks)
    HOZON_TRY(database_.run(
        "INSERT INTO snapshot_disks (snapshot, disk, volume, pool, point, size_bytes) "
        "VALUES (?, ?, ?, ?, ?, ?)",
        {sql(row.uuid), sql(disk.disk), sql(disk.volume), sql(disk.pool), sql(disk.point),
         sql(disk.size_bytes)}));
  return {};
}

// Called inside a transaction.
Status Inventory::update_snapshot(const SnapshotRow& row) {
  HOZON_TRY(database_.run(
      "UPDATE snapshots SET status = ?, machine_state = ?, memory = ?, environment = ? "
      "WHERE uuid = ?",
      {sql(row.status), sql(row.machine_state), sql(text_of(row.memory)),
       sql(text_of(row.environment)), sql(row.uuid)}));
  return replace_snapshot_disks(row);
}

Status Inventory::set_snapshot_status(const std::string& uuid, const std::string& status) {
  return database_.run("UPDATE snapshots SET status = ? WHERE uuid = ?", {sql(status), sql(uuid)});
}

Result<std::optional<SnapshotRow>> Inventory::suspend_of(const std::string& machine_uuid) {
  const auto rows = HOZON_TRY(database_.query(
      "SELECT uuid FROM snapshots WHERE machine = ? AND kind = 'suspend' AND status = 'ok'",
      {sql(machine_uuid)}));
  std::optional<SnapshotRow> found;
  if (!rows.empty()) found = HOZON_TRY(snapshot(machine_uuid, rows.front().text(0)));
  return found;
}

Status Inventory::end_suspend(const std::string& machine_uuid) {
  return database_.run("UPDATE snapshots SET kind = 'user' WHERE machine = ? AND kind = 'suspend'",
                       {sql(machine_uuid)});
}

Status Inventory::rename_snapshot(const std::string& uuid, const std::string& name) {
  const Status renamed =
      database_.run("UPDATE snapshots SET name = ? WHERE uuid = ?", {sql(name), sql(uuid)});
  if (!renamed && renamed.error().code == Code::kAlreadyExists)
    return make_error(Code::kAlreadyExists,
                      "the machine has a snapshot named '{}': choose another name", name);
  return renamed;
}

Status Inventory::describe_snapshot(const std::string& uuid, const std::string& description) {
  return database_.run("UPDATE snapshots SET description = ? WHERE uuid = ?",
                       {sql(description), sql(uuid)});
}

Status Inventory::delete_snapshot(const std::string& uuid) {
  Transaction transaction = HOZON_TRY(Transaction::begin(database_));
  HOZON_TRY(
      database_.run("UPDATE snapshots SET parent = (SELECT parent FROM snapshots WHERE uuid = ?1) "
                    "WHERE parent = ?1",
                    {sql(uuid)}));
  HOZON_TRY(database_.run(
      "UPDATE machines SET current_parent = (SELECT parent FROM snapshots WHERE uuid = ?1) "
      "WHERE current_parent = ?1",
      {sql(uuid)}));
  HOZON_TRY(database_.run("DELETE FROM snapshots WHERE uuid = ?", {sql(uuid)}));
  return transaction.commit();
}

Result<bool> Inventory::has_snapshot_name(const std::string& machine_uuid,
                                          const std::string& name) {
  return !HOZON_TRY(database_.query("SELECT 1 FROM snapshots WHERE machine = ? AND name = ?",
                                    {sql(machine_uuid), sql(name)}))
              .empty();
}

}  // namespace hozon::control
