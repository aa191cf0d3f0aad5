#include "store/damage_finder.h"

#include <algorithm>
#include <deque>
#include <set>

#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/units.h"
#include "store/core.h"

namespace hozon::store {
namespace {

// However many points share a place, so many are looked at.
constexpr uint64_t kPointsVisitedMax = 4096;
constexpr uint64_t kVisitsPerTurn = 32;
// Of one failed request; longer ones are looked at up to here.
constexpr uint64_t kBlocksLookedAtMax = 16384;
// A disk that dies answers slowly; after so many finds the rest is left to a scrub.
constexpr size_t kFoundMax = 16;

Task<bool> holds(PoolCore& core, Tree tree, const DamagedBlock& found) {
  Edge edge;
  while (const auto missing = core.head_map.edge_at(tree, found.index, found.level, edge)) {
    const auto loaded = co_await core.cache.load(missing->edge, missing->level);
    if (!loaded) co_return false;  // damage of its own, with names of its own
  }
  co_return !edge.is_null() && edge.identity() == found.block;
}

Task<void> find_touched(PoolCore& core, const DamagedBlock& found, DamagedPlace& place) {
  std::deque<uint64_t> open = {found.point_id};
  std::set<uint64_t> visited = {found.point_id};
  uint64_t visits = 0;
  while (!open.empty()) {
    const uint64_t id = open.front();
    open.pop_front();
    const Point* point = core.catalog.point_by_id(id);
    if (point == nullptr) continue;
    if (++visits % kVisitsPerTurn == 0) co_await core.executor.yield();
    if (id != found.point_id) {
      const Tree tree = point->tree;
      const bool is_held = co_await holds(core, tree, found);
      point = core.catalog.point_by_id(id);
      if (!is_held || point == nullptr) continue;
    }
    if (point->is_readable()) {
      const Volume* volume = core.catalog.volume_by_id(point->volume_id);
      if (place.touched.size() < DamagedPlace::kTouchedMax && volume != nullptr)
        place.touched.push_back({volume->name, point->name});
      else
        ++place.touched_left_out;
    }
    std::vector<const Point*> neighbours(point->children.begin(), point->children.end());
    if (point->parent != nullptr) neighbours.push_back(point->parent);
    for (const Point* neighbour : neighbours)
      if (visited.size() < kPointsVisitedMax && visited.insert(neighbour->id).second)
        open.push_back(neighbour->id);
  }
}

// Looks at the blocks under one failed request.
class Search {
 public:
  Search(PoolCore& core, const Point& point)
      : core_(core),
        tree_(point.tree),
        point_id_(point.id),
        name_(describe(point, core.catalog)),
        buffer_(kBlockSize) {}

  Task<void> look(uint64_t first, uint64_t end) {
    for (uint64_t index = first; index < end && found_.size() < kFoundMax;)
      index = co_await look_at(index);
  }
  const std::vector<DamagedBlock>& found() const { return found_; }

 private:
  void add(uint8_t level, uint64_t index, uint64_t block, std::string reason) {
    const uint64_t span = level == 0 ? 1 : format::slot_blocks(static_cast<uint8_t>(level + 1));
    found_.push_back({point_id_, name_, level, index - index % span, block, std::move(reason)});
  }
  // Returns the next index to look at.
  Task<uint64_t> look_at(uint64_t index) {
    Edge edge = tree_.root;
    for (uint8_t level = tree_.height; level >= 1; --level) {
      const uint64_t span = format::slot_blocks(static_cast<uint8_t>(level + 1));
      const uint64_t next = index - index % span + span;
      if (edge.is_null()) co_return next;
      const auto node = co_await core_.cache.load(edge, level);
      if (!node) {
        add(level, index, edge.pointer.block, "cannot be read or is damaged");
        co_return next;
      }
      edge = (*node)->edge(slot_of(index, level));
    }
    if (edge.is_null()) co_return index + 1;
    const uint64_t block = edge.pointer.block;
    const int error = co_await core_.data.read(block * kBlockSize, buffer_.span());
    if (error != 0)
      add(0, index, block, errno_to_error(-error, "cannot be read").what);
    else if (crc32c(buffer_.span()) != edge.pointer.crc32c)
      add(0, index, block, "is damaged (checksum differs)");
    co_return index + 1;
  }

  PoolCore& core_;
  Tree tree_;
  uint64_t point_id_;
  std::string name_;
  AlignedBuffer buffer_;
  std::vector<DamagedBlock> found_;
};

}  // namespace

Task<DamagedPlace> name_damage(PoolCore& core, DamagedBlock found) {
  const ReaderGuard reader(core.space);
  DamagedPlace place;
  place.object = found.point_name;
  place.block = found.block;
  place.offset_bytes = found.index * kBlockSize;
  place.length_bytes =
      (found.level == 0 ? 1 : format::slot_blocks(static_cast<uint8_t>(found.level + 1))) *
      kBlockSize;
  place.what = found.level == 0
                   ? fmt::format("block {} {}", found.block, found.reason)
                   : fmt::format("the map node in block {} {}", found.block, found.reason);
  if (const Point* point = core.catalog.point_by_id(found.point_id)) {
    place.object = describe(*point, core.catalog);
    const Volume* volume = core.catalog.volume_by_id(point->volume_id);
    place.volume = volume != nullptr ? volume->name : fmt::format("#{}", point->volume_id);
    const uint64_t end = round_up(point->size_bytes, kBlockSize);
    if (place.offset_bytes < end)
      place.length_bytes = std::min(place.length_bytes, end - place.offset_bytes);
  }
  co_await find_touched(core, found, place);
  co_return place;
}

Task<void> note_damage(PoolCore& core, Target target, uint64_t offset, uint64_t length,
                       Error error) {
  if (error.code != Code::kCorruption && error.code != Code::kIo) co_return;
  const Volume* volume = core.catalog.volume_by_id(target.volume_id);
  const Point* point = core.catalog.point_by_id(
      target.point_id != 0 ? target.point_id : (volume != nullptr ? volume->head->id : 0));
  if (point == nullptr) co_return;
  const ReaderGuard reader(core.space);
  const uint64_t point_id = point->id;
  const std::string name = describe(*point, core.catalog);
  const uint64_t first = offset / kBlockSize;
  const uint64_t end = divide_up(offset + std::max<uint64_t>(length, 1), kBlockSize);
  Search search(core, *point);
  co_await search.look(first, std::min(end, first + kBlocksLookedAtMax));
  bool is_news = false;
  const uint64_t now = core.executor.wall_ns();
  for (const DamagedBlock& found : search.found()) {
    DamagedPlace place = co_await name_damage(core, found);
    is_news = core.damage.note(std::move(place), now) || is_news;
  }
  if (search.found().empty() && error.code == Code::kCorruption) {
    // It reads well now. That it did not a moment ago is worth knowing all the same.
    const DamagedBlock nowhere{point_id, name, 0, first, 0, ""};
    DamagedPlace place = co_await name_damage(core, nowhere);
    place.length_bytes = (end - first) * kBlockSize;
    place.what = error.what + "; looked at again, it is good";
    is_news = core.damage.note(std::move(place), now) || is_news;
  }
  if (is_news) core.notify();
}

}  // namespace hozon::store
