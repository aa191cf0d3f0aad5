// What the programs of the test guest share (guest_tools.cc).
#pragma once

#include <stdint.h>

long long now_us();  // CLOCK_MONOTONIC
// Readers see the old or the new text. `durable`: it is on the disk when this returns.
bool replace_file(const char* path, const char* text, bool durable);

int stamper(uint64_t pages);
int gap_meter(bool disk);
int fill_memory(uint64_t mebibytes);
int guest_agent();
