#include "store/bitmap.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/result.h"

namespace hozon::store {

Bitmap::Bitmap(uint64_t bits) : bits_(bits), groups_((bits + kGroupBits - 1) / kGroupBits) {}

Bitmap::Bitmap(const Bitmap& other)
    : bits_(other.bits_), set_count_(other.set_count_), groups_(other.groups_.size()) {
  for (size_t i = 0; i < groups_.size(); ++i) {
    groups_[i].set = other.groups_[i].set;
    if (other.groups_[i].words) groups_[i].words = std::make_unique<Words>(*other.groups_[i].words);
  }
}

uint64_t Bitmap::bits_of(uint64_t group) const {
  return std::min(kGroupBits, bits_ - group * kGroupBits);
}

// Which bits of a word exist.
uint64_t Bitmap::valid_bits(uint64_t group, uint64_t index) const {
  const uint64_t valid = bits_of(group) - std::min(bits_of(group), index * 64);
  return valid >= 64 ? ~uint64_t{0} : (uint64_t{1} << valid) - 1;
}

uint64_t Bitmap::word(uint64_t group, uint64_t index) const {
  const Group& from = groups_[group];
  if (from.words) return (*from.words)[index];
  return from.set == 0 ? 0 : valid_bits(group, index);
}

Bitmap::Words& Bitmap::writable(uint64_t group) {
  Group& from = groups_[group];
  if (!from.words) {
    auto words = std::make_unique<Words>();
    if (from.set != 0)
      for (uint64_t i = 0; i < kGroupWords; ++i) (*words)[i] = valid_bits(group, i);
    from.words = std::move(words);
  }
  return *from.words;
}

void Bitmap::count_changed(uint64_t group) {
  Group& changed = groups_[group];
  if (changed.set == 0 || changed.set == bits_of(group)) changed.words.reset();
}

bool Bitmap::set(uint64_t bit) {
  HOZON_CHECK(bit < bits_);
  if (test(bit)) return false;
  change_run({bit, 1}, true);
  return true;
}

bool Bitmap::clear(uint64_t bit) {
  HOZON_CHECK(bit < bits_);
  if (!test(bit)) return false;
  change_run({bit, 1}, false);
  return true;
}

void Bitmap::set_run(Run run) { change_run(run, true); }
void Bitmap::clear_run(Run run) { change_run(run, false); }

void Bitmap::change_run(Run run, bool to) {
  HOZON_CHECK(run.block <= bits_ && run.count <= bits_ - run.block);
  uint64_t bit = run.block;
  const uint64_t end = run.block + run.count;
  while (bit < end) {
    const uint64_t group = bit / kGroupBits;
    const uint64_t stop = std::min(end, group * kGroupBits + bits_of(group));
    const auto changed = static_cast<uint32_t>(stop - bit);
    Group& in = groups_[group];
    if (changed == bits_of(group)) {
      HOZON_CHECK(in.set == (to ? 0 : changed));
      bit = stop;
    } else {
      Words& words = writable(group);
      while (bit < stop) {
        const uint64_t count = std::min(stop - bit, 64 - bit % 64);
        const uint64_t mask = (count == 64 ? ~uint64_t{0} : (uint64_t{1} << count) - 1)
                              << (bit % 64);
        uint64_t& at = words[bit % kGroupBits / 64];
        HOZON_CHECK((at & mask) == (to ? 0 : mask));
        at ^= mask;
        bit += count;
      }
    }
    in.set = to ? in.set + changed : in.set - changed;
    count_changed(group);
  }
  set_count_ = to ? set_count_ + run.count : set_count_ - run.count;
}

std::optional<Run> Bitmap::find_free(uint64_t from, uint64_t count_max) const {
  if (set_count_ == bits_ || count_max == 0) return std::nullopt;
  if (from >= bits_) from = 0;
  if (auto found = find_free_between(from, bits_, count_max)) return found;
  return find_free_between(0, from, count_max);
}

std::optional<Run> Bitmap::find_whole(uint64_t& from, uint64_t count, uint64_t tries) const {
  for (; tries > 0; --tries) {
    const auto found = find_free_between(from, bits_, count);
    if (!found) {
      from = bits_;
      return std::nullopt;
    }
    from = found->block + found->count;
    if (found->count == count) return found;
  }
  return std::nullopt;
}

std::optional<Run> Bitmap::find_free_between(uint64_t from, uint64_t to, uint64_t count_max) const {
  uint64_t bit = from;
  while (bit < to) {
    const uint64_t group = bit / kGroupBits;
    if (groups_[group].set == bits_of(group)) {
      bit = group * kGroupBits + bits_of(group);
      continue;
    }
    const uint64_t free_bits = ~word(group, bit % kGroupBits / 64) >> (bit % 64);
    if (free_bits == 0) {
      bit = (bit / 64 + 1) * 64;
      continue;
    }
    bit += static_cast<uint64_t>(std::countr_zero(free_bits));
    if (bit >= to) return std::nullopt;
    uint64_t end = bit;
    const uint64_t limit = std::min(to, bit + std::min(count_max, to - bit));
    while (end < limit) {
      const uint64_t taken = word(end / kGroupBits, end % kGroupBits / 64) >> (end % 64);
      const uint64_t step =
          taken == 0 ? 64 - end % 64 : static_cast<uint64_t>(std::countr_zero(taken));
      end += step;
      if (taken != 0) break;
    }
    return Run{bit, std::min(end, limit) - bit};
  }
  return std::nullopt;
}

void Bitmap::for_each_run(const Bitmap* without, const std::function<void(Run)>& visit) const {
  for (uint64_t group = 0; group < groups_.size(); ++group) for_each_run_of(group, without, visit);
}

void Bitmap::for_each_run_of(uint64_t group, const Bitmap* without,
                             const std::function<void(Run)>& visit) const {
  if (groups_[group].set == 0) return;
  if (without != nullptr && without->groups_[group].set == bits_of(group)) return;
  Run run;
  for (uint64_t i = 0; i < kGroupWords; ++i) {
    uint64_t rest = word(group, i);
    if (without != nullptr) rest &= ~without->word(group, i);
    while (rest != 0) {
      const auto skip = static_cast<uint64_t>(std::countr_zero(rest));
      const auto count = static_cast<uint64_t>(std::countr_one(rest >> skip));
      const uint64_t first = group * kGroupBits + i * 64 + skip;
      if (run.count > 0 && run.block + run.count == first) {
        run.count += count;
      } else {
        if (run.count > 0) visit(run);
        run = {first, count};
      }
      rest = skip + count == 64 ? 0 : rest >> (skip + count) << (skip + count);
    }
  }
  if (run.count > 0) visit(run);
}

void Bitmap::subtract(const Bitmap& other) {
  HOZON_CHECK(other.bits_ == bits_);
  for (uint64_t group = 0; group < groups_.size(); ++group) {
    const uint32_t gone = other.groups_[group].set;
    if (gone == 0) continue;
    Group& in = groups_[group];
    if (gone < bits_of(group)) {
      Words& words = writable(group);
      for (uint64_t i = 0; i < kGroupWords; ++i) {
        const uint64_t mask = other.word(group, i);
        HOZON_CHECK((words[i] & mask) == mask);
        words[i] ^= mask;
      }
    }
    HOZON_CHECK(in.set >= gone);
    in.set -= gone;
    set_count_ -= gone;
    count_changed(group);
  }
}

void Bitmap::export_group(uint64_t group, std::span<std::byte> out) const {
  HOZON_CHECK(out.size() == format::kBlockSize);
  // Words are kept in host order; the format is little-endian.
  static_assert(std::endian::native == std::endian::little);
  if (groups_[group].words) {
    std::memcpy(out.data(), groups_[group].words->data(), out.size());
    return;
  }
  for (uint64_t i = 0; i < kGroupWords; ++i) {
    const uint64_t bits = word(group, i);
    std::memcpy(out.data() + i * sizeof bits, &bits, sizeof bits);
  }
}

bool Bitmap::import_group(uint64_t group, std::span<const std::byte> in) {
  HOZON_CHECK(in.size() == format::kBlockSize && groups_[group].set == 0);
  Words words;
  std::memcpy(words.data(), in.data(), in.size());
  uint32_t count = 0;
  for (uint64_t i = 0; i < kGroupWords; ++i) {
    if ((words[i] & ~valid_bits(group, i)) != 0) return false;
    count += static_cast<uint32_t>(std::popcount(words[i]));
  }
  groups_[group].set = count;
  if (count != 0 && count != bits_of(group)) groups_[group].words = std::make_unique<Words>(words);
  set_count_ += count;
  return true;
}

}  // namespace hozon::store
