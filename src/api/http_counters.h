// src/api/http_counters.h
// How many requests were answered, how, and how long that took. Any thread; never waits for long.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <utility>

namespace hozon::api {

class HttpCounters {
 public:
  // Upper bounds of the classes of durations, in seconds; one more has the rest.
  static constexpr std::array<double, 8> kBounds = {0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 10};

  struct Sums {
    std::map<std::pair<std::string, int>, uint64_t> answers;  // by method and status
    std::array<uint64_t, kBounds.size() + 1> durations{};     // not cumulated
    double seconds = 0;
  };

  void count(const std::string& method, int status, std::chrono::nanoseconds took);
  Sums sums() const;

 private:
  mutable std::mutex mutex_;
  Sums sums_;
};

}  // namespace hozon::api
