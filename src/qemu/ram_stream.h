// src/qemu/ram_stream.h
// Takes QEMU's migration stream apart (pages of RAM block m0, and the thin stream: all the rest)
// and puts it together again. Layout of the stream: qemu-facts.md 5; of the thin stream:
// docs/memory-image.md. Pure: bytes come from a ByteSource and go to a PageSink or a vector.
//
// The input is believed in nothing: unknown sections, flags, blocks or offsets are errors that name
// the byte position. Memory is bounded by kThinBytesMax and small constants.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "qemu/ram_image.h"

namespace hozon {

inline constexpr const char* kRamBlock = "m0";

class ByteSource {
 public:
  virtual ~ByteSource() = default;
  // At least one byte; 0 at the end of the stream.
  virtual Result<size_t> read_some(std::span<std::byte> into) = 0;
};

class PageSink {
 public:
  virtual ~PageSink() = default;
  // May come in any order; a page that comes again replaces the earlier one. `page` has kPageBytes.
  virtual Status put_page(uint64_t offset, std::span<const std::byte> page) = 0;
  virtual Status put_zero_page(uint64_t offset) = 0;
};

struct ThinStream {
  std::vector<std::byte> bytes;
  uint64_t insert_offset = 0;
  uint32_t ram_section = 0;
  std::string machine_type;
};

// Reads the whole stream of a machine with `ram_bytes` of RAM. kCorruption: the stream is not
// complete or not understood (the rest of it is then still unread); otherwise what source or sink
// reported.
Result<ThinStream> split_ram_stream(ByteSource& source, PageSink& sink, uint64_t ram_bytes);

// Page records for the insertion point of a thin stream: add() pages in ascending order, take bytes
// whenever you like, end() once. Without any page it produces nothing.
class PageRecords {
 public:
  explicit PageRecords(uint32_t ram_section) : ram_section_(ram_section) {}
  void add(uint64_t offset, std::span<const std::byte> page);
  void end();
  std::vector<std::byte>& bytes() { return bytes_; }

 private:
  void put_be(uint64_t value, unsigned size);
  uint32_t ram_section_;
  unsigned pages_in_section_ = 0;
  std::vector<std::byte> bytes_;
};

}  // namespace hozon
