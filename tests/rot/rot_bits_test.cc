// Proves P5 and P20 (docs/durability.md) byte by byte: in every byte of every metadata block one
// bit is flipped, which bit depends on the byte. Each time the pool must refuse to open by name, or
// the check must name the place; and whatever is read must be right. Minutes, so not in `make
// test`.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>

#include "damage.h"

namespace hozon::rot {
namespace {

TEST(RotBits, EveryByteOfEveryMetadataBlock) {
  HOZON_CHECK(std::freopen("/dev/null", "w", stderr) != nullptr);
  const Sample sample = make_sample();
  const std::vector<Place> places = list_places(*sample.now, false);
  uint64_t tried = 0, refused = 0, harmless = 0;
  for (size_t at = 0; at < places.size(); ++at) {
    const Place& place = places[at];
    const bool is_last = at + 1 == places.size() || places[at + 1].kind != place.kind;
    for (uint64_t byte = 0; byte < sim::kPageSize; ++byte) {
      const auto copy =
          sample.now->fork({.kind = sim::CrashKind::kCut, .choice = sim::Fate::Choice::kAll});
      copy->rot(place.disk(), place.page * sim::kPageSize + byte,
                static_cast<uint8_t>(1u << (byte * 5 % 8)));
      const bool is_last_frame = place.kind == Kind::kJournalFrames && is_last;
      const Verdict verdict = judge_closed_pool(*copy, sample, {place}, is_last_frame);
      ASSERT_EQ(verdict.wrong, "") << kind_name(place.kind) << " " << place.key << " byte " << byte;
      ++tried;
      refused += verdict.refused ? 1 : 0;
      const bool is_noticed = verdict.refused || verdict.reads_failed > 0;
      if (is_noticed || place.kind == Kind::kMapNode) continue;  // of nodes the judge knows
      ++harmless;
      // The other slot; the last frame; behind a frame, what nobody reads.
      ASSERT_TRUE(place.kind == Kind::kSuperblock ||
                  (place.kind == Kind::kJournalFrames && (is_last_frame || byte >= 64)))
          << kind_name(place.kind) << " " << place.key << " byte " << byte;
    }
  }
  fmt::print("{} bytes of {} blocks: {} refused to open, {} provably harmless\n", tried,
             places.size(), refused, harmless);
}

}  // namespace
}  // namespace hozon::rot
