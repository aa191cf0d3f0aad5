#include "store/space.h"

#include <algorithm>

#include "base/result.h"
#include "store/mutants.h"

namespace hozon::store {
namespace {
constexpr uint64_t kGroupBits = format::kBitsPerBlock;
constexpr uint64_t kShortRunsPassed = 4096;
// From here on blocks should lie together: a disk reads 64 KiB in one piece as fast as a part of
// it.
constexpr uint64_t kLongRunBlocks = 16;
constexpr uint64_t kRunsLookedAt = 64;
}  // namespace

Space::Space(uint64_t total_blocks)
    : taken_(total_blocks),
      live_(total_blocks),
      unprepared_(total_blocks),
      replay_free_(total_blocks) {
  unprepared_.set_run({0, total_blocks});
  taken_.set_run({0, format::kFirstUsableBlock});
  live_.set_run({0, format::kFirstUsableBlock});  // keeps S3
}

void Space::touch(Run run) {
  for (uint64_t group = run.block / kGroupBits; group <= (run.block + run.count - 1) / kGroupBits;
       ++group)
    dirty_groups_.insert(group);
}

void Space::set_taken(Run run) {
  taken_.set_run(run);
  if (prepared() == 0) return;
  for (uint64_t block = run.block; block < run.block + run.count; ++block) unprepared_.set(block);
}

std::optional<Run> Space::find(uint64_t count_max) {
  std::optional<Run> found;
  if (count_max < kLongRunBlocks) {
    found = unprepared_.find_free(prepared_cursor_, count_max);
  } else if (prepared() >= count_max) {
    uint64_t from = prepared_cursor_;
    found = unprepared_.find_whole(from, count_max, kRunsLookedAt);
    if (!found) prepared_cursor_ = from < total() ? from : 0;
  }
  if (found) {
    prepared_cursor_ = found->block + found->count;
    return found;
  }
  found = taken_.find_free(cursor_, count_max);
  if (found) cursor_ = found->block + found->count;
  return found;
}

std::optional<Run> Space::take(uint64_t count_max) {
  const std::optional<Run> found = find(count_max);
  if (!found) return std::nullopt;
  set_taken(*found);
  in_flight_ += found->count;
  return found;
}

std::optional<Run> Space::take_unprepared(uint64_t count_max) {
  for (uint64_t tries = kRunsLookedAt; tries > 0; --tries) {
    const std::optional<Run> found = taken_.find_free(unprepared_cursor_, count_max);
    if (!found) return std::nullopt;
    const uint64_t end = found->block + found->count;
    Run run{found->block, 0};
    while (run.block < end && !unprepared_.test(run.block)) ++run.block;
    while (run.block + run.count < end && unprepared_.test(run.block + run.count)) ++run.count;
    unprepared_cursor_ = std::max(run.block + run.count, found->block + 1);
    if (run.count < std::min(count_max, kLongRunBlocks)) continue;
    taken_.set_run(run);
    in_flight_ += run.count;
    return run;
  }
  return std::nullopt;
}

std::optional<Run> Space::take_whole(uint64_t count) {
  if (whole_cursor_ >= total()) whole_cursor_ = 0;
  const std::optional<Run> found = taken_.find_whole(whole_cursor_, count, kShortRunsPassed);
  if (!found) return std::nullopt;
  set_taken(*found);
  in_flight_ += found->count;
  return found;
}

void Space::make_live(Run run) {
  live_.set_run(run);
  in_flight_ -= run.count;
  touch(run);
}

void Space::give_back(Run run) {
  taken_.clear_run(run);
  in_flight_ -= run.count;
}

void Space::give_back_prepared(Run run) {
  give_back(run);
  unprepared_.clear_run(run);
}

void Space::retire(Run run, uint64_t sequence, uint64_t generation) {
  live_.clear_run(run);
  touch(run);
  if (mutant(Mutant::kEarlyReuse)) {
    taken_.clear_run(run);
    unprepared_.clear_run(run);
    return;
  }
  pending_ += run.count;
  auto& queue = sequence != 0 ? by_sequence_ : by_generation_;
  if (!queue.empty()) {
    Pending& last = queue.back();
    if (last.sequence == sequence && last.generation == generation && last.reader == next_ticket_ &&
        last.run.block + last.run.count == run.block) {
      last.run.count += run.count;
      return;
    }
  }
  queue.push_back({run, sequence, generation, next_ticket_});
}

void Space::retire(Bitmap blocks, uint64_t generation) {
  live_.subtract(blocks);
  for (uint64_t group = 0; group < blocks.group_count(); ++group)
    if (blocks.set_count_of(group) > 0) dirty_groups_.insert(group);
  if (mutant(Mutant::kEarlyReuse)) {
    taken_.subtract(blocks);
    unprepared_.subtract(blocks);
    return;
  }
  pending_ += blocks.set_count();
  reclaimed_.push_back({std::move(blocks), generation, next_ticket_});
}

uint64_t Space::reader_began() {
  ended_.push_back(false);
  return next_ticket_++;
}

void Space::reader_ended(uint64_t ticket) {
  ended_[ticket - oldest_ticket_] = true;
  while (!ended_.empty() && ended_.front()) {
    ended_.pop_front();
    ++oldest_ticket_;
  }
}

void Space::set_durable_mark(uint64_t sequence) {
  durable_mark_ = std::max(durable_mark_, sequence);
}

void Space::set_durable_generation(uint64_t generation) {
  durable_generation_ = std::max(durable_generation_, generation);
}

bool Space::is_releasable(uint64_t sequence, uint64_t generation, uint64_t reader) const {
  return sequence <= durable_mark_ && generation <= durable_generation_ &&
         (reader <= oldest_ticket_ || mutant(Mutant::kIgnoredReaders));
}

void Space::free_pending(Run run, std::vector<Run>& freed) {
  taken_.clear_run(run);
  unprepared_.clear_run(run);  // what was live has been written
  pending_ -= run.count;
  freed.push_back(run);
}

bool Space::release_from(std::deque<Pending>& queue, std::vector<Run>& freed, uint64_t& left) {
  while (!queue.empty()) {
    Pending& entry = queue.front();
    if (!is_releasable(entry.sequence, entry.generation, entry.reader)) return false;
    if (left == 0) return true;
    const uint64_t count = std::min(entry.run.count, left);
    free_pending({entry.run.block, count}, freed);
    left -= count;
    entry.run = {entry.run.block + count, entry.run.count - count};
    if (entry.run.count == 0) queue.pop_front();
  }
  return false;
}

bool Space::release_reclaimed(std::vector<Run>& freed, uint64_t& left) {
  while (!reclaimed_.empty()) {
    Reclaimed& entry = reclaimed_.front();
    if (!is_releasable(0, entry.generation, entry.reader)) return false;
    for (; entry.group < entry.blocks.group_count(); ++entry.group) {
      const uint64_t count = entry.blocks.set_count_of(entry.group);
      if (count == 0) continue;
      if (left == 0) return true;
      entry.blocks.for_each_run_of(entry.group, nullptr,
                                   [&](Run run) { free_pending(run, freed); });
      left -= std::min(left, count);
    }
    reclaimed_.pop_front();
  }
  return false;
}

bool Space::release(std::vector<Run>& freed, uint64_t blocks_max) {
  uint64_t left = blocks_max;
  const bool more_of_guests = release_from(by_sequence_, freed, left);
  const bool more_of_metadata = release_from(by_generation_, freed, left);
  return release_reclaimed(freed, left) || more_of_guests || more_of_metadata;
}

void Space::begin_punch(Run run) {
  set_taken(run);
  pending_ += run.count;
}

void Space::end_punch(Run run) {
  taken_.clear_run(run);
  pending_ -= run.count;
}

void Space::replay_live(Run run) {
  for (uint64_t block = run.block; block < run.block + run.count; ++block) {
    taken_.set(block);
    HOZON_CHECK(live_.set(block));  // the caller has refused records that map live blocks
    replay_free_.clear(block);
  }
  touch(run);
}

void Space::replay_retire(Run run, bool under_mark) {
  live_.clear_run(run);
  for (uint64_t block = run.block; under_mark && block < run.block + run.count; ++block)
    replay_free_.set(block);
  touch(run);
}

void Space::repair_live(uint64_t block) {
  taken_.set(block);
  live_.set(block);
  touch({block, 1});
}

void Space::repair_free(uint64_t block) {
  taken_.clear_run({block, 1});
  live_.clear_run({block, 1});
  touch({block, 1});
}

void Space::end_replay(uint64_t generation) {
  // Recovery itself may be cut short and must then find what it needs again: the nodes of the old
  // checkpoint, and the data of every record that it verifies. These stay out of reach until a
  // checkpoint makes replay unnecessary. Data freed under the mark is not looked at again; were it
  // held back too, a nearly full pool would have no room for that checkpoint.
  replay_free_.for_each_run(nullptr, [this](Run run) { taken_.clear_run(run); });
  replay_free_ = Bitmap(total());
  taken_.for_each_run(&live_, [&](Run run) {
    pending_ += run.count;
    by_generation_.push_back({run, 0, generation, next_ticket_});
  });
}

bool Space::import_group(uint64_t group, std::span<const std::byte> bytes) {
  if (group == 0) {
    // S3: the two superblock bits were set by the constructor; the disk says the same or nothing.
    std::vector<std::byte> merged(bytes.begin(), bytes.end());
    merged[0] &= ~std::byte{3};
    const std::array<Bitmap*, 2> maps = {&taken_, &live_};
    for (Bitmap* map : maps) map->clear_run({0, format::kFirstUsableBlock});
    bool sound = true;
    for (Bitmap* map : maps) {
      sound = map->import_group(group, merged) && sound;
      map->set_run({0, format::kFirstUsableBlock});
    }
    return sound;
  }
  return taken_.import_group(group, bytes) && live_.import_group(group, bytes);
}

}  // namespace hozon::store
