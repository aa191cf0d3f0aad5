// tests/sim/sequences.cc
// The pool that every sequence begins with is made once and copied.

#include "sequences.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cerrno>

#include "base/units.h"
#include "io_memory.h"

namespace hozon::sim {
namespace {

constexpr std::array<std::string_view, kStepKinds> kNames = {
    "write",   "write-partial", "write-spanning", "write-fua",      "flush",
    "discard", "zero",          "snapshot",       "group-snapshot", "clone",
    "return",  "delete-point",  "resize",         "reopen"};

constexpr uint64_t kDataBytes = 2_MiB;
constexpr uint64_t kJournalBytes = 256_KiB;
constexpr uint64_t kBlocksA = 320;  // more than one map node holds
constexpr uint64_t kBlocksB = 12;
constexpr uint64_t kFirstName = 100;  // names below are taken by what all sequences begin with
constexpr uint64_t kNodeEdge = 256 * kSectorsPerBlock;  // the sector where the second node begins

class Runner {
 public:
  Runner(std::unique_ptr<SimPower> power, Model model, const Trial& trial, TrialCounters& counters)
      : power_(std::move(power)),
        model_(std::move(model)),
        trial_(trial),
        counters_(counters),
        random_(trial.seed) {}

  std::string create();  // the pool that all sequences begin with
  std::string run();     // the trial
  std::unique_ptr<SimPower> take_power() { return std::move(power_); }
  const Model& model() const { return model_; }

 private:
  // --- one life ---
  std::string open();
  std::string close();
  std::string do_step(Step step);
  std::string audit();
  std::string end_with_fault();
  void lift_faults();
  std::string wait_for(const bool& ended, std::string_view what);
  template <typename T>
  std::string call(Task<T> task, T& into, std::string_view what) {
    bool ended = false;
    spawn(store_result(std::move(task), into, ended));
    return wait_for(ended, what);
  }
  template <typename T>
  static Task<void> store_result(Task<T> task, T& into, bool& ended) {
    into = co_await std::move(task);
    ended = true;
  }
  // --- steps ---
  std::string write(const std::string& volume, uint64_t sector, uint64_t count, bool fua);
  std::string clear(const std::string& volume, uint64_t sector, uint64_t count, bool zero);
  std::string flush();
  std::string snapshot(std::vector<std::string> volumes);
  std::string clone();
  std::string return_to();
  std::string delete_point();
  std::string resize();
  std::string admin(AdminOp op, Task<Status> task);
  void learn_heads();
  std::string settle(uint64_t point);
  std::string finish_io(const Model::Io& io, const Status& status, bool fua);
  uint64_t uid(const std::string& volume) { return model_.volume_named(volume)->uid; }
  store::Pool& pool() { return *session_->pool; }
  // --- trying crashes ---
  void try_crashes();
  void try_fate(const Fate& fate);
  bool excuses(const Error& error) const;
  bool injected() const { return power_->counters().faults > 0; }

  std::unique_ptr<SimPower> power_;
  Model model_;
  const Trial& trial_;
  TrialCounters& counters_;
  Random random_;
  std::unique_ptr<Session> session_;
  std::string failure_;
  bool stopped_ = false;  // an operation's outcome is unknown: only a new opening can tell
  uint64_t names_ = 0;
};

template <typename T>
Task<Status> status_of(Task<Result<T>> task) {
  const auto result = co_await std::move(task);
  if (!result) co_return std::unexpected(result.error());
  co_return Status{};
}

// --- one life ---

std::string Runner::open() {
  session_ = std::make_unique<Session>(*power_, random_.next());
  Result<std::unique_ptr<store::Pool>> opened;
  std::string wrong = call(
      store::Pool::open(session_->executor, power_->data(), power_->journal(), {.flush_habit = 0}),
      opened, "open");
  if (!wrong.empty()) return wrong;
  if (!opened) {
    stopped_ = true;
    return excuses(opened.error()) ? "" : "open: " + opened.error().what;
  }
  session_->pool = *std::move(opened);
  return session_->violations();
}

std::string Runner::close() {
  Status closed;
  std::string wrong = call(pool().close(), closed, "close");
  if (!wrong.empty()) return wrong;
  session_->pool.reset();
  if (session_->executor.run_until([] { return false; }) == SimExecutor::End::kStalled)
    return "something goes on after the pool was closed";
  if (!closed && !excuses(closed.error())) return "close: " + closed.error().what;
  if (closed) model_.made_durable();
  if (!closed) stopped_ = true;
  session_.reset();
  return "";
}

// The injected error itself, or what the pool says after it.
bool Runner::excuses(const Error& error) const {
  const bool itself = trial_.fault && error.sys_errno == trial_.fault->error;
  return injected() && (itself || error.code == Code::kIo || error.code == Code::kUnavailable ||
                        error.code == Code::kResourceExhausted);
}

// A device without space makes writes wait; when the fault ends they must go on.
std::string Runner::wait_for(const bool& ended, std::string_view what) {
  const SimExecutor::Limits patience{.stall_ns = 20'000'000'000};
  const auto done = [&] { return ended || !failure_.empty(); };
  std::string wrong = session_->run_until(done, what, patience);
  const bool without_space = std::ranges::any_of(power_->faults, [](const FaultRule& rule) {
    return rule.error == ENOSPC && rule.kind == IoOp::Kind::kWrite && rule.sticky;
  });
  if (!wrong.empty() && without_space && injected()) {
    lift_faults();
    ++counters_.parked;
    wrong = session_->run_until(done, what, patience);
  }
  return wrong.empty() ? failure_ : wrong;
}

void Runner::lift_faults() {
  for (const FaultRule& rule : power_->faults) counters_.crashes.faults += rule.fired;
  power_->faults.clear();
}

std::string Runner::audit() {
  auto observer = std::exchange(power_->before_event, nullptr);
  std::string found;
  std::string wrong =
      call(audit_pool(pool(), model_, {Model::After::kQuiet, true, false}), found, "audit");
  if (wrong.empty()) wrong = found;
  power_->before_event = std::move(observer);
  return wrong;
}

std::string Runner::create() {
  session_ = std::make_unique<Session>(*power_, random_.next());
  std::string wrong = session_->create();
  if (wrong.empty()) wrong = open();
  if (!wrong.empty()) return wrong;
  for (const auto& [name, blocks] : {std::pair("a", kBlocksA), std::pair("b", kBlocksB)}) {
    const uint64_t size = blocks * kPageSize;
    wrong = admin({AdminOp::Kind::kCreate, 0, {}, {}, name, size},
                  status_of(pool().create_volume(name, size)));
    if (!wrong.empty()) return wrong;
  }
  const auto fill = [&] {
    std::string failed = write("a", 0, 32, false);
    if (failed.empty()) failed = write("a", kNodeEdge - 16, 32, false);
    if (failed.empty()) failed = write("b", 0, 40, false);
    return failed;
  };
  const std::vector<std::string> both = {"a", "b"};
  wrong = fill();
  if (wrong.empty()) wrong = snapshot(both);
  if (wrong.empty()) wrong = clone();
  if (wrong.empty()) wrong = write("a", 8, 16, false);
  if (wrong.empty()) wrong = snapshot({"a"});
  if (wrong.empty()) wrong = fill();
  if (wrong.empty()) wrong = snapshot(both);
  if (wrong.empty()) wrong = write("a", 16, 24, false);
  if (wrong.empty()) wrong = audit();
  if (wrong.empty()) wrong = close();
  return wrong;
}

std::string Runner::do_step(Step step) {
  ++counters_.steps;
  switch (step) {
    case Step::kWrite: return write("a", 8, 16, false);
    case Step::kWritePartial: return write("a", 3, 4, false);
    case Step::kWriteSpanning: return write("a", kNodeEdge - 13, 30, false);
    case Step::kWriteFua: return write("b", 16, 8, true);
    case Step::kFlush: return flush();
    case Step::kDiscard: return clear("a", kNodeEdge - 21, 40, false);
    case Step::kZero: return clear("b", 0, 24, true);
    case Step::kSnapshot: return snapshot({"a"});
    case Step::kGroupSnapshot: return snapshot(std::vector<std::string>{"a", "b"});
    case Step::kClone: return clone();
    case Step::kReturn: return return_to();
    case Step::kDeletePoint: return delete_point();
    case Step::kResize: return resize();
    case Step::kReopen: {
      std::string wrong = close();
      return wrong.empty() && !stopped_ ? open() : wrong;
    }
  }
  return "no such step";
}

std::string Runner::run() {
  ++counters_.trials;
  names_ = kFirstName;
  const uint64_t first = power_->counters().events;
  if (trial_.fault) power_->faults.push_back(*trial_.fault);
  if (trial_.crash) power_->before_event = [this] { try_crashes(); };
  std::string wrong = open();
  for (const Step step : trial_.steps) {
    if (!wrong.empty() || stopped_) break;
    wrong = do_step(step);
    if (wrong.empty() && !stopped_ && !trial_.fault) wrong = audit();
    if (!wrong.empty()) wrong = fmt::format("{}: {}", step_name(step), wrong);
  }
  if (wrong.empty() && trial_.fault)
    wrong = end_with_fault();
  else if (wrong.empty() && !stopped_)
    wrong = close();
  counters_.events += power_->counters().events - first;
  if (wrong.empty()) wrong = failure_;
  if (wrong.empty()) return "";
  return fmt::format("{} (seed {}): {}", sequence_text(trial_.steps), trial_.seed, wrong);
}

// What the pool was told is answered for: after a kill, after a cut, and after it was closed.
std::string Runner::end_with_fault() {
  const bool lost = trial_.fault->kind == IoOp::Kind::kSync && injected();
  lift_faults();
  const Model::After killed = lost ? Model::After::kLost : Model::After::kKill;
  Probe probe;
  probe.reclaim = true;
  for (const auto& [kind, choice] : {std::pair(CrashKind::kKill, Fate::Choice::kAll),
                                     std::pair(CrashKind::kCut, Fate::Choice::kNone),
                                     std::pair(CrashKind::kCut, Fate::Choice::kRandom)}) {
    probe.fate = {.kind = kind, .choice = choice, .seed = random_.next()};
    probe.after = kind == CrashKind::kKill ? killed : Model::After::kCut;
    std::string wrong = try_crash(*power_, model_, probe, counters_.crashes);
    if (!wrong.empty()) return wrong;
  }
  if (!session_ || !session_->pool) return "";
  std::string wrong = close();
  if (!wrong.empty()) return wrong;
  probe.fate = {.kind = CrashKind::kKill, .choice = Fate::Choice::kAll};
  probe.after = killed;
  return try_crash(*power_, model_, probe, counters_.crashes);
}

// --- steps ---

std::string Runner::finish_io(const Model::Io& io, const Status& status, bool fua) {
  model_.end_write(io, status.has_value(), fua && status.has_value());
  if (status) return "";
  ++counters_.refused;
  return excuses(status.error()) ? "" : status.error().what;
}

std::string Runner::write(const std::string& volume, uint64_t sector, uint64_t count, bool fua) {
  const auto target = pool().target(volume);
  if (!target) return target.error().what;
  const uint64_t stamp = model_.contents().new_stamp();
  const IoMemory memory(count * kSectorSize, stamp % 2 == 0);
  const std::span<std::byte> bytes = memory.span();
  for (uint64_t s = 0; s < count; ++s)
    model_.contents().fill(stamp, sector + s, bytes.subspan(s * kSectorSize, kSectorSize));
  const Model::Io io = model_.begin_write(uid(volume), sector, count, stamp);
  Status status;
  std::string wrong =
      call(pool().write(*target, sector * kSectorSize, bytes, fua), status, "write");
  return wrong.empty() ? finish_io(io, status, fua) : wrong;
}

std::string Runner::clear(const std::string& volume, uint64_t sector, uint64_t count, bool zero) {
  const auto target = pool().target(volume);
  if (!target) return target.error().what;
  const Model::Io io = model_.begin_write(uid(volume), sector, count, 0);
  const uint64_t offset = sector * kSectorSize, length = count * kSectorSize;
  Status status;
  std::string wrong =
      zero ? call(pool().write_zeroes(*target, offset, length, false), status, "zero")
           : call(pool().discard(*target, offset, length, false), status, "discard");
  return wrong.empty() ? finish_io(io, status, false) : wrong;
}

std::string Runner::flush() {
  const Tick begun = model_.begin_activity();
  Status status;
  std::string wrong = call(pool().flush(), status, "flush");
  if (!wrong.empty()) return wrong;
  if (status) {
    model_.end_flush(begun);
    return "";
  }
  model_.end_activity(begun);
  ++counters_.refused;
  return excuses(status.error()) ? "" : status.error().what;
}

std::string Runner::admin(AdminOp op, Task<Status> task) {
  const uint64_t key = model_.begin_admin(std::move(op));
  Status status;
  std::string wrong = call(std::move(task), status, "administration");
  if (!wrong.empty()) return wrong;
  if (status) {
    model_.end_admin(key, true);
    learn_heads();
    return "";
  }
  stopped_ = true;
  ++counters_.refused;
  return excuses(status.error()) ? "" : status.error().what;
}

// Whether a return that no answer came for has happened is told by the numbers of the heads.
void Runner::learn_heads() {
  for (const store::VolumeInfo& info : pool().volumes())
    if (ModelVolume* volume = model_.volume_named(info.name)) volume->head_id = info.head_point_id;
}

std::string Runner::settle(uint64_t point) {
  if (model_.points.at(point)->open.empty()) return "";
  std::string found;
  std::string wrong = call(settle_whole_point(pool(), model_, point), found, "settle");
  if (wrong.empty() && !injected()) wrong = found;
  stopped_ = stopped_ || !model_.points.at(point)->open.empty();
  return wrong;
}

std::string Runner::snapshot(std::vector<std::string> volumes) {
  const std::string name = fmt::format("p{}", ++names_);
  std::vector<uint64_t> uids;
  for (const std::string& volume : volumes) uids.push_back(uid(volume));
  return admin({AdminOp::Kind::kSnapshot, 0, uids, {}, name, 0},
               status_of(pool().snapshot(std::move(volumes), name)));
}

// Of the oldest point, in turn with the head.
std::string Runner::clone() {
  const std::string name = fmt::format("c{}", ++names_);
  AdminOp op{AdminOp::Kind::kClone, 0, {uid("a")}, {}, name, 0};
  std::string point;
  for (const auto& [number, held] : model_.points) {
    if (held->volume != uid("a") || names_ % 2 == 1) continue;
    op.points = {number};
    point = held->name;
    break;
  }
  if (!op.points.empty()) {
    std::string wrong = settle(op.points[0]);
    if (!wrong.empty() || stopped_) return wrong;
  }
  return admin(op, status_of(pool().clone("a", point, name)));
}

// Both volumes to the newest point that both have; what is left is kept every other time.
std::string Runner::return_to() {
  std::vector<store::ReturnItem> items;
  AdminOp op{AdminOp::Kind::kReturn, 0, {}, {}, "", 0};
  for (const std::string volume : {"a", "b"}) {
    const ModelPoint* newest = nullptr;
    for (const auto& [number, held] : model_.points)
      if (held->volume == uid(volume)) newest = held.get();
    if (newest == nullptr) continue;
    items.push_back({volume, volume, newest->name});
    op.volumes.push_back(uid(volume));
    op.points.push_back(newest->uid);
  }
  if (items.empty()) return "";
  for (const uint64_t point : op.points) {
    std::string wrong = settle(point);
    if (!wrong.empty() || stopped_) return wrong;
  }
  if (++names_ % 2 == 0) op.name = fmt::format("k{}", names_);
  return admin(op, pool().return_to(items, op.name));
}

// The oldest of `a`: at first the one that a clone stands on, too.
std::string Runner::delete_point() {
  for (const auto& [number, held] : model_.points) {
    if (held->volume != uid("a")) continue;
    const std::string name = held->name;
    return admin({AdminOp::Kind::kDeletePoint, 0, {}, {number}, "", 0},
                 pool().delete_point("a", name));
  }
  return "";
}

std::string Runner::resize() {
  const bool grows = model_.volume_named("b")->size_bytes == kBlocksB * kPageSize;
  const uint64_t size = (grows ? kBlocksA : kBlocksB) * kPageSize;
  return admin({AdminOp::Kind::kResize, 0, {uid("b")}, {}, "", size},
               pool().resize_volume("b", size, true));
}

// --- trying crashes ---

void Runner::try_fate(const Fate& fate) {
  if (!failure_.empty()) return;
  Probe probe;
  probe.fate = fate;
  probe.after = fate.kind == CrashKind::kCut ? Model::After::kCut : Model::After::kKill;
  probe.depth = trial_.depth;
  probe.nested_percent = trial_.nested_percent;
  probe.reclaim = fate.choice == Fate::Choice::kAll;
  failure_ = try_crash(*power_, model_, probe, counters_.crashes);
}

void Runner::try_crashes() {
  using enum Fate::Choice;
  for (const CrashKind kind : {CrashKind::kCut, CrashKind::kKill}) {
    const uint64_t undecided = power_->undecided(kind);
    try_fate({.kind = kind, .choice = kNone});
    if (undecided == 0) continue;  // all fates are one
    try_fate({.kind = kind, .choice = kAll});
    if (kind == CrashKind::kKill) continue;
    // Of one write there are not many mixtures that differ.
    const uint64_t count = std::min(trial_.random_fates, 16 * undecided);
    for (uint64_t i = 0; i < count; ++i) {
      Fate fate = random_fate(random_, kind, *power_, true);
      fate.choice = kRandom;
      try_fate(fate);
    }
    for (uint64_t i = 0; trial_.each_write && i < undecided; ++i) {
      try_fate({.kind = kind, .choice = kOnly, .index = i});
      try_fate({.kind = kind, .choice = kAllBut, .index = i});
      try_fate({.kind = kind, .choice = kPrefix, .index = i});
    }
  }
}

}  // namespace

TrialCounters& TrialCounters::operator+=(const TrialCounters& other) {
  crashes += other.crashes;
  trials += other.trials;
  steps += other.steps;
  events += other.events;
  refused += other.refused;
  parked += other.parked;
  return *this;
}

std::string_view step_name(Step step) { return kNames[static_cast<size_t>(step)]; }

std::vector<Step> sequence(uint64_t index, unsigned length) {
  std::vector<Step> steps;
  for (unsigned i = 0; i < length; ++i, index /= kStepKinds)
    steps.push_back(static_cast<Step>(index % kStepKinds));
  return steps;
}

std::string sequence_text(const std::vector<Step>& steps) {
  std::vector<std::string_view> names;
  for (const Step step : steps) names.push_back(step_name(step));
  return fmt::format("{}", fmt::join(names, ","));
}

std::string run_trial(const Trial& trial, TrialCounters& counters) {
  const Trial plain{.steps = {}, .crash = false};
  TrialCounters uncounted;
  // A journal that has a disk of its own can fail alone.
  const bool split = trial.fault && trial.fault->disk == 1;
  const auto layout = split ? SimPower::Layout::kTwoDisks : SimPower::Layout::kOneDisk;
  Runner maker(std::make_unique<SimPower>(kDataBytes, kJournalBytes, layout),
               Model(std::make_shared<Contents>()), plain, uncounted);
  if (std::string wrong = maker.create(); !wrong.empty()) return "making the pool: " + wrong;
  auto power = maker.take_power()->fork({.choice = Fate::Choice::kAll});
  return Runner(std::move(power), maker.model(), trial, counters).run();
}

}  // namespace hozon::sim
