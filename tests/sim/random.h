// tests/sim/random.h
// The one source of chance in the simulator. Equal seeds give equal histories on every machine.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <iterator>

#include "base/result.h"

namespace hozon::sim {

// Scrambles a number so that neighbouring seeds share nothing (splitmix64's finaliser).
constexpr uint64_t mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

class Random {
 public:
  explicit Random(uint64_t seed) : state_(mix(seed)) {}
  uint64_t next() {
    state_ += 0x9e3779b97f4a7c15;
    return mix(state_);
  }
  // 0 .. bound - 1
  uint64_t below(uint64_t bound) {
    HOZON_CHECK(bound > 0);
    return next() % bound;
  }
  // low .. high, both included
  uint64_t between(uint64_t low, uint64_t high) { return low + below(high - low + 1); }
  bool chance(uint64_t of, uint64_t in) { return below(in) < of; }
  template <typename T>
  T pick(std::initializer_list<T> choices) {
    return std::data(choices)[below(choices.size())];
  }
  template <typename Container>
  auto& pick(Container& choices) {
    return choices[below(choices.size())];
  }

 private:
  uint64_t state_;
};

}  // namespace hozon::sim
