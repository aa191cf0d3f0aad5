#include "store/flusher.h"

#include <algorithm>

#include "store/core.h"
#include "store/mutants.h"

namespace hozon::store {
namespace {

Task<void> sync_data(PoolCore& core) { (void)co_await core.sync_data(); }

Task<void> sync_journal(PoolCore& core) { (void)co_await core.sync_journal(); }

}  // namespace

Flusher::Flusher(PoolCore& core) : core_(core), done_(core.executor) {}

Task<Status> Flusher::flush() {
  const uint64_t target = core_.journal.newest_sequence();
  HOZON_CO_CHECK(co_await core_.journal.wait_written(target));
  if (mutant(Mutant::kFlushJoinsRunning) && running_) {
    co_await done_;
    co_return core_.health;
  }
  while (core_.health && durable_sequence_ < target) {
    if (running_)
      co_await done_;
    else
      co_await run();
  }
  if (!core_.health) co_return core_.health;
  co_return Status{};
}

Task<Status> Flusher::guest_flush() {
  single_writes_ = writes_ == 1 ? single_writes_ + 1 : 0;
  writes_ = 0;
  return flush();
}

void Flusher::note_write() {
  ++writes_;
  const bool ahead = writes_ == 1 && has_habit() && !running_;
  if (ahead && core_.health && !core_.closing) core_.background.start(run());
}

bool Flusher::has_habit() const { return single_writes_ >= core_.options.flush_habit; }

bool Flusher::expects_flush() const { return has_habit() && writes_ == 0 && !running_; }

Task<void> Flusher::run() {
  running_ = true;
  while (core_.early.is_running() && !mutant(Mutant::kEarlyMarked))
    co_await core_.early.none();  // keeps W2
  const uint64_t covered = core_.journal.written_sequence();
  const uint64_t covered_mark = core_.journal.written_mark();
  core_.journal.begin_sync();
  Group both(core_.executor);
  if (!mutant(Mutant::kForgottenDataSync)) both.start(sync_data(core_));
  if (!core_.has_one_file() && !mutant(Mutant::kForgottenJournalSync))
    both.start(sync_journal(core_));
  co_await both.wait();
  running_ = false;
  if (core_.health) {
    durable_sequence_ = std::max(durable_sequence_, covered);
    core_.journal.set_mark(mutant(Mutant::kMarkTooHigh) ? core_.journal.written_sequence()
                                                        : covered);
    core_.space.set_durable_mark(mutant(Mutant::kReuseBeforeMark) ? covered : covered_mark);
    core_.release_space();
  }
  done_.pulse();
}

Task<Status> Flusher::flush_mark() {
  HOZON_CO_CHECK(co_await flush());
  if (core_.journal.written_mark() < core_.journal.mark()) {
    HOZON_CO_CHECK(co_await core_.wait_journal_room(0));
    core_.journal.append_empty();
    const uint64_t sequence = core_.journal.open_sequence();
    HOZON_CO_CHECK(co_await core_.journal.wait_written(sequence));
  }
  co_return co_await flush();
}

void Flusher::checkpointed(uint64_t sequence) {
  durable_sequence_ = std::max(durable_sequence_, sequence);
  core_.journal.set_mark(sequence);
  core_.space.set_durable_mark(sequence);
}

}  // namespace hozon::store
