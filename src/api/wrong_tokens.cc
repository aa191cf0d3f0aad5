#include "api/wrong_tokens.h"

#include <algorithm>

#include "api/asio.h"

namespace hozon::api {
namespace {

// An owner of IPv6 has 2^64 addresses, so that a network counts as one of them.
std::string network_of(const std::string& address) {
  boost::system::error_code error;
  const auto parsed = boost::asio::ip::make_address(address, error);
  if (error || !parsed.is_v6()) return address;
  const auto v6 = parsed.to_v6();
  if (v6.is_v4_mapped() || v6.is_loopback()) return address;
  const auto bytes = v6.to_bytes();
  return std::string(reinterpret_cast<const char*>(bytes.data()), 8);
}

}  // namespace

double WrongTokens::wrong_now(const Count& count, Time now) const {
  const std::chrono::duration<double, std::milli> passed = now - count.since;
  return std::max(0.0, count.wrong - passed.count() / static_cast<double>(kAgainMs));
}

bool WrongTokens::may_try(const std::string& address, std::string_view token, Time now) {
  if (address.empty()) return true;
  const std::lock_guard guard(mutex_);
  const auto found = counts_.find(network_of(address));
  if (found == counts_.end() || wrong_now(found->second, now) <= kFree - 1) return true;
  return right_.contains(std::hash<std::string_view>()(token));
}

void WrongTokens::note_wrong(const std::string& address, std::string_view token, Time now) {
  if (address.empty()) return;
  const std::lock_guard guard(mutex_);
  right_.erase(std::hash<std::string_view>()(token));
  const std::string network = network_of(address);
  if (!counts_.contains(network)) make_room(now);
  Count& count = counts_[network];
  count = {std::min<double>(wrong_now(count, now) + 1, kFree), now};
}

void WrongTokens::note_right(std::string_view token) {
  const std::lock_guard guard(mutex_);
  if (right_.size() < kRightMax) right_.insert(std::hash<std::string_view>()(token));
}

void WrongTokens::make_room(Time now) {
  if (counts_.size() < kAddressesMax) return;
  std::erase_if(counts_, [&](const auto& entry) { return wrong_now(entry.second, now) == 0; });
  if (counts_.size() < kAddressesMax) return;
  counts_.erase(
      std::ranges::min_element(counts_, {}, [](const auto& entry) { return entry.second.since; }));
}

}  // namespace hozon::api
