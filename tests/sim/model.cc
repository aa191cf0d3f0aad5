// tests/sim/model.cc
// Guest I/O and the truth of sectors. Histories stay short: a value is forgotten when no running
// call and no power cut could show it any more.

#include "model.h"

#include <algorithm>

namespace hozon::sim {

HeadBlock Model::zero_block() {
  HeadBlock block;
  for (History& history : block.sectors) history.push_back(Value{});
  return block;
}

HeadBlock& Model::own_block(ModelVolume& volume, uint64_t block) {
  std::shared_ptr<HeadBlock>& held = volume.head[block];
  if (!held)
    held = std::make_shared<HeadBlock>(zero_block());
  else if (held.use_count() > 1)
    held = std::make_shared<HeadBlock>(*held);
  return *held;
}

ModelPoint& Model::own_point(uint64_t uid) {
  std::shared_ptr<ModelPoint>& held = points.at(uid);
  if (held.use_count() > 1) held = std::make_shared<ModelPoint>(*held);
  return *held;
}

Tick Model::oldest_activity() const { return active_.empty() ? now_ : *active_.begin(); }

void Model::forget(History& history) const {
  const Tick watermark = oldest_activity();
  std::erase_if(history, [&](const Value& value) {
    return value.superseded <= watermark && (value.buried || value.superseded <= durable_);
  });
}

Model::Io Model::begin_write(uint64_t volume, uint64_t sector, uint64_t count, uint64_t stamp) {
  const Tick begun = begin_activity();
  ModelVolume& into = volumes.at(volume);
  for (uint64_t s = sector; s < sector + count; ++s) {
    History& history = own_block(into, s / kSectorsPerBlock).sectors[s % kSectorsPerBlock];
    forget(history);
    history.push_back({stamp, begun, kForever, kForever, false});
  }
  return {volume, sector, count, stamp, begun};
}

void Model::end_write(const Io& io, bool answered_ok, bool fua) {
  const Tick ended = ++now_;
  end_activity(io.begun);
  const auto found = volumes.find(io.volume);
  if (found == volumes.end()) return;  // deleted meanwhile
  for (uint64_t s = io.sector; s < io.sector + io.count; ++s) {
    const uint64_t index = s / kSectorsPerBlock;
    const bool is_cut_off = s * kSectorSize >= found->second.size_bytes;
    if (is_cut_off && !found->second.head.contains(index)) continue;
    History& history = own_block(found->second, index).sectors[s % kSectorsPerBlock];
    if (is_cut_off) {
      std::erase_if(history, [&](const Value& value) { return value.begun == io.begun; });
      continue;
    }
    // A value that was not answered well may have arrived all the same: it is possible, no more.
    for (Value& value : history) {
      if (value.begun == io.begun) value.ended = ended;
      if (!answered_ok || value.ended > io.begun) continue;
      value.superseded = std::min(value.superseded, ended);
      value.buried |= fua;
    }
  }
}

Tick Model::begin_activity() {
  active_.insert(++now_);
  return now_;
}

void Model::end_activity(Tick begun) {
  const auto found = active_.find(begun);
  if (found != active_.end()) active_.erase(found);
}

void Model::end_flush(Tick begun) {
  ++now_;
  end_activity(begun);
  durable_ = std::max(durable_, begun);
}

std::string Model::check_read(uint64_t volume, uint64_t sector, std::span<const std::byte> bytes,
                              Tick begun) const {
  const ModelVolume& from = volumes.at(volume);
  const auto found = from.head.find(sector / kSectorsPerBlock);
  if (found == from.head.end())
    return contents_->matches(0, sector, bytes)
               ? ""
               : fmt::format("volume '{}' sector {}: never written, but reads {}", from.name,
                             sector, contents_->describe(sector, bytes));
  const History& history = found->second->sectors[sector % kSectorsPerBlock];
  std::string legal;
  for (const Value& value : history) {
    if (value.superseded <= begun) continue;
    if (contents_->matches(value.stamp, sector, bytes)) return "";
    legal += fmt::format(" {}", value.stamp);
  }
  return fmt::format("volume '{}' sector {}: reads {}, legal stamps:{}", from.name, sector,
                     contents_->describe(sector, bytes), legal);
}

std::optional<uint64_t> Model::certain(uint64_t volume, uint64_t sector) const {
  const ModelVolume& from = volumes.at(volume);
  const auto found = from.head.find(sector / kSectorsPerBlock);
  if (found == from.head.end()) return 0;
  std::optional<uint64_t> only;
  for (const Value& value : found->second->sectors[sector % kSectorsPerBlock]) {
    if (value.superseded != kForever) continue;
    if (only || value.ended == kForever) return std::nullopt;
    only = value.stamp;
  }
  return only;
}

void Model::crash() {
  ++now_;
  heads_ = {0, kForever};
  active_.clear();
  for (auto& [uid, volume] : volumes) {
    for (auto& [index, held] : volume.head) {
      const auto runs = [](const History& history) {
        return std::ranges::any_of(history, [](const Value& v) { return v.ended == kForever; });
      };
      if (std::ranges::none_of(held->sectors, runs)) continue;
      for (History& history : own_block(volume, index).sectors)
        for (Value& value : history) value.ended = std::min(value.ended, now_);
    }
  }
}

std::string Model::settle_head(uint64_t volume, uint64_t sector, std::span<const std::byte> bytes,
                               After after) {
  ModelVolume& from = volumes.at(volume);
  const auto found = from.head.find(sector / kSectorsPerBlock);
  if (found == from.head.end()) return check_read(volume, sector, bytes, now_);
  const History& seen = found->second->sectors[sector % kSectorsPerBlock];
  const auto is_legal = [&](const Value& value) {
    return value.superseded == kForever ||
           (after >= After::kLost && !value.buried && value.superseded > durable_);
  };
  size_t match = 0;
  while (match < seen.size() &&
         !(is_legal(seen[match]) && contents_->matches(seen[match].stamp, sector, bytes)))
    ++match;
  if (match == seen.size()) {
    std::string legal;
    for (const Value& value : seen)
      legal += fmt::format(
          " {}{}", value.stamp,
          is_legal(value) ? ""
                          : fmt::format("(not: {}..{} superseded {}{})", value.begun, value.ended,
                                        value.superseded, value.buried ? " buried" : ""));
    legal += fmt::format("; flushed {} now {}", durable_, now_);
    return fmt::format("volume '{}' sector {}: reads {}, legal stamps:{}", from.name, sector,
                       contents_->describe(sector, bytes), legal);
  }
  Interval shown{kForever, 0};  // several values may look the same
  for (const Value& value : seen)
    if (is_legal(value) && value.stamp == seen[match].stamp)
      shown = {std::min(shown.low, value.begun), std::max(shown.high, value.superseded)};
  if (after != After::kQuiet && !narrow_heads(shown))
    return fmt::format(
        "volume '{}' sector {}: reads {}, of [{}, {}): another sector shows what was written "
        "later, "
        "and only later",
        from.name, sector, contents_->describe(sector, bytes), shown.low, shown.high);
  if (seen.size() == 1) return "";
  HeadBlock& block = own_block(from, sector / kSectorsPerBlock);
  History& history = block.sectors[sector % kSectorsPerBlock];
  if (after == After::kCut) {  // what a cut left is on the medium
    history = {Value{history[match].stamp, 0, 0, kForever, false}};
    return "";
  }
  for (size_t i = 0; i < history.size(); ++i) {
    history[i].superseded = i == match ? kForever : std::min(history[i].superseded, now_);
    if (i == match) history[i].buried = false;
  }
  return "";
}

bool Model::narrow_heads(const Interval& shown) {
  heads_ = {std::max(heads_.low, shown.low), std::min(heads_.high, shown.high)};
  return heads_.low < heads_.high;
}

std::string Model::settle_point(uint64_t point, uint64_t sector, std::span<const std::byte> bytes) {
  const uint64_t index = sector / kSectorsPerBlock, slot = sector % kSectorsPerBlock;
  const ModelPoint& from = *points.at(point);
  const auto complain = [&](std::string_view what) {
    return fmt::format("point '{}' (volume uid {}) sector {}: reads {}, {}", from.name, from.volume,
                       sector, contents_->describe(sector, bytes), what);
  };
  const auto undecided = from.open.find(index);
  if (undecided == from.open.end()) {
    const auto block = from.blocks.find(index);
    const uint64_t stamp = block == from.blocks.end() ? 0 : (*block->second)[slot];
    return contents_->matches(stamp, sector, bytes) ? ""
                                                    : complain(fmt::format("legal: {}", stamp));
  }
  Interval& interval = sets_.at(from.set);
  Tick low = kForever, high = 0;
  uint64_t stamp = 0;
  for (const Value& value : undecided->second[slot]) {
    if (!contents_->matches(value.stamp, sector, bytes)) continue;
    low = std::min(low, value.begun);
    high = std::max(high, value.superseded);
    stamp = value.stamp;
  }
  if (high == 0) {
    std::string legal = "legal:";
    for (const Value& value : undecided->second[slot]) legal += fmt::format(" {}", value.stamp);
    return complain(legal);
  }
  interval = {std::max(interval.low, low), std::min(interval.high, high)};
  if (interval.low >= interval.high)
    return complain("which is from another instant than the rest of its set");
  ModelPoint& mine = own_point(point);
  auto& histories = mine.open.at(index);
  histories[slot] = {Value{stamp, low, low, high, false}};
  const auto single = [](const History& history) { return history.size() == 1; };
  if (!std::ranges::all_of(histories, single)) return "";
  PointBlock block;
  for (size_t s = 0; s < block.size(); ++s) block[s] = histories[s].front().stamp;
  mine.blocks[index] = std::make_shared<const PointBlock>(block);
  mine.open.erase(index);
  return "";
}

ModelVolume* Model::volume_named(const std::string& name) {
  for (auto& [uid, volume] : volumes)
    if (volume.name == name) return &volume;
  return nullptr;
}

bool Model::learn_id(uint64_t point, uint64_t id) {
  own_point(point).id = id;
  return ids_.emplace(id, point).first->second == point;
}

ModelPoint* Model::point_named(uint64_t volume, const std::string& name) {
  for (auto& [uid, point] : points)
    if (point->volume == volume && point->name == name) return point.get();
  return nullptr;
}

}  // namespace hozon::sim
