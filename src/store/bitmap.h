// src/store/bitmap.h
// A string of bits in groups of 32768 (one bitmap block on disk): one bit per block of the pool.
// Set means: taken. A group whose bits are all equal takes no memory beyond its count, so that the
// bitmaps of a huge pool, which are full or empty nearly everywhere, cost next to nothing to make,
// copy and search. Threading: the pool's thread.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
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
  Bitmap(const Bitmap& other);
  Bitmap& operator=(const Bitmap&) = delete;
  Bitmap& operator=(Bitmap&&) = default;

  uint64_t size() const { return bits_; }
  uint64_t set_count() const { return set_count_; }
  bool test(uint64_t bit) const {
    const Group& group = groups_[bit / kGroupBits];
    if (!group.words) return group.set != 0;
    return (((*group.words)[bit % kGroupBits / 64] >> (bit % 64)) & 1) != 0;
  }
  // Each bit of the run must be clear (set_run) or set (clear_run).
  void set_run(Run run);
  void clear_run(Run run);
  // Sets one bit, whatever it was; true when it was clear.
  bool set(uint64_t bit);
  // The inverse; true when it was set.
  bool clear(uint64_t bit);
  // The first free run at or after `from` (wrapping around once), cut to `count_max` bits.
  std::optional<Run> find_free(uint64_t from, uint64_t count_max) const;
  // A free run of exactly `count` bits at or after `from`, cut from the first one that is as long.
  // Gives up after `tries` shorter ones, or at the end; `from` is then where the search stopped.
  std::optional<Run> find_whole(uint64_t& from, uint64_t count, uint64_t tries) const;
  // Calls `visit` with the runs of bits that are set here and not in `without` (when given), in
  // order. A run may be cut at the border of a group.
  void for_each_run(const Bitmap* without, const std::function<void(Run)>& visit) const;
  // The same in one group.
  void for_each_run_of(uint64_t group, const Bitmap* without,
                       const std::function<void(Run)>& visit) const;
  // Clears what is set in `other`, all of which must be set here. Costs what `other` has of groups
  // with both kinds of bits, however many runs these are.
  void subtract(const Bitmap& other);
  uint64_t set_count_of(uint64_t group) const { return groups_[group].set; }
  // The 4096 bytes of group `group` as they lie on disk.
  void export_group(uint64_t group, std::span<std::byte> out) const;
  // The inverse, on an empty group; false when bits past the end are set.
  bool import_group(uint64_t group, std::span<const std::byte> in);
  uint64_t group_count() const { return groups_.size(); }

 private:
  static constexpr uint64_t kGroupBits = format::kBitsPerBlock;
  static constexpr uint64_t kGroupWords = kGroupBits / 64;
  using Words = std::array<uint64_t, kGroupWords>;
  struct Group {
    std::unique_ptr<Words> words;  // empty: all bits equal
    uint32_t set = 0;
  };
  // Bits of the group, fewer in the last one.
  uint64_t bits_of(uint64_t group) const;
  uint64_t word(uint64_t group, uint64_t index) const;
  uint64_t valid_bits(uint64_t group, uint64_t index) const;
  Words& writable(uint64_t group);
  // Gives the words back when all bits have become equal.
  void count_changed(uint64_t group);
  void change_run(Run run, bool to);
  std::optional<Run> find_free_between(uint64_t from, uint64_t to, uint64_t count_max) const;

  uint64_t bits_;
  uint64_t set_count_ = 0;
  std::vector<Group> groups_;
};

}  // namespace hozon::store
