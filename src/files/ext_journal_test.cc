// Proves the order of a journal's transactions where files_test's tools do not come: around the
// log's end, around the end of the numbers, and with revokes before and after a block.
#include "files/ext_journal.h"

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "base/endian.h"

namespace hozon::files {
namespace {

constexpr uint32_t kBlockBytes = 1024;

// A log of twelve blocks without checksums.
class Log {
 public:
  explicit Log(uint32_t sequence, uint64_t start)
      : sequence_(sequence), at_(start), bytes_(kBlocks * kBlockBytes) {
    put(0, {kJournalMagic, 4, 0, kBlockBytes, kBlocks, 1, sequence, static_cast<uint32_t>(start), 0,
            0, 1});
  }
  void write(uint32_t block) {
    next({kJournalMagic, 1, sequence_, block, 2 | 8});  // the tag's flags: same uuid, the last
    content_.push_back(at_);
    next({0x61616161});
  }
  void revoke(uint32_t block) { next({kJournalMagic, 5, sequence_, 20, block}); }
  void commit() { next({kJournalMagic, 2, sequence_++}); }

  // Where the `number`-th write put its content.
  uint64_t content(size_t number) const { return content_[number]; }
  JournalReplay replay() const {
    const auto read = [this](uint64_t index, std::span<std::byte> into) -> Status {
      std::memcpy(into.data(), bytes_.data() + index * kBlockBytes, into.size());
      return {};
    };
    const auto found = replay_ext_journal(
        {.blocks = kBlocks, .block_bytes = kBlockBytes, .filesystem_blocks = 4096}, read);
    EXPECT_TRUE(found) << found.error().what;
    return found.value_or(JournalReplay());
  }

 private:
  static constexpr uint32_t kBlocks = 13;

  void put(uint64_t index, const std::vector<uint32_t>& words) {
    for (size_t i = 0; i < words.size(); ++i) {
      const Be<uint32_t> word = words[i];
      std::memcpy(bytes_.data() + index * kBlockBytes + i * sizeof(word), &word, sizeof(word));
    }
  }
  void next(const std::vector<uint32_t>& words) {
    put(at_, words);
    at_ = at_ + 1 < kBlocks ? at_ + 1 : 1;
  }

  uint32_t sequence_;
  uint64_t at_;
  std::vector<std::byte> bytes_;
  std::vector<uint64_t> content_;
};

TEST(ExtJournal, GoesOnAtTheBeginningOfItsLog) {
  for (uint64_t start = 1; start < 13; ++start) {
    Log log(5, start);
    log.write(100);
    log.write(101);
    log.commit();
    log.write(100);
    log.commit();
    const JournalReplay replay = log.replay();
    ASSERT_EQ(replay.copies.size(), 2u) << start;
    EXPECT_EQ(replay.copies.at(100).journal_block, log.content(2));
    EXPECT_EQ(replay.copies.at(101).journal_block, log.content(1));
  }
}

TEST(ExtJournal, NumbersOfTransactionsWrapAround) {
  Log log(0xffffffff, 1);
  log.write(100);
  log.commit();
  log.revoke(100);
  log.write(101);
  log.commit();
  const JournalReplay replay = log.replay();
  EXPECT_EQ(replay.copies.size(), 1u);
  EXPECT_TRUE(replay.copies.contains(101));
}

TEST(ExtJournal, ARevokeCountsForWhatWasWrittenUntilItsTransaction) {
  Log log(5, 1);
  log.write(100);
  log.commit();
  log.revoke(100);
  log.commit();
  log.write(100);
  log.commit();
  const JournalReplay replay = log.replay();
  ASSERT_TRUE(replay.copies.contains(100));
  EXPECT_EQ(replay.copies.at(100).journal_block, log.content(1));
}

TEST(ExtJournal, WhatIsNotCommittedDoesNotCount) {
  Log log(5, 1);
  log.write(100);
  log.commit();
  log.write(101);
  const JournalReplay replay = log.replay();
  EXPECT_EQ(replay.copies.size(), 1u);
  EXPECT_TRUE(replay.copies.contains(100));
}

}  // namespace
}  // namespace hozon::files
