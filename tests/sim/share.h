// tests/sim/share.h
// How much of the work a suite does. Sanitizers make the same histories ten to thirty times slower,
// and look for misuse of memory, not for rare orders of events: they get a tenth.
#pragma once

#include <cstdint>

namespace hozon::sim {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr uint64_t kShare = 10;
#else
inline constexpr uint64_t kShare = 1;
#endif

}  // namespace hozon::sim
