#include "qemu/ram_store.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <deque>

#include "base/bytes.h"
#include "base/crc32c.h"
#include "qemu/files.h"
#include "qemu/stream_writer.h"

namespace hozon {
namespace {

constexpr size_t kReadAhead = 12;  // requests of kNbdRequestBytesMax
constexpr size_t kRecordShare =
    256;  // a page's record is larger than the page by less than this part

Status check_volume_size(const NbdVolume& volume, uint64_t ram_bytes) {
  const uint64_t needed = ram_header_offset(ram_bytes) + kRamTailBytes;
  if (volume.size_bytes() >= needed) return {};
  return make_error(
      Code::kInvalidArgument, "the memory volume has {}, and {} of RAM need {}; make a larger one",
      format_bytes(volume.size_bytes()), format_bytes(ram_bytes), format_bytes(needed));
}

}  // namespace

RamImageWriter::RamImageWriter(std::unique_ptr<NbdVolume> volume, uint64_t ram_bytes,
                               RamProgress& progress)
    : volume_(std::move(volume)),
      ram_bytes_(ram_bytes),
      progress_(progress),
      crc_(ram_bytes / kPageBytes),
      present_(ram_bytes / kPageBytes),
      may_hold_old_(ram_bytes / kPageBytes) {}

Result<std::unique_ptr<RamImageWriter>> RamImageWriter::open(const std::string& uri,
                                                             uint64_t ram_bytes, int patience_ms,
                                                             RamProgress& progress) {
  auto volume = HOZON_TRY(NbdVolume::open(uri, patience_ms));
  if (Status size = check_volume_size(*volume, ram_bytes); !size)
    return std::unexpected(size.error());
  std::unique_ptr<RamImageWriter> writer(
      new RamImageWriter(std::move(volume), ram_bytes, progress));
  if (Status ready = writer->invalidate(); !ready) return std::unexpected(ready.error());
  return writer;
}

Status RamImageWriter::invalidate() {
  RamImageHeader header;
  const uint64_t at = ram_header_offset(ram_bytes_);
  if (Status read = volume_->read(at, writable_bytes_of(header)); !read) return read;
  if (!is_all_zeros(bytes_of(header))) {
    if (Status zeroed = volume_->zero(at, kRamHeaderBytes); !zeroed) return zeroed;
    if (Status flushed = volume_->flush(); !flushed) return flushed;  // I1
  }
  for (const NbdVolume::Extent& extent : HOZON_TRY(volume_->data_extents(0, ram_bytes_))) {
    const uint64_t end = divide_up(extent.offset + extent.length, kPageBytes);
    for (uint64_t page = extent.offset / kPageBytes; page < end; ++page) may_hold_old_[page] = true;
  }
  return {};
}

// I2: a page that comes again waits until its earlier content has been written.
Status RamImageWriter::note_page(uint64_t page_number) {
  if (progress_.first_page_ns == 0) progress_.first_page_ns = monotonic_ns();
  ++progress_.pages_seen;
  if (!present_[page_number]) return {};
  if (Status sent = send_run(); !sent) return sent;
  may_hold_old_[page_number] = true;
  return volume_->drain();
}

Status RamImageWriter::put_zero_page(uint64_t offset) {
  const uint64_t number = offset / kPageBytes;
  if (Status noted = note_page(number); !noted) return noted;
  ++progress_.pages_zero;
  present_[number] = false;
  return {};
}

Status RamImageWriter::put_page(uint64_t offset, std::span<const std::byte> page) {
  if (is_all_zeros(page)) return put_zero_page(offset);
  const uint64_t number = offset / kPageBytes;
  if (Status noted = note_page(number); !noted) return noted;
  present_[number] = true;
  crc_[number] = crc32c(page);
  const bool continues = !run_.empty() && run_offset_ + run_.size() == offset;
  if (!continues || run_.size() == kNbdRequestBytesMax) {
    if (Status sent = send_run(); !sent) return sent;
    run_offset_ = offset;
    run_.reserve(kNbdRequestBytesMax);
  }
  run_.insert(run_.end(), page.begin(), page.end());
  return {};
}

Status RamImageWriter::send_run() {
  if (run_.empty()) return {};
  auto request = std::make_shared<NbdRequest>();
  request->offset = run_offset_;
  bool compare = false;
  for (uint64_t at = 0; at < run_.size(); at += kPageBytes)
    compare = compare || may_hold_old_[(run_offset_ + at) / kPageBytes];
  if (compare) {
    request->kind = NbdRequest::Kind::kRead;
    request->data.resize(run_.size());
    request->then = [this, run = std::exchange(run_, {})](NbdRequest& old) {
      return send_changed(run, old);
    };
  } else {
    request->kind = NbdRequest::Kind::kWrite;
    progress_.pages_written += run_.size() / kPageBytes;
    request->data = std::exchange(run_, {});
  }
  return volume_->submit(std::move(request));
}

// Writes only the pages that differ, so that the volume goes on sharing the others with older
// images.
Status RamImageWriter::send_changed(const std::vector<std::byte>& run, const NbdRequest& old) {
  const auto differs = [&](size_t at) {
    return std::memcmp(run.data() + at, old.data.data() + at, kPageBytes) != 0;
  };
  for (size_t at = 0; at < run.size();) {
    const size_t start = at;
    while (at < run.size() && differs(at)) at += kPageBytes;
    if (at == start) {
      at += kPageBytes;
      continue;
    }
    auto request = std::make_shared<NbdRequest>();
    request->kind = NbdRequest::Kind::kWrite;
    request->offset = old.offset + start;
    request->data.assign(run.begin() + static_cast<ptrdiff_t>(start),
                         run.begin() + static_cast<ptrdiff_t>(at));
    progress_.pages_written += (at - start) / kPageBytes;
    if (Status submitted = volume_->submit(std::move(request)); !submitted) return submitted;
  }
  return {};
}

Status RamImageWriter::zero_leftovers() {
  const uint64_t pages = present_.size();
  for (uint64_t page = 0; page < pages;) {
    if (present_[page] || !may_hold_old_[page]) {
      ++page;
      continue;
    }
    const uint64_t first = page;
    while (page < pages && !present_[page] && may_hold_old_[page]) ++page;
    if (Status zeroed = volume_->zero(first * kPageBytes, (page - first) * kPageBytes); !zeroed)
      return zeroed;
  }
  const uint64_t tail = ram_header_offset(ram_bytes_);
  return volume_->zero(tail, kRamTailBytes);
}

RamImageInfo RamImageWriter::describe(const ThinStream& thin) const {
  PagesChecksum pages;
  for (uint64_t page = 0; page < present_.size(); ++page)
    if (present_[page]) pages.add(page, crc_[page]);
  RamImageInfo info;
  info.ram_bytes = ram_bytes_;
  info.thin_bytes = thin.bytes.size();
  info.insert_offset = thin.insert_offset;
  info.page_count = pages.page_count();
  info.thin_crc32c = crc32c(thin.bytes);
  info.pages_crc32c = pages.value();
  info.ram_section = thin.ram_section;
  info.machine_type = thin.machine_type;
  return info;
}

Status RamImageWriter::finish(const ThinStream& thin) {
  progress_.thin_bytes = thin.bytes.size();
  if (Status sent = send_run(); !sent) return sent;
  if (Status drained = volume_->drain(); !drained) return drained;
  if (Status zeroed = zero_leftovers(); !zeroed) return zeroed;
  if (Status drained = volume_->drain(); !drained) return drained;
  if (Status wrote = volume_->write(ram_thin_offset(ram_bytes_), thin.bytes); !wrote) return wrote;
  if (Status flushed = volume_->flush(); !flushed) return flushed;
  const RamImageHeader header = encode_ram_header(describe(thin));
  if (Status wrote = volume_->write(ram_header_offset(ram_bytes_), bytes_of(header)); !wrote)
    return wrote;
  return volume_->flush();
}

Result<RamImageInfo> read_ram_image_info(NbdVolume& volume, uint64_t ram_bytes) {
  if (Status size = check_volume_size(volume, ram_bytes); !size)
    return std::unexpected(size.error());
  RamImageHeader header;
  if (Status read = volume.read(ram_header_offset(ram_bytes), writable_bytes_of(header)); !read)
    return std::unexpected(read.error());
  return decode_ram_header(header, ram_bytes);
}

namespace {

// Reads the pages ahead, in order, and turns them into records.
class PageLoader {
 public:
  PageLoader(NbdVolume& volume, const RamImageInfo& info, StreamWriter& stream,
             RamProgress& progress)
      : volume_(volume), stream_(stream), progress_(progress), records_(info.ram_section) {}

  Status run(uint64_t ram_bytes) {
    for (const NbdVolume::Extent& extent : HOZON_TRY(volume_.data_extents(0, ram_bytes))) {
      // Whole pages; an extent may begin or end inside one, which then is read with it.
      uint64_t at = std::max(extent.offset / kPageBytes * kPageBytes, covered_);
      const uint64_t end = round_up(extent.offset + extent.length, kPageBytes);
      for (; at < end; at = covered_) {
        covered_ = std::min(end, at + kNbdRequestBytesMax);
        if (Status asked = ask(at, covered_ - at); !asked) return asked;
      }
    }
    while (!window_.empty())
      if (Status sent = send_oldest(); !sent) return sent;
    records_.end();
    return stream_.put(std::move(records_.bytes()));
  }
  const PagesChecksum& checksum() const { return checksum_; }

 private:
  Status ask(uint64_t offset, uint64_t length) {
    auto request = std::make_shared<NbdRequest>();
    request->offset = offset;
    request->data.resize(length);
    window_.push_back(request);
    if (Status submitted = volume_.submit(std::move(request)); !submitted) return submitted;
    return window_.size() < kReadAhead ? Status{} : send_oldest();
  }
  Status send_oldest() {
    const NbdRequestPtr request = window_.front();
    window_.pop_front();
    if (Status read = volume_.wait_for(request); !read) return read;
    const std::span<const std::byte> data(request->data);
    records_.bytes().reserve(data.size() + data.size() / kRecordShare);
    for (size_t at = 0; at < data.size(); at += kPageBytes) {
      const auto page = data.subspan(at, kPageBytes);
      if (is_all_zeros(page)) continue;  // fresh RAM is zero
      if (progress_.first_page_ns == 0) progress_.first_page_ns = monotonic_ns();
      ++progress_.pages_seen;
      checksum_.add((request->offset + at) / kPageBytes, crc32c(page));
      records_.add(request->offset + at, page);
    }
    return stream_.put(std::exchange(records_.bytes(), {}));
  }

  NbdVolume& volume_;
  StreamWriter& stream_;
  RamProgress& progress_;
  PageRecords records_;
  PagesChecksum checksum_;
  std::deque<NbdRequestPtr> window_;
  uint64_t covered_ = 0;
};

}  // namespace

namespace {

Status load_pages(NbdVolume& volume, const RamImageInfo& info, StreamWriter& stream,
                  RamProgress& progress) {
  PageLoader pages(volume, info, stream, progress);
  if (Status loaded = pages.run(info.ram_bytes); !loaded) return loaded;
  if (pages.checksum().page_count() == info.page_count &&
      pages.checksum().value() == info.pages_crc32c)
    return {};
  return make_error(
      Code::kCorruption,
      "the pages in the memory image are damaged ({} found, {} saved); nothing of it runs",
      pages.checksum().page_count(), info.page_count);
}

}  // namespace

Status load_ram_image(const std::string& uri, uint64_t ram_bytes, int stream, int patience_ms,
                      RamPages pages, RamProgress& progress) {
  const auto volume = HOZON_TRY(NbdVolume::open(uri, patience_ms));
  const RamImageInfo info = HOZON_TRY(read_ram_image_info(*volume, ram_bytes));
  std::vector<std::byte> thin(info.thin_bytes);
  if (Status read = volume->read(ram_thin_offset(ram_bytes), thin); !read) return read;
  if (crc32c(thin) != info.thin_crc32c)
    return make_error(Code::kCorruption, "the device state in the memory image is damaged");
  progress.thin_bytes = thin.size();
  StreamWriter writer(stream, progress.stream_bytes);
  const auto tail_at = thin.begin() + static_cast<ptrdiff_t>(info.insert_offset);
  if (Status written = writer.put({thin.begin(), tail_at}); !written) return written;
  if (pages == RamPages::kInStream)
    if (Status loaded = load_pages(*volume, info, writer, progress); !loaded) return loaded;
  if (Status written = writer.put({tail_at, thin.end()}); !written) return written;
  return writer.finish();
}

}  // namespace hozon
