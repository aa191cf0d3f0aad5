#include "store/bitmap.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/result.h"

namespace hozon::store {
namespace {
constexpr uint64_t kGroupBits = format::kBitsPerBlock;
constexpr uint64_t kGroupWords = kGroupBits / 64;
}  // namespace

Bitmap::Bitmap(uint64_t bits)
    : bits_(bits),
      words_((bits + kGroupBits - 1) / kGroupBits * kGroupWords, 0),
      group_set_((bits + kGroupBits - 1) / kGroupBits, 0) {}

bool Bitmap::set(uint64_t bit) {
  HOZON_CHECK(bit < bits_);
  uint64_t& word = words_[bit / 64];
  const uint64_t mask = uint64_t{1} << (bit % 64);
  if ((word & mask) != 0) return false;
  word |= mask;
  ++set_count_;
  ++group_set_[bit / kGroupBits];
  return true;
}

void Bitmap::set_run(Run run) {
  for (uint64_t bit = run.block; bit < run.block + run.count; ++bit) HOZON_CHECK(set(bit));
}

void Bitmap::clear_run(Run run) {
  HOZON_CHECK(run.block + run.count <= bits_);
  for (uint64_t bit = run.block; bit < run.block + run.count; ++bit) {
    uint64_t& word = words_[bit / 64];
    const uint64_t mask = uint64_t{1} << (bit % 64);
    HOZON_CHECK((word & mask) != 0);
    word &= ~mask;
    --set_count_;
    --group_set_[bit / kGroupBits];
  }
}

std::optional<Run> Bitmap::find_free(uint64_t from, uint64_t count_max) const {
  if (set_count_ == bits_ || count_max == 0) return std::nullopt;
  if (from >= bits_) from = 0;
  if (auto found = find_free_between(from, bits_, count_max)) return found;
  return find_free_between(0, from, count_max);
}

std::optional<Run> Bitmap::find_free_between(uint64_t from, uint64_t to, uint64_t count_max) const {
  uint64_t bit = from;
  while (bit < to) {
    const uint64_t group = bit / kGroupBits;
    const uint64_t group_end = std::min((group + 1) * kGroupBits, bits_);
    if (group_set_[group] == group_end - group * kGroupBits) {
      bit = group_end;
      continue;
    }
    const uint64_t free_bits = ~words_[bit / 64] >> (bit % 64);
    if (free_bits == 0) {
      bit = (bit / 64 + 1) * 64;
      continue;
    }
    bit += static_cast<uint64_t>(std::countr_zero(free_bits));
    if (bit >= to) return std::nullopt;
    uint64_t end = bit;
    const uint64_t limit = std::min(to, bit + std::min(count_max, to - bit));
    while (end < limit) {
      const uint64_t taken = words_[end / 64] >> (end % 64);
      const uint64_t step =
          taken == 0 ? 64 - end % 64 : static_cast<uint64_t>(std::countr_zero(taken));
      end += step;
      if (taken != 0) break;
    }
    return Run{bit, std::min(end, limit) - bit};
  }
  return std::nullopt;
}

void Bitmap::export_group(uint64_t group, std::span<std::byte> out) const {
  HOZON_CHECK(out.size() == format::kBlockSize);
  // Words are kept in host order; the format is little-endian.
  static_assert(std::endian::native == std::endian::little);
  std::memcpy(out.data(), words_.data() + group * kGroupWords, out.size());
}

bool Bitmap::import_group(uint64_t group, std::span<const std::byte> in) {
  HOZON_CHECK(in.size() == format::kBlockSize && group_set_[group] == 0);
  uint64_t* words = words_.data() + group * kGroupWords;
  std::memcpy(words, in.data(), in.size());
  uint64_t count = 0;
  for (uint64_t i = 0; i < kGroupWords; ++i) {
    const uint64_t first = group * kGroupBits + i * 64;
    const uint64_t valid = first >= bits_ ? 0 : std::min<uint64_t>(64, bits_ - first);
    const uint64_t mask = valid == 64 ? ~uint64_t{0} : (uint64_t{1} << valid) - 1;
    if ((words[i] & ~mask) != 0) return false;
    count += static_cast<uint64_t>(std::popcount(words[i]));
  }
  group_set_[group] = static_cast<uint32_t>(count);
  set_count_ += count;
  return true;
}

}  // namespace hozon::store
