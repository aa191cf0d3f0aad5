// src/store/dirty_set.h
// Which of many numbered things changed since somebody last asked. Adding a number again costs one
// look at a bit; the guest's every write does it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

namespace hozon::store {

class DirtySet {
 public:
  void insert(uint64_t number) {
    if (number >= is_in_.size()) is_in_.resize(std::max<uint64_t>(number + 1, 2 * is_in_.size()));
    if (is_in_[number]) return;
    is_in_[number] = true;
    numbers_.push_back(number);
  }
  bool empty() const { return numbers_.empty(); }
  uint64_t size() const { return numbers_.size(); }
  // In order of insertion.
  const std::vector<uint64_t>& numbers() const { return numbers_; }
  // In ascending order; the set is empty afterwards.
  std::vector<uint64_t> take() {
    for (const uint64_t number : numbers_) is_in_[number] = false;
    std::ranges::sort(numbers_);
    return std::exchange(numbers_, {});
  }

 private:
  std::vector<bool> is_in_;
  std::vector<uint64_t> numbers_;
};

}  // namespace hozon::store
