// tests/rot/disk_map.h
// Lists every metadata block of a pool by reading its files after docs/format.md; shares the
// structs of src/format with the store, and none of its code that walks.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "format/pointer.h"
#include "sim_power.h"

namespace hozon::rot {

enum class Kind : uint8_t {
  kSuperblock,
  kJournalHeader,
  kJournalFrames,  // a page of the ring that holds frames which replay needs
  kCatalogNode,
  kCatalogBlock,
  kBitmapNode,
  kBitmapBlock,
  kMapNode,
  kData,
};
std::string_view kind_name(Kind kind);

struct Place {
  Kind kind{};
  uint64_t page = 0;  // of its file
  std::string key;    // what it is, whatever its page: equal in another image of the pool
  int disk() const { return kind == Kind::kJournalHeader || kind == Kind::kJournalFrames ? 1 : 0; }
};

// All metadata of the pool, and with `data` the guests' blocks too. The pool must be sound.
std::vector<Place> list_places(const sim::SimPower& power, bool data);

}  // namespace hozon::rot
