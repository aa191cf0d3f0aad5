// Hostile map nodes. A node counts only if its checksum is the one that its parent holds; then what
// is accepted holds possible pointers only, and its edges and their number are those of the bytes.
// Input: two bytes of pool size, then the node.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>

#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/result.h"
#include "store/node.h"
#include "store/node_cache.h"

using namespace hozon;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  const uint64_t total = 256 + (data[0] | uint64_t{data[1]} << 8);
  store::NodeRef node(new store::Node(1, 0, nullptr));
  format::NodeBlock& block = node->content();
  std::memcpy(writable_bytes_of(block).data(), data + 2,
              std::min(size - 2, size_t{format::kBlockSize}));
  const uint32_t crc = crc32c(bytes_of(block));
  HOZON_CHECK(!store::verify_node(block, {2, crc ^ 1, 0}, total));
  const bool good = store::verify_node(block, {2, crc, 0}, total).has_value();
  const bool possible = std::ranges::all_of(
      block.pointers, [&](const auto& pointer) { return format::is_plausible(pointer, total); });
  HOZON_CHECK(good == possible);
  if (!good) return 0;
  node->loaded_from({2, crc, 0});
  uint32_t used = 0;
  for (uint32_t slot = 0; slot < format::kPointersPerNode; ++slot) {
    const store::Edge edge = node->edge(slot);
    HOZON_CHECK(edge.is_null() == node->is_null(slot));
    HOZON_CHECK(edge.is_null() || (edge.pointer.block >= 2 && edge.pointer.block < total));
    used += edge.is_null() ? 0 : 1;
  }
  HOZON_CHECK(used == node->used_slots());
  uint64_t in_memory = 0;
  {
    const store::NodeRef copy = node->copy(1, false, &in_memory);
    for (uint32_t slot = 0; slot < format::kPointersPerNode; ++slot)
      HOZON_CHECK(copy->edge(slot).identity() == node->edge(slot).identity() &&
                  !copy->edge(slot).is_owned());
    HOZON_CHECK(in_memory == 1);
  }
  HOZON_CHECK(in_memory == 0);
  return 0;
}
