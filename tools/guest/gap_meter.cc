// gapmeter        looks at the monotonic clock in a tight loop
// gapmeter disk   writes and reads a block of /dev/vda (O_DIRECT) in a loop, at 2 MiB
// Each counts its rounds in a page that begins with a mark, and keeps the longest time between two
// rounds there, by the guest's clock. A guest that is stopped does not feel time pass, so somebody
// outside who finds the page by its mark, in the memory of QEMU, and watches the count with the
// host's clock sees the stops too (bench/memory_pause.py).
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "guest_tools.h"

namespace {

constexpr size_t kPage = 4096;

struct Gauge {
  char mark[16];
  volatile uint64_t count;
  volatile uint64_t longest_us;
};

}  // namespace

int gap_meter(bool disk) {
  void* place = mmap(nullptr, 2 * kPage, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (place == MAP_FAILED) return 1;
  auto* gauge = static_cast<Gauge*>(place);
  char* buffer = static_cast<char*>(place) + kPage;
  const int device = disk ? open("/dev/vda", O_RDWR | O_DIRECT) : -1;
  if (disk && device < 0) return 1;
  // Written as two halves, so that the mark is in the memory of a running meter only.
  memcpy(gauge->mark, disk ? "hzgauge+" : "hzgauge-", 8);
  memcpy(gauge->mark + 8, disk ? "diskdisk" : "loopLOOP", 8);
  constexpr off_t kDiskPlace = 2 << 20;
  for (long long last = now_us();;) {
    if (disk && (pwrite(device, buffer, kPage, kDiskPlace) != static_cast<ssize_t>(kPage) ||
                 pread(device, buffer, kPage, kDiskPlace) != static_cast<ssize_t>(kPage)))
      return 1;
    const long long now = now_us();
    const auto gap = static_cast<uint64_t>(now - last);
    if (gap > gauge->longest_us) gauge->longest_us = gap;
    last = now;
    gauge->count = gauge->count + 1;
  }
}

// Touches `mebibytes` of memory with bytes that do not compress, says so, and keeps them.
int fill_memory(uint64_t mebibytes) {
  const size_t bytes = mebibytes << 20;
  auto* words = static_cast<uint64_t*>(
      mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  if (words == MAP_FAILED) return 1;
  uint64_t random = 88172645463325252U;
  // A word in each 64 bytes makes every page different, and costs TCG an eighth of the time.
  for (size_t i = 0; i < bytes / 8; i += 8) {
    random ^= random << 13;
    random ^= random >> 7;
    random ^= random << 17;
    words[i] = random;
  }
  replace_file("/run/filled", "filled\n", false);
  for (;;) pause();
}
