#include "store/reservoir.h"

#include <algorithm>
#include <cstring>

#include "base/units.h"
#include "store/core.h"
#include "store/flusher.h"
#include "store/headroom.h"

namespace hozon::store {
namespace {

constexpr uint64_t kWantedBlocksMax = 64_MiB / kBlockSize;  // prepared ahead of need
constexpr uint64_t kRunBlocksMax = 1_MiB / kBlockSize;
constexpr uint64_t kKeptBlocksMax = 1_GiB / kBlockSize;  // what was freed and stays in the file
// Guests that write all the time reuse so much instead of growing into ever new space.
constexpr uint64_t kRetiredBlocksMax = 256_MiB / kBlockSize;
constexpr uint64_t kPauseNs = 10'000'000'000;

}  // namespace

Reservoir::Reservoir(PoolCore& core) : core_(core), wake_(core.executor) {}

uint64_t Reservoir::wanted() const { return std::min(kWantedBlocksMax, core_.space.total() / 64); }

uint64_t Reservoir::run_blocks() const { return std::min(kRunBlocksMax, wanted()); }

bool Reservoir::keeps_freed() const {
  return core_.space.prepared() <= std::min(kKeptBlocksMax, core_.space.total() / 16);
}

bool Reservoir::is_due() const {
  const uint64_t enough = is_filling_ ? wanted() : wanted() / 2;
  return core_.space.prepared() < enough && !core_.headroom->is_short() &&
         core_.free_for_guests() > 4 * run_blocks() && core_.executor.now_ns() >= not_before_ns_;
}

void Reservoir::note_taken() {
  if (is_due()) wake();
}

void Reservoir::note_retired(uint64_t count) {
  retired_ += count;
  if (retired_ >= kRetiredBlocksMax) wake();
}

Task<void> Reservoir::loop() {
  while (!core_.closing && core_.health) {
    if (retired_ >= kRetiredBlocksMax) {
      retired_ = 0;
      (void)co_await core_.flusher->flush_mark();
    } else if (is_due()) {
      is_filling_ = true;
      co_await prepare();
    } else {
      is_filling_ = false;
      co_await wake_;
    }
  }
}

Task<void> Reservoir::prepare() {
  const auto run = core_.space.take_unprepared(run_blocks());
  if (!run) {
    not_before_ns_ = core_.executor.now_ns() + kPauseNs;
    co_return;
  }
  if (zeros_.size() == 0) {
    zeros_ = AlignedBuffer(kRunBlocksMax * kBlockSize);
    std::memset(zeros_.data(), 0, zeros_.size());
  }
  const std::span<const std::byte> zeros = zeros_.span().first(run->count * kBlockSize);
  preparing_ = run->count;
  const int error = co_await core_.data.write(run->block * kBlockSize, zeros);
  preparing_ = 0;
  if (error == 0) {
    core_.space.give_back_prepared(*run);
  } else {
    core_.space.give_back(*run);
    not_before_ns_ = core_.executor.now_ns() + kPauseNs;
  }
  core_.space_freed.pulse();
}

}  // namespace hozon::store
