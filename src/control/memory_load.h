// src/control/memory_load.h
// What became of a way back to a saved memory (memory_load.cc), for whoever asked for it.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace hozon::control {

struct MemoryLoad {
  std::string mode;         // "full": all pages first; "instant": pages come when they are touched
  std::string mode_reason;  // why it was "full" although "instant" was asked for
  uint64_t qemu_us = 0;     // from the start of QEMU until its guest could run
  uint64_t total_us = 0;    // with everything that went before
};
nlohmann::json to_json(const MemoryLoad& load);
// For people; `runs`: the guest goes on.
std::string sentence_of(const MemoryLoad& load, bool runs);

}  // namespace hozon::control
