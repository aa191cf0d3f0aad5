#include "disk_map.h"

#include <fmt/format.h>

#include <set>

#include "base/bytes.h"
#include "format/catalog_record.h"
#include "format/journal_frame.h"
#include "format/superblock.h"

namespace hozon::rot {
namespace {

using format::kBlockSize;
using format::Pointer;

class Lister {
 public:
  Lister(const sim::SimPower& power, bool data) : power_(power), data_(data) {}

  std::vector<Place> list() {
    std::optional<format::Superblock> best;
    for (uint64_t slot = 0; slot < 2; ++slot) {
      add(Kind::kSuperblock, slot, fmt::format("superblock {}", slot));
      const auto decoded = format::decode_superblock(page(0, slot));
      if (decoded && (!best || decoded->generation > best->generation)) best = *decoded;
    }
    HOZON_CHECK(best.has_value());
    add(Kind::kJournalHeader, 0, "journal header");
    list_frames(*best);
    walk(best->catalog_root, best->catalog_height, 0, "catalog", Kind::kCatalogNode,
         Kind::kCatalogBlock);
    walk(best->bitmap_root, best->bitmap_height, 0, "bitmap", Kind::kBitmapNode,
         Kind::kBitmapBlock);
    for (const auto& record : records_)
      walk(record.root, record.height, 0, fmt::format("point {}", uint64_t{record.id}),
           Kind::kMapNode, Kind::kData);
    return std::move(places_);
  }

 private:
  std::span<const std::byte> page(int disk, uint64_t index) const {
    return {power_.image(disk).page(index).data(), kBlockSize};
  }

  void add(Kind kind, uint64_t page, std::string key) {
    places_.push_back({kind, page, std::move(key)});
  }

  void list_frames(const format::Superblock& superblock) {
    std::vector<std::byte> ring(superblock.journal_bytes);
    power_.image(1).read(kBlockSize, ring);
    uint64_t at = superblock.journal_offset;
    uint64_t sequence = superblock.journal_sequence;
    std::set<uint64_t> pages;
    while (true) {
      std::optional<format::FrameHeader> found;
      for (const uint64_t candidate :
           {at, (at + kBlockSize - 1) / kBlockSize * kBlockSize, uint64_t{0}}) {
        if (candidate >= ring.size()) continue;
        const auto header = format::decode_frame(std::span(ring).subspan(candidate));
        if (!header || header->sequence != sequence || header->epoch != superblock.epoch) continue;
        found = *header;
        at = candidate;
        break;
      }
      if (!found) break;
      for (uint64_t byte = at; byte < at + found->length; ++byte)
        pages.insert(1 + byte / kBlockSize);
      at += found->length;
      ++sequence;
    }
    for (const uint64_t one : pages) add(Kind::kJournalFrames, one, fmt::format("ring {}", one));
  }

  void walk(const Pointer& pointer, uint8_t level, uint64_t index, const std::string& tree,
            Kind node_kind, Kind leaf_kind) {
    const uint64_t block = pointer.block;
    const Kind kind = level == 0 ? leaf_kind : node_kind;
    if (pointer.is_null() || (kind == Kind::kData && !data_) || !seen_.insert(block).second) return;
    add(kind, block, fmt::format("{} level {} index {}", tree, level, index));
    if (level == 0) {
      if (kind == Kind::kCatalogBlock) read_records(block);
      return;
    }
    format::NodeBlock node;
    std::memcpy(&node, page(0, block).data(), sizeof(node));
    for (uint32_t slot = 0; slot < format::kPointersPerNode; ++slot)
      walk(node.pointers[slot], static_cast<uint8_t>(level - 1),
           index + slot * format::slot_blocks(level), tree, node_kind, leaf_kind);
  }

  void read_records(uint64_t block) {
    for (uint64_t i = 0; i < format::kRecordsPerBlock; ++i) {
      format::CatalogRecord record;
      std::memcpy(&record, page(0, block).data() + i * sizeof(record), sizeof(record));
      if (record.type == static_cast<uint8_t>(format::RecordType::kPoint))
        records_.push_back(record);
    }
  }

  const sim::SimPower& power_;
  bool data_;
  std::set<uint64_t> seen_;
  std::vector<format::CatalogRecord> records_;
  std::vector<Place> places_;
};

}  // namespace

std::string_view kind_name(Kind kind) {
  switch (kind) {
    case Kind::kSuperblock: return "superblock";
    case Kind::kJournalHeader: return "journal header";
    case Kind::kJournalFrames: return "journal frames";
    case Kind::kCatalogNode: return "catalog node";
    case Kind::kCatalogBlock: return "catalog block";
    case Kind::kBitmapNode: return "bitmap node";
    case Kind::kBitmapBlock: return "bitmap block";
    case Kind::kMapNode: return "map node";
    case Kind::kData: return "data";
  }
  return "?";
}

std::vector<Place> list_places(const sim::SimPower& power, bool data) {
  return Lister(power, data).list();
}

}  // namespace hozon::rot
