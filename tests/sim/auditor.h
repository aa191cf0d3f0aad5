// tests/sim/auditor.h
// Compares an open pool with the model: names, sizes, history, every byte, space, and the pool's
// own check. Nothing else may be running on the pool.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "model.h"
#include "store/pool.h"

namespace hozon::sim {

// The parts of a volume that the simulation uses: all of a small one, else its ends and middle.
std::vector<std::pair<uint64_t, uint64_t>> volume_windows(uint64_t size_bytes);  // first, end block

struct Audit {
  Model::After after = Model::After::kQuiet;
  bool check = true;     // the pool's check(true)
  bool reclaim = false;  // also: drain and checkpoint, then nothing may be pending
};

// Decides for each operation that was running at a crash whether it has happened, and tells the
// model. Empty, or what is inconsistent.
std::string resolve_admin(const store::Pool& pool, Model& model);
// Empty, or the first difference.
Task<std::string> audit_pool(store::Pool& pool, Model& model, Audit what);
// Reads one point completely and settles what it shows.
Task<std::string> settle_whole_point(store::Pool& pool, Model& model, uint64_t point_uid);
// Names, sizes, points and history, while no operation on volumes and points runs.
std::string audit_listing(const store::Pool& pool, Model& model);
// Reads a head completely while guests may write to it.
Task<std::string> audit_head_in_use(store::Pool& pool, Model& model, uint64_t volume_uid);
// live + pending + in flight + free == size.
std::string audit_space(const store::PoolStats& stats);

}  // namespace hozon::sim
