// src/base/units.h
// Byte sizes: literals, parsing ("10G", "512M", "64KiB", "4096") and printing ("1.5 GiB").
// Suffixes K, M, G, T, P (with or without iB / B) are powers of 1024.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace hozon {

constexpr uint64_t operator""_KiB(unsigned long long n) { return n << 10; }
constexpr uint64_t operator""_MiB(unsigned long long n) { return n << 20; }
constexpr uint64_t operator""_GiB(unsigned long long n) { return n << 30; }
constexpr uint64_t operator""_TiB(unsigned long long n) { return n << 40; }

// Bytes of "1.5G", "512M", "4096". kInvalidArgument for anything else, negatives and overflow.
Result<uint64_t> parse_bytes(std::string_view text);
// "0 B", "512 B", "1.5 GiB".
std::string format_bytes(uint64_t bytes);

constexpr uint64_t round_up(uint64_t value, uint64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}
constexpr uint64_t divide_up(uint64_t value, uint64_t divisor) {
  return (value + divisor - 1) / divisor;
}

}  // namespace hozon
