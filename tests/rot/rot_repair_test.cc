// Proves what hozon-check may change (docs/durability.md, P20): a check nothing; a repair only what
// needs no guess, and every byte of every export is the same afterwards.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>

#include "base/bytes.h"
#include "base/crc32c.h"
#include "damage.h"
#include "format/superblock.h"

namespace hozon::rot {
namespace {

using store::RepairReport;

const sim::Fate kAll{.kind = sim::CrashKind::kCut, .choice = sim::Fate::Choice::kAll};

bool is_same(const sim::SimPower& one, const sim::SimPower& other) {
  for (int disk = 0; disk < 2; ++disk)
    for (uint64_t page = 0; page < one.image(disk).size_bytes() / sim::kPageSize; ++page)
      if (std::memcmp(one.image(disk).page(page).data(), other.image(disk).page(page).data(),
                      sim::kPageSize) != 0)
        return false;
  return true;
}

class RotRepair : public testing::Test {
 protected:
  RotRepair() : sample_(make_sample()), power_(sample_.now->fork(kAll)) {
    HOZON_CHECK(std::freopen("/dev/null", "w", stderr) != nullptr);
    places_ = list_places(*power_, true);
    old_places_ = list_places(*sample_.old, true);
  }
  Result<RepairReport> repair() {
    Opening opening(*power_);
    return opening.run(store::Pool::repair(opening.executor, power_->data(), power_->journal()));
  }
  size_t first(Kind kind) {
    const auto found = std::ranges::find(places_, kind, &Place::kind);
    HOZON_CHECK(found != places_.end());
    return static_cast<size_t>(found - places_.begin());
  }
  // Nothing is left, nothing is lost, and the bytes are those of before.
  void expect_sound() {
    EXPECT_EQ(judge_closed_pool(*power_, sample_, {}, false).wrong, "");
    const auto copy = power_->fork(kAll);
    Opening opening(*copy);
    ASSERT_TRUE(opening.open(false).has_value());
    const auto report = opening.run(opening.pool->check(true));
    ASSERT_TRUE(report.has_value());
    EXPECT_EQ(fmt::format("{}", fmt::join(report->errors, "\n")), "");
    EXPECT_EQ(opening.pool->stats().live_bytes, sound_live_bytes());
    EXPECT_TRUE(opening.close().has_value());
  }
  uint64_t sound_live_bytes() {
    const auto copy = sample_.now->fork(kAll);
    Opening opening(*copy);
    HOZON_CHECK(opening.open(false).has_value());
    const uint64_t bytes = opening.pool->stats().live_bytes;
    HOZON_CHECK(opening.close().has_value());
    return bytes;
  }
  // Flips bits of the bitmap as a bug would: with all checksums right.
  void flip_bits(const std::vector<uint64_t>& blocks) {
    const uint64_t leaf = places_[first(Kind::kBitmapBlock)].page;
    const uint64_t node = places_[first(Kind::kBitmapNode)].page;
    for (const uint64_t block : blocks)
      power_->rot(0, leaf * sim::kPageSize + block / 8, static_cast<uint8_t>(1u << (block % 8)));
    format::NodeBlock tree;
    std::memcpy(&tree, power_->image(0).page(node).data(), sizeof(tree));
    tree.pointers[0].crc32c = checksum_of(leaf);
    replace(node, &tree);
    for (uint64_t slot = 0; slot < 2; ++slot) {
      format::Superblock superblock;
      std::memcpy(&superblock, power_->image(0).page(slot).data(), sizeof(superblock));
      superblock.bitmap_root.crc32c = checksum_of(node);
      format::seal(superblock);
      replace(slot, &superblock);
    }
  }
  // A leaf of a map whose blocks nothing else reaches, and that no frame of the journal replaces.
  size_t private_leaf() {
    size_t index = places_.size();
    for (size_t i = 0; i < places_.size(); ++i)
      if (places_[i].kind == Kind::kMapNode &&
          places_[i].key.find("level 1") != std::string::npos &&
          !sample_.replaced.contains(places_[i].page))
        index = i;
    HOZON_CHECK(index < places_.size());
    return index;
  }
  uint32_t checksum_of(uint64_t page) {
    return crc32c(std::span(power_->image(0).page(page).data(), sim::kPageSize));
  }
  void replace(uint64_t page, const void* bytes) {
    sim::PageRef content;
    std::memcpy(content.own(), bytes, sim::kPageSize);
    power_->replace_page(0, page, content);
  }

  Sample sample_;
  std::unique_ptr<sim::SimPower> power_;
  std::vector<Place> places_;
  std::vector<Place> old_places_;
};

TEST_F(RotRepair, ACheckChangesNoByteOfASoundOrADamagedPool) {
  for (size_t index = 0; index < places_.size(); index += 7) {
    for (const Damage damage : kDamages) {
      const auto copy = sample_.now->fork(kAll);
      damage_place(*copy, places_, index, damage, *sample_.old, old_places_);
      const auto before = copy->fork(kAll);
      Opening opening(*copy);
      if (!opening.open(true)) {
        EXPECT_TRUE(is_same(*copy, *before));
        continue;
      }
      ASSERT_TRUE(opening.run(opening.pool->check(true)).has_value());
      EXPECT_TRUE(opening.close().has_value());
      EXPECT_TRUE(is_same(*copy, *before)) << places_[index].key;
    }
  }
}

TEST_F(RotRepair, ASoundPoolIsNotTouched) {
  const auto report = repair();
  ASSERT_TRUE(report.has_value()) << report.error().what;
  EXPECT_TRUE(report->changes.empty());
  EXPECT_TRUE(report->remaining.errors.empty());
  EXPECT_TRUE(is_same(*power_, *sample_.now));
}

TEST_F(RotRepair, ADamagedBitmapIsRebuilt) {
  for (const Kind kind : {Kind::kBitmapBlock, Kind::kBitmapNode}) {
    for (const Damage damage : {Damage::kBitFlip, Damage::kZeroed, Damage::kStale}) {
      power_ = sample_.now->fork(kAll);
      const auto damaged =
          damage_place(*power_, places_, first(kind), damage, *sample_.old, old_places_);
      if (damaged.empty()) continue;
      SCOPED_TRACE(fmt::format("{} {}", kind_name(kind), damage_name(damage)));
      const auto report = repair();
      ASSERT_TRUE(report.has_value()) << report.error().what;
      EXPECT_EQ(report->changes.size(), 1u);
      EXPECT_TRUE(report->remaining.errors.empty()) << report->remaining.errors[0];
      expect_sound();
    }
  }
}

TEST_F(RotRepair, ABitmapThatDisagreesIsCorrected) {
  uint64_t unused = kDataBytes / sim::kPageSize - 5;  // far behind everything
  const uint64_t used = places_[first(Kind::kData)].page;
  const uint64_t used_node = places_[first(Kind::kMapNode)].page;
  flip_bits({unused, unused + 1, used, used_node});
  const auto report = repair();
  ASSERT_TRUE(report.has_value()) << report.error().what;
  ASSERT_EQ(report->changes.size(), 2u);
  EXPECT_NE(report->changes[0].find("2 blocks that are in use"), std::string::npos);
  EXPECT_NE(report->changes[1].find("2 blocks that belong to nothing"), std::string::npos);
  EXPECT_TRUE(report->remaining.errors.empty());
  expect_sound();
}

TEST_F(RotRepair, ASuperblockSlotIsWrittenFromTheOther) {
  for (uint64_t slot = 0; slot < 2; ++slot) {
    power_ = sample_.now->fork(kAll);
    power_->rot(0, slot * sim::kPageSize + 100, 1);
    const auto report = repair();
    ASSERT_TRUE(report.has_value()) << report.error().what;
    EXPECT_EQ(report->changes.size(), 1u);
    EXPECT_TRUE(report->remaining.errors.empty());
    EXPECT_TRUE(report->remaining.warnings.empty());
    expect_sound();
  }
}

TEST_F(RotRepair, WhileANodeIsDamagedNothingIsGivenBack) {
  const size_t index = private_leaf();
  power_->rot(0, places_[index].page * sim::kPageSize + 8, 1);
  const uint64_t unused = kDataBytes / sim::kPageSize - 5;
  flip_bits({unused});
  const auto before = power_->fork(kAll);
  const auto report = repair();
  ASSERT_TRUE(report.has_value()) << report.error().what;
  EXPECT_TRUE(report->changes.empty());
  EXPECT_FALSE(report->remaining.errors.empty());
  ASSERT_EQ(report->remaining.damaged.size(), 1u);
  EXPECT_EQ(report->remaining.damaged[0].block, places_[index].page);
  EXPECT_TRUE(is_same(*power_, *before));
}

// Which blocks hang below the node is not known, so none that the bitmap told of is free; the
// journal maps some of these. A repair that took them for free would hand out what a backup may
// still need.
TEST_F(RotRepair, ABitmapIsNotRebuiltByGuessingWhatHangsBelowADamagedNode) {
  power_->rot(0, places_[private_leaf()].page * sim::kPageSize + 8, 1);
  power_->rot(0, places_[first(Kind::kBitmapBlock)].page * sim::kPageSize + 8, 1);
  const auto before = power_->fork(kAll);
  const auto report = repair();
  ASSERT_FALSE(report.has_value());
  EXPECT_EQ(report.error().code, Code::kCorruption);
  EXPECT_TRUE(is_same(*power_, *before));
}

TEST_F(RotRepair, WhatCannotBeOpenedIsLeftAlone) {
  for (const Kind kind : {Kind::kCatalogBlock, Kind::kCatalogNode, Kind::kJournalHeader}) {
    power_ = sample_.now->fork(kAll);
    damage_place(*power_, places_, first(kind), Damage::kBitFlip, *sample_.old, old_places_);
    const auto before = power_->fork(kAll);
    const auto report = repair();
    ASSERT_FALSE(report.has_value());
    EXPECT_EQ(report.error().code, Code::kCorruption);
    EXPECT_TRUE(is_same(*power_, *before));
  }
}

}  // namespace
}  // namespace hozon::rot
