// tests/sim/page_image.h
// The content of a simulated disk: pages that copies of the disk share until one of them writes.
// Copying an image costs a pointer per page, so that a crash can be tried on a copy while the
// original goes on. A null page reads as zeros. Threading: one thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <utility>
#include <vector>

#include "base/result.h"

namespace hozon::sim {

inline constexpr uint64_t kPageSize = 4096;
inline constexpr uint64_t kSectorSize = 512;
inline constexpr uint64_t kSectorsPerPage = kPageSize / kSectorSize;

class PageRef {
 public:
  PageRef() = default;
  PageRef(const PageRef& other) : page_(other.page_) {
    if (page_ != nullptr) ++page_->owners;
  }
  PageRef(PageRef&& other) noexcept : page_(std::exchange(other.page_, nullptr)) {}
  PageRef& operator=(PageRef other) noexcept {
    std::swap(page_, other.page_);
    return *this;
  }
  ~PageRef() {
    if (page_ != nullptr && --page_->owners == 0) delete page_;
  }
  const std::byte* data() const { return page_ != nullptr ? page_->bytes.data() : kZeros.data(); }
  // The bytes for writing: a private copy is made first when the page is shared.
  std::byte* own() {
    if (page_ == nullptr || page_->owners > 1) {
      Page* copy = new Page;
      std::memcpy(copy->bytes.data(), data(), kPageSize);
      *this = PageRef(copy);
    }
    return page_->bytes.data();
  }

 private:
  struct Page {
    uint64_t owners = 1;
    std::array<std::byte, kPageSize> bytes;
  };
  explicit PageRef(Page* page) : page_(page) {}
  static constexpr std::array<std::byte, kPageSize> kZeros{};
  Page* page_ = nullptr;
};

class PageImage {
 public:
  explicit PageImage(uint64_t size_bytes) : pages_(size_bytes / kPageSize) {
    HOZON_CHECK(size_bytes % kPageSize == 0);
  }
  uint64_t size_bytes() const { return pages_.size() * kPageSize; }
  const PageRef& page(uint64_t index) const { return pages_[index]; }
  void set_page(uint64_t index, PageRef page) { pages_[index] = std::move(page); }

  void read(uint64_t offset, std::span<std::byte> into) const {
    for (size_t done = 0; done < into.size();) {
      const uint64_t at = offset + done, inside = at % kPageSize;
      const size_t size = std::min<size_t>(into.size() - done, kPageSize - inside);
      std::memcpy(into.data() + done, pages_[at / kPageSize].data() + inside, size);
      done += size;
    }
  }
  void write(uint64_t offset, std::span<const std::byte> from) {
    for (size_t done = 0; done < from.size();) {
      const uint64_t at = offset + done, inside = at % kPageSize;
      const size_t size = std::min<size_t>(from.size() - done, kPageSize - inside);
      std::memcpy(pages_[at / kPageSize].own() + inside, from.data() + done, size);
      done += size;
    }
  }
  // Takes from `source` the sectors of page `index` whose bit is set in `sectors`.
  void take_sectors(uint64_t index, const PageRef& source, uint8_t sectors) {
    if (sectors == 0) return;
    if (sectors == 0xff) {
      pages_[index] = source;
      return;
    }
    std::byte* into = pages_[index].own();
    for (uint64_t s = 0; s < kSectorsPerPage; ++s)
      if ((sectors >> s & 1) != 0)
        std::memcpy(into + s * kSectorSize, source.data() + s * kSectorSize, kSectorSize);
  }

 private:
  std::vector<PageRef> pages_;
};

}  // namespace hozon::sim
