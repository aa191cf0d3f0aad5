// hozon-ram: stands between QEMU and a memory volume. Arguments and promises: qemu/ram_helper.h.
#include "base/log.h"
#include "qemu/ram_helper.h"

int main(int argc, char** argv) {
  hozon::log_start("hozon-ram", hozon::LogLevel::kInfo);
  return hozon::run_ram_helper({argv + 1, argv + argc});
}
