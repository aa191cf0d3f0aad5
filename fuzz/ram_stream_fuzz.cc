// Hostile migration streams of a machine with 64 KiB of RAM. What is taken apart can be put
// together again, and taking that apart gives the same pages and the same thin stream.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <map>
#include <span>
#include <vector>

#include "base/result.h"
#include "qemu/ram_stream.h"

namespace {

using namespace hozon;
constexpr uint64_t kRamBytes = 64 << 10;

// Hands out the bytes in pieces of changing size.
class Bytes final : public ByteSource {
 public:
  explicit Bytes(std::span<const std::byte> bytes) : bytes_(bytes) {}
  Result<size_t> read_some(std::span<std::byte> into) override {
    piece_ = piece_ >= 8192 ? 1 : piece_ * 3;
    const size_t count = std::min({into.size(), bytes_.size(), piece_});
    std::memcpy(into.data(), bytes_.data(), count);
    bytes_ = bytes_.subspan(count);
    return count;
  }

 private:
  std::span<const std::byte> bytes_;
  size_t piece_ = 1;
};

class Pages final : public PageSink {
 public:
  std::map<uint64_t, std::vector<std::byte>> pages;  // without zero pages

  Status put_page(uint64_t offset, std::span<const std::byte> page) override {
    check(offset);
    HOZON_CHECK(page.size() == kPageBytes);
    if (is_all_zeros(page))
      pages.erase(offset);
    else
      pages[offset].assign(page.begin(), page.end());
    return {};
  }
  Status put_zero_page(uint64_t offset) override {
    check(offset);
    pages.erase(offset);
    return {};
  }

 private:
  static void check(uint64_t offset) {
    HOZON_CHECK(offset % kPageBytes == 0 && offset < kRamBytes);
  }
};

std::vector<std::byte> join(const ThinStream& thin, const Pages& pages) {
  PageRecords records(thin.ram_section);
  for (const auto& [offset, page] : pages.pages) records.add(offset, page);
  if (!pages.pages.empty()) records.end();
  std::vector<std::byte> whole = thin.bytes;
  whole.insert(whole.begin() + static_cast<ptrdiff_t>(thin.insert_offset), records.bytes().begin(),
               records.bytes().end());
  return whole;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Bytes source(std::as_bytes(std::span(data, size)));
  Pages pages;
  const auto thin = split_ram_stream(source, pages, kRamBytes);
  if (!thin) return 0;
  HOZON_CHECK(thin->insert_offset <= thin->bytes.size());
  const std::vector<std::byte> whole = join(*thin, pages);
  Bytes again(whole);
  Pages pages_again;
  const auto thin_again = split_ram_stream(again, pages_again, kRamBytes);
  HOZON_CHECK(thin_again && pages_again.pages == pages.pages);
  HOZON_CHECK(thin_again->bytes == thin->bytes && thin_again->machine_type == thin->machine_type);
  HOZON_CHECK(thin_again->insert_offset == thin->insert_offset);
  return 0;
}
