#include "store/journal.h"

#include <algorithm>
#include <cstring>

#include "base/bytes.h"
#include "base/units.h"
#include "store/mutants.h"

namespace hozon::store {
namespace {

constexpr uint64_t kPage = format::kBlockSize;
constexpr uint64_t kHeader = sizeof(format::FrameHeader);

}  // namespace

Journal::Journal(Executor& executor, Device& device, const format::PoolId& pool_id,
                 uint64_t ring_bytes)
    : executor_(executor),
      device_(device),
      pool_id_(pool_id),
      ring_bytes_(ring_bytes),
      written_(executor) {}

void Journal::start(uint64_t epoch, uint64_t offset, uint64_t sequence) {
  epoch_ = epoch;
  head_ = tail_ = offset;
  next_sequence_ = sequence;
  written_sequence_ = sequence - 1;
}

uint64_t Journal::frame_bytes_max() const {
  return std::min<uint64_t>(format::kFrameBytesMax, ring_bytes_ / 8);
}

bool Journal::has_room(uint64_t bytes) const {
  uint64_t waiting = 0;
  for (const OpenFrame& frame : open_) waiting += frame.bytes.size();
  // Worst case: each frame starts a page, and one of them leaves the end of the ring unused.
  const uint64_t overhead = (open_.size() + 2) * (kPage + kHeader) + frame_bytes_max();
  return head_ + waiting + bytes + overhead <= tail_ + ring_bytes_;
}

Journal::OpenFrame& Journal::frame_for(uint64_t bytes) {
  if (open_.empty() || open_.back().bytes.size() + bytes > frame_bytes_max()) {
    if (!open_.empty()) ++next_sequence_;
    open_.push_back({next_sequence_, 0, {}});
    format::reserve_frame(open_.back().bytes);
  }
  return open_.back();
}

uint64_t Journal::append(std::string_view records, uint32_t count) {
  OpenFrame& frame = frame_for(records.size());
  frame.bytes += records;
  frame.records += count;
  return frame.sequence;
}

uint64_t Journal::append_early(std::string_view record) {
  HOZON_CHECK(!early_);
  OpenFrame& frame = frame_for(record.size());
  early_ = Early{.sequence = frame.sequence, .offset = frame.bytes.size(), .frame = {}};
  return append(record, 1);
}

Status Journal::void_early() {
  HOZON_CHECK(early_.has_value());
  Early early = *std::exchange(early_, std::nullopt);
  if (!state_) return state_;
  for (OpenFrame& frame : open_)
    if (frame.sequence == early.sequence) {
      format::make_void(frame.bytes, early.offset);
      return {};
    }
  format::make_void(early.frame, early.offset);
  format::FrameHeader header;
  std::memcpy(&header, early.frame.data(), sizeof(header));
  format::seal_frame(early.frame, header);
  const int error = device_.write_now(early.place, std::as_bytes(std::span(early.frame)));
  if (error == 0) return {};
  die(std::move(errno_error(-error, "write the pool's journal").error()));
  return state_;
}

void Journal::append_empty() { frame_for(0); }

Status Journal::write_out() {
  if (!state_) return state_;
  if (open_.empty()) return {};
  for (OpenFrame& frame : open_) {
    const Status status = write_frame(frame);
    if (!status) {
      die(status.error());
      return state_;
    }
    written_sequence_ = frame.sequence;
    written_mark_ = mark_;
  }
  next_sequence_ = written_sequence_ + 1;
  open_.clear();
  written_.pulse();
  return {};
}

Status Journal::write_frame(OpenFrame& frame) {
  const uint64_t size = frame.bytes.size();
  if (ring_offset(head_) + size > ring_bytes_) head_ = round_up(head_, ring_bytes_);
  HOZON_CHECK(head_ + size <= tail_ + ring_bytes_);  // keeps J2
  format::FrameHeader header{};
  header.record_count = frame.records;
  header.epoch = epoch_;
  header.sequence = frame.sequence;
  header.mark = mark_;
  std::memcpy(header.pool_tag.data(), pool_id_.data(), header.pool_tag.size());
  format::seal_frame(frame.bytes, header);
  const uint64_t place = format::kJournalHeaderBytes + ring_offset(head_);
  const bool is_early = early_ && early_->sequence == frame.sequence;
  if (is_early) {
    early_->frame = frame.bytes;
    early_->place = place;
  }
  // Of the page that it ends in nothing else is in use yet, unless the frame began in it: the rest
  // is zeros, since the kernel would have to read a page of which only a part is written.
  if (const uint64_t end = head_ + size; end > round_up(head_, kPage))
    frame.bytes.resize(round_up(end, kPage) - head_);
  const int error = device_.write_now(place, std::as_bytes(std::span(frame.bytes)));
  if (is_early) device_.hasten(place, frame.bytes.size());
  if (error != 0 && !mutant(Mutant::kIgnoredJournalError))
    return errno_error(-error, "write the pool's journal");
  head_ += size;
  return {};
}

Task<Status> Journal::wait_written(uint64_t sequence) {
  while (state_ && written_sequence_ < sequence) co_await written_;
  co_return state_;
}

void Journal::begin_sync() {
  if (!mutant(Mutant::kSharedJournalPage)) head_ = round_up(head_, kPage);
}

void Journal::die(const Error& reason) {
  if (state_) state_ = std::unexpected(reason);
  written_.pulse();
}

namespace {

// Frames of one whole ring that is in memory.
class Scanner {
 public:
  Scanner(std::span<const std::byte> ring, const format::PoolId& pool_id, uint64_t epoch)
      : ring_(ring), pool_id_(pool_id), epoch_(epoch) {}

  bool accept(uint64_t offset, uint64_t sequence, Journal::FoundFrame& found) const {
    if (offset >= ring_.size()) return false;
    auto header = format::decode_frame(ring_.subspan(offset));
    if (!header || header->sequence != sequence) return false;
    if (header->epoch != epoch_ && !mutant(Mutant::kStaleEpoch)) return false;
    if (std::memcmp(header->pool_tag.data(), pool_id_.data(), header->pool_tag.size()) != 0)
      return false;
    auto records = format::decode_records(ring_.subspan(offset, header->length));
    if (!records) return false;
    found.header = *header;
    found.records = std::move(*records);
    return true;
  }

  // Whether some frame of this epoch says that the frame `sequence` was durable.
  bool is_confirmed(uint64_t sequence) const {
    for (uint64_t at = 0; at + sizeof(format::FrameHeader) <= ring_.size(); at += kFrameGrain) {
      format::FrameHeader header;
      std::memcpy(&header, ring_.data() + at, sizeof(header));
      const bool is_candidate =
          header.magic == format::kFrameMagic && header.epoch == epoch_ &&
          header.sequence > sequence && header.mark >= sequence &&
          std::memcmp(header.pool_tag.data(), pool_id_.data(), header.pool_tag.size()) == 0;
      if (is_candidate && format::decode_frame(ring_.subspan(at))) return true;
    }
    return false;
  }

 private:
  static constexpr uint64_t kFrameGrain = 8;  // lengths are multiples of it, so places are too
  std::span<const std::byte> ring_;
  const format::PoolId& pool_id_;
  uint64_t epoch_;
};

}  // namespace

Task<Result<Journal::Scan>> Journal::scan(Device& device, const format::PoolId& pool_id,
                                          uint64_t ring_bytes, uint64_t epoch, uint64_t offset,
                                          uint64_t sequence) {
  AlignedBuffer ring(ring_bytes);
  const int error = co_await device.read(format::kJournalHeaderBytes, ring.span());
  if (error != 0) co_return errno_error(-error, "read the pool's journal");
  const Scanner scanner(ring.span(), pool_id, epoch);
  Scan scan;
  scan.end_offset = offset;
  scan.next_sequence = sequence;
  while (true) {
    FoundFrame found;
    uint64_t at = scan.end_offset;
    bool accepted = scanner.accept(at, scan.next_sequence, found);
    if (!accepted) {
      at = round_up(scan.end_offset, kPage);
      accepted = scanner.accept(at, scan.next_sequence, found);
    }
    if (!accepted) {
      at = 0;
      accepted = scanner.accept(at, scan.next_sequence, found);
    }
    if (!accepted) break;
    scan.end_offset = at + found.header.length;
    ++scan.next_sequence;
    scan.frames.push_back(std::move(found));
  }
  // A power cut takes only what was not durable. What was, and is not there, has been damaged.
  if (scanner.is_confirmed(scan.next_sequence))
    co_return make_error(Code::kCorruption,
                         "the pool's journal is damaged: frame {} (near byte {} of the file) was "
                         "durable and cannot be read",
                         scan.next_sequence, format::kJournalHeaderBytes + scan.end_offset);
  co_return scan;
}

}  // namespace hozon::store
