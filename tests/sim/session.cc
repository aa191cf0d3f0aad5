// tests/sim/session.cc
// A crash is tried on copies of disks and model. The original never notices, so that its coroutines
// need not be torn down, and the same instant can be tried with many fates.

#include "session.h"

namespace hozon::sim {

CrashCounters& CrashCounters::operator+=(const CrashCounters& other) {
  cuts += other.cuts;
  kills += other.kills;
  during_recovery += other.during_recovery;
  kept += other.kept;
  dropped += other.dropped;
  torn += other.torn;
  faults += other.faults;
  return *this;
}

Session::Session(SimPower& on, uint64_t seed) : power(on), executor(seed, &on) {
  power.attach(executor);
}

Session::~Session() {
  if (pool) (void)pool.release();  // not closed: its coroutines are suspended for ever
}

std::string Session::judge(SimExecutor::End end, std::string_view what) {
  if (end == SimExecutor::End::kDone) return "";
  std::string text = fmt::format("{}: {}", what, end_name(end));
  if (power.outstanding() > 0) text += fmt::format("; running: {}", power.describe_running());
  if (pool) {
    const store::PoolStats stats = pool->stats();
    text += fmt::format("; free {} reserve {} pending {} in flight {} parked {} read-only {} {}",
                        stats.free_bytes, stats.reserve_bytes, stats.pending_bytes,
                        stats.in_flight_bytes, stats.parked, stats.read_only, stats.failure);
  }
  return text;
}

std::string Session::run_until(const std::function<bool()>& done, std::string_view what,
                               SimExecutor::Limits limits) {
  return judge(executor.run_until(done, limits), what);
}

std::string Session::violations() const {
  if (power.violations().empty()) return "";
  return fmt::format("device misused: {}", power.violations().front());
}

std::string Session::create() {
  Status created;
  store::CreateOptions options;
  for (size_t i = 0; i < options.pool_id.size(); ++i)
    options.pool_id[i] = static_cast<uint8_t>(0xa0 + i);
  options.journal_bytes = power.journal_bytes_in_data();
  std::string wrong =
      run(store::Pool::create(power.data(), power.journal(), options), created, "create");
  if (wrong.empty() && !created) wrong = "create: " + created.error().what;
  return wrong;
}

std::string Session::open(const store::OpenOptions& options) {
  Result<std::unique_ptr<store::Pool>> opened;
  std::string wrong =
      run(store::Pool::open(executor, power.data(), power.journal(), options), opened, "open");
  if (!wrong.empty()) return wrong;
  if (!opened) return "open: " + opened.error().what;
  pool = *std::move(opened);
  return violations();
}

std::string Session::audit(Model& model, const Audit& what) {
  std::string found;
  std::string wrong = run(audit_pool(*pool, model, what), found, "audit");
  if (wrong.empty()) wrong = found;
  return wrong.empty() ? violations() : wrong;
}

std::string Session::close() {
  Status closed;
  std::string wrong = run(pool->close(), closed, "close");
  if (!wrong.empty()) return wrong;
  pool.reset();
  // What still sleeps must wake up, find its pool gone, and end.
  if (executor.run_until([] { return false; }) == SimExecutor::End::kStalled)
    return "something goes on after the pool was closed";
  if (!closed) return "close: " + closed.error().what;
  return violations();
}

Fate random_fate(Random& random, CrashKind kind, const SimPower& power, bool garbage) {
  Fate fate;
  fate.kind = kind;
  fate.seed = random.next();
  const uint64_t undecided = power.undecided(kind);
  fate.choice = random.pick({Fate::Choice::kNone, Fate::Choice::kAll, Fate::Choice::kRandom,
                             Fate::Choice::kRandom, Fate::Choice::kRandom, Fate::Choice::kRandom,
                             Fate::Choice::kOnly, Fate::Choice::kAllBut, Fate::Choice::kPrefix});
  fate.index = undecided == 0 ? 0 : random.below(undecided);
  fate.atom_bytes = random.chance(1, 8) ? kPageSize : kSectorSize;
  fate.garbage = garbage && random.chance(1, 6);
  return fate;
}

namespace {

Model::After worse(Model::After a, Model::After b) { return std::max(a, b); }

std::string try_nested(const SimPower& power, const Model& model, const Probe& outer,
                       Random& random, CrashCounters& counters) {
  Probe inner = outer;
  --inner.depth;
  const CrashKind kind = random.chance(1, 4) ? CrashKind::kKill : CrashKind::kCut;
  inner.fate = random_fate(random, kind, power, outer.garbage);
  inner.after =
      worse(outer.after, kind == CrashKind::kCut ? Model::After::kCut : Model::After::kKill);
  ++counters.during_recovery;
  std::string wrong = try_crash(power, model, inner, counters);
  return wrong.empty() ? "" : fmt::format("crash during recovery: {}", wrong);
}

std::string open_and_audit(SimPower& power, Model& model, const Probe& probe, uint64_t seed) {
  Session session(power, seed);
  std::string wrong = session.open(probe.open);
  power.before_event = nullptr;  // recovery is over
  if (wrong.empty()) wrong = session.audit(model, {probe.after, probe.check, probe.reclaim});
  if (wrong.empty()) wrong = session.close();
  return wrong;
}

}  // namespace

std::string try_crash(const SimPower& power, const Model& model, const Probe& probe,
                      CrashCounters& counters) {
  ++(probe.fate.kind == CrashKind::kCut ? counters.cuts : counters.kills);
  const std::unique_ptr<SimPower> copy = power.fork(probe.fate);
  counters.kept += copy->counters().kept;
  counters.dropped += copy->counters().dropped;
  counters.torn += copy->counters().torn;
  Model unsettled = model;
  unsettled.crash();
  Model settled = unsettled;
  Random random(probe.fate.seed ^ 0x70726f6265);
  std::string nested;
  if (probe.depth > 0 && probe.nested_percent > 0)
    copy->before_event = [&] {
      if (nested.empty() && random.chance(probe.nested_percent, 100))
        nested = try_nested(*copy, unsettled, probe, random, counters);
    };
  std::string wrong = open_and_audit(*copy, settled, probe, random.next());
  if (wrong.empty()) wrong = nested;
  if (wrong.empty() && probe.reopen) {
    settled.made_durable();
    Probe again = probe;
    again.after = Model::After::kQuiet;
    again.reclaim = false;
    wrong = open_and_audit(*copy, settled, again, random.next());
    if (!wrong.empty()) wrong = fmt::format("second opening: {}", wrong);
  }
  return wrong.empty() ? "" : fmt::format("[{}] {}", probe.fate.text(), wrong);
}

}  // namespace hozon::sim
