// Machines, and who needs which volume. Snapshots: inventory_snapshots.cc; jobs: inventory_jobs.cc.
#include "control/inventory.h"

namespace hozon::control {
namespace {

constexpr const char* kSelectMachines =
    "SELECT uuid, name, description, pool, memory_bytes, cpus, machine_type, cpu_model, "
    "has_kernel, has_initrd, append, vmgenid, current_parent, created_ns, started_ns, firmware, "
    "tags, is_template, initial_snapshot, left_initial FROM machines WHERE is_template = ? "
    "ORDER BY name";
constexpr const char* kSelectMachine =
    "SELECT uuid, name, description, pool, memory_bytes, cpus, machine_type, cpu_model, "
    "has_kernel, has_initrd, append, vmgenid, current_parent, created_ns, started_ns, firmware, "
    "tags, is_template, initial_snapshot, left_initial FROM machines "
    "WHERE uuid = ?1 OR name = ?1 ORDER BY uuid = ?1";

}  // namespace

Result<Inventory> Inventory::open(const std::string& path) {
  Inventory inventory(HOZON_TRY(Database::open(path)));
  if (const Status status = migrate_schema(inventory.database_); !status)
    return add_context(status.error(), fmt::format("inventory '{}'", path));
  return inventory;
}

Result<MachineRow> Inventory::machine_of(const Row& row) {
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
  for (const Row& disk : HOZON_TRY(database_.query(
           "SELECT id, volume, pool, size_bytes, attached FROM disks WHERE machine = ? ORDER BY id",
           {sql(machine.uuid)})))
    machine.disks.push_back(
        {disk.text(0), disk.text(1), disk.text(2), disk.number(3), disk.flag(4)});
  for (const Row& nic : HOZON_TRY(database_.query(
           "SELECT id, mac, kind FROM nics WHERE machine = ? ORDER BY id", {sql(machine.uuid)})))
    machine.nics.push_back({nic.text(0), nic.text(1), nic.text(2)});
  return machine;
}

Result<std::vector<MachineRow>> Inventory::machines_where(bool is_template) {
  std::vector<MachineRow> machines;
  const Transaction view = HOZON_TRY(Transaction::begin(database_));
  for (const Row& row : HOZON_TRY(database_.query(kSelectMachines, {sql(is_template)})))
    machines.push_back(HOZON_TRY(machine_of(row)));
  return machines;
}

Result<std::vector<MachineRow>> Inventory::machines() { return machines_where(false); }

Result<std::vector<MachineRow>> Inventory::templates() { return machines_where(true); }

Result<MachineRow> Inventory::machine(const std::string& reference) {
  const auto rows = HOZON_TRY(database_.query(kSelectMachine, {sql(reference)}));
  if (rows.empty()) return make_error(Code::kNotFound, "machine '{}' does not exist", reference);
  return machine_of(rows.front());
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
      "UNION SELECT m.name FROM snapshot_disks d JOIN snapshots s ON s.uuid = d.snapshot "
      "JOIN machines m ON m.uuid = s.machine WHERE d.pool = ?1 AND d.volume = ?2",
      {sql(pool), sql(volume)}));
  return rows.empty() ? "" : rows.front().text(0);
}

Result<std::string> Inventory::user_of_point(const std::string& pool, const std::string& volume,
                                             const std::string& point) {
  const auto rows = HOZON_TRY(database_.query(
      "SELECT m.name || '@' || s.name FROM snapshot_disks d "
      "JOIN snapshots s ON s.uuid = d.snapshot JOIN machines m ON m.uuid = s.machine "
      "WHERE d.pool = ? AND d.volume = ? AND d.point = ?",
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
