// Machines, and who needs which volume. Lists cost a few statements, however long they are: see
// facts(). Snapshots: inventory_snapshots.cc; jobs: inventory_jobs.cc.
#include "control/inventory.h"

#include <unordered_map>

namespace hozon::control {
namespace {

const std::string kSelectMachine =
    "SELECT uuid, name, description, pool, memory_bytes, cpus, machine_type, cpu_model, "
    "has_kernel, has_initrd, append, vmgenid, current_parent, created_ns, started_ns, firmware, "
    "tags, is_template, initial_snapshot, left_initial FROM machines ";
const std::string kSelectFacts =
    "SELECT m.uuid, "
    "(SELECT COUNT(*) FROM snapshots WHERE machine = m.uuid AND status <> 'trashed'), "
    "(SELECT snapshots FROM machine_quotas WHERE machine = m.uuid), "
    "EXISTS (SELECT 1 FROM snapshots WHERE machine = m.uuid AND kind = 'suspend' AND status <> "
    "'trashed'), "
    "(SELECT name FROM snapshots WHERE uuid = m.current_parent AND status <> 'trashed'), "
    "(SELECT name FROM snapshots WHERE uuid = m.initial_snapshot AND status <> 'trashed'), "
    "p.machine IS NOT NULL, "
    "(SELECT name FROM snapshots WHERE uuid = p.target AND status <> 'trashed'), "
    "(SELECT name FROM snapshots WHERE uuid = p.kept AND status <> 'trashed'), "
    "p.parts, p.created_ns FROM machines m LEFT JOIN previews p ON p.machine = m.uuid ";

// Everything but disks and NICs.
MachineRow machine_of(const Row& row) {
  MachineRow machine;
  machine.uuid = row.text(0);
  machine.name = row.text(1);
  machine.description = row.text(2);
  machine.pool = row.text(3);
  machine.memory_bytes = row.number(4);
  machine.cpus = static_cast<unsigned>(row.number(5));
  machine.machine_type = row.text(6);
  machine.cpu_model = row.text(7);
  machine.has_kernel = row.flag(8);
  machine.has_initrd = row.flag(9);
  machine.append = row.text(10);
  machine.vmgenid = row.text(11);
  machine.current_parent = row.text(12);
  machine.created_ns = row.number(13);
  machine.started_ns = row.number(14);
  machine.firmware = row.text(15);
  const auto tags = nlohmann::json::parse(row.text(16), nullptr, false);
  if (tags.is_array()) machine.tags = tags.get<std::vector<std::string>>();
  machine.is_template = row.flag(17);
  machine.initial_snapshot = row.text(18);
  machine.left_initial = row.flag(19);
  return machine;
}

// Columns: id, volume, pool, size_bytes, attached.
Disk disk_of(const Row& row) {
  return {row.text(0), row.text(1), row.text(2), row.number(3), row.flag(4)};
}

// Columns: id, mac, kind.
Nic nic_of(const Row& row) { return {row.text(0), row.text(1), row.text(2)}; }

MachineFacts facts_of(const Row& row) {
  MachineFacts facts;
  facts.snapshots = row.number(1);
  facts.quota = row.number(2);
  facts.is_asleep = row.flag(3);
  facts.current_parent_name = row.text(4);
  facts.initial_snapshot_name = row.text(5);
  if (row.flag(6))
    facts.preview = Preview{row.text(7), row.text(8),
                            nlohmann::json::parse(row.text(9), nullptr, false), row.number(10)};
  return facts;
}

}  // namespace

Result<Inventory> Inventory::open(const std::string& path) {
  Inventory inventory(HOZON_TRY(Database::open(path)));
  if (const Status status = migrate_schema(inventory.database_); !status)
    return add_context(status.error(), fmt::format("inventory '{}'", path));
  return inventory;
}

// Three statements, however many there are.
Result<std::vector<MachineRow>> Inventory::machines_where(bool is_template) {
  std::vector<MachineRow> machines;
  std::unordered_map<std::string, size_t> places;
  const Transaction view = HOZON_TRY(Transaction::begin(database_));
  const std::string statement = kSelectMachine + "WHERE is_template = ? ORDER BY name";
  for (const Row& row : HOZON_TRY(database_.query(statement.c_str(), {sql(is_template)}))) {
    places[row.text(0)] = machines.size();
    machines.push_back(machine_of(row));
  }
  for (const Row& row : HOZON_TRY(database_.query(
           "SELECT id, volume, pool, size_bytes, attached, machine FROM disks ORDER BY id")))
    if (const auto place = places.find(row.text(5)); place != places.end())
      machines[place->second].disks.push_back(disk_of(row));
  for (const Row& row :
       HOZON_TRY(database_.query("SELECT id, mac, kind, machine FROM nics ORDER BY id")))
    if (const auto place = places.find(row.text(3)); place != places.end())
      machines[place->second].nics.push_back(nic_of(row));
  return machines;
}

Result<std::vector<MachineRow>> Inventory::machines() { return machines_where(false); }

Result<std::vector<MachineRow>> Inventory::templates() { return machines_where(true); }

Result<MachineRow> Inventory::machine(const std::string& reference) {
  const std::string statement = kSelectMachine + "WHERE uuid = ?1 OR name = ?1 ORDER BY uuid = ?1";
  const auto rows = HOZON_TRY(database_.query(statement.c_str(), {sql(reference)}));
  if (rows.empty()) return make_error(Code::kNotFound, "machine '{}' does not exist", reference);
  MachineRow machine = machine_of(rows.front());
  for (const Row& row : HOZON_TRY(database_.query(
           "SELECT id, volume, pool, size_bytes, attached FROM disks WHERE machine = ? ORDER BY id",
           {sql(machine.uuid)})))
    machine.disks.push_back(disk_of(row));
  for (const Row& row : HOZON_TRY(database_.query(
           "SELECT id, mac, kind FROM nics WHERE machine = ? ORDER BY id", {sql(machine.uuid)})))
    machine.nics.push_back(nic_of(row));
  return machine;
}

Result<MachineFacts> Inventory::facts(const std::string& machine_uuid) {
  const std::string statement = kSelectFacts + "WHERE m.uuid = ?";
  const auto rows = HOZON_TRY(database_.query(statement.c_str(), {sql(machine_uuid)}));
  if (rows.empty()) return make_error(Code::kNotFound, "machine '{}' is gone", machine_uuid);
  return facts_of(rows.front());
}

Result<std::unordered_map<std::string, MachineFacts>> Inventory::facts() {
  std::unordered_map<std::string, MachineFacts> facts;
  for (const Row& row : HOZON_TRY(database_.query(kSelectFacts.c_str())))
    facts.emplace(row.text(0), facts_of(row));
  return facts;
}

Status Inventory::insert_machine(const MachineRow& row) {
  Transaction transaction = HOZON_TRY(Transaction::begin(database_));
  const Status inserted = database_.run(
      "INSERT INTO machines VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, "
      "?, ?)",
      {sql(row.uuid),
       sql(row.name),
       sql(row.description),
       sql(row.pool),
       sql(row.memory_bytes),
       sql(uint64_t{row.cpus}),
       sql(row.machine_type),
       sql(row.cpu_model),
       sql(row.has_kernel),
       sql(row.has_initrd),
       sql(row.append),
       sql(row.vmgenid),
       sql_or_null(row.current_parent),
       sql(row.created_ns),
       sql(row.started_ns),
       sql(row.firmware),
       sql(nlohmann::json(row.tags).dump()),
       sql(row.is_template),
       sql(row.initial_snapshot),
       sql(row.left_initial)});
  if (!inserted && inserted.error().code == Code::kAlreadyExists)
    return make_error(Code::kAlreadyExists, "a machine named '{}' exists", row.name);
  HOZON_TRY(inserted);
  HOZON_TRY(replace_devices(row));
  return transaction.commit();
}

Status Inventory::replace_devices(const MachineRow& row) {
  HOZON_TRY(database_.run("DELETE FROM disks WHERE machine = ?", {sql(row.uuid)}));
  HOZON_TRY(database_.run("DELETE FROM nics WHERE machine = ?", {sql(row.uuid)}));
  for (const Disk& disk : row.disks)
    HOZON_TRY(
        database_.run("INSERT INTO disks (machine, id, volume, pool, size_bytes, attached) "
                      "VALUES (?, ?, ?, ?, ?, ?)",
                      {sql(row.uuid), sql(disk.id), sql(disk.volume), sql(disk.pool),
                       sql(disk.size_bytes), sql(disk.attached)}));
  for (const Nic& nic : row.nics)
    HOZON_TRY(database_.run("INSERT INTO nics (machine, id, mac, kind) VALUES (?, ?, ?, ?)",
                            {sql(row.uuid), sql(nic.id), sql(nic.mac), sql(nic.kind)}));
  return {};
}

// Called inside a transaction.
Status Inventory::update_machine(const MachineRow& row) {
  HOZON_TRY(database_.run(
      "UPDATE machines SET memory_bytes = ?, cpus = ?, machine_type = ?, cpu_model = ?, "
      "has_kernel = ?, has_initrd = ?, append = ?, vmgenid = ?, current_parent = ?, "
      "firmware = ? WHERE uuid = ?",
      {sql(row.memory_bytes), sql(uint64_t{row.cpus}), sql(row.machine_type), sql(row.cpu_model),
       sql(row.has_kernel), sql(row.has_initrd), sql(row.append), sql(row.vmgenid),
       sql_or_null(row.current_parent), sql(row.firmware), sql(row.uuid)}));
  return replace_devices(row);
}

Status Inventory::set_current_parent(const std::string& machine_uuid,
                                     const std::string& snapshot_uuid) {
  return database_.run("UPDATE machines SET current_parent = ? WHERE uuid = ?",
                       {sql_or_null(snapshot_uuid), sql(machine_uuid)});
}

Status Inventory::set_started(const std::string& machine_uuid, uint64_t wall_ns) {
  return database_.run("UPDATE machines SET started_ns = ? WHERE uuid = ?",
                       {sql(wall_ns), sql(machine_uuid)});
}

Status Inventory::set_vmgenid(const std::string& machine_uuid, const std::string& vmgenid) {
  return database_.run("UPDATE machines SET vmgenid = ? WHERE uuid = ?",
                       {sql(vmgenid), sql(machine_uuid)});
}

Status Inventory::set_initial(const std::string& machine_uuid, const std::string& snapshot_uuid) {
  return database_.run("UPDATE machines SET initial_snapshot = ? WHERE uuid = ?",
                       {sql(snapshot_uuid), sql(machine_uuid)});
}

Status Inventory::set_left_initial(const std::string& machine_uuid, bool left) {
  return database_.run("UPDATE machines SET left_initial = ? WHERE uuid = ?",
                       {sql(left), sql(machine_uuid)});
}

Status Inventory::set_tags(const std::string& machine_uuid, const std::vector<std::string>& tags) {
  return database_.run("UPDATE machines SET tags = ? WHERE uuid = ?",
                       {sql(nlohmann::json(tags).dump()), sql(machine_uuid)});
}

Status Inventory::delete_machine(const std::string& uuid) {
  Transaction transaction = HOZON_TRY(Transaction::begin(database_));
  HOZON_TRY(database_.run("DELETE FROM machines WHERE uuid = ?", {sql(uuid)}));
  return transaction.commit();
}

Result<bool> Inventory::is_mac_used(const std::string& mac) {
  return !HOZON_TRY(database_.query("SELECT 1 FROM nics WHERE mac = ?", {sql(mac)})).empty();
}

Result<std::string> Inventory::user_of_volume(const std::string& pool, const std::string& volume) {
  const auto rows = HOZON_TRY(database_.query(
      "SELECT m.name FROM disks d JOIN machines m ON m.uuid = d.machine "
      "WHERE d.pool = ?1 AND d.volume = ?2 "
      "UNION ALL SELECT m.name FROM snapshot_disks d JOIN snapshots s ON s.uuid = d.snapshot "
      "JOIN machines m ON m.uuid = s.machine WHERE d.pool = ?1 AND d.volume = ?2 LIMIT 1",
      {sql(pool), sql(volume)}));
  return rows.empty() ? "" : rows.front().text(0);
}

Result<std::string> Inventory::user_of_point(const std::string& pool, const std::string& volume,
                                             const std::string& point) {
  const auto rows = HOZON_TRY(database_.query(
      "SELECT m.name || '@' || s.name FROM snapshot_disks d "
      "JOIN snapshots s ON s.uuid = d.snapshot JOIN machines m ON m.uuid = s.machine "
      "WHERE d.pool = ? AND d.volume = ? AND d.point = ? LIMIT 1",
      {sql(pool), sql(volume), sql(point)}));
  return rows.empty() ? "" : rows.front().text(0);
}

Result<bool> Inventory::is_in_other_snapshot(const std::string& pool, const std::string& volume,
                                             const std::string& snapshot_uuid) {
  return !HOZON_TRY(database_.query("SELECT 1 FROM snapshot_disks WHERE pool = ? AND volume = ? "
                                    "AND snapshot <> ? LIMIT 1",
                                    {sql(pool), sql(volume), sql(snapshot_uuid)}))
              .empty();
}

Result<std::string> Inventory::user_of_pool(const std::string& pool) {
  const auto rows = HOZON_TRY(database_.query(
      "SELECT name FROM machines WHERE pool = ?1 "
      "UNION SELECT m.name FROM disks d JOIN machines m ON m.uuid = d.machine WHERE d.pool = ?1",
      {sql(pool)}));
  return rows.empty() ? "" : rows.front().text(0);
}

}  // namespace hozon::control
