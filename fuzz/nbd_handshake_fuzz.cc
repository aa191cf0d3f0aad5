// A hostile NBD client that haggles: the bytes are cut into options, whose magic is always right
// and whose length is what they have, so that the fuzzer spends its time behind those checks.
// Input: two bytes of client flags, then options: number 1, length 2, data.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "nbd_client.h"

namespace {

void put_big(std::vector<uint8_t>& out, uint64_t value, int bytes) {
  for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8)
    out.push_back(static_cast<uint8_t>(value >> shift));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::span<const uint8_t> rest(data, size);
  if (rest.size() < 2) return 0;
  std::vector<uint8_t> client;
  put_big(client, uint64_t{rest[0]} | uint64_t{rest[1]} << 24, 4);
  rest = rest.subspan(2);
  while (rest.size() >= 3) {
    const uint8_t option = rest[0];
    const size_t length = std::min<size_t>(rest[1] | size_t{rest[2]} << 8, rest.size() - 3);
    put_big(client, 0x49484156454F5054, 8);
    put_big(client, option, 4);
    put_big(client, length, 4);
    client.insert(client.end(), rest.begin() + 3,
                  rest.begin() + 3 + static_cast<ptrdiff_t>(length));
    rest = rest.subspan(3 + length);
  }
  hozon::fuzz::play_nbd_client(client);
  return 0;
}
