// src/store/catalog.h
// Volumes and points in memory: names, the history forest, and what each logical operation does to
// them. No I/O: operations come from the journal's records, at run time and at replay alike, so
// that both have the same effect.
//
// Invariants
//   K1  Every volume has exactly one head; a head has no children.
//   K2  parent and children agree; the history is a forest.
//   K3  Snapshot names are unique within a volume, volume names within the pool.
//   K4  Only heads change their trees (and points being reclaimed, whose trees only shrink).
// Threading: the pool's thread. On disk: docs/format.md "Catalog".
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "format/catalog_record.h"
#include "format/journal_frame.h"
#include "store/dirty_set.h"
#include "store/node.h"
#include "store/types.h"

namespace hozon::store {

struct Volume;

struct Point {
  uint64_t id = 0;
  PointKind kind = PointKind::kHead;
  std::string name;
  uint64_t volume_id = 0;
  uint64_t size_bytes = 0;
  uint64_t created_ns = 0;
  uint64_t set_id = 0;
  Tree tree;  // the root's owned flag: see docs/format.md "Pointer"
  Point* parent = nullptr;
  std::vector<Point*> children;
  uint64_t generation = 0;  // of the nodes that this head may change (Node::made_by)
  uint64_t slot = 0;        // in the catalog
  bool watched = false;     // being reclaimed now: heads report what they stop sharing with it

  bool is_readable() const { return kind == PointKind::kHead || kind == PointKind::kSnapshot; }
};

struct Volume {
  uint64_t id = 0;
  std::string name;
  uint64_t created_ns = 0;
  Point* head = nullptr;
  std::map<std::string, Point*, std::less<>> snapshots;  // by name
  std::map<uint64_t, Point*> points;                     // all of its points, by id
  uint64_t slot = 0;
};

class Catalog {
 public:
  // Applies one logical record (any but MAP and UNMAP). kCorruption when it does not fit the
  // present state; that can only happen at replay of a damaged pool.
  Status apply(const format::Record& record);

  Volume* find_volume(std::string_view name);
  const Volume* find_volume(std::string_view name) const;
  Volume* volume_by_id(uint64_t id) const;
  Point* point_by_id(uint64_t id) const;
  Point* point_in_slot(uint64_t slot) const;  // null when the slot holds none
  const std::map<std::string, std::unique_ptr<Volume>, std::less<>>& volumes() const {
    return volumes_;
  }
  const std::map<uint64_t, std::unique_ptr<Point>>& points() const { return points_; }

  uint64_t take_id() { return next_id_++; }
  uint64_t next_id() const { return next_id_; }
  void set_next_id(uint64_t id) { next_id_ = id; }
  uint64_t take_generation() { return next_generation_++; }

  // Takes a reclaimed point out of the history: its children become its parent's.
  void remove_point(Point* point);
  void touch(const Point& point) { dirty_slots_.insert(point.slot); }
  void touch_slot(uint64_t slot) { dirty_slots_.insert(slot); }
  // What the records of these slots are about, for a sentence: "; it holds the records of ...".
  std::string describe_slots(uint64_t first, uint64_t count) const;

  // --- loading and saving ---
  // Adds what one record on disk says; link_up() then resolves ids to pointers and checks K1-K3.
  Status add_record(uint64_t slot, const format::CatalogRecord& record);
  Status link_up();
  uint64_t slot_count() const { return slots_.size(); }
  // The record of a slot as it stands now (all zeros when free). The root of its tree has a block;
  // when that is a node in memory, its checksum is left out.
  format::CatalogRecord record_of(uint64_t slot) const;
  const DirtySet& dirty_slots() const { return dirty_slots_; }
  std::vector<uint64_t> take_dirty_slots() { return dirty_slots_.take(); }

  // Points that wait for their space to be given back, and forks that may hold too much.
  std::set<uint64_t>& reclaim_queue() { return reclaim_queue_; }
  const std::set<uint64_t>& reclaim_queue() const { return reclaim_queue_; }

 private:
  struct SlotUse {
    uint64_t volume_id = 0;  // one of the two, or neither
    uint64_t point_id = 0;
  };
  Point* new_point(uint64_t id, Volume& volume, PointKind kind, uint64_t created_ns);
  Volume* new_volume(uint64_t id, const std::string& name, uint64_t created_ns);
  uint64_t take_slot(SlotUse use);
  void free_slot(uint64_t slot);
  void adopt(Point* child, Point* parent);
  void start_reclaim(Point* point);
  void drop_volume(Volume* volume);

  Status apply_one(const format::MapRecord&) { return misplaced(); }
  Status apply_one(const format::VoidRecord&) { return {}; }
  Status apply_one(const format::UnmapRecord&) { return misplaced(); }
  Status apply_one(const format::CreateVolumeRecord& record);
  Status apply_one(const format::ResizeVolumeRecord& record);
  Status apply_one(const format::RenameVolumeRecord& record);
  Status apply_one(const format::DeleteVolumeRecord& record);
  Status apply_one(const format::SnapshotRecord& record);
  Status apply_one(const format::CloneRecord& record);
  Status apply_one(const format::ReturnRecord& record);
  Status apply_one(const format::DeletePointRecord& record);
  Status apply_one(const format::RenamePointRecord& record);
  static Status misplaced();
  bool is_fresh_id(uint64_t id) const;
  size_t count_reachable_from_roots() const;
  void saw_id(uint64_t id) { next_id_ = std::max(next_id_, id + 1); }

  std::map<std::string, std::unique_ptr<Volume>, std::less<>> volumes_;
  std::unordered_map<uint64_t, Volume*> volumes_by_id_;
  std::map<uint64_t, std::unique_ptr<Point>> points_;
  std::vector<SlotUse> slots_;
  std::set<uint64_t> free_slots_;
  DirtySet dirty_slots_;
  std::set<uint64_t> reclaim_queue_;
  uint64_t next_id_ = 1;
  uint64_t next_generation_ = 1;
  // Between add_record() and link_up(): links as ids.
  std::unordered_map<uint64_t, uint64_t> loading_parents_;
  std::unordered_map<uint64_t, uint64_t> loading_heads_;
};

PointInfo info_of(const Point& point);
VolumeInfo info_of(const Volume& volume);

}  // namespace hozon::store
