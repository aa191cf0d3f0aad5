#include "damage.h"

#include <algorithm>
#include <set>

#include "base/bytes.h"

namespace hozon::rot {
namespace {

using store::CheckReport;
using store::DamagedPlace;
using store::Pool;

bool is_equal(const sim::PageRef& a, const sim::PageRef& b) {
  return std::memcmp(a.data(), b.data(), sim::kPageSize) == 0;
}

// The old content that a lost write would leave: an earlier version of the same thing, or what the
// same page held then.
sim::PageRef stale_content(const Place& place, const sim::PageRef& present,
                           const sim::SimPower& old, const std::vector<Place>& old_places) {
  for (const Place& one : old_places)
    if (one.key == place.key && one.disk() == place.disk()) {
      const sim::PageRef& before = old.image(one.disk()).page(one.page);
      if (!is_equal(before, present)) return before;
    }
  return old.image(place.disk()).page(place.page);
}

// The next place that is not of the same tree: of a node and one above it only the upper one could
// be noticed.
const Place& partner(const std::vector<Place>& places, size_t index) {
  const auto tree = [](const Place& place) {
    return place.key.substr(0, place.key.find(" level"));
  };
  size_t other = (index + 1) % places.size();
  while (tree(places[other]) == tree(places[index])) other = (other + 1) % places.size();
  return places[other];
}

// Words that a refusal to open must hold, so that one knows what is damaged.
std::string_view refusal_word(Kind kind) {
  switch (kind) {
    case Kind::kSuperblock: return "superblock";
    case Kind::kJournalHeader:
    case Kind::kJournalFrames: return "journal";
    case Kind::kCatalogNode:
    case Kind::kCatalogBlock: return "catalog";
    case Kind::kBitmapNode:
    case Kind::kBitmapBlock: return "bitmap";
    case Kind::kMapNode: return "map node";
    case Kind::kData: return "?";  // never a reason not to open
  }
  return "?";
}

struct Findings {
  std::string wrong;
  std::set<Export> failed;
  uint64_t reads_failed = 0;
  Result<CheckReport> report;
};

// Every block of every export: what is answered must be right.
Task<Findings> read_and_check(Pool& pool, const Sample& sample, bool is_last_frame) {
  Findings findings;
  std::vector<std::byte> buffer(store::kBlockSize);
  for (const auto& [what, blocks] : sample.content) {
    const auto target = pool.target(what.volume, what.point);
    if (!target) {
      findings.wrong = fmt::format("{} has vanished", to_text(what));
      co_return findings;
    }
    for (const auto& [index, expected] : blocks) {
      const Status read = co_await pool.read(*target, index * store::kBlockSize, buffer);
      if (!read) {
        findings.failed.insert(what);
        ++findings.reads_failed;
        if (read.error().code != Code::kCorruption)
          findings.wrong = "damage is not called damage: " + read.error().what;
        continue;
      }
      // A lost last record looks like a power cut before the flush that never confirmed it.
      if (is_last_frame && what.volume == kCounterVolume) continue;
      if (buffer != expected)
        findings.wrong = fmt::format("WRONG BYTES were served: {} block {}", to_text(what), index);
    }
  }
  findings.report = co_await pool.check(true);
  co_return findings;
}

bool touches(const DamagedPlace& place, const Export& what) {
  return std::ranges::find(place.touched, store::TouchedPoint{what.volume, what.point}) !=
         place.touched.end();
}

std::string judge_report(const Findings& findings, const std::vector<Place>& damaged,
                         const Sample& sample) {
  if (!findings.report) return "the check failed: " + findings.report.error().what;
  const CheckReport& report = *findings.report;
  for (const Export& what : findings.failed) {
    const bool is_named = std::ranges::any_of(
        report.damaged, [&](const DamagedPlace& place) { return touches(place, what); });
    if (!is_named)
      return fmt::format("{} is damaged and the check does not name it", to_text(what));
  }
  for (const DamagedPlace& place : report.damaged)
    for (const auto& [what, blocks] : sample.content)
      if (touches(place, what) && !findings.failed.contains(what))
        return fmt::format("the check says that {} is touched, and it reads well", to_text(what));
  for (const Place& place : damaged) {
    const bool is_replaced = sample.replaced.contains(place.page);
    if ((place.kind == Kind::kMapNode || place.kind == Kind::kData) && !is_replaced) {
      const bool is_named = std::ranges::any_of(
          report.damaged, [&](const DamagedPlace& one) { return one.block == place.page; });
      if (!is_named) return fmt::format("the check does not name block {}", place.page);
      if (report.errors.empty()) return "damage without an error";
    }
    const bool is_told = std::ranges::any_of(report.warnings, [&](const std::string& text) {
      return text.find(fmt::format("slot {}", place.page)) != std::string::npos;
    });
    if (place.kind == Kind::kSuperblock && !is_told)
      return fmt::format("no warning about superblock {}", place.page);
  }
  return "";
}

}  // namespace

std::string_view damage_name(Damage damage) {
  switch (damage) {
    case Damage::kBitFlip: return "a bit flipped";
    case Damage::kZeroed: return "zeroed";
    case Damage::kStale: return "old content";
    case Damage::kSwapped: return "swapped with another";
  }
  return "?";
}

std::vector<Place> damage_place(sim::SimPower& power, const std::vector<Place>& places,
                                size_t index, Damage damage, const sim::SimPower& old,
                                const std::vector<Place>& old_places) {
  const Place& place = places[index];
  const sim::PageRef present = power.image(place.disk()).page(place.page);
  const auto replace = [&](sim::PageRef content) -> std::vector<Place> {
    if (is_equal(content, present)) return {};
    power.replace_page(place.disk(), place.page, std::move(content));
    return {place};
  };
  switch (damage) {
    case Damage::kBitFlip: {
      sim::Random random(place.page * 4 + static_cast<uint64_t>(place.disk()));
      // Behind the frame that begins the page there may be bytes that nobody looks at.
      const uint64_t reach = place.kind == Kind::kJournalFrames ? 64 : sim::kPageSize;
      power.rot(place.disk(), place.page * sim::kPageSize + random.below(reach),
                static_cast<uint8_t>(1u << random.below(8)));
      return {place};
    }
    case Damage::kZeroed: return replace(sim::PageRef());
    case Damage::kStale: return replace(stale_content(place, present, old, old_places));
    case Damage::kSwapped: {
      const Place& other = partner(places, index);
      const sim::PageRef content = power.image(other.disk()).page(other.page);
      if (is_equal(content, present)) return {};
      power.replace_page(place.disk(), place.page, content);
      power.replace_page(other.disk(), other.page, present);
      return {place, other};
    }
  }
  return {};
}

Verdict judge_closed_pool(const sim::SimPower& power, const Sample& sample,
                          const std::vector<Place>& damaged, bool is_last_frame) {
  const auto copy = power.fork({.kind = sim::CrashKind::kCut, .choice = sim::Fate::Choice::kAll});
  Verdict verdict;
  Opening opening(*copy);
  const Status opened = opening.open(true);
  if (!opened) {
    verdict.refused = true;
    const Error& error = opened.error();
    const bool is_named = std::ranges::any_of(damaged, [&](const Place& place) {
      return error.what.find(refusal_word(place.kind)) != std::string::npos;
    });
    if ((error.code != Code::kCorruption && error.code != Code::kUnimplemented) || !is_named)
      verdict.wrong = "the refusal does not say what is damaged: " + error.what;
    return verdict;
  }
  const Findings findings = opening.run(read_and_check(*opening.pool, sample, is_last_frame));
  verdict.reads_failed = findings.reads_failed;
  verdict.wrong = findings.wrong;
  if (verdict.wrong.empty()) verdict.wrong = judge_report(findings, damaged, sample);
  if (const Status closed = opening.close(); !closed && verdict.wrong.empty())
    verdict.wrong = "close: " + closed.error().what;
  return verdict;
}

}  // namespace hozon::rot
