// Proves P5 and P20 (docs/durability.md): every metadata block of a pool, and every block of data,
// damaged in four ways, is detected and named, and wrong bytes are never served.
// Method: the sample pool is damaged on a copy of its disks; the judge (damage.cc) knows what every
// export holds. Once the pool is damaged while nobody has it open, once while it is served.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>

#include "base/units.h"
#include "damage.h"

namespace hozon::rot {
namespace {

const sim::Fate kAll{.kind = sim::CrashKind::kCut, .choice = sim::Fate::Choice::kAll};

class RotWalk : public testing::Test {
 public:
  static void SetUpTestSuite() {
    // Thousands of damages would be logged; what matters goes to standard output.
    HOZON_CHECK(std::freopen("/dev/null", "w", stderr) != nullptr);
    sample_ = std::make_unique<Sample>(make_sample());
    places_ = list_places(*sample_->now, true);
    old_places_ = list_places(*sample_->old, true);
  }
  static void TearDownTestSuite() { sample_.reset(); }

 protected:
  static bool is_last_frame(const std::vector<Place>& damaged) {
    uint64_t last = 0;
    for (const Place& place : places_)
      if (place.kind == Kind::kJournalFrames) last = std::max(last, place.page);
    return std::ranges::any_of(damaged, [&](const Place& place) {
      return place.kind == Kind::kJournalFrames && place.page == last;
    });
  }
  static std::string text(const Place& place, Damage damage) {
    return fmt::format("{} ({}), page {}: {}", kind_name(place.kind), place.key, place.page,
                       damage_name(damage));
  }

  static inline std::unique_ptr<Sample> sample_;
  static inline std::vector<Place> places_;
  static inline std::vector<Place> old_places_;
};

TEST_F(RotWalk, TheSampleHasEveryKindOfBlockAndIsSound) {
  std::map<Kind, int> count;
  for (const Place& place : places_) ++count[place.kind];
  EXPECT_EQ(count[Kind::kSuperblock], 2);
  EXPECT_EQ(count[Kind::kJournalHeader], 1);
  EXPECT_GE(count[Kind::kJournalFrames], 6);
  EXPECT_GE(count[Kind::kCatalogNode], 1);
  EXPECT_GE(count[Kind::kCatalogBlock], 2);
  EXPECT_GE(count[Kind::kBitmapNode], 1);
  EXPECT_GE(count[Kind::kBitmapBlock], 1);
  EXPECT_GE(count[Kind::kMapNode], 20);
  EXPECT_GE(count[Kind::kData], 40);
  const Verdict verdict = judge_closed_pool(*sample_->now, *sample_, {}, false);
  EXPECT_EQ(verdict.wrong, "");
  EXPECT_EQ(verdict.reads_failed, 0u);
}

TEST_F(RotWalk, EveryBlockDamagedInFourWaysIsDetectedAndNamed) {
  std::map<Kind, int> refused, failed_reads, harmless, tried;
  for (size_t index = 0; index < places_.size(); ++index) {
    for (const Damage damage : kDamages) {
      const auto copy = sample_->now->fork(kAll);
      const std::vector<Place> damaged =
          damage_place(*copy, places_, index, damage, *sample_->old, old_places_);
      if (damaged.empty()) continue;
      SCOPED_TRACE(text(places_[index], damage));
      const Verdict verdict = judge_closed_pool(*copy, *sample_, damaged, is_last_frame(damaged));
      EXPECT_EQ(verdict.wrong, "");
      const Kind kind = places_[index].kind;
      ++tried[kind];
      const bool is_seen = verdict.refused || verdict.reads_failed > 0;
      ++(verdict.refused ? refused : is_seen ? failed_reads : harmless)[kind];
      // Of map nodes and data the check must speak (judge_report). Of the rest, harmless is only
      // what can be proven so: the other superblock slot is good; the last frame of the journal
      // cannot be told from one that a power cut took.
      for (const Place& place : damaged)
        EXPECT_TRUE(is_seen || place.kind == Kind::kMapNode || place.kind == Kind::kData ||
                    place.kind == Kind::kSuperblock || is_last_frame({place}))
            << kind_name(place.kind) << " " << place.page << " was not noticed";
    }
  }
  for (const auto& [kind, count] : tried)
    fmt::print("{}: {} damages, {} refused to open, {} with refused reads, {} harmless\n",
               kind_name(kind), count, refused[kind], failed_reads[kind], harmless[kind]);
  EXPECT_GE(harmless[Kind::kSuperblock], 4);
  EXPECT_GE(tried[Kind::kMapNode], 60);
}

TEST_F(RotWalk, ATruncatedFileIsRefusedByName) {
  for (int disk = 0; disk < 2; ++disk) {
    const uint64_t whole = disk == 0 ? kDataBytes : kJournalBytes;
    for (uint64_t bytes = 0; bytes < whole; bytes += 16 * sim::kPageSize) {
      sim::SimPower cut(disk == 0 ? bytes : kDataBytes, disk == 1 ? bytes : kJournalBytes);
      for (int one = 0; one < 2; ++one)
        for (uint64_t page = 0; page < cut.image(one).size_bytes() / sim::kPageSize; ++page)
          cut.replace_page(one, page, sample_->now->image(one).page(page));
      Opening opening(cut);
      const Status opened = opening.open(true);
      ASSERT_FALSE(opened.has_value()) << "disk " << disk << " cut to " << bytes;
      EXPECT_EQ(opened.error().code, Code::kCorruption);
      EXPECT_NE(opened.error().what.find("cut to"), std::string::npos) << opened.error().what;
    }
  }
}

// One damage while the pool is served: the scrub must find and name it.
class Served {
 public:
  explicit Served(const Sample& sample) : power_(sample.now->fork(kAll)), opening_(*power_) {
    HOZON_CHECK(opening_.open(false).has_value());
  }
  sim::SimPower& power() { return *power_; }
  Opening& opening() { return opening_; }
  store::Pool& pool() { return *opening_.pool; }

  const store::ScrubReport& scrub() {
    HOZON_CHECK(pool().start_scrub({}).has_value());
    const auto end = opening_.executor.run_until(
        [&] { return pool().scrub_report().state != store::ScrubReport::State::kRunning; });
    HOZON_CHECK(end == sim::SimExecutor::End::kDone);
    return pool().scrub_report();
  }

 private:
  std::unique_ptr<sim::SimPower> power_;
  Opening opening_;
};

std::string judge_scrub(const store::ScrubReport& report, const std::vector<Place>& damaged) {
  if (report.state != store::ScrubReport::State::kDone) return "it ended early: " + report.failure;
  for (const Place& place : damaged) {
    const bool is_found = std::ranges::any_of(report.damaged, [&](const store::DamagedPlace& one) {
      if (place.kind == Kind::kJournalHeader)
        return one.object.find("journal") != std::string::npos;
      return one.block == place.page;
    });
    if (!is_found) return fmt::format("it did not find {} {}", kind_name(place.kind), place.page);
  }
  for (const store::DamagedPlace& one : report.damaged)
    if (std::ranges::none_of(damaged, [&](const Place& place) { return one.block == place.page; }))
      return "it found what was not damaged: " + store::to_sentence(one);
  return "";
}

TEST_F(RotWalk, AScrubFindsEveryBlockDamagedUnderIt) {
  std::vector<Place> served_places;
  {
    Served served(*sample_);
    served_places = list_places(served.power(), true);
    const store::ScrubReport report = served.scrub();
    EXPECT_EQ(judge_scrub(report, {}), "");
    const auto in_use = std::ranges::count_if(
        served_places, [](const Place& p) { return p.kind != Kind::kJournalFrames; });
    // Each block once, however many points share it.
    EXPECT_EQ(report.metadata_blocks + report.map_blocks + report.data_blocks,
              static_cast<uint64_t>(in_use));
    EXPECT_EQ(report.done_bytes, report.total_bytes + store::kBlockSize);  // the journal's header
  }
  int healed = 0;
  for (size_t index = 0; index < served_places.size(); ++index) {
    if (served_places[index].kind == Kind::kJournalFrames) continue;
    for (const Damage damage : kDamages) {
      Served served(*sample_);
      const std::vector<Place> damaged =
          damage_place(served.power(), served_places, index, damage, *sample_->old, old_places_);
      if (damaged.empty() || damaged.back().kind == Kind::kJournalFrames) continue;
      SCOPED_TRACE(text(served_places[index], damage));
      ASSERT_EQ(judge_scrub(served.scrub(), damaged), "");
      const bool is_metadata = std::ranges::all_of(damaged, [](const Place& place) {
        return place.kind != Kind::kMapNode && place.kind != Kind::kData;
      });
      if (!is_metadata) {
        EXPECT_GT(served.pool().stats().damaged, 0u);
        continue;
      }
      // Memory had it, so it was written anew: nothing is left of the damage.
      ++healed;
      EXPECT_EQ(served.pool().stats().damaged, 0u);
      ASSERT_TRUE(served.opening().close().has_value());
      Opening again(served.power(), 2);
      const Status opened = again.open(true);
      ASSERT_TRUE(opened.has_value()) << opened.error().what;
      const auto report = again.run(again.pool->check(true));
      ASSERT_TRUE(report.has_value());
      EXPECT_EQ(fmt::format("{}", fmt::join(report->errors, "\n")), "");
      EXPECT_TRUE(report->warnings.empty());
      EXPECT_TRUE(again.close().has_value());
    }
  }
  EXPECT_GE(healed, 20);
}

}  // namespace
}  // namespace hozon::rot
