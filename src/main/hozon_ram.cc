// hozon-ram: stands between QEMU and a memory volume. Arguments and promises: qemu/ram_helper.h.
#include <malloc.h>

#include "base/log.h"
#include "qemu/ram_helper.h"

namespace {

// Memory flows through in pieces of a MiB. By default each of them is mapped anew, or its heap is
// given back to the kernel in between: a page fault for every page that is moved.
void keep_freed_memory() {
  ::mallopt(M_MMAP_THRESHOLD, 8 << 20);
  ::mallopt(M_TRIM_THRESHOLD, 64 << 20);
  ::mallopt(M_ARENA_MAX, 1);
}

}  // namespace

int main(int argc, char** argv) {
  keep_freed_memory();
  hozon::log_start("hozon-ram", hozon::LogLevel::kInfo);
  return hozon::run_ram_helper({argv + 1, argv + argc});
}
