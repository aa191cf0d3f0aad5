#include "store/catalog.h"

#include <algorithm>

#include "store/mutants.h"

namespace hozon::store {
namespace {

std::unexpected<Error> unfit(std::string_view what, uint64_t id) {
  return make_error(Code::kCorruption, "journal {} object {} that cannot be there", what, id);
}

}  // namespace

Status Catalog::misplaced() {
  return make_error(Code::kInternal, "map record given to the catalog");
}

Volume* Catalog::find_volume(std::string_view name) {
  const auto found = volumes_.find(name);
  return found != volumes_.end() ? found->second.get() : nullptr;
}

const Volume* Catalog::find_volume(std::string_view name) const {
  const auto found = volumes_.find(name);
  return found != volumes_.end() ? found->second.get() : nullptr;
}

Volume* Catalog::volume_by_id(uint64_t id) const {
  const auto found = volumes_by_id_.find(id);
  return found != volumes_by_id_.end() ? found->second : nullptr;
}

Point* Catalog::point_by_id(uint64_t id) const {
  const auto found = points_.find(id);
  return found != points_.end() ? found->second.get() : nullptr;
}

Point* Catalog::point_in_slot(uint64_t slot) const {
  return slots_[slot].point_id != 0 ? point_by_id(slots_[slot].point_id) : nullptr;
}

bool Catalog::is_fresh_id(uint64_t id) const {
  return id != 0 && !points_.contains(id) && !volumes_by_id_.contains(id);
}

uint64_t Catalog::take_slot(SlotUse use) {
  uint64_t slot = slots_.size();
  if (!free_slots_.empty()) {
    slot = *free_slots_.begin();
    free_slots_.erase(free_slots_.begin());
    slots_[slot] = use;
  } else {
    slots_.push_back(use);
  }
  dirty_slots_.insert(slot);
  return slot;
}

void Catalog::free_slot(uint64_t slot) {
  slots_[slot] = {};
  free_slots_.insert(slot);
  dirty_slots_.insert(slot);
}

Volume* Catalog::new_volume(uint64_t id, const std::string& name, uint64_t created_ns) {
  auto made = std::make_unique<Volume>();
  Volume* volume = made.get();
  volume->id = id;
  volume->name = name;
  volume->created_ns = created_ns;
  volume->slot = take_slot({.volume_id = id});
  volumes_by_id_[id] = volume;
  volumes_.emplace(name, std::move(made));
  saw_id(id);
  return volume;
}

Point* Catalog::new_point(uint64_t id, Volume& volume, PointKind kind, uint64_t created_ns) {
  auto made = std::make_unique<Point>();
  Point* point = made.get();
  point->id = id;
  point->kind = kind;
  point->volume_id = volume.id;
  point->created_ns = created_ns;
  point->generation = take_generation();
  point->slot = take_slot({.point_id = id});
  points_.emplace(id, std::move(made));
  volume.points.emplace(id, point);
  saw_id(id);
  return point;
}

void Catalog::adopt(Point* child, Point* parent) {
  if (child->parent != nullptr) std::erase(child->parent->children, child);
  child->parent = parent;
  if (parent != nullptr) parent->children.push_back(child);
  touch(*child);
}

void Catalog::start_reclaim(Point* point) {
  point->kind = PointKind::kReclaiming;
  point->name.clear();
  touch(*point);
  reclaim_queue_.insert(point->id);
}

Status Catalog::apply(const format::Record& record) {
  return std::visit([this](const auto& one) { return apply_one(one); }, record);
}

Status Catalog::apply_one(const format::CreateVolumeRecord& record) {
  if (!is_fresh_id(record.volume_id) || !is_fresh_id(record.head_id) ||
      record.volume_id == record.head_id || volumes_.contains(record.name) ||
      record.size_bytes % 512 != 0 || record.size_bytes > kVolumeBytesMax)
    return unfit("creates", record.volume_id);
  Volume* volume = new_volume(record.volume_id, record.name, record.created_ns);
  Point* head = new_point(record.head_id, *volume, PointKind::kHead, record.created_ns);
  head->size_bytes = record.size_bytes;
  head->tree.height = format::height_for((record.size_bytes + kBlockSize - 1) / kBlockSize);
  volume->head = head;
  return {};
}

Status Catalog::apply_one(const format::ResizeVolumeRecord& record) {
  Volume* volume = volume_by_id(record.volume_id);
  if (volume == nullptr || record.size_bytes % 512 != 0 || record.size_bytes > kVolumeBytesMax)
    return unfit("resizes", record.volume_id);
  volume->head->size_bytes = record.size_bytes;
  touch(*volume->head);
  return {};  // the tree grows in height when the head next needs it (HeadMap)
}

Status Catalog::apply_one(const format::RenameVolumeRecord& record) {
  Volume* volume = volume_by_id(record.volume_id);
  if (volume == nullptr || volumes_.contains(record.name))
    return unfit("renames", record.volume_id);
  auto moved = volumes_.extract(volume->name);
  moved.key() = record.name;
  volume->name = record.name;
  volumes_.insert(std::move(moved));
  dirty_slots_.insert(volume->slot);
  return {};
}

Status Catalog::apply_one(const format::DeleteVolumeRecord& record) {
  Volume* volume = volume_by_id(record.volume_id);
  if (volume == nullptr) return unfit("deletes", record.volume_id);
  drop_volume(volume);
  return {};
}

void Catalog::drop_volume(Volume* volume) {
  start_reclaim(volume->head);
  for (const auto& [name, point] : volume->snapshots) start_reclaim(point);
  free_slot(volume->slot);
  volumes_by_id_.erase(volume->id);
  const std::string name = volume->name;
  volumes_.erase(name);
}

Status Catalog::apply_one(const format::SnapshotRecord& record) {
  const bool is_fork = record.kind == static_cast<uint32_t>(PointKind::kFork);
  if (!is_fork &&
      (record.kind != static_cast<uint32_t>(PointKind::kSnapshot) || record.name.empty()))
    return unfit("snapshots as", record.kind);
  for (const auto& entry : record.entries) {
    const Volume* volume = volume_by_id(entry.volume_id);
    if (volume == nullptr || !is_fresh_id(entry.point_id) ||
        (!is_fork && volume->snapshots.contains(record.name)))
      return unfit("snapshots", entry.volume_id);
  }
  saw_id(record.set_id);
  for (const auto& entry : record.entries) {
    Volume& volume = *volume_by_id(entry.volume_id);
    Point* head = volume.head;
    Point* point = new_point(entry.point_id, volume,
                             is_fork ? PointKind::kFork : PointKind::kSnapshot, record.created_ns);
    point->name = record.name;
    point->set_id = record.set_id;
    point->size_bytes = head->size_bytes;
    point->tree = head->tree;
    adopt(point, head->parent);
    adopt(head, point);
    // From now on the head shares everything: nothing is its own, no node may be changed in place.
    if (!mutant(Mutant::kOwnedSurvivesSnapshot)) head->tree.root.pointer.flags = 0;
    head->generation = take_generation();
    if (!is_fork) volume.snapshots.emplace(record.name, point);
  }
  return {};
}

Status Catalog::apply_one(const format::CloneRecord& record) {
  Point* source = point_by_id(record.source_point_id);
  if (source == nullptr || source->kind == PointKind::kHead || !is_fresh_id(record.volume_id) ||
      !is_fresh_id(record.head_id) || record.volume_id == record.head_id ||
      volumes_.contains(record.name))
    return unfit("clones", record.source_point_id);
  Volume* volume = new_volume(record.volume_id, record.name, record.created_ns);
  Point* head = new_point(record.head_id, *volume, PointKind::kHead, record.created_ns);
  head->size_bytes = source->size_bytes;
  head->tree = source->tree;
  if (!mutant(Mutant::kOwnedSurvivesClone)) head->tree.root.pointer.flags = 0;
  adopt(head, source);
  volume->head = head;
  return {};
}

Status Catalog::apply_one(const format::ReturnRecord& record) {
  for (const auto& entry : record.entries) {
    const Volume* volume = volume_by_id(entry.volume_id);
    const Point* target = point_by_id(entry.target_point_id);
    if (volume == nullptr || target == nullptr || target->kind != PointKind::kSnapshot ||
        !is_fresh_id(entry.head_id) || volume->snapshots.contains(record.keep_name))
      return unfit("returns", entry.volume_id);
  }
  for (const auto& entry : record.entries) {
    Volume& volume = *volume_by_id(entry.volume_id);
    Point* target = point_by_id(entry.target_point_id);
    Point* left = volume.head;
    Point* head = new_point(entry.head_id, volume, PointKind::kHead, record.created_ns);
    head->size_bytes = target->size_bytes;
    head->tree = target->tree;
    if (!mutant(Mutant::kOwnedSurvivesReturn)) head->tree.root.pointer.flags = 0;
    adopt(head, target);
    volume.head = head;
    dirty_slots_.insert(volume.slot);
    if (record.keep_name.empty()) {
      start_reclaim(left);
    } else {
      left->kind = PointKind::kSnapshot;
      left->name = record.keep_name;
      left->created_ns = record.created_ns;
      touch(*left);
      volume.snapshots.emplace(left->name, left);
    }
  }
  return {};
}

Status Catalog::apply_one(const format::DeletePointRecord& record) {
  Point* point = point_by_id(record.point_id);
  Volume* volume = point != nullptr ? volume_by_id(point->volume_id) : nullptr;
  if (volume == nullptr || point->kind != PointKind::kSnapshot)
    return unfit("deletes", record.point_id);
  volume->snapshots.erase(point->name);
  start_reclaim(point);
  return {};
}

Status Catalog::apply_one(const format::RenamePointRecord& record) {
  Point* point = point_by_id(record.point_id);
  Volume* volume = point != nullptr ? volume_by_id(point->volume_id) : nullptr;
  if (volume == nullptr || point->kind != PointKind::kSnapshot || record.name.empty() ||
      volume->snapshots.contains(record.name))
    return unfit("renames", record.point_id);
  volume->snapshots.erase(point->name);
  point->name = record.name;
  volume->snapshots.emplace(point->name, point);
  touch(*point);
  return {};
}

void Catalog::remove_point(Point* point) {
  // Neighbours that are forks may now hold blocks that nobody else needs.
  if (point->parent != nullptr && point->parent->kind == PointKind::kFork)
    reclaim_queue_.insert(point->parent->id);
  for (Point* child : std::vector<Point*>(point->children)) {
    if (child->kind == PointKind::kFork) reclaim_queue_.insert(child->id);
    adopt(child, point->parent);
  }
  if (point->parent != nullptr) std::erase(point->parent->children, point);
  reclaim_queue_.erase(point->id);
  free_slot(point->slot);
  const uint64_t id = point->id;
  if (Volume* volume = volume_by_id(point->volume_id)) volume->points.erase(id);
  points_.erase(id);
}

Status Catalog::add_record(uint64_t slot, const format::CatalogRecord& record) {
  HOZON_CHECK(slot == slots_.size());
  const uint64_t id = record.id;
  if (record.type == static_cast<uint8_t>(format::RecordType::kFree)) {
    slots_.emplace_back();
    free_slots_.insert(slot);
    return {};
  }
  if (!is_fresh_id(id)) return make_error(Code::kCorruption, "catalog holds object {} twice", id);
  saw_id(id);
  if (record.type == static_cast<uint8_t>(format::RecordType::kVolume)) {
    auto made = std::make_unique<Volume>();
    made->id = id;
    made->name = record.name_text();
    made->created_ns = record.created_ns;
    made->slot = slot;
    loading_heads_[id] = record.link;
    volumes_by_id_[id] = made.get();
    if (!volumes_.emplace(record.name_text(), std::move(made)).second)
      return make_error(Code::kCorruption, "catalog holds volume '{}' twice", record.name_text());
    slots_.push_back({.volume_id = id, .point_id = 0});
    return {};
  }
  auto made = std::make_unique<Point>();
  made->id = id;
  made->kind = static_cast<PointKind>(record.kind);
  made->name = record.name_text();
  made->volume_id = record.volume_id;
  made->size_bytes = record.size_bytes;
  made->created_ns = record.created_ns;
  made->set_id = record.set_id;
  made->tree = {{record.root, {}}, record.height};
  made->generation = take_generation();
  made->slot = slot;
  loading_parents_[id] = record.link;
  points_.emplace(id, std::move(made));
  slots_.push_back({.volume_id = 0, .point_id = id});
  return {};
}

size_t Catalog::count_reachable_from_roots() const {
  std::vector<const Point*> open;
  for (const auto& [id, point] : points_)
    if (point->parent == nullptr) open.push_back(point.get());
  size_t count = 0;
  while (!open.empty()) {
    const Point* point = open.back();
    open.pop_back();
    ++count;
    open.insert(open.end(), point->children.begin(), point->children.end());
  }
  return count;
}

Status Catalog::link_up() {
  for (const auto& [id, point] : points_) {
    const uint64_t parent_id = loading_parents_[id];
    if (parent_id == 0) continue;
    Point* parent = point_by_id(parent_id);
    if (parent == nullptr || parent == point.get())
      return make_error(Code::kCorruption, "point {} names parent {} that is not there", id,
                        parent_id);
    point->parent = parent;
    parent->children.push_back(point.get());
  }
  for (const auto& [name, volume] : volumes_) {
    volume->head = point_by_id(loading_heads_[volume->id]);
    if (volume->head == nullptr || volume->head->kind != PointKind::kHead ||
        volume->head->volume_id != volume->id || !volume->head->children.empty())
      return make_error(Code::kCorruption, "volume '{}' has no proper head", name);
  }
  if (count_reachable_from_roots() != points_.size())
    return make_error(Code::kCorruption, "the history of some points runs in a circle");
  for (const auto& [id, point] : points_) {
    Volume* volume = volume_by_id(point->volume_id);
    if (volume != nullptr) volume->points.emplace(id, point.get());
    if (point->kind == PointKind::kHead && (volume == nullptr || volume->head != point.get()))
      return make_error(Code::kCorruption, "point {} is the head of no volume", id);
    if (point->kind == PointKind::kSnapshot &&
        (volume == nullptr || !volume->snapshots.emplace(point->name, point.get()).second))
      return make_error(Code::kCorruption, "snapshot '{}' (point {}) has no place in a volume",
                        point->name, id);
    if (point->kind == PointKind::kReclaiming) reclaim_queue_.insert(id);
    if (point->kind == PointKind::kFork && point->children.size() < 2) reclaim_queue_.insert(id);
  }
  loading_parents_.clear();
  loading_heads_.clear();
  return {};
}

std::string Catalog::describe_slots(uint64_t first, uint64_t count) const {
  std::string text;
  for (uint64_t slot = first; slot < std::min<uint64_t>(first + count, slots_.size()); ++slot) {
    const Point* point = point_in_slot(slot);
    const uint64_t volume_id = point != nullptr ? point->volume_id : slots_[slot].volume_id;
    if (volume_id == 0) continue;
    const Volume* volume = volume_by_id(volume_id);
    text += fmt::format("{}volume {}", text.empty() ? "; it holds the records of " : ", ",
                        volume != nullptr ? "'" + volume->name + "'" : std::to_string(volume_id));
    if (point != nullptr)
      text += point->name.empty() ? fmt::format(" point {}", point->id)
                                  : fmt::format(" point '{}'", point->name);
  }
  return text;
}

format::CatalogRecord Catalog::record_of(uint64_t slot) const {
  format::CatalogRecord record{};
  const SlotUse use = slots_[slot];
  if (use.volume_id != 0) {
    const Volume& volume = *volume_by_id(use.volume_id);
    record.type = static_cast<uint8_t>(format::RecordType::kVolume);
    record.id = volume.id;
    record.link = volume.head->id;
    record.created_ns = volume.created_ns;
    record.set_name(volume.name);
  } else if (use.point_id != 0) {
    const Point& point = *point_by_id(use.point_id);
    record.type = static_cast<uint8_t>(format::RecordType::kPoint);
    record.kind = static_cast<uint8_t>(point.kind);
    record.height = point.tree.height;
    record.id = point.id;
    record.link = point.parent != nullptr ? point.parent->id : 0;
    record.volume_id = point.volume_id;
    record.size_bytes = point.size_bytes;
    record.created_ns = point.created_ns;
    record.set_id = point.set_id;
    record.root = point.tree.root.pointer;
    if (point.tree.root.is_null()) record.root = {};
    if (const NodeRef& node = point.tree.root.node) {
      HOZON_CHECK(node->block() != 0);
      record.root.block = node->block();  // the checksum follows when the node is sealed
    }
    record.set_name(point.name);
  }
  return record;
}

PointInfo info_of(const Point& point) {
  return {point.id,         point.parent != nullptr ? point.parent->id : 0,
          point.volume_id,  point.kind,
          point.name,       point.size_bytes,
          point.created_ns, point.set_id};
}

VolumeInfo info_of(const Volume& volume) {
  return {volume.id,         volume.name,     volume.head->size_bytes,
          volume.created_ns, volume.head->id, volume.snapshots.size()};
}

}  // namespace hozon::store
