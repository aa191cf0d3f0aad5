// A hostile NBD client from its first byte to its last: handshake, requests, sudden end. The
// connection ends by itself when the bytes end, and memory goes back.
#include <cstddef>
#include <cstdint>

#include "nbd_client.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  hozon::fuzz::play_nbd_client({data, size});
  return 0;
}
