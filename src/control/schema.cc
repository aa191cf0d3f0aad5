// The tables, as a list of migrations that only ever grows: number N brings version N-1 to N. The
// version is SQLite's user_version, written in the same transaction as the tables.
#include <array>

#include "control/inventory.h"

namespace hozon::control {
namespace {

constexpr const char* kVersion1 = R"sql(
CREATE TABLE machines (
  uuid TEXT PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  description TEXT NOT NULL,
  pool TEXT NOT NULL,
  memory_bytes INTEGER NOT NULL,
  cpus INTEGER NOT NULL,
  machine_type TEXT NOT NULL,
  cpu_model TEXT NOT NULL,
  has_kernel INTEGER NOT NULL,
  has_initrd INTEGER NOT NULL,
  append TEXT NOT NULL,
  vmgenid TEXT NOT NULL,
  current_parent TEXT REFERENCES snapshots(uuid) DEFERRABLE INITIALLY DEFERRED,
  created_ns INTEGER NOT NULL,
  started_ns INTEGER NOT NULL
) STRICT;

CREATE TABLE disks (
  machine TEXT NOT NULL REFERENCES machines(uuid) ON DELETE CASCADE,
  id TEXT NOT NULL,
  pool TEXT NOT NULL,
  volume TEXT NOT NULL,
  size_bytes INTEGER NOT NULL,
  attached INTEGER NOT NULL,
  PRIMARY KEY (machine, id),
  UNIQUE (pool, volume)
) STRICT;

CREATE TABLE nics (
  machine TEXT NOT NULL REFERENCES machines(uuid) ON DELETE CASCADE,
  id TEXT NOT NULL,
  mac TEXT NOT NULL,
  kind TEXT NOT NULL,
  PRIMARY KEY (machine, id)
) STRICT;

CREATE TABLE snapshots (
  uuid TEXT PRIMARY KEY,
  machine TEXT NOT NULL REFERENCES machines(uuid) ON DELETE CASCADE,
  name TEXT NOT NULL,
  description TEXT NOT NULL,
  kind TEXT NOT NULL,
  status TEXT NOT NULL,
  parent TEXT REFERENCES snapshots(uuid) DEFERRABLE INITIALLY DEFERRED,
  created_ns INTEGER NOT NULL,
  machine_state TEXT NOT NULL,
  memory TEXT NOT NULL,
  settings TEXT NOT NULL,
  environment TEXT NOT NULL,
  UNIQUE (machine, name)
) STRICT;

CREATE TABLE snapshot_disks (
  snapshot TEXT NOT NULL REFERENCES snapshots(uuid) ON DELETE CASCADE,
  disk TEXT NOT NULL,
  pool TEXT NOT NULL,
  volume TEXT NOT NULL,
  point TEXT NOT NULL,
  size_bytes INTEGER NOT NULL,
  PRIMARY KEY (snapshot, disk)
) STRICT;
CREATE INDEX snapshot_disks_by_volume ON snapshot_disks (pool, volume);

CREATE TABLE jobs (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  key TEXT UNIQUE,
  kind TEXT NOT NULL,
  object TEXT NOT NULL,
  locks TEXT NOT NULL,
  state TEXT NOT NULL,
  step TEXT NOT NULL,
  progress_done INTEGER NOT NULL,
  progress_total INTEGER NOT NULL,
  created_ns INTEGER NOT NULL,
  ended_ns INTEGER NOT NULL,
  error_code TEXT,
  error TEXT,
  result TEXT NOT NULL
) STRICT;
CREATE INDEX jobs_by_state ON jobs (state);

CREATE TABLE job_steps (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  job INTEGER NOT NULL REFERENCES jobs(id) ON DELETE CASCADE,
  op TEXT NOT NULL,
  arguments TEXT NOT NULL
) STRICT;

CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
)sql";

// Jobs say who began them, what a key stands for, and how many steps they have.
constexpr const char* kVersion2 = R"sql(
ALTER TABLE jobs ADD COLUMN owner TEXT NOT NULL DEFAULT '';
ALTER TABLE jobs ADD COLUMN request TEXT NOT NULL DEFAULT '';
ALTER TABLE jobs ADD COLUMN steps_done INTEGER NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN steps_total INTEGER NOT NULL DEFAULT 0;
)sql";

// What people put on snapshots, how many a machine may have, and deleted ones that can come back.
constexpr const char* kVersion3 = R"sql(
CREATE TABLE snapshot_marks (
  snapshot TEXT PRIMARY KEY REFERENCES snapshots(uuid) ON DELETE CASCADE,
  tags TEXT NOT NULL,
  expires_ns INTEGER NOT NULL,
  pinned INTEGER NOT NULL,
  pin_reason TEXT NOT NULL
) STRICT;

CREATE TABLE machine_quotas (
  machine TEXT PRIMARY KEY REFERENCES machines(uuid) ON DELETE CASCADE,
  snapshots INTEGER NOT NULL
) STRICT;

CREATE TABLE trash (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  snapshot TEXT NOT NULL UNIQUE REFERENCES snapshots(uuid) ON DELETE CASCADE,
  name TEXT NOT NULL,
  parent TEXT,
  children TEXT NOT NULL,
  was_current INTEGER NOT NULL,
  trashed_ns INTEGER NOT NULL,
  until_ns INTEGER NOT NULL
) STRICT;
)sql";

// What a machine boots with.
constexpr const char* kVersion4 = R"sql(
ALTER TABLE machines ADD COLUMN firmware TEXT NOT NULL DEFAULT 'bios';
)sql";

// What a machine in preview was before, which an undo brings back.
constexpr const char* kVersion5 = R"sql(
CREATE TABLE previews (
  machine TEXT PRIMARY KEY REFERENCES machines(uuid) ON DELETE CASCADE,
  target TEXT NOT NULL,
  kept TEXT NOT NULL,
  before TEXT NOT NULL,
  parts TEXT NOT NULL,
  created_ns INTEGER NOT NULL
) STRICT;
)sql";

// Schedules, what they did and have to do, and the tags by which they choose machines; groups of
// snapshots; templates; machines that return to an initial state.
constexpr const char* kVersion6 = R"sql(
CREATE TABLE schedules (
  uuid TEXT PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  enabled INTEGER NOT NULL,
  settings TEXT NOT NULL,
  cursor_ns INTEGER NOT NULL,
  created_ns INTEGER NOT NULL
) STRICT;

CREATE TABLE schedule_runs (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  schedule TEXT NOT NULL REFERENCES schedules(uuid) ON DELETE CASCADE,
  due_ns INTEGER NOT NULL,
  cause TEXT NOT NULL,
  missed INTEGER NOT NULL,
  ended_ns INTEGER NOT NULL,
  UNIQUE (schedule, due_ns)
) STRICT;
CREATE INDEX schedule_runs_open ON schedule_runs (id) WHERE ended_ns = 0;

CREATE TABLE schedule_tasks (
  run INTEGER NOT NULL REFERENCES schedule_runs(id) ON DELETE CASCADE,
  machine TEXT NOT NULL,
  machine_name TEXT NOT NULL,
  state TEXT NOT NULL,
  attempts INTEGER NOT NULL,
  at_ns INTEGER NOT NULL,
  snapshot TEXT NOT NULL,
  removed TEXT NOT NULL,
  code TEXT NOT NULL,
  message TEXT NOT NULL,
  PRIMARY KEY (run, machine)
) STRICT;
CREATE INDEX schedule_tasks_open ON schedule_tasks (run)
  WHERE state IN ('waiting', 'making', 'pruning');

ALTER TABLE snapshots ADD COLUMN schedule TEXT NOT NULL DEFAULT '';
ALTER TABLE snapshots ADD COLUMN due_ns INTEGER NOT NULL DEFAULT 0;
CREATE INDEX snapshot_marks_by_expiry ON snapshot_marks (expires_ns) WHERE expires_ns <> 0;
CREATE INDEX snapshots_by_parent ON snapshots (parent);
CREATE INDEX snapshots_by_schedule ON snapshots (schedule) WHERE schedule <> '';
ALTER TABLE machines ADD COLUMN tags TEXT NOT NULL DEFAULT '[]';

CREATE TABLE snapshot_groups (
  uuid TEXT PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  description TEXT NOT NULL,
  created_ns INTEGER NOT NULL
) STRICT;
ALTER TABLE snapshots ADD COLUMN group_uuid TEXT NOT NULL DEFAULT '';
CREATE INDEX snapshots_by_group ON snapshots (group_uuid) WHERE group_uuid <> '';

ALTER TABLE machines ADD COLUMN is_template INTEGER NOT NULL DEFAULT 0;
ALTER TABLE machines ADD COLUMN initial_snapshot TEXT NOT NULL DEFAULT '';
ALTER TABLE machines ADD COLUMN left_initial INTEGER NOT NULL DEFAULT 0;
)sql";

// What large inventories are listed and counted by.
constexpr const char* kVersion7 = R"sql(
CREATE INDEX snapshots_in_order ON snapshots (machine, created_ns, uuid);
CREATE INDEX snapshots_counted ON snapshots (machine, status);
CREATE INDEX snapshots_asleep ON snapshots (machine) WHERE kind = 'suspend';
CREATE INDEX machines_by_parent ON machines (current_parent);
DROP INDEX snapshot_disks_by_volume;
CREATE INDEX snapshot_disks_by_point ON snapshot_disks (pool, volume, point);
)sql";

constexpr std::array kMigrations = {kVersion1, kVersion2, kVersion3, kVersion4,
                                    kVersion5, kVersion6, kVersion7};

}  // namespace

Status migrate_schema(Database& database) {
  const auto rows = HOZON_TRY(database.query("PRAGMA user_version"));
  const uint64_t version = rows.front().number(0);
  if (version > kMigrations.size())
    return make_error(Code::kUnimplemented,
                      "the inventory has version {} and this program knows versions up to {}: "
                      "use the newer Hozon that wrote it",
                      version, kMigrations.size());
  for (uint64_t next = version; next < kMigrations.size(); ++next) {
    Transaction transaction = HOZON_TRY(Transaction::begin(database));
    HOZON_TRY(database.run_script(kMigrations.at(next)));
    const std::string mark = fmt::format("PRAGMA user_version={}", next + 1);
    HOZON_TRY(database.run_script(mark.c_str()));
    HOZON_TRY(transaction.commit());
  }
  return {};
}

}  // namespace hozon::control
