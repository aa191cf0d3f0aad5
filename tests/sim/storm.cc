// The volume `base` stays and is written completely before each rest, so that all rests have the
// same number of blocks, map nodes and records. Only its blocks differ, and their places.

#include "storm.h"

#include <algorithm>

#include "base/units.h"
#include "io_memory.h"

namespace hozon::sim {
namespace {

constexpr uint64_t kDataBytes = 16_MiB;
constexpr uint64_t kJournalBytes = 512_KiB;
constexpr size_t kVolumesMost = 5;
constexpr size_t kPointsMost = 6;  // of a volume
constexpr uint64_t kPointsAtFirst = 200;
const std::string kBase = "base";

template <typename T>
Task<Status> status_of(Task<Result<T>> task) {
  const Result<T> result = co_await std::move(task);
  co_return result ? Status() : Status(std::unexpected(result.error()));
}

}  // namespace

Storm::Storm(uint64_t seed)
    : random_(seed),
      power_(std::make_unique<SimPower>(kDataBytes, kJournalBytes, SimPower::Layout::kOneDisk)) {}

std::string Storm::does(Task<Status> task, std::string_view what) {
  Status status;
  std::string wrong = session_->run(std::move(task), status, what);
  if (wrong.empty() && !status) wrong = fmt::format("{}: {}", what, status.error().what);
  return wrong;
}

template <typename T>
std::string Storm::does(Task<Result<T>> task, std::string_view what) {
  return does(status_of(std::move(task)), what);
}

std::string Storm::begin() {
  session_ = std::make_unique<Session>(*power_, random_.next());
  std::string wrong = session_->create();
  if (wrong.empty()) wrong = session_->open({});
  if (wrong.empty()) wrong = does(pool().create_volume(kBase, kBlocks * kPageSize), "create");
  volumes_[kBase].head = add_state({});
  if (wrong.empty()) wrong = write(kBase, 0, kBlocks);
  if (wrong.empty()) wrong = stretch_catalog();
  if (wrong.empty()) wrong = compare_at_rest();
  return wrong;
}

// The catalog never becomes smaller: it gets its largest size before anything is compared.
std::string Storm::stretch_catalog() {
  std::string wrong;
  for (uint64_t i = 0; i < kPointsAtFirst && wrong.empty(); ++i)
    wrong = does(pool().snapshot({kBase}, fmt::format("s{}", i)), "snapshot");
  for (uint64_t i = 0; i < kPointsAtFirst && wrong.empty(); ++i)
    wrong = does(pool().delete_point(kBase, fmt::format("s{}", i)), "delete point");
  return wrong;
}

std::string Storm::cycle() {
  std::string wrong;
  for (uint64_t left = random_.between(10, 40); left > 0 && wrong.empty(); --left) wrong = one();
  if (wrong.empty()) wrong = compare();
  if (wrong.empty() && random_.chance(1, 4)) wrong = reopen();
  if (wrong.empty()) wrong = wind_down();
  if (wrong.empty()) wrong = compare_at_rest();
  if (wrong.empty()) ++counters_.cycles;
  return wrong.empty() ? "" : fmt::format("cycle {}: {}", counters_.cycles + 1, wrong);
}

// --- one operation on pool and history ---

const std::string& Storm::any_volume() {
  return std::next(volumes_.begin(), static_cast<long>(random_.below(volumes_.size())))->first;
}

std::string Storm::one() {
  const std::string volume = any_volume();
  const auto& points = volumes_.at(volume).points;
  const uint64_t dice = random_.below(100);
  if (dice < 35) {
    const uint64_t first = random_.below(kBlocks);
    return write(volume, first, random_.between(1, std::min<uint64_t>(kBlocks - first, 24)));
  }
  if (dice < 42) return discard(volume);
  if (dice < 60) return snapshot();
  if (dice < 72) return clone();
  if (dice < 82) return return_to();
  if (dice < 86) return create_volume();
  if (dice < 90) return volume == kBase ? "" : delete_volume(volume);
  if (points.empty()) return "";
  const auto chosen = std::next(points.begin(), static_cast<long>(random_.below(points.size())));
  return delete_point(volume, std::string(chosen->first));
}

std::string Storm::create_volume() {
  if (volumes_.size() >= kVolumesMost) return "";
  const std::string name = new_name('v');
  std::string wrong = does(pool().create_volume(name, kBlocks * kPageSize), "create");
  volumes_[name].head = add_state({});
  return wrong;
}

std::string Storm::write(const std::string& volume, uint64_t first, uint64_t count) {
  ++counters_.writes;
  State& head = states_.at(volumes_.at(volume).head);
  for (uint64_t i = first; i < first + count; ++i) head.blocks[i] = next_block_++;
  const IoMemory memory(count * kPageSize, true);
  std::ranges::fill(memory.span(), std::byte(1 + next_block_ % 255));
  return does(pool().write(*pool().target(volume), first * kPageSize, memory.span(), false),
              "write");
}

std::string Storm::discard(const std::string& volume) {
  ++counters_.discards;
  const uint64_t first = random_.below(kBlocks);
  const uint64_t count = random_.between(1, kBlocks - first);
  State& head = states_.at(volumes_.at(volume).head);
  for (uint64_t i = first; i < first + count; ++i) head.blocks[i] = 0;
  return does(pool().discard(*pool().target(volume), first * kPageSize, count * kPageSize, false),
              "discard");
}

std::string Storm::snapshot() {
  std::vector<std::string> names;
  for (auto& [name, volume] : volumes_)
    if (volume.points.size() < kPointsMost && random_.chance(1, 2)) names.push_back(name);
  if (names.empty()) return "";
  ++counters_.snapshots;
  const std::string point = new_name('p');
  for (const std::string& name : names) {
    Volume& volume = volumes_.at(name);
    volume.points[point] = freeze(volume, false);
  }
  return does(pool().snapshot(names, point), "snapshot");
}

std::string Storm::clone() {
  if (volumes_.size() >= kVolumesMost) return "";
  ++counters_.clones;
  const std::string source = any_volume(), name = new_name('c');
  Volume& from = volumes_.at(source);
  std::string point;
  uint64_t origin = 0;
  if (from.points.empty() || random_.chance(1, 3)) {
    origin = freeze(from, true);
  } else {
    const auto chosen =
        std::next(from.points.begin(), static_cast<long>(random_.below(from.points.size())));
    point = chosen->first;
    origin = chosen->second;
  }
  volumes_[name].head = add_state({origin, states_.at(origin).blocks, false});
  return does(pool().clone(source, point, name), "clone");
}

std::string Storm::return_to() {
  const std::string name = any_volume();
  Volume& volume = volumes_.at(name);
  if (volume.points.empty()) return "";
  ++counters_.returns;
  const auto chosen =
      std::next(volume.points.begin(), static_cast<long>(random_.below(volume.points.size())));
  const std::string point = chosen->first;
  const uint64_t target = chosen->second, left = volume.head;
  const bool keep = volume.points.size() < kPointsMost && random_.chance(1, 2);
  const std::string keep_name = keep ? new_name('k') : "";
  volume.head = add_state({target, states_.at(target).blocks, false});
  if (keep)
    volume.points[keep_name] = left;
  else
    remove_state(left);
  return does(pool().return_to({{name, name, point}}, keep_name), "return");
}

std::string Storm::delete_point(const std::string& volume, const std::string& point) {
  ++counters_.deletes;
  Volume& owner = volumes_.at(volume);
  remove_state(owner.points.at(point));
  owner.points.erase(point);
  return does(pool().delete_point(volume, point), "delete point");
}

std::string Storm::delete_volume(const std::string& volume) {
  ++counters_.deletes;
  const Volume gone = volumes_.at(volume);
  volumes_.erase(volume);
  remove_state(gone.head);
  for (const auto& [name, id] : gone.points) remove_state(id);
  return does(pool().delete_volume(volume, true), "delete volume");
}

// Removes all but `base`, in any order, while `base` is written to.
std::string Storm::wind_down() {
  std::string wrong;
  while (wrong.empty()) {
    std::vector<std::pair<std::string, std::string>> doomed;  // volume, point or nothing
    for (const auto& [name, volume] : volumes_) {
      if (name != kBase) doomed.emplace_back(name, "");
      for (const auto& [point, id] : volume.points) doomed.emplace_back(name, point);
    }
    if (doomed.empty()) break;
    const auto [volume, point] = random_.pick(doomed);
    wrong = point.empty() ? delete_volume(volume) : delete_point(volume, point);
    if (wrong.empty() && random_.chance(1, 3)) wrong = write(kBase, random_.below(kBlocks), 1);
  }
  return wrong.empty() ? write(kBase, 0, kBlocks) : wrong;
}

std::string Storm::reopen() {
  std::string wrong;
  if (random_.chance(1, 2)) {
    ++counters_.reopened;
    wrong = session_->close();
  } else {
    ++counters_.killed;
    auto left = power_->fork({.kind = CrashKind::kKill, .choice = Fate::Choice::kAll});
    wrong = session_->close();  // nobody listens: it ends the coroutines
    session_.reset();
    power_ = std::move(left);
  }
  if (!wrong.empty()) return wrong;
  session_ = std::make_unique<Session>(*power_, random_.next());
  return session_->open({});
}

// --- the history ---

uint64_t Storm::add_state(State state) {
  states_[next_state_] = std::move(state);
  return next_state_++;
}

uint64_t Storm::freeze(Volume& volume, bool fork) {
  const uint64_t frozen = volume.head;
  states_.at(frozen).fork = fork;
  volume.head = add_state({frozen, states_.at(frozen).blocks, false});
  return frozen;
}

std::vector<uint64_t> Storm::children(uint64_t id) const {
  std::vector<uint64_t> found;
  for (const auto& [other, state] : states_)
    if (state.parent == id) found.push_back(other);
  return found;
}

// It becomes a fork while two branches come from it, else it leaves the tree.
void Storm::remove_state(uint64_t id) {
  const std::vector<uint64_t> below = children(id);
  if (below.size() >= 2) {
    states_.at(id).fork = true;
    return;
  }
  const uint64_t parent = states_.at(id).parent;
  states_.erase(id);
  for (const uint64_t child : below) states_.at(child).parent = parent;
  if (parent != 0 && states_.at(parent).fork) remove_state(parent);
}

uint64_t Storm::distinct_blocks(bool with_forks) const {
  std::set<uint64_t> numbers;
  for (const auto& [id, state] : states_)
    if (with_forks || !state.fork) numbers.insert(state.blocks.begin(), state.blocks.end());
  numbers.erase(0);
  return numbers.size();
}

bool Storm::has_forks() const {
  return std::ranges::any_of(states_, [](const auto& entry) { return entry.second.fork; });
}

// --- comparing ---

// All that is free is free.
std::string Storm::settle(store::CheckReport& report) {
  std::string wrong = does(pool().drain_reclaim(), "drain");
  for (int i = 0; i < 2 && wrong.empty(); ++i) wrong = does(pool().checkpoint(), "checkpoint");
  Result<store::CheckReport> found;
  if (wrong.empty()) wrong = session_->run(pool().check(false), found, "check");
  if (!wrong.empty()) return wrong;
  if (!found) return "check: " + found.error().what;
  report = *std::move(found);
  if (!report.errors.empty()) return "check: " + report.errors.front();
  if (report.lost_blocks != 0) return fmt::format("{} blocks are lost", report.lost_blocks);
  const store::PoolStats stats = pool().stats();
  if (stats.reclaiming != 0 || stats.in_flight_bytes != stats.preparing_bytes)
    return "something goes on at rest";
  return audit_space(stats);
}

std::string Storm::compare() {
  store::CheckReport report;
  std::string wrong = settle(report);
  if (!wrong.empty()) return wrong;
  const uint64_t least = distinct_blocks(false), most = distinct_blocks(true);
  ++(has_forks() ? counters_.bounded : counters_.exact);
  if (least <= report.data_blocks && report.data_blocks <= most) return "";
  return fmt::format("{} data blocks are in use, {} to {} should be", report.data_blocks, least,
                     most);
}

std::string Storm::compare_at_rest() {
  store::CheckReport report;
  std::string wrong = settle(report);
  if (!wrong.empty()) return wrong;
  if (report.data_blocks != kBlocks)
    return fmt::format("{} data blocks are in use at rest, {} should be", report.data_blocks,
                       kBlocks);
  const store::PoolStats stats = pool().stats();
  if (!live_bytes_) live_bytes_ = stats.live_bytes;
  if (stats.live_bytes == *live_bytes_) return "";
  return fmt::format("{} bytes are in use at rest, {} were at first ({} free, {} pending)",
                     stats.live_bytes, *live_bytes_, stats.free_bytes, stats.pending_bytes);
}

}  // namespace hozon::sim
