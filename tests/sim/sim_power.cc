// tests/sim/sim_power.cc
// Writes are kept as the sectors they touched with the content that the page had afterwards,
// because that is what a page cache writes back: a medium never shows a later write to a sector
// without the earlier ones to that sector. A page is shared between the image and the list of
// unsynced writes.

#include "sim_power.h"

#include <cerrno>

#include "base/crc32c.h"

namespace hozon::sim {
namespace {

bool overlap(const IoOp& a, const IoOp& b) {
  return a.offset < b.offset + b.size && b.offset < a.offset + a.size;
}

std::string_view kind_name(IoOp::Kind kind) {
  switch (kind) {
    case IoOp::Kind::kRead: return "read";
    case IoOp::Kind::kWrite: return "write";
    case IoOp::Kind::kSync: return "sync";
    case IoOp::Kind::kPunch: return "punch";
    default: return "?";
  }
}

constexpr uint64_t kRewrittenBytes = 2 * kPageSize;
constexpr std::array<const char*, 2> kDiskNames = {"data", "journal"};

}  // namespace

std::string Fate::text() const {
  constexpr std::array<const char*, 6> kChoices = {"none", "all",     "random",
                                                   "only", "all-but", "prefix"};
  return fmt::format("{} {} index {} atom {}{} seed {}", kind == CrashKind::kKill ? "kill" : "cut",
                     kChoices[static_cast<size_t>(choice)], index, atom_bytes,
                     garbage ? " garbage" : "", seed);
}

void SimDisk::submit(IoOp& op) { power_.submit(index_, op); }
int SimDisk::write_now(uint64_t offset, std::span<const std::byte> from) {
  return power_.write_now(index_, offset, from);
}

SimPower::SimPower(uint64_t data_bytes, uint64_t journal_bytes, Layout layout)
    : journal_bytes_in_data_(layout == Layout::kOneDisk ? journal_bytes : 0),
      disks_{Disk(*this, 0, data_bytes + journal_bytes_in_data_),
             Disk(*this, 1, journal_bytes - journal_bytes_in_data_)} {}

// --- submission ---

void SimPower::check_submit(int disk, const IoOp& op) {
  const auto complain = [&](std::string_view what) {
    violations_.push_back(fmt::format("{} of [{}, +{}) on {}: {}", kind_name(op.kind), op.offset,
                                      op.size, kDiskNames[static_cast<size_t>(disk)], what));
  };
  if (op.kind == IoOp::Kind::kSync) return;
  const uint64_t end = disks_[static_cast<size_t>(disk)].current.size_bytes();
  if (op.size == 0 || op.offset % kDeviceAlignment != 0 || op.size % kDeviceAlignment != 0)
    complain("not aligned");
  if (op.offset + op.size > end) complain("past the end");
  if (op.kind != IoOp::Kind::kPunch && reinterpret_cast<uintptr_t>(op.data) % kDeviceAlignment != 0)
    complain("buffer not aligned");
  // Superblocks are rewritten in place, and who reads them then must bear any mixture.
  if (disk != 0 || op.offset < kRewrittenBytes) return;
  for (const Running& other : running_) {
    if (other.disk != disk || other.op->kind == IoOp::Kind::kSync || !overlap(op, *other.op))
      continue;
    if (op.kind == IoOp::Kind::kRead && other.op->kind == IoOp::Kind::kRead) continue;
    complain(fmt::format("overlaps a running {} of [{}, +{})", kind_name(other.op->kind),
                         other.op->offset, other.op->size));
  }
}

void SimPower::submit(int disk, IoOp& op) {
  check_submit(disk, op);
  const uint32_t checksum =
      op.kind == IoOp::Kind::kWrite ? crc32c(std::span<const std::byte>(op.data, op.size)) : 0;
  running_.push_back({&op, disk, writes_completed_, checksum, op});
}

int SimPower::write_now(int disk, uint64_t offset, std::span<const std::byte> from) {
  IoOp op{IoOp::Kind::kWrite, -1, const_cast<std::byte*>(from.data()), from.size(), offset, 0, {}};
  if (offset + from.size() > disks_[static_cast<size_t>(disk)].current.size_bytes()) {
    violations_.push_back(fmt::format("write_now past the end, at {}", offset));
    return -EIO;
  }
  running_.push_back({&op, disk, 0, crc32c(from), op});
  announce_event();
  running_.pop_back();  // nothing was submitted in between: an observer works on forks
  ++counters_.writes_now;
  const int error = fault_for(disk, IoOp::Kind::kWrite);
  perform_write(disk, offset, from, false, error);
  trace(disk, op, -error);
  return -error;
}

// --- completion ---

void SimPower::complete_some(Random& random) {
  const uint64_t most = std::min<uint64_t>(running_.size(), random.chance(1, 4) ? 8 : 1);
  for (uint64_t left = random.between(1, most); left > 0; --left) {
    const size_t which = random.below(running_.size());
    if (running_[which].op->kind != IoOp::Kind::kRead) announce_event();
    const Running running = running_[which];
    running_[which] = running_.back();
    running_.pop_back();
    finish(running);
  }
}

void SimPower::announce_event() {
  ++counters_.events;
  if (before_event) before_event();
}

int SimPower::fault_for(int disk, IoOp::Kind kind) {
  for (FaultRule& rule : faults) {
    if (rule.kind != kind || (rule.disk >= 0 && rule.disk != disk)) continue;
    ++rule.seen;
    if (rule.seen < rule.nth || (rule.seen > rule.nth && !rule.sticky)) continue;
    ++rule.fired;
    ++counters_.faults;
    if (on_fault)
      on_fault(
          fmt::format("{} on {} fails", kind_name(kind), kDiskNames[static_cast<size_t>(disk)]));
    return rule.error;
  }
  return 0;
}

void SimPower::finish(const Running& running) {
  running.op->result = perform(running);
  trace(running.disk, running.as_submitted, running.op->result);
  executor_->post(running.op->waiter);
}

int SimPower::perform(const Running& running) {
  const IoOp& op = *running.op;
  const int error = fault_for(running.disk, op.kind);
  switch (op.kind) {
    case IoOp::Kind::kRead:
      ++counters_.reads;
      if (error == 0)
        disks_[static_cast<size_t>(running.disk)].current.read(op.offset, {op.data, op.size});
      break;
    case IoOp::Kind::kWrite:
      ++counters_.writes;
      if (crc32c(std::span<const std::byte>(op.data, op.size)) != running.checksum)
        violations_.push_back(
            fmt::format("buffer of the write at {} changed in flight", op.offset));
      perform_write(running.disk, op.offset, {op.data, op.size}, false, error);
      break;
    case IoOp::Kind::kPunch:
      ++counters_.punches;
      perform_write(running.disk, op.offset, {op.data, op.size}, true, error);
      break;
    case IoOp::Kind::kSync:
      ++counters_.syncs;
      perform_sync(running, error);
      break;
    default: return -EINVAL;
  }
  return -error;
}

std::vector<SimPower::Fragment> SimPower::fragments_of(const PageImage& before, uint64_t offset,
                                                       uint64_t size, const std::byte* from) {
  std::vector<Fragment> fragments;
  for (uint64_t at = offset; at < offset + size;) {
    const uint64_t page = at / kPageSize, inside = at % kPageSize;
    const uint64_t part = std::min(offset + size - at, kPageSize - inside);
    Fragment fragment{page, part == kPageSize ? PageRef() : before.page(page), 0};
    if (from != nullptr) std::memcpy(fragment.content.own() + inside, from + (at - offset), part);
    for (uint64_t s = inside / kSectorSize; s <= (inside + part - 1) / kSectorSize; ++s)
      fragment.sectors = static_cast<uint8_t>(fragment.sectors | 1u << s);
    fragments.push_back(std::move(fragment));
    at += part;
  }
  return fragments;
}

void SimPower::apply(PageImage& image, const std::vector<Fragment>& fragments) {
  for (const Fragment& part : fragments) image.take_sectors(part.page, part.content, part.sectors);
}

void SimPower::perform_write(int disk, uint64_t offset, std::span<const std::byte> from, bool punch,
                             int error) {
  Disk& on = disks_[static_cast<size_t>(disk)];
  if (error == ENOSPC || error == EINTR || error == EAGAIN || error == ENOMEM) return;
  std::vector<Fragment> fragments =
      fragments_of(on.current, offset, from.size(), punch ? nullptr : from.data());
  if (error != 0)  // some of its sectors arrive
    for (Fragment& part : fragments)
      part.sectors = static_cast<uint8_t>(part.sectors & chance_.next());
  apply(on.current, fragments);
  if (error != 0)
    for (Fragment& part : fragments) part.content = on.current.page(part.page);
  on.unsynced.push_back({++writes_completed_, std::move(fragments)});
}

void SimPower::perform_sync(const Running& running, int error) {
  Disk& on = disks_[static_cast<size_t>(running.disk)];
  while (!on.unsynced.empty() && on.unsynced.front().number <= running.covers) {
    if (error == 0 || chance_.chance(1, 2)) {
      apply(on.stable, on.unsynced.front().fragments);
    } else {
      for (const Fragment& part : on.unsynced.front().fragments) on.lost_pages.push_back(part.page);
    }
    on.unsynced.pop_front();
  }
}

void SimPower::trace(int disk, const IoOp& op, int result) {
  uint32_t content = 0;
  if (op.kind == IoOp::Kind::kWrite) content = crc32c(std::span<const std::byte>(op.data, op.size));
  const uint64_t head = static_cast<uint64_t>(op.kind) << 8 | static_cast<uint64_t>(disk);
  for (const uint64_t part :
       {head, op.offset, op.size, uint64_t{content}, static_cast<uint64_t>(result)})
    trace_hash_ = mix(trace_hash_ ^ part);
}

// --- crashes ---

// Decides the lot of each write in turn.
struct SimPower::Lottery {
  Lottery(const Fate& chosen, SimCounters& counted)
      : fate(chosen), counters(counted), random(chosen.seed ^ 0x6c6f7474) {
    for (auto& odds : percent)
      for (uint64_t& each : odds) each = random.pick<uint64_t>({0, 10, 50, 90, 100});
    torn_percent = random.pick<uint64_t>({0, 0, 20, 60});
  }
  Lot draw(int disk, bool running) {
    const Lot lot = choose(disk, running);
    ++drawn;
    ++(lot == Lot::kKept ? counters.kept : lot == Lot::kDropped ? counters.dropped : counters.torn);
    return lot;
  }
  Lot choose(int disk, bool running) {
    switch (fate.choice) {
      case Fate::Choice::kNone: return Lot::kDropped;
      case Fate::Choice::kAll: return Lot::kKept;
      case Fate::Choice::kOnly: return drawn == fate.index ? Lot::kKept : Lot::kDropped;
      case Fate::Choice::kAllBut: return drawn != fate.index ? Lot::kKept : Lot::kDropped;
      case Fate::Choice::kPrefix: return drawn < fate.index ? Lot::kKept : Lot::kDropped;
      case Fate::Choice::kRandom: break;
    }
    if (random.chance(torn_percent, 100)) return Lot::kTorn;
    const uint64_t keep = percent[static_cast<size_t>(disk)][running ? 1 : 0];
    return random.chance(keep, 100) ? Lot::kKept : Lot::kDropped;
  }

  const Fate& fate;
  SimCounters& counters;
  Random random;
  std::array<std::array<uint64_t, 2>, 2> percent{};  // [disk][running]
  uint64_t torn_percent = 0;
  uint64_t drawn = 0;
};

std::vector<SimPower::Unsynced> SimPower::running_writes(int disk) const {
  std::vector<Unsynced> writes;
  PageImage image = disks_[static_cast<size_t>(disk)].current;
  for (const Running& running : running_) {
    const IoOp& op = *running.op;
    if (running.disk != disk) continue;
    if (op.kind != IoOp::Kind::kWrite && op.kind != IoOp::Kind::kPunch) continue;
    writes.push_back(
        {writes_completed_, fragments_of(image, op.offset, op.size,
                                         op.kind == IoOp::Kind::kPunch ? nullptr : op.data)});
    apply(image, writes.back().fragments);
  }
  return writes;
}

// A sector that was being written when the power went holds new bytes up to where the head was and
// old ones behind it, or garbage.
void SimPower::spoil(PageImage& image, const PageRef& old, const Fragment& part, Random& random) {
  const uint64_t sector = random.below(kSectorsPerPage);
  if ((part.sectors >> sector & 1) == 0) return;
  PageRef page = image.page(part.page);
  std::byte* bytes = page.own() + sector * kSectorSize;
  if (random.chance(1, 2)) {
    const uint64_t written = random.below(kSectorSize);
    const uint64_t at = sector * kSectorSize;
    std::memcpy(bytes, part.content.data() + at, written);
    std::memcpy(bytes + written, old.data() + at + written, kSectorSize - written);
  } else {
    for (uint64_t i = 0; i < kSectorSize; ++i) bytes[i] = std::byte(random.next() & 0xff);
  }
  image.set_page(part.page, page);
}

void SimPower::apply_lot(PageImage& image, const Unsynced& write, Lot lot, Lottery& lottery) {
  if (lot == Lot::kDropped) return;
  const bool whole_pages = lottery.fate.atom_bytes >= kPageSize;
  const bool prefix = lottery.random.chance(1, 3);  // else any subset
  const uint64_t arrived = lottery.random.below(write.fragments.size() * kSectorsPerPage + 1);
  uint64_t sector = 0;
  for (const Fragment& part : write.fragments) {
    uint8_t keep = 0xff;
    if (lot == Lot::kTorn && whole_pages) {
      keep = (prefix ? sector < arrived : lottery.random.chance(1, 2)) ? 0xff : 0;
    } else if (lot == Lot::kTorn && prefix) {
      keep = sector + kSectorsPerPage <= arrived ? uint8_t{0xff}
             : sector >= arrived                 ? uint8_t{0}
                                 : static_cast<uint8_t>((1u << (arrived - sector)) - 1);
    } else if (lot == Lot::kTorn) {
      keep = static_cast<uint8_t>(lottery.random.next());
    }
    sector += kSectorsPerPage;
    const uint8_t sectors = whole_pages ? keep : static_cast<uint8_t>(part.sectors & keep);
    const PageRef old = image.page(part.page);
    image.take_sectors(part.page, part.content, sectors);
    if (lottery.fate.garbage && lot == Lot::kTorn) spoil(image, old, part, lottery.random);
  }
}

SimPower::SimPower(const SimPower& other, const Fate& fate)
    : journal_bytes_in_data_(other.journal_bytes_in_data_),
      disks_{Disk(*this, 0, other.disks_[0].current.size_bytes()),
             Disk(*this, 1, other.disks_[1].current.size_bytes())},
      writes_completed_(other.writes_completed_),
      trace_hash_(mix(other.trace_hash_ ^ fate.seed)),
      chance_(fate.seed) {
  if (fate.kind == CrashKind::kKill)
    survive_kill(other, fate);
  else
    survive_cut(other, fate);
}

std::unique_ptr<SimPower> SimPower::fork(const Fate& fate) const {
  return std::unique_ptr<SimPower>(new SimPower(*this, fate));
}

uint64_t SimPower::undecided(CrashKind kind) const {
  uint64_t count = 0;
  for (const Running& running : running_)
    if (running.op->kind == IoOp::Kind::kWrite || running.op->kind == IoOp::Kind::kPunch) ++count;
  if (kind == CrashKind::kCut) count += disks_[0].unsynced.size() + disks_[1].unsynced.size();
  return count;
}

// The kernel lives on: what was completed stays, and stays unsynced. A running write arrives, or
// not, or up to the page at which the signal was noticed.
void SimPower::survive_kill(const SimPower& other, const Fate& fate) {
  Fate by_page = fate;
  by_page.atom_bytes = kPageSize;
  by_page.garbage = false;
  Lottery lottery(by_page, counters_);
  for (int disk = 0; disk < 2; ++disk) {
    Disk& on = disks_[static_cast<size_t>(disk)];
    const Disk& from = other.disks_[static_cast<size_t>(disk)];
    on.current = from.current;
    on.stable = from.stable;
    on.unsynced = from.unsynced;
    // A careful program drops cached pages before it trusts them again: they are read from the
    // medium.
    for (const uint64_t page : from.lost_pages) on.current.set_page(page, on.stable.page(page));
    for (const Unsynced& write : on.unsynced) apply(on.current, write.fragments);
    for (Unsynced& write : other.running_writes(disk)) {
      const PageImage before = on.current;
      apply_lot(on.current, write, lottery.draw(disk, true), lottery);
      for (Fragment& part : write.fragments) part.content = on.current.page(part.page);
      write.number = ++writes_completed_;
      on.unsynced.push_back(std::move(write));
    }
  }
}

void SimPower::survive_cut(const SimPower& other, const Fate& fate) {
  Lottery lottery(fate, counters_);
  for (int disk = 0; disk < 2; ++disk) {
    Disk& on = disks_[static_cast<size_t>(disk)];
    const Disk& from = other.disks_[static_cast<size_t>(disk)];
    on.stable = from.stable;
    for (const Unsynced& write : from.unsynced)
      apply_lot(on.stable, write, lottery.draw(disk, false), lottery);
    for (const Unsynced& write : other.running_writes(disk))
      apply_lot(on.stable, write, lottery.draw(disk, true), lottery);
    on.current = on.stable;
  }
}

void SimPower::rot(int disk, uint64_t offset, uint8_t mask) {
  for (PageImage* image :
       {&disks_[static_cast<size_t>(disk)].current, &disks_[static_cast<size_t>(disk)].stable}) {
    std::byte byte{};
    image->read(offset, {&byte, 1});
    byte ^= std::byte{mask};
    image->write(offset, {&byte, 1});
  }
}

void SimPower::replace_page(int disk, uint64_t page, PageRef content) {
  disks_[static_cast<size_t>(disk)].current.set_page(page, content);
  disks_[static_cast<size_t>(disk)].stable.set_page(page, std::move(content));
}

std::string SimPower::describe_running() const {
  std::string text;
  for (const Running& running : running_)
    text += fmt::format("{} {} [{}, +{}); ", kDiskNames[static_cast<size_t>(running.disk)],
                        kind_name(running.op->kind), running.op->offset, running.op->size);
  return text;
}

}  // namespace hozon::sim
