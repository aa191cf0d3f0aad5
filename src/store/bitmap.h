// src/store/bitmap.h
// A string of bits with counts per group of 32768 (one bitmap block on disk): one bit per block of
// the pool. Set means: taken. Finding a free run skips full groups.
// Threading: the pool's thread.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "format/superblock.h"

namespace hozon::store {

struct Run {
  uint64_t block = 0;
  uint64_t count = 0;
};

class Bitmap {
 public:
  explicit Bitmap(uint64_t bits);
  uint64_t size() const { return bits_; }
  uint64_t set_count() const { return set_count_; }
  bool test(uint64_t bit) const { return ((words_[bit / 64] >> (bit % 64)) & 1) != 0; }
  // Each bit of the run must be clear (set_run) or set (clear_run).
  void set_run(Run run);
  void clear_run(Run run);
  // Sets one bit, whatever it was; true when it was clear.
  bool set(uint64_t bit);
  // The first free run at or after `from` (wrapping around once), cut to `count_max` bits.
  std::optional<Run> find_free(uint64_t from, uint64_t count_max) const;
  // The 4096 bytes of group `group` as they lie on disk.
  void export_group(uint64_t group, std::span<std::byte> out) const;
  // The inverse, on an empty group; false when bits past the end are set.
  bool import_group(uint64_t group, std::span<const std::byte> in);
  uint64_t group_count() const { return group_set_.size(); }
  const std::vector<uint64_t>& words() const { return words_; }

 private:
  std::optional<Run> find_free_between(uint64_t from, uint64_t to, uint64_t count_max) const;
  uint64_t bits_;
  uint64_t set_count_ = 0;
  std::vector<uint64_t> words_;
  std::vector<uint32_t> group_set_;  // set bits per group
};

}  // namespace hozon::store
