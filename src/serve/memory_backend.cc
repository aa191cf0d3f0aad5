#include "serve/memory_backend.h"

#include <algorithm>
#include <cstring>
#include <functional>

namespace hozon::serve {
namespace {

using Volume = MemoryBackend::Volume;

constexpr uint64_t kBlock = MemoryBackend::kBlock;

// Merges blocks with equal answers into extents, at most `extents_max`.
template <typename Answer>
std::vector<Extent> merge(uint64_t offset, uint64_t length, uint32_t extents_max, Answer answer) {
  std::vector<Extent> extents;
  while (length > 0) {
    const uint64_t part = std::min(length, kBlock - offset % kBlock);
    Extent next = answer(offset / kBlock);
    next.length_bytes = part;
    if (!extents.empty() && extents.back().mapped == next.mapped &&
        extents.back().changed == next.changed) {
      extents.back().length_bytes += part;
    } else {
      if (extents.size() == extents_max) break;
      extents.push_back(next);
    }
    offset += part;
    length -= part;
  }
  return extents;
}

}  // namespace

class MemorySession final : public Session {
 public:
  MemorySession(MemoryBackend& backend, std::string volume, std::string point)
      : backend_(backend), name_(std::move(volume)), point_(std::move(point)) {}

  Result<uint64_t> size_bytes() const override { return HOZON_TRY(content())->size(); }
  bool read_only() const override { return !point_.empty(); }
  std::string description() const override {
    return point_.empty() ? "memory volume" : "point of a memory volume";
  }

  Task<Status> read(uint64_t offset, std::span<std::byte> into) override {
    HOZON_CO_CHECK(co_await backend_.admit());
    HOZON_CO_TRY(const std::vector<std::byte>* bytes, content());
    HOZON_CO_CHECK(check_range(*bytes, offset, into.size()));
    std::memcpy(into.data(), bytes->data() + offset, into.size());
    co_return Status{};
  }

  Task<Status> write(uint64_t offset, std::span<const std::byte> from, bool fua) override {
    HOZON_CO_CHECK(co_await backend_.admit());
    HOZON_CO_TRY(const std::shared_ptr<Volume> volume, writable(offset, from.size()));
    std::memcpy(volume->data.data() + offset, from.data(), from.size());
    for (uint64_t at = offset; at < offset + from.size(); at += kBlock - at % kBlock)
      volume->mapped[at / kBlock] = true;
    if (fua) ++backend_.flushes_;
    co_return Status{};
  }

  Task<Status> write_zeroes(uint64_t offset, uint64_t length, bool fua) override {
    HOZON_CO_CHECK(co_await backend_.admit());
    HOZON_CO_TRY(const std::shared_ptr<Volume> volume, writable(offset, length));
    std::memset(volume->data.data() + offset, 0, length);
    for (uint64_t block = (offset + kBlock - 1) / kBlock; (block + 1) * kBlock <= offset + length;
         ++block)
      volume->mapped[block] = false;
    if (fua) ++backend_.flushes_;
    co_return Status{};
  }

  Task<Status> discard(uint64_t offset, uint64_t length, bool fua) override {
    return write_zeroes(offset, length, fua);
  }

  Task<Status> flush() override {
    HOZON_CO_CHECK(co_await backend_.admit());
    ++backend_.flushes_;
    co_return Status{};
  }

  Task<Result<std::vector<Extent>>> block_status(uint64_t offset, uint64_t length,
                                                 uint32_t extents_max) override {
    const std::shared_ptr<Volume> volume = backend_.volume(name_);
    if (volume == nullptr) co_return gone();
    co_return merge(offset, length, extents_max, [&](uint64_t block) {
      return Extent{.mapped = point_.empty() ? volume->mapped[block] : true};
    });
  }

  std::vector<std::string> comparable_points() const override {
    std::vector<std::string> names;
    if (const auto volume = backend_.volume(name_))
      for (const auto& [name, bytes] : volume->points) names.push_back(name);
    return names;
  }

  // Stands for a point by its place in the order of names.
  Result<uint64_t> comparable_point(std::string_view name) const override {
    const std::vector<std::string> names = comparable_points();
    const auto found = std::ranges::find(names, name);
    if (found == names.end()) return make_error(Code::kNotFound, "there is no point '{}'", name);
    return static_cast<uint64_t>(found - names.begin());
  }

  Task<Result<std::vector<Extent>>> changed_status(uint64_t point, uint64_t offset, uint64_t length,
                                                   uint32_t extents_max) override {
    HOZON_CO_TRY(const std::vector<std::byte>* bytes, content());
    const std::shared_ptr<Volume> volume = backend_.volume(name_);
    const std::vector<std::byte>& base =
        std::next(volume->points.begin(), static_cast<ptrdiff_t>(point))->second;
    co_return merge(offset, length, extents_max, [&](uint64_t block) {
      const uint64_t begin = block * kBlock;
      const uint64_t size = std::min(kBlock, bytes->size() - begin);
      const bool same = begin + size <= base.size() &&
                        std::memcmp(bytes->data() + begin, base.data() + begin, size) == 0;
      return Extent{.changed = !same};
    });
  }

 private:
  std::unexpected<Error> gone() const {
    return make_error(Code::kNotFound, "'{}' does not exist any more", name_);
  }

  static Status check_range(const std::vector<std::byte>& bytes, uint64_t offset, uint64_t length) {
    if (offset <= bytes.size() && length <= bytes.size() - offset) return {};
    return make_error(Code::kInvalidArgument, "the range is past the end");
  }

  Result<const std::vector<std::byte>*> content() const {
    const std::shared_ptr<Volume> volume = backend_.volume(name_);
    if (volume == nullptr) return gone();
    if (point_.empty()) return &volume->data;
    const auto found = volume->points.find(point_);
    if (found == volume->points.end()) return gone();
    return &found->second;
  }

  Result<std::shared_ptr<Volume>> writable(uint64_t offset, uint64_t length) const {
    std::shared_ptr<Volume> volume = backend_.volume(name_);
    if (volume == nullptr) return gone();
    const Status fits = check_range(volume->data, offset, length);
    if (!fits) return std::unexpected(fits.error());
    return volume;
  }

  MemoryBackend& backend_;
  std::string name_;
  std::string point_;
};

Task<Status> MemoryBackend::admit() {
  while (!gate_.is_set()) co_await gate_;
  if (failure_) co_return std::unexpected(*std::exchange(failure_, std::nullopt));
  co_return Status{};
}

std::vector<ExportInfo> MemoryBackend::list(size_t exports_max) const {
  std::vector<ExportInfo> exports;
  for (const auto& [name, volume] : volumes_) {
    if (exports.size() < exports_max) exports.push_back({name, "memory volume"});
    for (const auto& [point, bytes] : volume->points)
      if (exports.size() < exports_max)
        exports.push_back({name + "@" + point, "point of a memory volume"});
  }
  return exports;
}

Result<std::unique_ptr<Session>> MemoryBackend::open(std::string_view name) {
  const size_t at = name.find('@');
  const std::string_view volume_name = name.substr(0, at);
  const std::string_view point = at == std::string_view::npos ? "" : name.substr(at + 1);
  const std::shared_ptr<Volume> found = volume(volume_name);
  const bool known = found != nullptr && (at == std::string_view::npos ||
                                          found->points.find(point) != found->points.end());
  if (!known) return make_error(Code::kNotFound, "there is no export '{}'", name);
  return std::make_unique<MemorySession>(*this, std::string(volume_name), std::string(point));
}

MemoryBackend::Volume& MemoryBackend::add(const std::string& name, uint64_t size_bytes) {
  return *(volumes_[name] = std::make_shared<Volume>(size_bytes));
}

void MemoryBackend::resize(const std::string& name, uint64_t size_bytes) {
  Volume& resized = *volumes_.at(name);
  resized.data.resize(size_bytes);
  resized.mapped.resize((size_bytes + kBlock - 1) / kBlock);
}

void MemoryBackend::snapshot(const std::string& name, const std::string& point) {
  Volume& source = *volumes_.at(name);
  source.points[point] = source.data;
}

std::shared_ptr<MemoryBackend::Volume> MemoryBackend::volume(std::string_view name) const {
  const auto found = volumes_.find(name);
  return found == volumes_.end() ? nullptr : found->second;
}

}  // namespace hozon::serve
