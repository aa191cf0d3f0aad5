// Proves that the seeds, which make_seeds.py wrote from the text of docs/format.md alone, are what
// our decoders take for valid: two independent readings of one page agree.
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <span>
#include <string>

#include "format/catalog_record.h"
#include "format/journal_frame.h"
#include "format/superblock.h"

namespace hozon::format {
namespace {

std::string seed(const std::string& name) {
  std::ifstream in(std::string(HOZON_CORPUS) + "/" + name, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

std::span<const std::byte> bytes(const std::string& text) { return std::as_bytes(std::span(text)); }

TEST(Seeds, SuperblocksAreValid) {
  for (const char* name : {"superblock/empty_pool", "superblock/used_pool"}) {
    const std::string block = seed(name);
    const auto found = decode_superblock(bytes(block));
    ASSERT_TRUE(found.has_value()) << name << ": " << found.error().what;
    EXPECT_EQ(found->generation, 3u);
  }
  const std::string header = seed("superblock/journal_header");
  const auto found = decode_journal_header(bytes(header));
  ASSERT_TRUE(found.has_value()) << found.error().what;
  EXPECT_EQ(found->ring_bytes, 1u << 20);
}

TEST(Seeds, CatalogRecordsAreValid) {
  for (const char* name : {"free", "volume", "head", "snapshot"}) {
    const std::string data = seed(std::string("catalog_record/") + name);
    ASSERT_EQ(data.size(), sizeof(CatalogRecord));
    CatalogRecord record;
    std::memcpy(&record, data.data(), sizeof(record));
    const Status status = validate(record, 1 << 20);
    EXPECT_TRUE(status.has_value()) << name << ": " << status.error().what;
  }
}

TEST(Seeds, JournalFramesAreValid) {
  size_t frames = 0;
  for (const auto& entry :
       std::filesystem::directory_iterator(std::string(HOZON_CORPUS) + "/journal_frame")) {
    const std::string name = entry.path().filename();
    const std::string data = seed("journal_frame/" + name);
    const auto header = decode_frame(bytes(data));
    ASSERT_TRUE(header.has_value()) << name << ": " << header.error().what;
    EXPECT_EQ(header->sequence, 5u);
    EXPECT_EQ(header->mark, 4u);
    const auto records = decode_records(bytes(data).first(header->length));
    ASSERT_TRUE(records.has_value()) << name << ": " << records.error().what;
    EXPECT_EQ(records->size(), header->record_count);
    ++frames;
  }
  EXPECT_GE(frames, 14u);
}

}  // namespace
}  // namespace hozon::format
