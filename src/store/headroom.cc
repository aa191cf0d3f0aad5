#include "store/headroom.h"

#include <cerrno>

#include "base/log.h"
#include "store/core.h"
#include "store/flusher.h"

namespace hozon::store {
namespace {

constexpr uint64_t kLookAgainNs = 200'000'000;
// Of one hole; while it is being made these blocks are nobody's.
constexpr uint64_t kHoleBlocksMax = 1024;
constexpr uint64_t kHoleBlocksSmall = 16;

}  // namespace

Headroom::Headroom(PoolCore& core) : core_(core), changed_(core.executor) {
  // An earlier opener used the reserve up and ended before it could be made whole again.
  short_ = core_.data.is_reserve_used();
}

bool Headroom::is_ending() const { return core_.closing || !core_.health; }

void Headroom::begin_shortage() {
  if (short_) return;
  short_ = true;
  log_warning("the filesystem below the pool is full: guest writes wait until it has room");
  wake();
}

void Headroom::refused() { begin_shortage(); }

Task<void> Headroom::wait() {
  ++core_.parked_writes;
  if (core_.parked_writes == 1) core_.notify();
  while (short_ && !is_ending()) co_await changed_;
  --core_.parked_writes;
  if (core_.parked_writes == 0) core_.notify();
}

Task<int> Headroom::write(uint64_t offset, std::span<const std::byte> from) {
  int error = co_await core_.data.write(offset, from);
  if (error != -ENOSPC) co_return error;
  ++metadata_waiting_;  // also while it tries again: H2
  while (error == -ENOSPC) {
    begin_shortage();
    if (!core_.data.release_reserve()) {
      if (is_ending()) break;
      co_await give_back_free_blocks();
      co_await core_.executor.sleep(kLookAgainNs);
    }
    error = co_await core_.data.write(offset, from);
  }
  --metadata_waiting_;
  co_return error;
}

// A device without a reserve says yes to renewing it, whatever room there is.
bool Headroom::is_over() { return metadata_waiting_ == 0 && core_.data.renew_reserve() == 0; }

Task<void> Headroom::give_back_free_blocks() {
  if (giving_back_) co_return;
  giving_back_ = true;
  uint64_t next = 0;
  while (next < core_.space.total() && !is_ending()) {
    const uint64_t most = core_.free_for_guests() > kHoleBlocksMax ? kHoleBlocksMax
                          : core_.has_room_for_nodes()             ? kHoleBlocksSmall
                                                                   : 0;
    if (most == 0) break;
    const std::optional<Run> run = core_.space.find_free(next, most);
    if (!run || run->block < next) break;  // it begins again at the front
    next = run->block + run->count;
    core_.space.begin_punch(*run);
    co_await core_.punch(*run);
  }
  giving_back_ = false;
}

Task<void> Headroom::loop() {
  while (!is_ending()) {
    if (!short_) {
      co_await changed_;
      continue;
    }
    // What guests freed may only need to become durable.
    (void)co_await core_.flusher->flush_mark();
    co_await give_back_free_blocks();
    co_await core_.executor.sleep(kLookAgainNs);
    if (is_ending() || !is_over()) continue;
    short_ = false;
    log_info("the filesystem below the pool has room again");
    changed_.pulse();
  }
}

}  // namespace hozon::store
