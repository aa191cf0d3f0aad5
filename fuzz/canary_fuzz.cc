// The one target that must crash: it dies of the word "canary". A harness that does not notice
// would not notice anything else; `make fuzz` and the test fuzz.canary expect the crash.
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "base/result.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  HOZON_CHECK(size != 6 || std::memcmp(data, "canary", 6) != 0);
  return 0;
}
