// A hostile NBD client behind a good handshake: the bytes are cut into requests, whose magic is
// always right, so that the fuzzer spends its time behind that check.
// Input: one byte that chooses the handshake, then requests: flags 2, type 1, offset 8, length 4,
// and for writes as much data as they say, as far as there is some.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "nbd_client.h"

namespace {

constexpr uint16_t kWrite = 1;
constexpr size_t kRequestBytes = 15;

class Client {
 public:
  void put(uint64_t value, int bytes) {
    for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8)
      bytes_.push_back(static_cast<uint8_t>(value >> shift));
  }
  void put(std::span<const uint8_t> data) { bytes_.insert(bytes_.end(), data.begin(), data.end()); }
  void put_text(std::string_view text) {
    put(text.size(), 4);
    bytes_.insert(bytes_.end(), text.begin(), text.end());
  }
  void option(uint32_t number, const Client& data) {
    put(0x49484156454F5054, 8);
    put(number, 4);
    put(data.bytes_.size(), 4);
    put(data.bytes_);
  }
  const std::vector<uint8_t>& bytes() const { return bytes_; }

 private:
  std::vector<uint8_t> bytes_;
};

// Bit 0: structured replies; bit 1: the read-only point; bit 2: contexts for block status.
Client handshake(uint8_t choice) {
  const std::string_view name = (choice & 2) != 0 ? "disk@p" : "disk";
  Client client;
  client.put(3, 4);
  if ((choice & 1) != 0) client.option(8, {});
  if ((choice & 5) == 5) {
    Client contexts;
    contexts.put_text(name);
    contexts.put(2, 4);
    contexts.put_text("base:allocation");
    contexts.put_text("hozon:changed:p");
    client.option(10, contexts);
  }
  Client go;
  go.put_text(name);
  go.put(0, 2);
  client.option(7, go);
  return client;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::span<const uint8_t> rest(data, size);
  if (rest.empty()) return 0;
  Client client = handshake(rest[0]);
  rest = rest.subspan(1);
  for (uint64_t cookie = 1; rest.size() >= kRequestBytes; ++cookie) {
    const auto field = [&](size_t at, size_t bytes) {
      uint64_t value = 0;
      for (size_t i = bytes; i > 0; --i) value = value << 8 | rest[at + i - 1];
      return value;
    };
    const uint64_t flags = field(0, 2), type = field(2, 1);
    const uint64_t offset = field(3, 8), length = field(11, 4);
    rest = rest.subspan(kRequestBytes);
    client.put(0x25609513, 4);
    client.put(flags, 2);
    client.put(type, 2);
    client.put(cookie, 8);
    client.put(offset, 8);
    client.put(length, 4);
    if (type != kWrite) continue;
    const size_t payload = std::min<uint64_t>(length, rest.size());
    client.put(rest.first(payload));
    rest = rest.subspan(payload);
  }
  hozon::fuzz::play_nbd_client(client.bytes());
  return 0;
}
