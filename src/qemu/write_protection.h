// src/qemu/write_protection.h
// Background saving protects guest RAM against writing (userfaultfd). Whether QEMU may do that
// here, and how a guest is freed when QEMU 7.2 forgets to lift the protection: it does so only
// after a success; after a cancelled save or a lost sink every vCPU that writes sleeps for ever.
#pragma once

#include <sys/types.h>

#include "base/result.h"

namespace hozon {

// Ok when a process with our rights can save memory while the guest runs. kPermissionDenied says
// what the administrator can change; the way without it is stop-and-save.
Status check_live_save_possible();

// Lifts the protection of the QEMU process `pid` and wakes its guest. Returns how many memory
// ranges were freed; 0 means that nothing was protected, which is no error. Only after QEMU reports
// "failed" or "cancelled": during a save it would tear the saved memory.
Result<unsigned> free_write_protection(pid_t pid);

}  // namespace hozon
