#include "control/space_watch.h"

namespace hozon::control {
namespace {

constexpr std::chrono::seconds kBetweenLooks{1};
// Longer than deleting a snapshot takes to give its space back.
constexpr std::chrono::seconds kPatience{10};

}  // namespace

bool SpaceWatch::has_room() {
  const Clock::time_point now = Clock::now();
  if (is_full_ || now < next_look_) return !is_full_;
  next_look_ = now + kBetweenLooks;
  const auto stats = storage_.stats(pool_);
  if (!stats || !stats->parked)
    waits_since_ = {};
  else if (waits_since_ == Clock::time_point{})
    waits_since_ = now;
  else
    is_full_ = now - waits_since_ >= kPatience;
  return !is_full_;
}

Status SpaceWatch::status() const {
  if (!is_full_) return {};
  return make_error(Code::kResourceExhausted,
                    "pool '{}' has no room for the image; delete snapshots or volumes first",
                    pool_);
}

}  // namespace hozon::control
