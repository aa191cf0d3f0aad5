// src/qemu/probe_guest.h
// A guest of one kilobyte that does what an operating system's first steps do, for
// choose_accelerator().
#pragma once

#include <cstddef>
#include <string_view>
#include <vector>

namespace hozon {

// Give it to QEMU as -bios with -m 64M, -debugcon (receives the byte of each step as it begins) and
// -device isa-debug-exit,iobase=0xf4,iosize=1. QEMU then exits with kProbeGuestSuccess.
std::vector<std::byte> probe_guest_firmware();
constexpr int kProbeGuestSuccess = 0x2a * 2 + 1;
// What the guest began to do when it wrote this byte; empty for any other byte.
std::string_view probe_guest_step(char byte);

}  // namespace hozon
