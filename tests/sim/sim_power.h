// tests/sim/sim_power.h
// Two simulated disks (data and journal) on one power supply, which can fail at any instant; or one
// that serves as both.
//
// What a disk does with a write (after io/device.h, and what Linux documents):
//   running    submitted, not completed. A crash may apply it, drop it or tear it.
//   unsynced   completed: every read sees it and a kill leaves it alone; a power cut keeps, drops
//   or
//              tears it, whatever happens to others: writes order nothing.
//   stable     a sync that was submitted after its completion has completed.
// A sector that a cut hits holds one of the contents that it had in the page cache since the last
// sync, never a mixture (unless `garbage` is asked for). A punch is a write of zeros.
// A failed write leaves any mixture of old and new sectors; after a failed sync each write that it
// covered is stable or lost: then it is seen until the crash, and no later sync repairs it.
//
// fork() makes the pair of disks that a crash at this instant could leave behind, as a copy: the
// original goes on as if nothing had happened. So one run of a workload serves thousands of
// crashes.
//
// Events are what changes a disk: the end of a write, sync or punch, and each write_now().
// The observer runs before each event, when the operation still counts as running.
// Threading: one thread. Misuse of Device (alignment, range, a buffer changed while the disk had
// it) and overlapping running operations on the data disk are collected in violations().
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "io/device.h"
#include "page_image.h"
#include "random.h"
#include "sim_executor.h"

namespace hozon::sim {

enum class CrashKind : uint8_t { kKill, kCut };

// What becomes of writes that are not stable (kCut) or still running (kKill).
struct Fate {
  enum class Choice : uint8_t {
    kNone,    // all are lost
    kAll,     // all arrive
    kRandom,  // each for itself: lost, arrives, or is torn; the odds differ from fate to fate
    kOnly,    // write number `index` arrives, no other
    kAllBut,  // every write but number `index` arrives
    kPrefix,  // the first `index` writes in the order of completion arrive
  };
  CrashKind kind = CrashKind::kCut;
  Choice choice = Choice::kRandom;
  uint64_t index = 0;
  uint64_t atom_bytes = kSectorSize;  // what tears: multiples of this arrive whole or not at all
  bool garbage = false;  // a torn sector may hold bytes of old and new content, or garbage
  uint64_t seed = 0;
  std::string text() const;
};

struct FaultRule {
  IoOp::Kind kind = IoOp::Kind::kWrite;  // write_now counts as kWrite
  int disk = -1;                         // 0 data, 1 journal, -1 both together
  uint64_t nth = 1;                      // the first is 1, counted from the adding of the rule
  int error = 5;                         // EIO
  bool sticky = false;                   // all later ones fail too
  uint64_t seen = 0;
  uint64_t fired = 0;
};

struct SimCounters {
  uint64_t events = 0, reads = 0, writes = 0, writes_now = 0, syncs = 0, punches = 0;
  uint64_t faults = 0;                       // operations that were made to fail
  uint64_t kept = 0, dropped = 0, torn = 0;  // fates of writes in the fork that made this pair
};

class SimPower;

class SimDisk : public Device {
 public:
  SimDisk(SimPower& power, int index, uint64_t size_bytes)
      : power_(power), index_(index), size_(size_bytes) {}
  uint64_t size_bytes() const override { return size_; }
  void submit(IoOp& op) override;
  int write_now(uint64_t offset, std::span<const std::byte> from) override;

 private:
  SimPower& power_;
  int index_;
  uint64_t size_;
};

class SimPower : public SimExecutor::Source {
 public:
  enum class Layout : uint8_t { kTwoDisks, kOneDisk };
  SimPower(uint64_t data_bytes, uint64_t journal_bytes, Layout layout = Layout::kTwoDisks);
  SimPower(const SimPower&) = delete;
  // The executor that resumes waiters. Before the first operation.
  void attach(SimExecutor& executor) { executor_ = &executor; }
  SimDisk& data() { return disks_[0].device; }
  SimDisk& journal() { return disks_[has_one_disk() ? 0 : 1].device; }
  // Of them the journal takes so many at the end of data(); 0: it has a disk of its own.
  uint64_t journal_bytes_in_data() const { return journal_bytes_in_data_; }

  // The disks as a crash now could leave them, without an executor.
  std::unique_ptr<SimPower> fork(const Fate& fate) const;
  // How many writes a fate of this kind decides about now (the bound of Fate::index).
  uint64_t undecided(CrashKind kind) const;

  std::function<void()> before_event;
  std::vector<FaultRule> faults;
  std::function<void(const std::string&)> on_fault;
  // Flips bits of one byte as the medium might, in what is cached as well.
  void rot(int disk, uint64_t offset, uint8_t mask);
  // A byte as a read would see it now.
  const PageImage& image(int disk) const { return disks_[static_cast<size_t>(disk)].current; }
  // Replaces a page, cached and stable.
  void replace_page(int disk, uint64_t page, PageRef content);

  const SimCounters& counters() const { return counters_; }
  const std::vector<std::string>& violations() const { return violations_; }
  // Folds every event so far: equal for equal histories.
  uint64_t trace_hash() const { return trace_hash_; }
  std::string describe_running() const;

  uint64_t outstanding() const override { return running_.size(); }
  void complete_some(Random& random) override;

 private:
  friend class SimDisk;
  struct Fragment {
    uint64_t page;
    PageRef content;  // of the page after the write
    uint8_t sectors;  // which of its sectors the write touched
  };
  struct Unsynced {
    uint64_t number;  // order of completion, counted over both disks
    std::vector<Fragment> fragments;
  };
  struct Disk {
    Disk(SimPower& power, int index, uint64_t bytes)
        : device(power, index, bytes), current(bytes), stable(bytes) {}
    SimDisk device;
    PageImage current, stable;
    std::deque<Unsynced> unsynced;
    std::vector<uint64_t> lost_pages;  // by a failed sync
  };
  struct Running {
    IoOp* op;
    int disk;
    uint64_t covers;    // a sync: writes completed up to this number
    uint32_t checksum;  // a write: of its buffer when it was submitted
    IoOp as_submitted;
  };
  enum class Lot : uint8_t { kKept, kDropped, kTorn };
  struct Lottery;

  SimPower(const SimPower& other, const Fate& fate);
  bool has_one_disk() const { return journal_bytes_in_data_ != 0; }
  void submit(int disk, IoOp& op);
  int write_now(int disk, uint64_t offset, std::span<const std::byte> from);
  void check_submit(int disk, const IoOp& op);
  int fault_for(int disk, IoOp::Kind kind);
  void announce_event();
  void finish(const Running& running);
  int perform(const Running& running);
  void perform_write(int disk, uint64_t offset, std::span<const std::byte> from, bool punch,
                     int error);
  void perform_sync(const Running& running, int error);
  void trace(int disk, const IoOp& op, int result);
  static std::vector<Fragment> fragments_of(const PageImage& before, uint64_t offset, uint64_t size,
                                            const std::byte* from);
  static void apply(PageImage& image, const std::vector<Fragment>& fragments);
  std::vector<Unsynced> running_writes(int disk) const;
  static void spoil(PageImage& image, const PageRef& old, const Fragment& part, Random& random);
  void apply_lot(PageImage& image, const Unsynced& write, Lot lot, Lottery& lottery);
  void survive_kill(const SimPower& other, const Fate& fate);
  void survive_cut(const SimPower& other, const Fate& fate);

  SimExecutor* executor_ = nullptr;
  uint64_t journal_bytes_in_data_ = 0;
  std::array<Disk, 2> disks_;
  std::vector<Running> running_;
  uint64_t writes_completed_ = 0;
  SimCounters counters_;
  uint64_t trace_hash_ = 0;
  Random chance_{1};  // for the content that failed operations leave
  std::vector<std::string> violations_;
};

}  // namespace hozon::sim
