// src/qemu/ram_store.h
// Writes a memory image into a volume while its stream arrives, and reads one back as a stream.
// On disk and the order of writing: docs/memory-image.md.
//
// Invariants of a save
//   I1  From open() until finish() has returned the volume's header is not valid: no half image is
//   seen. I2  Two writes of the same page are never under way together.
// Memory: 4 bytes and 2 bits per page of RAM, and the requests under way. Threading: one thread,
// but progress may be read by any.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "base/fd.h"
#include "qemu/nbd_volume.h"
#include "qemu/ram_stream.h"

namespace hozon {

struct RamProgress {
  std::atomic<uint64_t> stream_bytes{0};
  std::atomic<uint64_t> pages_seen{0};
  std::atomic<uint64_t> pages_zero{0};
  std::atomic<uint64_t> pages_written{0};
  std::atomic<uint64_t> thin_bytes{0};
  std::atomic<uint64_t> first_page_ns{0};
};

class RamImageWriter : public PageSink {
 public:
  // Connects, checks the size of the volume and invalidates an older image (I1).
  static Result<std::unique_ptr<RamImageWriter>> open(const std::string& uri, uint64_t ram_bytes,
                                                      int patience_ms, RamProgress& progress);
  Status put_page(uint64_t offset, std::span<const std::byte> page) override;
  Status put_zero_page(uint64_t offset) override;
  // Everything is on the medium when this succeeds.
  Status finish(const ThinStream& thin);

 private:
  RamImageWriter(std::unique_ptr<NbdVolume> volume, uint64_t ram_bytes, RamProgress& progress);
  Status invalidate();
  Status note_page(uint64_t page_number);
  Status send_run();
  Status send_changed(const std::vector<std::byte>& run, const NbdRequest& old);
  Status zero_leftovers();
  RamImageInfo describe(const ThinStream& thin) const;

  std::unique_ptr<NbdVolume> volume_;
  const uint64_t ram_bytes_;
  RamProgress& progress_;
  std::vector<uint32_t> crc_;       // per page, valid where present_
  std::vector<bool> present_;       // not all zeros in the image that is being made
  std::vector<bool> may_hold_old_;  // the volume may hold something there
  uint64_t run_offset_ = 0;
  std::vector<std::byte> run_;  // neighbouring pages that are not sent yet
};

// The header of the image, when it is valid.
Result<RamImageInfo> read_ram_image_info(NbdVolume& volume, uint64_t ram_bytes);
// kMapped: QEMU maps the image (ram_serve.h), so the stream holds the state of the devices alone.
enum class RamPages { kInStream, kMapped };
// Writes the stream of the image to `stream`. When any checksum is wrong it returns before the
// device state is written, so that the receiver cannot take the stream for complete.
Status load_ram_image(const std::string& uri, uint64_t ram_bytes, int stream, int patience_ms,
                      RamPages pages, RamProgress& progress);

}  // namespace hozon
