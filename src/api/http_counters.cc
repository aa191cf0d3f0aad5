#include "api/http_counters.h"

#include <algorithm>

namespace hozon::api {
namespace {

// What clients send as a method is theirs; what is shown is ours, so that it stays bounded.
std::string known_method(const std::string& method) {
  for (const char* known : {"GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS"})
    if (method == known) return method;
  return "other";
}

}  // namespace

void HttpCounters::count(const std::string& method, int status, std::chrono::nanoseconds took) {
  const double seconds = std::chrono::duration<double>(took).count();
  const auto place = static_cast<size_t>(
      std::distance(kBounds.begin(), std::ranges::lower_bound(kBounds, seconds)));
  const std::lock_guard guard(mutex_);
  ++sums_.answers[{known_method(method), status}];
  ++sums_.durations.at(place);
  sums_.seconds += seconds;
}

HttpCounters::Sums HttpCounters::sums() const {
  const std::lock_guard guard(mutex_);
  return sums_;
}

}  // namespace hozon::api
