// tests/sim/admin.cc
// Operations on volumes and points, right ones and wrong ones. Two administrators never work on the
// same volume at once; everything else may overlap.

#include <algorithm>

#include "actors.h"

namespace hozon::sim {

Task<void> Admin::run() {
  while (!world_.dead_ && world_.steps_left_ > 0 && world_.failure_.empty()) {
    if (world_.model_.volumes.empty())
      co_await create();
    else
      co_await one();
    if (world_.dead_) co_return;
    co_await audit_step();
    if (world_.dead_) co_return;
    unlock();
    if (world_.options_.paranoid) co_await check(false);
    co_await world_.session_->executor.sleep(random_.between(1, world_.options_.admin_rest_ns));
  }
}

Task<void> Admin::one() {
  if (world_.scarce(512)) {
    if (random_.chance(1, 4)) co_return co_await delete_volume();
    if (random_.chance(1, 2)) co_return co_await service();
    co_return co_await delete_point();
  }
  const uint64_t dice = random_.below(100);
  if (dice < 30) co_return co_await snapshot();
  if (dice < 52) co_return co_await delete_point();
  if (dice < 64) co_return co_await return_to();
  if (dice < 72) co_return co_await clone();
  if (dice < 78) co_return co_await create();
  if (dice < 82) co_return co_await delete_volume();
  if (dice < 84) co_return co_await grow();
  if (dice < 86) co_return co_await shrink();
  if (dice < 89) co_return co_await rename();
  if (dice < 93) co_return co_await ask_wrongly();
  co_return co_await service();
}

std::vector<uint64_t> Admin::free_volumes() const {
  std::vector<uint64_t> uids;
  for (const auto& [uid, volume] : world_.model_.volumes)
    if (!world_.locks_[uid].admin) uids.push_back(uid);
  return uids;
}

uint64_t Admin::pick_volume() {
  std::vector<uint64_t> uids = free_volumes();
  return uids.empty() ? 0 : random_.pick(uids);
}

uint64_t Admin::pick_point() {
  std::vector<uint64_t> uids;
  for (const auto& [uid, point] : world_.model_.points)
    if (!world_.locks_[point->volume].admin) uids.push_back(uid);
  return uids.empty() ? 0 : random_.pick(uids);
}

bool Admin::lock(const std::vector<uint64_t>& volumes, bool still) {
  for (const uint64_t uid : volumes) {
    const World::VolumeLock& held = world_.locks_[uid];
    if (held.admin || (still && held.io > 0)) return false;
  }
  for (const uint64_t uid : volumes) {
    world_.locks_[uid].admin = true;
    world_.locks_[uid].still = still;
  }
  locked_ = volumes;
  return true;
}

void Admin::unlock() {
  if (key_ != 0) return;  // its outcome is unknown until the next opening
  for (const uint64_t uid : locked_) world_.locks_[uid].admin = world_.locks_[uid].still = false;
  locked_.clear();
}

void Admin::lock_made(uint64_t volume) {
  world_.locks_[volume].admin = true;
  locked_.push_back(volume);
}

// After each operation whose outcome is known.
Task<void> Admin::audit_step() {
  if (key_ != 0) co_return;
  world_.audit_listed();
  if (!world_.audits_steps() || !world_.failure_.empty()) co_return;
  world_.audit_copy();
  const std::string wrong = co_await audit_locked();
  if (!wrong.empty() && !world_.dead_ && world_.power_->counters().faults == 0) world_.fail(wrong);
}

// All that the volumes show which the operation was about, from the pool in use.
Task<std::string> Admin::audit_locked() {
  std::string wrong;
  for (const uint64_t uid : locked_) {
    if (world_.dead_ || !world_.model_.volumes.contains(uid)) continue;
    wrong = co_await audit_head_in_use(world_.pool(), world_.model_, uid);
    std::vector<uint64_t> points;
    for (const auto& [number, point] : world_.model_.points)
      if (point->volume == uid) points.push_back(number);
    for (const uint64_t point : points)
      if (wrong.empty() && !world_.dead_)
        wrong = co_await settle_whole_point(world_.pool(), world_.model_, point);
    if (!wrong.empty()) break;
  }
  co_return wrong;
}

bool Admin::begin(AdminOp op) {
  if (key_ != 0 || !world_.step(op.text())) return false;
  ++world_.counters_.admin;
  key_ = world_.model_.begin_admin(std::move(op));
  return true;
}

bool Admin::end(const Status& status, std::optional<Code> refusal) {
  if (world_.dead_) return false;
  world_.note(fmt::format("  admin {} answered {}", key_, status ? "ok" : status.error().what));
  const AdminOp op = world_.model_.running_admin().at(key_);
  const bool refused =
      !status && (refusal == status.error().code ||
                  (status.error().code == Code::kResourceExhausted && world_.scarce(256)));
  if (!status && !refused) {
    if (!world_.tolerated(status.error()))
      world_.fail(fmt::format("{}: {}", op.text(), status.error().what));
    return false;  // stays undecided
  }
  world_.counters_.refused += refused;
  world_.model_.end_admin(key_, status.has_value());
  key_ = 0;
  if (status) learn_ids(op.volumes);
  return status.has_value();
}

void Admin::learn_ids(const std::vector<uint64_t>& volumes) {
  for (const uint64_t uid : volumes) {
    const auto found = world_.model_.volumes.find(uid);
    if (found == world_.model_.volumes.end()) continue;
    if (const auto info = world_.pool().volume(found->second.name))
      found->second.head_id = info->head_point_id;
    const auto listed = world_.pool().points(found->second.name);
    if (!listed) continue;
    for (const store::PointInfo& info : *listed)
      if (const ModelPoint* point = world_.model_.point_named(uid, info.name);
          point && point->id == 0 && !world_.model_.learn_id(point->uid, info.id))
        world_.fail(fmt::format("point '{}' has the id {} of a deleted one", info.name, info.id));
  }
}

Task<bool> Admin::settle(uint64_t point) {
  if (world_.model_.points.at(point)->open.empty()) co_return true;
  const std::string wrong = co_await settle_whole_point(world_.pool(), world_.model_, point);
  if (world_.dead_) co_return false;
  if (!wrong.empty() && world_.power_->counters().faults == 0) world_.fail(wrong);
  co_return wrong.empty() && world_.model_.points.at(point)->open.empty();
}

Task<void> Admin::create() {
  if (world_.model_.volumes.size() >= world_.options_.volumes_max)
    co_return co_await delete_point();
  uint64_t size = random_.between(4, 96) * kPageSize;
  if (random_.chance(1, 2)) size -= kSectorSize * random_.below(kSectorsPerBlock);
  if (world_.options_.big_volumes && random_.chance(1, 3))
    size = random_.pick<uint64_t>({2_MiB, 256_MiB + 64_KiB, 1_TiB});
  const std::string name = world_.new_name('v');
  if (!begin({AdminOp::Kind::kCreate, 0, {}, {}, name, size})) co_return;
  const auto made = co_await world_.pool().create_volume(name, size);
  if (!end(made)) co_return;
  lock_made(world_.model_.volume_named(name)->uid);
  learn_ids(locked_);
}

Task<void> Admin::grow() {
  const uint64_t uid = pick_volume();
  if (uid == 0 || !lock({uid}, false)) co_return;
  const uint64_t size = world_.model_.volumes.at(uid).size_bytes +
                        kSectorSize * random_.pick<uint64_t>({1, 8, 333, 2048, 600'000});
  if (size > 8_TiB || !begin({AdminOp::Kind::kResize, 0, {uid}, {}, "", size})) co_return;
  end(co_await world_.pool().resize_volume(volume_name(uid), size, false));
}

// With data past the new end a shrink must be refused; without, it must not.
Task<void> Admin::shrink() {
  const uint64_t uid = pick_volume();
  if (uid == 0 || world_.model_.volumes.at(uid).size_bytes < 2 * kPageSize || !lock({uid}, true))
    co_return;
  const ModelVolume& volume = world_.model_.volumes.at(uid);
  const uint64_t end_sector = volume.size_bytes / kSectorSize;
  const uint64_t sectors = random_.between(1, std::min<uint64_t>(end_sector - 8, 512));
  const uint64_t keep = random_.chance(1, 3) ? end_sector - sectors
                                             : std::max<uint64_t>(end_sector - sectors, 8) / 8 * 8;
  if (random_.chance(2, 3)) {
    const auto target = world_.pool().target(volume.name);
    if (!target || !world_.step(fmt::format("discard tail of volume {} from {}", uid, keep)))
      co_return;
    const Model::Io io = world_.model_.begin_write(uid, keep, end_sector - keep, 0);
    const Status cleared = co_await world_.pool().discard(*target, keep * kSectorSize,
                                                          (end_sector - keep) * kSectorSize, false);
    if (world_.dead_) co_return;
    world_.model_.end_write(io, cleared.has_value(), false);
    if (!cleared) co_return;
  }
  bool data_beyond = false, whole_blocks_clear = true;
  for (const auto& [index, block] : volume.head) {
    for (size_t s = 0; s < kSectorsPerBlock; ++s) {
      if (index * kSectorsPerBlock + s < keep) continue;
      data_beyond |= world_.model_.certain(uid, index * kSectorsPerBlock + s).value_or(0) != 0;
      whole_blocks_clear = false;  // zeros perhaps, but perhaps in a block that is there
    }
  }
  if (!begin({AdminOp::Kind::kResize, 0, {uid}, {}, "", keep * kSectorSize})) co_return;
  const Status status =
      co_await world_.pool().resize_volume(volume_name(uid), keep * kSectorSize, true);
  if (world_.dead_) co_return;
  if (status && data_beyond) world_.fail("shrink has cut off data");
  end(status, whole_blocks_clear ? std::nullopt : std::optional(Code::kWrongState));
}

Task<void> Admin::rename() {
  const std::string name = world_.new_name('r');
  if (random_.chance(1, 2)) {
    const uint64_t uid = pick_volume();
    if (uid == 0 || !lock({uid}, false)) co_return;
    if (!begin({AdminOp::Kind::kRenameVolume, 0, {uid}, {}, name, 0})) co_return;
    end(co_await world_.pool().rename_volume(volume_name(uid), name));
  } else {
    const uint64_t uid = pick_point();
    if (uid == 0 || !lock({world_.model_.points.at(uid)->volume}, false)) co_return;
    const ModelPoint& point = *world_.model_.points.at(uid);
    if (!begin({AdminOp::Kind::kRenamePoint, 0, {}, {uid}, name, 0})) co_return;
    end(co_await world_.pool().rename_point(volume_name(point.volume), point.name, name));
  }
}

Task<void> Admin::delete_volume() {
  const uint64_t uid = pick_volume();
  if (uid == 0 || !lock({uid}, false)) co_return;
  const bool with_points = random_.chance(3, 4);
  bool has_points = false;
  for (const auto& [other, point] : world_.model_.points) has_points |= point->volume == uid;
  if (!begin({AdminOp::Kind::kDeleteVolume, 0, {uid}, {}, "", 0})) co_return;
  const bool refuse = has_points && !with_points;
  const Status status = co_await world_.pool().delete_volume(volume_name(uid), with_points);
  if (world_.dead_) co_return;
  if (status && refuse) world_.fail("a volume with snapshots was deleted without asking");
  world_.counters_.deletes += end(status, refuse ? std::optional(Code::kWrongState) : std::nullopt);
}

Task<void> Admin::snapshot() {
  std::vector<uint64_t> uids = free_volumes();
  uint64_t wanted = random_.chance(1, 2) ? 1 : random_.between(1, 4);
  while (uids.size() > wanted)
    uids.erase(uids.begin() + static_cast<long>(random_.below(uids.size())));
  if (uids.empty()) co_return;
  if (world_.model_.points.size() + uids.size() > world_.options_.points_max)
    co_return co_await delete_point();
  if (!lock(uids, false)) co_return;
  const std::string name = world_.new_name('p');
  std::vector<std::string> names;
  names.reserve(uids.size());
  for (const uint64_t uid : uids) names.push_back(volume_name(uid));
  if (!begin({AdminOp::Kind::kSnapshot, 0, uids, {}, name, 0})) co_return;
  const auto made = co_await world_.pool().snapshot(names, name);
  if (!end(made)) co_return;
  ++world_.counters_.snapshots;
  world_.counters_.groups += uids.size() > 1;
  if (made->size() != uids.size()) world_.fail("snapshot answered with another number of points");
}

Task<void> Admin::clone() {
  if (world_.model_.volumes.size() >= world_.options_.volumes_max)
    co_return co_await delete_volume();
  const std::string name = world_.new_name('c');
  AdminOp op{AdminOp::Kind::kClone, 0, {}, {}, name, 0};
  std::string source, point_name;
  if (random_.chance(1, 4)) {
    const uint64_t uid = pick_volume();
    if (uid == 0 || !lock({uid}, false)) co_return;
    op.volumes = {uid};
    source = volume_name(uid);
  } else {
    const uint64_t uid = pick_point();
    if (uid == 0 || !lock({world_.model_.points.at(uid)->volume}, false)) co_return;
    if (!co_await settle(uid)) co_return;
    op.points = {uid};
    source = volume_name(world_.model_.points.at(uid)->volume);
    point_name = world_.model_.points.at(uid)->name;
  }
  if (!begin(op)) co_return;
  const auto made = co_await world_.pool().clone(source, point_name, name);
  if (!end(made)) co_return;
  lock_made(world_.model_.volume_named(name)->uid);
  learn_ids(locked_);
  ++world_.counters_.clones;
}

Task<void> Admin::return_to() {
  std::vector<uint64_t> volumes, points;
  std::vector<store::ReturnItem> items;
  for (uint64_t left = random_.chance(1, 3) ? 2 : 1; left > 0; --left) {
    const uint64_t point = pick_point();
    if (point == 0) break;
    uint64_t volume = world_.model_.points.at(point)->volume;
    if (random_.chance(1, 8)) volume = pick_volume();  // to a point of another volume
    if (std::ranges::find(volumes, volume) != volumes.end()) continue;
    volumes.push_back(volume);
    points.push_back(point);
  }
  std::vector<uint64_t> all = volumes;
  for (const uint64_t point : points)
    if (const uint64_t owner = world_.model_.points.at(point)->volume;
        std::ranges::find(all, owner) == all.end())
      all.push_back(owner);
  if (volumes.empty() || !lock(all, false)) co_return;
  for (const uint64_t point : points) {
    const bool settled = co_await settle(point);
    if (!settled) co_return;
  }
  for (const uint64_t volume : volumes)
    if (world_.locks_[volume].small > 0) co_return;
  for (size_t i = 0; i < volumes.size(); ++i) {
    const ModelPoint& point = *world_.model_.points.at(points[i]);
    items.push_back({volume_name(volumes[i]), volume_name(point.volume), point.name});
  }
  const bool keep = random_.chance(1, 2) &&
                    world_.model_.points.size() + volumes.size() <= world_.options_.points_max;
  const std::string name = keep ? world_.new_name('k') : "";
  if (!begin({AdminOp::Kind::kReturn, 0, volumes, points, name, 0})) co_return;
  world_.counters_.returns += end(co_await world_.pool().return_to(items, name));
}

Task<void> Admin::delete_point() {
  const uint64_t uid = pick_point();
  if (uid == 0 || !lock({world_.model_.points.at(uid)->volume}, false)) co_return;
  const std::shared_ptr<const ModelPoint> point = world_.model_.points.at(uid);
  const std::string volume = volume_name(point->volume);
  const auto target = world_.pool().target(volume, point->name);
  if (!begin({AdminOp::Kind::kDeletePoint, 0, {}, {uid}, "", 0})) co_return;
  if (!end(co_await world_.pool().delete_point(volume, point->name))) co_return;
  ++world_.counters_.deletes;
  std::vector<std::byte> bytes(kSectorSize);
  const Status gone = co_await world_.pool().read(*target, 0, bytes);
  if (gone)
    world_.fail(fmt::format("point '{}@{}' is read after its deletion", volume, point->name));
}

// Each of these must be refused and change nothing.
Task<void> Admin::ask_wrongly() {
  const uint64_t uid = pick_volume();
  if (uid == 0 || !lock({uid}, false) || !world_.step("wrong requests")) co_return;
  store::Pool& pool = world_.pool();
  const std::string name = volume_name(uid);
  const uint64_t size = world_.model_.volumes.at(uid).size_bytes;
  const auto target = pool.target(name);
  std::vector<std::byte> bytes(2 * kSectorSize);
  bool done = false;  // did what it should have refused
  switch (random_.below(7)) {
    case 0: done = (co_await pool.create_volume(name, 1_MiB)).has_value(); break;
    case 1: {
      std::vector<std::string> group = {name, std::string("nobody")};
      done = (co_await pool.snapshot(group, "half")).has_value();
      break;
    }
    case 2: done = (co_await pool.delete_point(name, "nobody")).has_value(); break;
    case 3: done = (co_await pool.clone(name, "nobody", "new")).has_value(); break;
    case 4:
      done = (co_await pool.write(*target, size - kSectorSize, bytes, false)).has_value();
      break;
    case 5: done = (co_await pool.read(*target, size, bytes)).has_value(); break;
    default: done = (co_await pool.clone(name, "", name)).has_value(); break;
  }
  if (done) world_.fail("a wrong request was not refused");
}

Task<void> Admin::check(bool verify_data) {
  const auto report = co_await world_.pool().check(verify_data);
  if (world_.dead_ || world_.power_->counters().faults > 0) co_return;
  // A check that stands in the way of a full pool gives up.
  const store::PoolStats stats = world_.pool().stats();
  const bool nearly_full = stats.parked || stats.free_bytes < stats.size_bytes / 4;
  if (!report && report.error().code == Code::kBusy && nearly_full) co_return;
  if (!report) co_return world_.fail("check: " + report.error().what);
  if (!report->errors.empty()) world_.fail("check while in use: " + report->errors.front());
  if (report->lost_blocks != 0)
    world_.fail(fmt::format("check while in use: {} lost blocks", report->lost_blocks));
}

Task<void> Admin::service() {
  const uint64_t dice = random_.below(11);
  const char* const name = dice < 5   ? "checkpoint"
                           : dice < 7 ? "check"
                           : dice < 8 ? "drain"
                                      : "defragment";
  if (!world_.step(name)) co_return;
  if (dice >= 5 && dice < 7) co_return co_await check(random_.chance(1, 2));
  if (dice >= 8) co_return co_await defragment();
  Status status;
  if (dice < 5)
    status = co_await world_.pool().checkpoint();
  else
    status = co_await world_.pool().drain_reclaim();
  if (world_.dead_) co_return;
  if (!status && !world_.tolerated(status.error())) world_.fail("service: " + status.error().what);
  if (const std::string wrong = audit_space(world_.pool().stats()); !wrong.empty())
    world_.fail(wrong);
}

// Moves blocks and changes nothing that anybody can see.
Task<void> Admin::defragment() {
  const std::vector<store::VolumeInfo> volumes = world_.pool().volumes();
  if (volumes.empty()) co_return;
  const std::string name = volumes[random_.below(volumes.size())].name;
  const uint64_t offset = random_.below(2) == 0 ? 0 : random_.below(8) * 512_KiB;
  const auto done = co_await world_.pool().defragment(name, offset, 1 + random_.below(4_MiB));
  if (world_.dead_ || done || done.error().code == Code::kNotFound) co_return;
  if (!world_.tolerated(done.error())) world_.fail("defragment: " + done.error().what);
}

}  // namespace hozon::sim
