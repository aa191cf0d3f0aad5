// Hostile bitmaps. What is accepted marks no block past the pool's end, counts right, is written
// back as it came, and never hands out a block that it marks.
// Input: two bytes of pool size, then the bitmap's bytes (one group, repeated for a second one).
#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "base/result.h"
#include "store/space.h"

using namespace hozon;

namespace {

void check_handing_out(store::Space& space) {
  const uint64_t before = space.live();
  for (int i = 0; i < 64; ++i) {
    const auto run = space.take(1000);
    if (!run) {
      HOZON_CHECK(space.free() == 0);
      break;
    }
    for (uint64_t block = run->block; block < run->block + run->count; ++block)
      HOZON_CHECK(!space.is_live(block) && block < space.total());
    space.make_live(*run);
  }
  HOZON_CHECK(space.live() >= before && space.live() + space.free() == space.total());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  const uint64_t total = 256 + (data[0] | uint64_t{data[1]} << 8);
  std::vector<std::byte> group(format::kBlockSize);
  std::memcpy(group.data(), data + 2, std::min(size - 2, group.size()));
  store::Space space(total);
  const uint64_t groups = space.live_bits().group_count();
  uint64_t expected = 0;
  for (uint64_t at = 0; at < groups; ++at) {
    uint64_t inside = 0, all = 0;
    for (uint64_t bit = 0; bit < format::kBitsPerBlock; ++bit) {
      const bool is_set = (std::to_integer<unsigned>(group[bit / 8]) >> (bit % 8) & 1) != 0;
      const uint64_t block = at * format::kBitsPerBlock + bit;
      all += is_set ? 1 : 0;
      inside += is_set && block < total ? 1 : 0;
      if (!is_set && block < format::kFirstUsableBlock) expected += 1;  // superblocks, always live
    }
    const bool accepted = space.import_group(at, group);
    HOZON_CHECK(accepted == (inside == all));
    if (!accepted) return 0;
    expected += inside;
    std::vector<std::byte> back(format::kBlockSize);
    space.live_bits().export_group(at, back);
    if (at == 0) back[0] = (back[0] & ~std::byte{3}) | (group[0] & std::byte{3});
    HOZON_CHECK(back == group);
  }
  HOZON_CHECK(space.live() == expected);
  check_handing_out(space);
  return 0;
}
