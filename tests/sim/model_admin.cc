// tests/sim/model_admin.cc
// Volumes and points of the model. An operation takes effect at one instant between its call and
// its answer; guest I/O that runs meanwhile may be on either side of it.

#include <algorithm>
#include <set>

#include "model.h"

namespace hozon::sim {

std::string AdminOp::text() const {
  constexpr std::array<const char*, 9> kNames = {"create",        "resize",       "rename volume",
                                                 "delete volume", "snapshot",     "clone",
                                                 "return",        "delete point", "rename point"};
  return fmt::format("{} '{}' volumes [{}] points [{}] size {}", kNames[static_cast<size_t>(kind)],
                     name, fmt::join(volumes, ","), fmt::join(points, ","), size_bytes);
}

uint64_t Model::begin_admin(AdminOp op) {
  op.begun = begin_activity();
  if (op.kind == AdminOp::Kind::kReturn) begin_return(op);
  if (op.kind == AdminOp::Kind::kReturn || op.kind == AdminOp::Kind::kResize ||
      op.kind == AdminOp::Kind::kDeleteVolume)
    for (const uint64_t uid : op.volumes) volumes.at(uid).reshaped = kForever;
  admin_[op.begun] = op;
  return op.begun;
}

void Model::end_admin(uint64_t key, bool applied) {
  const AdminOp op = admin_.at(key);
  admin_.erase(key);
  ++now_;
  for (const uint64_t uid : op.volumes) {
    const auto found = volumes.find(uid);
    if (found != volumes.end() && found->second.reshaped == kForever) found->second.reshaped = now_;
  }
  if (applied)
    apply(op);
  else if (op.kind == AdminOp::Kind::kReturn)
    revoke_return(op);
  end_activity(op.begun);
}

void Model::apply(const AdminOp& op) {
  switch (op.kind) {
    case AdminOp::Kind::kCreate: {
      const uint64_t uid = next_uid_++;
      ModelVolume& made = volumes[uid];
      made.uid = uid;
      made.name = op.name;
      made.size_bytes = op.size_bytes;
      break;
    }
    case AdminOp::Kind::kResize: {
      ModelVolume& volume = volumes.at(op.volumes[0]);
      volume.size_bytes = op.size_bytes;
      std::erase_if(volume.head,
                    [&](const auto& entry) { return entry.first * kPageSize >= op.size_bytes; });
      break;
    }
    case AdminOp::Kind::kRenameVolume: volumes.at(op.volumes[0]).name = op.name; break;
    case AdminOp::Kind::kDeleteVolume: remove_volume(op.volumes[0]); break;
    case AdminOp::Kind::kSnapshot: apply_snapshot(op, op.name); break;
    case AdminOp::Kind::kClone: apply_clone(op); break;
    case AdminOp::Kind::kReturn: apply_return(op); break;
    case AdminOp::Kind::kDeletePoint: remove_point(op.points[0]); break;
    case AdminOp::Kind::kRenamePoint: own_point(op.points[0]).name = op.name; break;
  }
}

// What lies past a volume's end reads as zeros should the volume grow again, unless a write that
// still runs lands there then.
void Model::cut_off(ModelVolume& volume) {
  const uint64_t end = volume.size_bytes / kSectorSize;
  const auto is_over = [](const Value& value) { return value.ended != kForever; };
  std::vector<uint64_t> empty;
  for (auto& [index, held] : volume.head) {
    if ((index + 1) * kSectorsPerBlock <= end) continue;
    HeadBlock& block = own_block(volume, index);
    bool is_empty = index * kSectorsPerBlock >= end;
    for (uint64_t s = 0; s < kSectorsPerBlock; ++s) {
      if (index * kSectorsPerBlock + s < end) continue;
      History& history = block.sectors[s];
      std::erase_if(history, is_over);
      is_empty = is_empty && history.empty();
      history.insert(history.begin(), Value{});
    }
    if (is_empty) empty.push_back(index);
  }
  for (const uint64_t index : empty) volume.head.erase(index);
}

void Model::apply_snapshot(const AdminOp& op, const std::string& name) {
  const uint64_t set = next_uid_++;
  sets_[set] = {op.begun, now_};
  for (const uint64_t volume_uid : op.volumes) {
    ModelVolume& volume = volumes.at(volume_uid);
    auto point = std::make_shared<ModelPoint>();
    point->uid = next_uid_++;
    point->name = name;
    point->volume = volume_uid;
    point->parent = volume.parent;
    point->size_bytes = volume.size_bytes;
    point->set = set;
    for (const auto& [index, held] : volume.head) {
      std::array<History, kSectorsPerBlock> seen;
      bool certain = true;
      PointBlock block{};
      for (size_t s = 0; s < kSectorsPerBlock; ++s) {
        for (const Value& value : held->sectors[s])
          if (value.superseded > op.begun && value.begun != op.begun) seen[s].push_back(value);
        HOZON_CHECK(!seen[s].empty());
        certain = certain && seen[s].size() == 1;
        block[s] = seen[s].front().stamp;
      }
      if (certain)
        point->blocks[index] = std::make_shared<const PointBlock>(block);
      else
        point->open[index] = std::move(seen);
    }
    volume.parent = point->uid;
    points[point->uid] = std::move(point);
  }
}

void Model::apply_clone(const AdminOp& op) {
  ModelVolume made;
  made.uid = next_uid_++;
  made.name = op.name;
  if (op.points.empty()) {  // of a head
    const ModelVolume& source = volumes.at(op.volumes[0]);
    made.size_bytes = source.size_bytes;
    made.parent = source.parent;
    for (const auto& [index, held] : source.head) {
      auto block = std::make_shared<HeadBlock>();
      for (size_t s = 0; s < kSectorsPerBlock; ++s)
        for (const Value& value : held->sectors[s])
          if (value.superseded > op.begun)
            block->sectors[s].push_back({value.stamp, 0, now_, kForever, false});
      made.head[index] = std::move(block);
    }
  } else {
    const ModelPoint& source = *points.at(op.points[0]);
    HOZON_CHECK(source.open.empty());
    made.size_bytes = source.size_bytes;
    made.parent = source.uid;
    for (const auto& [index, stamps] : source.blocks) {
      auto block = std::make_shared<HeadBlock>();
      for (size_t s = 0; s < kSectorsPerBlock; ++s)
        block->sectors[s].push_back({(*stamps)[s], 0, now_, kForever, false});
      made.head[index] = std::move(block);
    }
  }
  volumes[made.uid] = std::move(made);
}

// A return writes all of the volume at once: its values are running until it is answered.
void Model::begin_return(const AdminOp& op) {
  for (size_t i = 0; i < op.volumes.size(); ++i) {
    ModelVolume& volume = volumes.at(op.volumes[i]);
    const ModelPoint& target = *points.at(op.points[i]);
    HOZON_CHECK(target.open.empty());
    std::set<uint64_t> indexes;
    for (const auto& [index, block] : volume.head) indexes.insert(index);
    for (const auto& [index, block] : target.blocks) indexes.insert(index);
    for (const uint64_t index : indexes) {
      const auto found = target.blocks.find(index);
      HeadBlock& block = own_block(volume, index);
      for (size_t s = 0; s < kSectorsPerBlock; ++s)
        block.sectors[s].push_back({found == target.blocks.end() ? 0 : (*found->second)[s],
                                    op.begun, kForever, kForever, false});
    }
  }
}

void Model::apply_return(const AdminOp& op) {
  if (!op.name.empty()) apply_snapshot(op, op.name);  // takes no value of this return
  for (size_t i = 0; i < op.volumes.size(); ++i) {
    ModelVolume& volume = volumes.at(op.volumes[i]);
    const ModelPoint& target = *points.at(op.points[i]);
    volume.parent = target.uid;
    volume.size_bytes = target.size_bytes;
    // Blocks first written while the return ran: what it put there were zeros.
    for (auto& [index, held] : volume.head) {
      HeadBlock& block = own_block(volume, index);
      for (History& history : block.sectors) {
        const auto ours = [&](const Value& value) { return value.begun == op.begun; };
        if (std::ranges::none_of(history, ours))
          history.push_back({0, op.begun, kForever, kForever, false});
        for (Value& value : history) {
          if (value.begun == op.begun) {
            value.ended = now_;
          } else if (value.ended <= op.begun) {
            value.superseded = std::min(value.superseded, now_);
            value.buried = true;  // the return's record is durable
          }
        }
      }
    }
    cut_off(volume);  // also what a write left there that the return overtook
  }
}

void Model::revoke_return(const AdminOp& op) {
  for (const uint64_t uid : op.volumes) {
    const auto found = volumes.find(uid);
    if (found == volumes.end()) continue;
    ModelVolume& volume = found->second;
    for (auto& [index, held] : volume.head)
      for (History& history : own_block(volume, index).sectors)
        std::erase_if(history, [&](const Value& value) { return value.begun == op.begun; });
  }
}

void Model::remove_point(uint64_t uid) {
  const uint64_t parent = points.at(uid)->parent;
  points.erase(uid);
  for (auto& [other, point] : points)
    if (point->parent == uid) own_point(other).parent = parent;
  for (auto& [other, volume] : volumes)
    if (volume.parent == uid) volume.parent = parent;
}

void Model::remove_volume(uint64_t uid) {
  volumes.erase(uid);
  std::vector<uint64_t> doomed;
  for (const auto& [other, point] : points)
    if (point->volume == uid) doomed.push_back(other);
  for (const uint64_t other : doomed) remove_point(other);
}

uint64_t Model::distinct_blocks() const {
  // Stamps are unique, so equal stamps at one index mean one block of one write.
  std::set<std::pair<uint64_t, PointBlock>> seen;
  constexpr PointBlock kZeros{};
  for (const auto& [uid, point] : points)
    for (const auto& [index, block] : point->blocks)
      if (*block != kZeros) seen.emplace(index, *block);
  for (const auto& [uid, volume] : volumes) {
    for (const auto& [index, held] : volume.head) {
      // A write that waits is remembered past the end that a return or shrinking has left.
      if (index * kPageSize >= volume.size_bytes) continue;
      PointBlock block{};
      for (size_t s = 0; s < kSectorsPerBlock; ++s)
        for (const Value& value : held->sectors[s])
          if (value.superseded == kForever) block[s] = value.stamp;
      if (block != kZeros) seen.emplace(index, block);
    }
  }
  return seen.size();
}

}  // namespace hozon::sim
