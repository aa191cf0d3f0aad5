// src/api/wrong_tokens.h
// Who sends wrong tokens again and again is not listened to for a while, so that guessing costs
// time and the audit log is not washed away.
//
// Each address may be wrong kFree times, and once more every kAgainMs from then on. In between its
// tokens are refused unseen, with these exceptions, so that nobody locks others out:
//   - another address has its own count; one of IPv6 stands for its network of 64 bits;
//   - a token that was right when it came last, since this program began, is always looked at;
//   - the unix socket has no address, and no limit.
// Bounds: kAddressesMax and kRightMax are remembered; beyond that the addresses that waited longest
// go, and no further tokens are added. Threading: any thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>

namespace hozon::api {

class WrongTokens {
 public:
  static constexpr unsigned kFree = 10;
  static constexpr uint64_t kAgainMs = 1000;
  static constexpr size_t kAddressesMax = 4096;
  static constexpr size_t kRightMax = 1000;
  using Time = std::chrono::steady_clock::time_point;

  // Whether a token from there is to be looked at now.
  bool may_try(const std::string& address, std::string_view token, Time now);
  void note_wrong(const std::string& address, std::string_view token, Time now);
  void note_right(std::string_view token);

 private:
  struct Count {
    double wrong = 0;  // goes down by one every kAgainMs
    Time since;
  };
  double wrong_now(const Count& count, Time now) const;
  void make_room(Time now);

  std::mutex mutex_;
  std::unordered_map<std::string, Count> counts_;  // by network
  std::unordered_set<size_t> right_;               // hashes: a secret is not kept
};

}  // namespace hozon::api
