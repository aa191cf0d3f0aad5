// tests/sim/model.h
// What a correct pool may show: volumes, points and, for each 512-byte sector, the values that are
// legal now, after a kill and after a power cut.
//
// Time is a count of ticks: each call and each answer has its own. A value of a sector is
//   possible    from the call of its write until a later write of the sector is answered (later:
//   one
//               that was called after this one was answered)
//   legal after a kill  while it is possible
//   legal after a cut   until a flush that was called after it stopped being possible is answered,
//               or until it is buried: a FUA write or a return that followed it is durable
// Two writes that run at the same time are both possible until a third supersedes them.
//
// A point must show one instant between call and answer of its snapshot: each sector a value that
// was possible then, all volumes of the set together. Where several values are possible the first
// read settles it, and narrows the interval in which the set's instant lies.
//
// After a crash the heads of all volumes show one instant, too: no write without one that was
// answered before it was called (docs/durability.md, P4).
//
// An operation on volumes and points that was not answered before a crash has happened or has not;
// what the pool lists afterwards tells which (auditor.h).
// A Model is copied for every crash that is tried: blocks are shared until they change.
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "content.h"

namespace hozon::sim {

using Tick = uint64_t;
inline constexpr Tick kForever = std::numeric_limits<Tick>::max();
inline constexpr uint64_t kSectorsPerBlock = kSectorsPerPage;

struct Value {
  uint64_t stamp = 0;
  Tick begun = 0;
  Tick ended = 0;              // kForever while its write runs
  Tick superseded = kForever;  // when it stopped being possible
  bool buried = false;         // not legal after a cut although it stopped only lately
};
using History = std::vector<Value>;

struct HeadBlock {
  std::array<History, kSectorsPerBlock> sectors;
};
using PointBlock = std::array<uint64_t, kSectorsPerBlock>;  // stamps

struct ModelVolume {
  uint64_t uid = 0;  // the model's own number
  std::string name;
  uint64_t size_bytes = 0;
  uint64_t parent = 0;   // uid of the point that its head descends from; 0: none
  uint64_t head_id = 0;  // the pool's number of the head, when known
  Tick reshaped = 0;     // when its size or existence last changed; kForever while that runs
  std::map<uint64_t, std::shared_ptr<HeadBlock>> head;
};

struct ModelPoint {
  uint64_t uid = 0;
  uint64_t id = 0;  // the pool's number, when known
  std::string name;
  uint64_t volume = 0;  // uid
  uint64_t parent = 0;  // uid of the nearest ancestor that still exists; 0: none
  uint64_t size_bytes = 0;
  uint64_t set = 0;  // of the snapshot that made it
  std::map<uint64_t, std::shared_ptr<const PointBlock>> blocks;
  std::map<uint64_t, std::array<History, kSectorsPerBlock>> open;  // several values are possible
};

struct AdminOp {
  enum class Kind : uint8_t {
    kCreate,
    kResize,
    kRenameVolume,
    kDeleteVolume,
    kSnapshot,
    kClone,
    kReturn,
    kDeletePoint,
    kRenamePoint,
  };
  Kind kind = Kind::kCreate;
  Tick begun = 0;
  std::vector<uint64_t> volumes;  // uids: those it changes (the source, for a clone of a head)
  std::vector<uint64_t> points;   // uids: targets of a return, source of a clone, the point
  std::string name;               // new name: of the volume, the points, or what a return keeps
  uint64_t size_bytes = 0;
  std::string text() const;
};

class Model {
 public:
  explicit Model(std::shared_ptr<Contents> contents) : contents_(std::move(contents)) {}
  Contents& contents() const { return *contents_; }
  Tick now() const { return now_; }

  // --- guest I/O; sectors are numbers within the volume ---
  struct Io {
    uint64_t volume = 0;
    uint64_t sector = 0, count = 0;
    uint64_t stamp = 0;
    Tick begun = 0;
  };
  Io begin_write(uint64_t volume, uint64_t sector, uint64_t count, uint64_t stamp);
  void end_write(const Io& io, bool answered_ok, bool fua);
  Tick begin_activity();  // a read or flush
  void end_activity(Tick begun);
  void end_flush(Tick begun);
  // Empty, or what is wrong with `bytes`, which a read that began at `begun` has delivered.
  std::string check_read(uint64_t volume, uint64_t sector, std::span<const std::byte> bytes,
                         Tick begun) const;
  // The one value that the sector can have now, if there is only one and no write runs.
  std::optional<uint64_t> certain(uint64_t volume, uint64_t sector) const;

  // --- volumes and points ---
  uint64_t begin_admin(AdminOp op);  // returns a key
  void end_admin(uint64_t key, bool applied);
  const std::map<uint64_t, AdminOp>& running_admin() const { return admin_; }

  // --- after the fact ---
  enum class After : uint8_t {
    kQuiet,
    kKill,
    kLost,  // as a kill, but a failed sync may have lost what no flush covered
    kCut,
  };
  // Nothing runs any more: the values of running writes stay possible.
  void crash();
  // Everything answered so far is durable (a clean close).
  void made_durable() { durable_ = ++now_; }
  // Checks the content of a head's sector after a crash and takes it as the truth from now on.
  std::string settle_head(uint64_t volume, uint64_t sector, std::span<const std::byte> bytes,
                          After after);
  std::string settle_point(uint64_t point, uint64_t sector, std::span<const std::byte> bytes);

  std::map<uint64_t, ModelVolume> volumes;
  std::map<uint64_t, std::shared_ptr<ModelPoint>> points;
  ModelVolume* volume_named(const std::string& name);
  ModelPoint* point_named(uint64_t volume, const std::string& name);
  // Notes the pool's number of a point. False: an earlier object had it.
  bool learn_id(uint64_t point, uint64_t id);
  // For changes: not shared with other models.
  ModelPoint& own_point(uint64_t uid);
  // Blocks of 4096 bytes that heads and points hold, shared ones counted once.
  uint64_t distinct_blocks() const;

 private:
  struct Interval {
    Tick low, high;  // the instant lies in [low, high)
  };
  HeadBlock& own_block(ModelVolume& volume, uint64_t block);
  void forget(History& history) const;
  Tick oldest_activity() const;
  void apply(const AdminOp& op);
  void cut_off(ModelVolume& volume);
  void apply_snapshot(const AdminOp& op, const std::string& name);
  void apply_clone(const AdminOp& op);
  void apply_return(const AdminOp& op);
  void revoke_return(const AdminOp& op);
  void begin_return(const AdminOp& op);
  void remove_point(uint64_t uid);
  void remove_volume(uint64_t uid);
  bool narrow_heads(const Interval& shown);
  static HeadBlock zero_block();

  std::shared_ptr<Contents> contents_;
  Tick now_ = 0;
  Tick durable_ = 0;  // call time of the latest flush that was answered
  std::multiset<Tick> active_;
  std::map<uint64_t, AdminOp> admin_;
  std::map<uint64_t, Interval> sets_;
  std::map<uint64_t, uint64_t> ids_;  // of points, living and gone: the pool's number, ours
  Interval heads_{0, kForever};       // of what the heads show, since the last crash
  uint64_t next_uid_ = 1;
};

}  // namespace hozon::sim
