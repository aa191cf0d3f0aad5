#include "base/crc32c.h"

#include <isa-l/crc.h>

#include <algorithm>
#include <climits>

namespace hozon {

uint32_t crc32c(std::span<const std::byte> data, uint32_t seed) {
  // ISA-L works on the inverted register, takes int lengths and never writes to the buffer.
  uint32_t state = ~seed;
  while (!data.empty()) {
    const size_t part = std::min<size_t>(data.size(), INT_MAX);
    auto* bytes = reinterpret_cast<unsigned char*>(const_cast<std::byte*>(data.data()));
    state = crc32_iscsi(bytes, static_cast<int>(part), state);
    data = data.subspan(part);
  }
  return ~state;
}

}  // namespace hozon
