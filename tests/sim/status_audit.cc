// tests/sim/status_audit.cc
// Blocks are compared by their stamps; what differs in stamps differs in bytes.

#include "status_audit.h"

#include "auditor.h"
#include "base/units.h"

namespace hozon::sim {
namespace {

using store::Extent;
using store::Pool;
using store::Target;

constexpr uint32_t kExtentsMax = 64;  // few, so that answers are cut short often

PointBlock stamps_of(const ModelPoint& point, uint64_t index) {
  const auto found = point.blocks.find(index);
  return found == point.blocks.end() ? PointBlock{} : *found->second;
}

PointBlock stamps_of(const ModelVolume& volume, uint64_t index) {
  PointBlock block{};
  const auto found = volume.head.find(index);
  if (found == volume.head.end()) return block;
  for (size_t s = 0; s < kSectorsPerBlock; ++s)
    for (const Value& value : found->second->sectors[s])
      if (value.superseded == kForever) block[s] = value.stamp;
  return block;
}

// Calls `judge(block, extent)` for each block of the windows. `base`: none, or compare with it.
template <typename Judge>
Task<std::string> ask(Pool& pool, Target target, const Target* base, uint64_t size_bytes,
                      Judge judge) {
  for (const auto& [first, end] : volume_windows(size_bytes)) {
    const uint64_t stop = std::min(end * kPageSize, size_bytes);
    for (uint64_t at = first * kPageSize; at < stop;) {
      Result<std::vector<Extent>> extents;
      if (base != nullptr)
        extents = co_await pool.changed_status(target, *base, at, stop - at, kExtentsMax);
      else
        extents = co_await pool.block_status(target, at, stop - at, kExtentsMax);
      if (!extents) co_return "status: " + extents.error().what;
      if (extents->empty() || extents->size() > kExtentsMax) co_return "status: wrong count";
      for (const Extent& extent : *extents) {
        if (extent.length_bytes == 0 || at + extent.length_bytes > stop)
          co_return fmt::format("status: extent {} +{} of {}", at, extent.length_bytes, stop);
        const uint64_t extent_end = at + extent.length_bytes;
        for (; at < extent_end; at = std::min(extent_end, at + kPageSize))
          if (!judge(at / kPageSize, extent))
            co_return fmt::format("block {} is called {}, {}, and is not", at / kPageSize,
                                  extent.mapped ? "mapped" : "unmapped",
                                  extent.changed ? "changed" : "unchanged");
      }
    }
  }
  co_return "";
}

template <typename State>
Task<std::string> audit_one(Pool& pool, const Model& model, const State& state, Target target) {
  const auto unmapped_is_zero = [&state](uint64_t block, const Extent& extent) {
    return extent.mapped || stamps_of(state, block) == PointBlock{};
  };
  std::string wrong = co_await ask(pool, target, nullptr, state.size_bytes, unmapped_is_zero);
  const auto parent = model.points.find(state.parent);
  if (!wrong.empty() || parent == model.points.end()) co_return wrong;
  const ModelPoint& above = *parent->second;
  const auto owner = model.volumes.find(above.volume);
  const auto base = pool.target(owner->second.name, above.name);
  if (!base) co_return "base: " + base.error().what;
  const auto unchanged_is_equal = [&](uint64_t block, const Extent& extent) {
    return extent.changed || stamps_of(state, block) == stamps_of(above, block);
  };
  const Target base_target = *base;
  co_return co_await ask(pool, target, &base_target, std::min(state.size_bytes, above.size_bytes),
                         unchanged_is_equal);
}

}  // namespace

Task<std::string> audit_status(Pool& pool, const Model& model) {
  for (const auto& [uid, volume] : model.volumes) {
    const auto target = pool.target(volume.name);
    if (!target) co_return target.error().what;
    const std::string wrong = co_await audit_one(pool, model, volume, *target);
    if (!wrong.empty()) co_return fmt::format("head of '{}': {}", volume.name, wrong);
  }
  for (const auto& [uid, point] : model.points) {
    const auto target = pool.target(model.volumes.at(point->volume).name, point->name);
    if (!target) co_return target.error().what;
    const std::string wrong = co_await audit_one(pool, model, *point, *target);
    if (!wrong.empty()) co_return fmt::format("point '{}': {}", point->name, wrong);
  }
  co_return "";
}

}  // namespace hozon::sim
