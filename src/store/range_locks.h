// src/store/range_locks.h
// Lets writes that touch the same blocks of a volume happen one after the other, in the order in
// which they asked; others pass.
// Threading: the pool's thread.
#pragma once

#include <coroutine>
#include <cstdint>
#include <list>
#include <unordered_map>

#include "base/sync.h"

namespace hozon::store {

class RangeLocks {
 public:
  explicit RangeLocks(Executor& executor) : executor_(executor) {}
  struct Entry {
    uint64_t first;
    uint64_t last;
    std::coroutine_handle<> waiter;
  };
  using Entries = std::list<Entry>;

  class [[nodiscard]] Guard {
   public:
    Guard(RangeLocks* locks, uint64_t volume_id, Entries::iterator entry)
        : locks_(locks), volume_id_(volume_id), entry_(entry) {}
    Guard(Guard&& other) noexcept
        : locks_(std::exchange(other.locks_, nullptr)),
          volume_id_(other.volume_id_),
          entry_(other.entry_) {}
    Guard& operator=(Guard&&) = delete;
    ~Guard() { release(); }
    void release() {
      if (locks_ != nullptr) std::exchange(locks_, nullptr)->unlock(volume_id_, entry_);
    }

   private:
    RangeLocks* locks_;
    uint64_t volume_id_;
    Entries::iterator entry_;
  };

  struct Lock {
    RangeLocks& locks;
    uint64_t volume_id;
    uint64_t first;
    uint64_t last;
    Entries::iterator entry{};
    bool await_ready() {
      Entries& entries = locks.volumes_[volume_id];
      entries.push_back({first, last, {}});
      entry = std::prev(entries.end());
      return !is_blocked(entries, entry);
    }
    void await_suspend(std::coroutine_handle<> handle) { entry->waiter = handle; }
    Guard await_resume() { return Guard(&locks, volume_id, entry); }
  };
  // Blocks first..last, inclusive.
  Lock lock(uint64_t volume_id, uint64_t first, uint64_t last) {
    return Lock{*this, volume_id, first, last};
  }

 private:
  // An entry waits while an earlier one overlaps it.
  static bool is_blocked(const Entries& entries, Entries::const_iterator entry) {
    for (auto earlier = entries.begin(); earlier != entry; ++earlier)
      if (earlier->first <= entry->last && entry->first <= earlier->last) return true;
    return false;
  }
  void unlock(uint64_t volume_id, Entries::iterator entry) {
    const auto found = volumes_.find(volume_id);
    Entries& entries = found->second;
    entries.erase(entry);
    for (auto later = entries.begin(); later != entries.end(); ++later)
      if (later->waiter && !is_blocked(entries, later))
        executor_.post(std::exchange(later->waiter, nullptr));
    if (entries.empty()) volumes_.erase(found);
  }
  Executor& executor_;
  std::unordered_map<uint64_t, Entries> volumes_;
};

}  // namespace hozon::store
