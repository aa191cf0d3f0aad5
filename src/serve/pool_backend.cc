#include "serve/pool_backend.h"

#include <algorithm>

#include "base/units.h"

namespace hozon::serve {
namespace {

std::string describe(std::string_view volume, std::string_view point, uint64_t size_bytes) {
  if (point.empty()) return fmt::format("volume {}, {}", volume, format_bytes(size_bytes));
  return fmt::format("point {} of volume {}, {}, read-only", point, volume,
                     format_bytes(size_bytes));
}

class PoolSession final : public Session {
 public:
  PoolSession(store::Pool& pool, store::Target target, std::string volume, std::string point)
      : pool_(pool), target_(target), volume_(std::move(volume)), point_(std::move(point)) {}

  Result<uint64_t> size_bytes() const override { return pool_.size_bytes(target_); }
  bool read_only() const override { return target_.point_id != 0; }
  std::string description() const override {
    return describe(volume_, point_, pool_.size_bytes(target_).value_or(0));
  }

  Task<Status> read(uint64_t offset, std::span<std::byte> into) override {
    return pool_.read(target_, offset, into);
  }
  Task<Status> write(uint64_t offset, std::span<const std::byte> from, bool fua) override {
    return pool_.write(target_, offset, from, fua);
  }
  Task<Status> write_zeroes(uint64_t offset, uint64_t length, bool fua) override {
    return pool_.write_zeroes(target_, offset, length, fua);
  }
  Task<Status> discard(uint64_t offset, uint64_t length, bool fua) override {
    return pool_.discard(target_, offset, length, fua);
  }
  Task<Status> flush() override { return pool_.flush(); }
  Task<Result<std::vector<Extent>>> block_status(uint64_t offset, uint64_t length,
                                                 uint32_t extents_max) override {
    return pool_.block_status(target_, offset, length, extents_max);
  }

  std::vector<std::string> comparable_points() const override {
    std::vector<std::string> names;
    const Result<std::vector<store::PointInfo>> points = pool_.points(volume_);
    if (!points) return names;
    for (const store::PointInfo& point : *points) names.push_back(point.name);
    return names;
  }
  // Points are known by their ids, so renaming one does not confuse a connected client.
  Result<uint64_t> comparable_point(std::string_view name) const override {
    if (name.empty()) return make_error(Code::kNotFound, "a point has a name");
    return HOZON_TRY(pool_.target(volume_, name)).point_id;
  }
  Task<Result<std::vector<Extent>>> changed_status(uint64_t point, uint64_t offset, uint64_t length,
                                                   uint32_t extents_max) override {
    const store::Target base{.volume_id = target_.volume_id, .point_id = point};
    return pool_.changed_status(target_, base, offset, length, extents_max);
  }

 private:
  store::Pool& pool_;
  store::Target target_;
  std::string volume_;
  std::string point_;  // empty: the head
};

}  // namespace

std::vector<ExportInfo> PoolBackend::list(size_t exports_max) const {
  std::vector<ExportInfo> exports;
  for (const store::VolumeInfo& volume : pool_.volumes()) {
    exports.push_back({volume.name, describe(volume.name, "", volume.size_bytes)});
    const Result<std::vector<store::PointInfo>> points = pool_.points(volume.name);
    if (!points) continue;
    for (const store::PointInfo& point : *points)
      exports.push_back({fmt::format("{}@{}", volume.name, point.name),
                         describe(volume.name, point.name, point.size_bytes)});
  }
  std::ranges::sort(exports, {}, &ExportInfo::name);
  if (exports.size() > exports_max) exports.resize(exports_max);
  return exports;
}

Result<std::unique_ptr<Session>> PoolBackend::open(std::string_view name) {
  const size_t at = name.find('@');
  const std::string_view volume = name.substr(0, at);
  const std::string_view point = at == std::string_view::npos ? "" : name.substr(at + 1);
  if (volume.empty() || (at != std::string_view::npos && point.empty()))
    return make_error(Code::kNotFound,
                      "there is no export '{}': name a volume, or a point as volume@point", name);
  const store::Target target = HOZON_TRY(pool_.target(volume, point));
  return std::make_unique<PoolSession>(pool_, target, std::string(volume), std::string(point));
}

}  // namespace hozon::serve
