// hozon-freeze: freezes a guest's file systems and thaws them, whoever dies. Arguments and
// promises: qemu/freeze.h.
#include "base/log.h"
#include "qemu/freeze.h"

int main(int argc, char** argv) {
  hozon::log_start("hozon-freeze", hozon::LogLevel::kInfo);
  return hozon::run_freeze_helper({argv + 1, argv + argc});
}
