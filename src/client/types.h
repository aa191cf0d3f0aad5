// src/client/types.h
// The API's resources as the CLI uses them. Each keeps the object that the API sent (`json`), so
// that
// `-o json` shows it unchanged, new members included; members that are absent read as empty.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"

namespace hozon::client {

using Json = nlohmann::json;

struct Pool {
  explicit Pool(Json object);
  Json json;
  std::string name, state, message;
  uint64_t size_bytes = 0, used_bytes = 0, free_bytes = 0, volumes = 0, points = 0;
  std::vector<std::string> damage;  // one sentence for each damaged place
};

struct PoolCheck {
  explicit PoolCheck(Json object);
  Json json;
  bool clean = false;
  std::vector<std::string> errors, warnings;
  uint64_t points = 0, map_blocks = 0, data_blocks = 0, lost_blocks = 0;
};

struct PoolScrub {
  explicit PoolScrub(Json object);
  Json json;
  std::string state, failure;
  uint64_t done_bytes = 0, points = 0, metadata_blocks = 0, map_blocks = 0, data_blocks = 0;
  std::vector<std::string> damaged;  // one sentence each
  uint64_t damaged_left_out = 0;
};

struct Volume {
  explicit Volume(Json object);
  Json json;
  std::string name, pool, uri, machine;
  uint64_t size_bytes = 0, created_ns = 0, point_count = 0;
  std::optional<uint64_t> mapped_bytes;
};

struct Point {
  explicit Point(Json object);
  Json json;
  std::string name, kind, snapshot;
  uint64_t size_bytes = 0, created_ns = 0;
};

struct Disk {
  std::string id, volume, pool;
  uint64_t size_bytes = 0;
  bool attached = true;
};

struct Machine {
  explicit Machine(Json object);
  Json json;
  std::string uuid, name, description, pool, state, state_reason, accelerator, append;
  std::string current_parent, current_parent_name, console_socket, console_log, machine_type;
  uint64_t memory_bytes = 0, cpus = 0, snapshot_count = 0, created_ns = 0, started_ns = 0, pid = 0;
  std::vector<Disk> disks;
  std::vector<std::string> macs;
  std::string locked_by;  // "snapshot.create (job 7)", or empty
  std::string preview;    // name of the snapshot that it is in preview of
  std::vector<std::string> live_memory_obstacles;
};

struct Snapshot {
  explicit Snapshot(Json object);
  Json json;
  std::string uuid, name, description, kind, status, parent, parent_name, machine_state;
  bool is_current = false, has_memory = false;
  std::string memory_mode, memory_mode_reason, consistency, consistency_reason;
  uint64_t created_ns = 0, stop_us = 0, ram_bytes = 0, written_bytes = 0, stream_bytes = 0;
  uint64_t zero_pages = 0, unchanged_pages = 0, duration_us = 0;
  std::optional<uint64_t> exclusive_bytes;
  std::vector<std::string> disks;  // their ids
  std::vector<std::string> tags;
  bool pinned = false;
  std::string pin_reason;
  uint64_t expires_ns = 0, trashed_ns = 0, trash_until_ns = 0;
};

struct Job {
  Job() = default;
  explicit Job(Json from);
  Json json;
  uint64_t id = 0, progress_done = 0, progress_total = 0, created_ns = 0, ended_ns = 0;
  uint64_t steps_done = 0, steps_total = 0;
  std::optional<uint64_t> eta_ms;
  std::string kind, object, owner, state, step;
  std::string error_code, error_message;
  bool is_ended() const { return state != "running"; }
};

// The refusal in a plan, as the error that the call itself would have had.
Status refusal_of(const Json& plan);

// Members of an object that may be absent, null or of another type: then empty.
std::string text_of(const Json& object, const char* member);
uint64_t number_of(const Json& object, const char* member);
bool flag_of(const Json& object, const char* member);
std::vector<std::string> texts_of(const Json& object, const char* member);

}  // namespace hozon::client
