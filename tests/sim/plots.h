// tests/sim/plots.h
// Histories written by hand, for bugs that random ones meet too rarely: each brings about one
// situation on purpose and tries the crashes that matter there.
#pragma once

#include <cstdint>
#include <string>

namespace hozon::sim {

// All of them, one after the other. Empty, or what is wrong. `crashes` is increased.
std::string run_plots(uint64_t seed, uint64_t& crashes);

}  // namespace hozon::sim
