#include "store/damage_log.h"

#include <fmt/format.h>

#include <algorithm>

namespace hozon::store {

std::string to_sentence(const DamagedPlace& place) {
  std::string text = place.object;
  if (!place.volume.empty())
    text +=
        fmt::format(": bytes {}..{}", place.offset_bytes, place.offset_bytes + place.length_bytes);
  text += fmt::format(": {}", place.what);
  for (size_t i = 0; i < place.touched.size(); ++i) {
    const TouchedPoint& touched = place.touched[i];
    text += fmt::format("{}volume '{}'{}", i == 0 ? "; touched: " : ", ", touched.volume,
                        touched.point.empty() ? "" : fmt::format(" point '{}'", touched.point));
  }
  if (place.touched_left_out > 0) text += fmt::format(" and {} more", place.touched_left_out);
  return text;
}

bool DamageLog::note(DamagedPlace place, uint64_t wall_ns) {
  const auto known = std::ranges::find_if(places_, [&](const DamagedPlace& one) {
    return one.block == place.block && (one.block != 0 || one.object == place.object);
  });
  place.last_ns = wall_ns;
  if (known != places_.end()) {
    place.first_ns = known->first_ns;
    place.times = known->times + 1;
    *known = std::move(place);
    return false;
  }
  place.first_ns = wall_ns;
  place.times = 1;
  if (places_.size() < kPlacesMax)
    places_.push_back(std::move(place));
  else
    ++left_out_;
  return true;
}

void DamageLog::forget(Run freed) {
  if (places_.empty()) return;
  std::erase_if(places_, [&](const DamagedPlace& place) {
    return place.block >= freed.block && place.block < freed.block + freed.count;
  });
}

void DamageLog::forget_older(uint64_t wall_ns) {
  std::erase_if(places_, [&](const DamagedPlace& place) { return place.last_ns < wall_ns; });
  left_out_ = 0;
}

}  // namespace hozon::store
