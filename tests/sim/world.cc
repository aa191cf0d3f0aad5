// tests/sim/world.cc
// A crash is taken as a copy of the disks at an event in the middle of a life. The old life then
// runs on to its end without being listened to, which tears its coroutines down in an orderly way;
// the next life opens the copy.

#include "world.h"

#include <malloc.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstring>

#include "actors.h"

namespace hozon::sim {
namespace {

std::array<char, 512> g_blame{};

void print_blame(int) {
  (void)!::write(2, g_blame.data(), std::strlen(g_blame.data()));
  std::signal(SIGABRT, SIG_DFL);
  std::raise(SIGABRT);
}

constexpr size_t kStoryLines = 60;
constexpr uint64_t kEarlyEvents = 60;

}  // namespace

void blame(std::string text) {
  text += '\n';
  const size_t size = std::min(text.size(), g_blame.size() - 1);
  std::memcpy(g_blame.data(), text.data(), size);
  g_blame[size] = 0;
  std::signal(SIGABRT, print_blame);
}

WorldCounters& WorldCounters::operator+=(const WorldCounters& other) {
  crashes += other.crashes;
  rot += other.rot;
  lives += other.lives;
  steps += other.steps;
  writes += other.writes;
  reads += other.reads;
  flushes += other.flushes;
  admin += other.admin;
  refused += other.refused;
  groups += other.groups;
  snapshots += other.snapshots;
  returns += other.returns;
  clones += other.clones;
  deletes += other.deletes;
  parked += other.parked;
  early_writes += other.early_writes;
  listed += other.listed;
  audited += other.audited;
  return *this;
}

// Every opening takes and frees buffers as large as the journal; the kernel need not see that.
static void keep_memory() {
  static const bool once = [] {
    ::mallopt(M_MMAP_THRESHOLD, 512 << 20);
    ::mallopt(M_TRIM_THRESHOLD, 1 << 30);
    return true;
  }();
  (void)once;
}

static SimPower::Layout layout_of(const WorldOptions& options) {
  return options.layout.value_or(options.seed % 2 == 0 ? SimPower::Layout::kOneDisk
                                                       : SimPower::Layout::kTwoDisks);
}

World::World(const WorldOptions& options)
    : options_(options),
      random_(options.seed),
      power_(std::make_unique<SimPower>(options.data_bytes, options.journal_bytes,
                                        layout_of(options))),
      model_(std::make_shared<Contents>()) {
  keep_memory();
}

std::string World::run() {
  blame(fmt::format("while running seed {}", options_.seed));
  {
    Session session(*power_, random_.next());
    std::string wrong = session.create();
    if (!wrong.empty()) return fmt::format("seed {}: {}", options_.seed, wrong);
  }
  for (uint64_t life = 1; life <= options_.lives; ++life) {
    ++counters_.lives;
    note(fmt::format("--- life {}", life));
    const std::string wrong = live();
    if (!wrong.empty())
      return fmt::format("seed {} life {} step {}: {}", options_.seed, life, counters_.steps,
                         wrong);
  }
  Session last(*power_, random_.next());
  std::string wrong = last.open(open_options());
  if (wrong.empty()) wrong = last.audit(model_, {after_, true, true});
  if (wrong.empty()) wrong = last.close();
  trace_hash_ = mix(trace_hash_ ^ power_->trace_hash());
  if (wrong.empty()) wrong = try_damages();
  if (wrong.empty()) return "";
  return fmt::format("seed {} at the end: {}", options_.seed, wrong);
}

std::string World::try_damages() {
  for (uint64_t i = 0; i < options_.rot_trials; ++i)
    if (std::string wrong = try_rot(*power_, model_, random_, counters_.rot); !wrong.empty())
      return wrong;
  return "";
}

World::Plan World::make_plan() {
  Plan plan;
  plan.crash = random_.chance(3, 4);
  plan.kind = random_.chance(1, 3) ? CrashKind::kKill : CrashKind::kCut;
  plan.faulty = options_.faults && random_.chance(1, 2);
  if (options_.fault) plan.faulty = counters_.lives == 1;
  if (plan.faulty) plan.crash = true;
  switch (random_.below(4)) {
    case 0: plan.at_event = random_.between(1, 40); break;  // perhaps during recovery
    case 1: plan.at_event = 0; break;
    default: plan.at_event = random_.between(1, 6 * options_.steps_per_life); break;
  }
  if (plan.faulty && options_.fault) plan.at_event = 0;
  return plan;
}

store::OpenOptions World::open_options() {
  store::OpenOptions options;
  options.node_cache_bytes = random_.pick<uint64_t>({64_KiB, 256_KiB, 4_MiB});
  options.release_blocks = 4;  // the pools are small, and portions should be many
  options.flush_habit = random_.pick<uint64_t>({1, 8});
  options.checkpoint_idle_ns = random_.pick<uint64_t>({1'000'000, 50'000'000, 5'000'000'000});
  return options;
}

std::string World::live() {
  const Plan plan = make_plan();
  dead_ = false;
  steps_left_ = options_.steps_per_life;
  probes_left_ = options_.probes_per_life;
  session_ = std::make_unique<Session>(*power_, random_.next());
  watch_events(plan);
  std::string wrong = session_->open(open_options());
  // A crash that struck during the opening leaves everything undecided for the next life.
  if (!dead_) {
    power_->before_event = nullptr;
    if (wrong.empty()) wrong = session_->audit(model_, {after_, random_.chance(1, 2), false});
    if (wrong.empty()) after_ = Model::After::kQuiet;
    watch_events(plan);
    if (wrong.empty()) wrong = run_actors(plan);
  }
  return end_life(plan, wrong);
}

void World::watch_events(const Plan& plan) {
  const uint64_t first = power_->counters().events;
  power_->before_event = [this, plan, first] {
    if (dead_ || !failure_.empty()) return;
    if (plan.at_event != 0 && plan.crash && power_->counters().events - first >= plan.at_event)
      return capture_crash(plan.kind);
    if (options_.walk) return try_all_fates();
    // Half of the probes soon after the opening, where what earlier crashes left is met.
    const bool early = power_->counters().events - first < kEarlyEvents;
    const uint64_t events = early ? kEarlyEvents : 6 * options_.steps_per_life;
    if (probes_left_ > 0 && random_.chance(options_.probes_per_life, 2 * events)) try_probe();
  };
}

void World::capture_crash(CrashKind kind) {
  const Fate fate = random_fate(random_, kind, *power_, options_.garbage);
  note(fmt::format("crash: {}", fate.text()));
  dead_ = true;
  ++(kind == CrashKind::kCut ? counters_.crashes.cuts : counters_.crashes.kills);
  next_power_ = power_->fork(fate);
  counters_.crashes.kept += next_power_->counters().kept;
  counters_.crashes.dropped += next_power_->counters().dropped;
  counters_.crashes.torn += next_power_->counters().torn;
  Model::After now = kind == CrashKind::kCut ? Model::After::kCut : Model::After::kKill;
  for (const FaultRule& rule : power_->faults)
    if (rule.kind == IoOp::Kind::kSync && rule.fired > 0) now = std::max(now, Model::After::kLost);
  // A cut puts everything on the medium that is left: what follows is certain from then on.
  after_ = std::max(after_, now);
}

void World::try_probe() {
  --probes_left_;
  const CrashKind kind = random_.chance(1, 4) ? CrashKind::kKill : CrashKind::kCut;
  Probe probe;
  probe.fate = random_fate(random_, kind, *power_, options_.garbage);
  probe.after = kind == CrashKind::kCut ? Model::After::kCut : Model::After::kKill;
  for (const FaultRule& rule : power_->faults)
    if (rule.fired > 0) probe.after = std::max(probe.after, Model::After::kLost);
  probe.after = std::max(probe.after, after_);
  probe.open = open_options();
  probe.depth = options_.recovery_depth;
  probe.garbage = options_.garbage;
  probe.nested_percent = random_.pick<uint64_t>({0, 5, 20});
  probe.check = random_.chance(1, 2);
  probe.reclaim = random_.chance(1, 4);
  probe.reopen = random_.chance(1, 4);
  try_one(probe);
}

void World::try_one(const Probe& probe) {
  const std::string wrong = try_crash(*power_, model_, probe, counters_.crashes);
  if (!wrong.empty()) fail(fmt::format("crash tried on a copy: {}", wrong));
}

void World::audit_listed() {
  std::string wrong = audit_space(pool().stats());
  if (wrong.empty() && model_.running_admin().empty()) {
    ++counters_.listed;
    wrong = audit_listing(pool(), model_);
  }
  if (!wrong.empty()) fail(wrong);
}

// What the files hold at this instant, opened, compared, counted and checked as after a kill. The
// pool itself is left alone: its own check would begin with a checkpoint each time.
void World::audit_copy() {
  ++counters_.audited;
  Probe probe;
  probe.fate = {.kind = CrashKind::kKill, .choice = Fate::Choice::kAll};
  probe.after = Model::After::kKill;
  for (const FaultRule& rule : power_->faults)
    if (rule.fired > 0) probe.after = Model::After::kLost;
  probe.after = std::max(probe.after, after_);
  probe.reclaim = counters_.audited % 4 == 0;
  try_one(probe);
}

void World::try_all_fates() {
  constexpr uint64_t kRandomFates = 6;
  Probe probe;
  probe.open = open_options();
  for (const CrashKind kind : {CrashKind::kCut, CrashKind::kKill}) {
    probe.fate = {.kind = kind, .choice = Fate::Choice::kNone};
    probe.after =
        std::max(after_, kind == CrashKind::kCut ? Model::After::kCut : Model::After::kKill);
    try_one(probe);
    probe.fate.choice = Fate::Choice::kAll;
    probe.reclaim = true;
    try_one(probe);
    probe.reclaim = false;
    if (kind == CrashKind::kKill && power_->undecided(kind) == 0) continue;
    probe.depth = options_.recovery_depth;
    probe.garbage = options_.garbage;
    probe.nested_percent = 10;
    for (uint64_t i = 0; i < (kind == CrashKind::kCut ? kRandomFates : 1); ++i) {
      probe.fate = random_fate(random_, kind, *power_, options_.garbage);
      if (kind == CrashKind::kCut) probe.fate.choice = Fate::Choice::kRandom;
      try_one(probe);
    }
    probe.depth = 0;
  }
}

void World::add_faults() {
  constexpr std::array<IoOp::Kind, 6> kKinds = {IoOp::Kind::kWrite, IoOp::Kind::kWrite,
                                                IoOp::Kind::kSync,  IoOp::Kind::kSync,
                                                IoOp::Kind::kRead,  IoOp::Kind::kPunch};
  FaultRule rule;
  if (options_.fault)
    rule = *options_.fault;
  else {
    rule.kind = kKinds[random_.below(kKinds.size())];
    rule.disk = static_cast<int>(random_.below(3)) - 1;
    rule.nth = random_.between(1, rule.kind == IoOp::Kind::kSync ? 40 : 200);
    rule.error = rule.kind == IoOp::Kind::kWrite && random_.chance(1, 3) ? ENOSPC : EIO;
    rule.sticky = random_.chance(1, 2);
  }
  note(fmt::format("fault: operation kind {} on disk {}, number {}, error {}{}",
                   static_cast<int>(rule.kind), rule.disk, rule.nth, rule.error,
                   rule.sticky ? ", sticky" : ""));
  power_->faults.push_back(rule);
  power_->on_fault = [this](const std::string& what) { note("  " + what); };
}

Task<void> World::count_end(Task<void> actor) {
  co_await std::move(actor);
  --actors_running_;
}

std::string World::run_actors(const Plan& plan) {
  if (plan.faulty) add_faults();
  locks_.clear();
  small_sectors_.clear();
  std::deque<Guest> guests;
  std::deque<Admin> admins;
  for (uint64_t left = random_.between(1, options_.guests_max); left > 0; --left)
    guests.emplace_back(*this, random_.next());
  for (uint64_t left = random_.between(1, options_.admins_max); left > 0; --left)
    admins.emplace_back(*this, random_.next());
  uint64_t number = 0;
  const auto is_away = [&] { return (options_.actors_away >> number++ & 1) != 0; };
  std::vector<Task<void>> tasks;
  for (Admin& admin : admins)
    if (!is_away()) tasks.push_back(admin.run());
  for (Guest& guest : guests)
    if (!is_away()) tasks.push_back(guest.run());
  actors_running_ = tasks.size();
  for (Task<void>& task : tasks) spawn(count_end(std::move(task)));
  const auto done = [this] { return actors_done(); };
  std::string wrong;
  while (true) {
    const uint64_t asked = steps_asked_;
    wrong = session_->run_until(done, "actors", {.stall_ns = 200'000'000'000});
    if (wrong.empty()) break;
    if (steps_asked_ != asked) continue;  // they rest: slow is not stuck
    if (end_shortage()) continue;
    if (!pool().stats().parked) break;
    // The pool is full, so that writes wait. With something deleted they must go on.
    ++counters_.parked;
    bool made_room = false;
    const std::string stuck = session_->run(make_room(), made_room, "make room");
    if (!stuck.empty() || !made_room) break;
  }
  for (const FaultRule& rule : power_->faults) counters_.crashes.faults += rule.fired;
  counters_.early_writes += pool().stats().early_writes;
  return wrong;
}

// A filesystem without room makes the pool wait, a checkpoint too. With room it must go on.
bool World::end_shortage() {
  bool was_short = false;
  for (FaultRule& rule : power_->faults) {
    if (rule.kind != IoOp::Kind::kWrite || rule.error != ENOSPC || !rule.sticky || rule.fired == 0)
      continue;
    rule.sticky = false;
    was_short = true;
  }
  if (was_short) note("the filesystem has room again");
  return was_short;
}

// Deletes the first volume that nobody works on. False: there is none.
Task<bool> World::make_room() {
  if (dead_) {  // nobody listens any more; the model knows nothing of what went on
    const std::vector<store::VolumeInfo> left = pool().volumes();
    if (left.empty()) co_return false;
    co_return (co_await pool().delete_volume(left.front().name, true)).has_value();
  }
  uint64_t doomed = 0;
  for (const auto& [uid, volume] : model_.volumes)
    if (!locks_[uid].admin) doomed = uid;
  if (doomed == 0) co_return false;
  locks_[doomed].admin = true;
  const std::string name = model_.volumes.at(doomed).name;
  note("make room by deleting " + name);
  const uint64_t key = model_.begin_admin({AdminOp::Kind::kDeleteVolume, 0, {doomed}, {}, "", 0});
  const Status status = co_await pool().delete_volume(name, true);
  if (!status) fail("make room: " + status.error().what);
  if (status && !dead_) model_.end_admin(key, true);
  co_return status.has_value();
}

std::string World::end_life(const Plan& plan, std::string wrong) {
  if (wrong.empty()) wrong = failure_;
  if (wrong.empty() && !dead_ && plan.crash) capture_crash(plan.kind);
  power_->before_event = nullptr;
  if (!wrong.empty()) return wrong;
  if (!dead_) {
    wrong =
        session_->audit(model_, {Model::After::kQuiet, random_.chance(1, 2), random_.chance(1, 2)});
    if (!wrong.empty()) return fmt::format("before closing: {}", wrong);
  }
  wrong = session_->close();
  if (power_->counters().faults > 0) {
    if (session_->pool) return wrong;  // it hangs
    wrong.clear();                     // a pool that failed may say so once more
  }
  if (!wrong.empty()) return wrong;
  session_.reset();
  trace_hash_ = mix(trace_hash_ ^ power_->trace_hash());
  if (dead_) {
    model_.crash();
    power_ = std::move(next_power_);
  } else {
    model_.made_durable();
  }
  return "";
}

// --- what actors use ---

void World::note(std::string text) {
  if (options_.verbose) fmt::print("{}\n", text);
  story_.push_back(std::move(text));
  if (story_.size() > kStoryLines) story_.pop_front();
}

std::string World::story() const {
  std::string text;
  for (const std::string& line : story_) text += line + "\n";
  return text;
}

bool World::step(std::string text) {
  if (dead_ || steps_left_ == 0 || !failure_.empty()) return false;
  --steps_left_;
  ++steps_asked_;
  for (const auto& [first, last] : options_.skipped)
    if (first <= steps_asked_ && steps_asked_ <= last) return false;
  ++counters_.steps;
  note(fmt::format("{} {}", counters_.steps, text));
  return true;
}

void World::fail(std::string text) {
  if (failure_.empty() && !dead_) failure_ = std::move(text);
}

bool World::tolerated(const Error& error) const {
  if (power_->counters().faults == 0) return false;
  return error.code == Code::kIo || error.code == Code::kUnavailable ||
         error.code == Code::kResourceExhausted;
}

bool World::scarce(uint64_t blocks) const {
  const store::PoolStats stats = session_->pool->stats();
  blocks = std::min(blocks, stats.size_bytes / kPageSize / 16);
  return stats.free_bytes < stats.reserve_bytes + blocks * kPageSize;
}

}  // namespace hozon::sim
