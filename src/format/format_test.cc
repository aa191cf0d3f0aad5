// Proves that what format/ writes it reads back, that single damaged bytes are always noticed where
// a checksum covers them, and that hostile bytes end in an error, not in a crash.
#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "base/bytes.h"
#include "format/catalog_record.h"
#include "format/journal_frame.h"
#include "format/superblock.h"

namespace hozon::format {
namespace {

Superblock sample_superblock() {
  Superblock sb{};
  for (uint8_t i = 0; i < 16; ++i) sb.pool_id[i] = i;
  sb.generation = 7;
  sb.epoch = 3;
  sb.total_blocks = 5000;
  sb.journal_bytes = 1 << 20;
  sb.journal_offset = 8192;
  sb.journal_sequence = 99;
  sb.next_id = 12;
  sb.catalog_root = Pointer{77, 0x1234, 0};
  sb.catalog_blocks = 1;
  sb.catalog_height = 1;
  sb.bitmap_blocks = 1;
  sb.bitmap_height = 1;
  seal(sb);
  return sb;
}

TEST(Superblock, ComesBackAsItWasSealed) {
  const Superblock sb = sample_superblock();
  const auto decoded = decode_superblock(bytes_of(sb));
  ASSERT_TRUE(decoded) << decoded.error().what;
  EXPECT_EQ(std::memcmp(&*decoded, &sb, sizeof(sb)), 0);
}

TEST(Superblock, AnyDamagedBitIsNoticed) {
  const Superblock good = sample_superblock();
  for (size_t bit = 0; bit < sizeof(good) * 8; bit += 3) {
    Superblock bad = good;
    writable_bytes_of(bad)[bit / 8] ^= std::byte{1} << (bit % 8);
    EXPECT_FALSE(decode_superblock(bytes_of(bad))) << "bit " << bit;
  }
}

TEST(Superblock, ForeignNewerAndImpossibleAreToldApart) {
  Superblock foreign = sample_superblock();
  foreign.magic[0] = 'X';
  EXPECT_NE(decode_superblock(bytes_of(foreign)).error().what.find("mark of a Hozon pool"),
            std::string::npos);
  Superblock newer = sample_superblock();
  newer.version = 2;
  EXPECT_EQ(decode_superblock(bytes_of(newer)).error().code, Code::kUnimplemented);
  Superblock feature = sample_superblock();
  feature.incompatible = 4;
  seal(feature);
  EXPECT_EQ(decode_superblock(bytes_of(feature)).error().code, Code::kUnimplemented);
  Superblock impossible = sample_superblock();
  impossible.journal_offset = impossible.journal_bytes;
  seal(impossible);
  EXPECT_EQ(decode_superblock(bytes_of(impossible)).error().code, Code::kCorruption);
}

std::vector<Record> sample_records() {
  return {MapRecord{5, 256, 4000, {1, 2, 3}},
          UnmapRecord{5, 256, 3},
          CreateVolumeRecord{6, 7, 512, 123, "vda"},
          ResizeVolumeRecord{6, 1024},
          RenameVolumeRecord{6, "other"},
          DeleteVolumeRecord{6},
          SnapshotRecord{9, 5, 2, {{6, 10}, {11, 12}}, "before"},
          CloneRecord{10, 13, 14, 99, "copy"},
          ReturnRecord{88, {{6, 10, 15}}, "kept"},
          DeletePointRecord{10},
          RenamePointRecord{10, "名前"},
          VoidRecord{{9, 255, 4711, {1}}}};
}

std::string sample_frame() {
  std::string frame;
  reserve_frame(frame);
  const auto records = sample_records();
  for (const Record& record : records) encode(record, frame);
  FrameHeader header{};
  header.record_count = static_cast<uint32_t>(records.size());
  header.epoch = 3;
  header.sequence = 41;
  header.mark = 40;
  seal_frame(frame, header);
  return frame;
}

TEST(JournalFrame, EveryRecordComesBack) {
  const std::string frame = sample_frame();
  const auto bytes = std::as_bytes(std::span(frame));
  const auto header = decode_frame(bytes);
  ASSERT_TRUE(header);
  EXPECT_EQ(header->sequence, 41u);
  EXPECT_EQ(header->length, frame.size());
  const auto records = decode_records(bytes);
  ASSERT_TRUE(records) << records.error().what;
  EXPECT_EQ(*records, sample_records());
}

TEST(JournalFrame, AnyDamagedByteIsNoticed) {
  const std::string good = sample_frame();
  for (size_t i = 0; i < good.size(); ++i) {
    std::string bad = good;
    bad[i] = static_cast<char>(bad[i] ^ 0x10);
    EXPECT_FALSE(decode_frame(std::as_bytes(std::span(bad)))) << "byte " << i;
  }
}

TEST(JournalFrame, HostileRecordsWithARightChecksumEndInAnError) {
  std::mt19937_64 random(1);
  const std::string good = sample_frame();
  int refused = 0;
  for (int round = 0; round < 20000; ++round) {
    std::string bad = good;
    for (int change = 0; change < 3; ++change)
      bad[sizeof(FrameHeader) + random() % (bad.size() - sizeof(FrameHeader))] =
          static_cast<char>(random());
    refused += decode_records(std::as_bytes(std::span(bad))) ? 0 : 1;
  }
  EXPECT_GT(refused, 1000);
}

TEST(CatalogRecord, RefusesWhatCannotBe) {
  CatalogRecord point{};
  point.type = 2;
  point.kind = 2;
  point.height = 1;
  point.id = 4;
  point.volume_id = 3;
  point.size_bytes = 4096;
  point.root = Pointer{50, 9, 0};
  point.set_name("before");
  EXPECT_TRUE(validate(point, 1000));
  const auto refuses = [&](auto change) {
    CatalogRecord bad = point;
    change(bad);
    return !validate(bad, 1000);
  };
  EXPECT_TRUE(refuses([](auto& r) { r.kind = 9; }));
  EXPECT_TRUE(refuses([](auto& r) { r.height = 6; }));
  EXPECT_TRUE(refuses([](auto& r) { r.root.block = 1000; }));
  EXPECT_TRUE(refuses([](auto& r) { r.size_bytes = 100; }));
  EXPECT_TRUE(refuses([](auto& r) { r.name_length = 0; }));
  EXPECT_TRUE(refuses([](auto& r) { r.name[200] = 'x'; }));
  EXPECT_TRUE(refuses([](auto& r) { r.type = 0; }));
  EXPECT_TRUE(refuses([](auto& r) { r.reserved3[5] = 1; }));
  EXPECT_TRUE(validate(CatalogRecord{}, 1000));
}

}  // namespace
}  // namespace hozon::format
