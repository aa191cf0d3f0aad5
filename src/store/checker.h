// src/store/checker.h
// Tells whether a pool is sound: everything reachable is marked as used, nothing else is, every
// checksum is right, and sharing is connected.
//
// Every point is walked beside its parent. What the parent has too was seen there; everything else
// is introduced by this point, and by connected sharing no block is introduced twice. So each block
// is read once, however many points share it. The state checked is that of a checkpoint, taken when
// the check begins; I/O goes on meanwhile, and blocks freed since are not reused before the check
// has ended. Threading: the pool's thread.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/task.h"
#include "store/bitmap.h"
#include "store/core.h"
#include "store/run_verifier.h"

namespace hozon::store {

class Checker {
 public:
  Checker(PoolCore& core, bool verify_data);
  ~Checker();
  // The state at a checkpoint that is made for it.
  Task<Result<CheckReport>> run();
  // The state as it was loaded, before anything is replayed or changed.
  Task<Result<CheckReport>> examine();
  // What was reached, and whether something may hang below nodes that could not be read.
  const Bitmap& seen() const { return *seen_; }
  bool has_damaged_nodes() const { return damaged_nodes_ > 0; }

 private:
  struct ViewPoint {
    uint64_t id;
    std::string name;
    Pointer root;
    uint8_t height;
    uint64_t parent_id;
  };
  // One subtree to visit: the point's pointer, and its parent's at the same address.
  struct Place {
    Pointer own;
    Pointer parents;
    uint8_t level = 0;
    uint64_t index = 0;
  };
  void capture();            // the state, between two waits
  void capture_checksums();  // what was not known then
  Task<Result<CheckReport>> check_captured();
  Task<Status> check_superblocks();
  Task<Status> check_point(const ViewPoint& point);
  Task<Status> visit(const ViewPoint& point, Place place);
  Task<void> visit_leaf(const ViewPoint& point, uint64_t index, std::vector<Pointer> introduced);
  Task<Status> check_journal();
  Task<Status> check_tree_blocks();
  // The node on disk (or still to be written); empty and an error in the report when damaged.
  Task<Result<std::unique_ptr<format::NodeBlock>>> read_node(const ViewPoint& point, Place place);
  // The parent's pointer at the address where the own tree begins.
  Task<Pointer> parents_root(const ViewPoint& parent, uint8_t level);
  bool introduce(const std::string& owner, const Pointer& pointer, uint64_t address);
  void error(std::string sentence);
  Task<void> damaged(const ViewPoint& point, uint8_t level, uint64_t index, uint64_t block,
                     std::string reason);
  // It holds freed blocks back: it gives way to guests who begin to wait for space while it runs.
  bool must_stop() const {
    return core_.closing || !core_.health || (core_.parked_writes > 0 && !was_full_);
  }

  PoolCore& core_;
  bool verify_data_;
  RunVerifier verifier_;
  CheckReport report_;
  uint64_t errors_left_out_ = 0;
  uint64_t damaged_nodes_ = 0;
  std::map<uint64_t, ViewPoint> points_;
  std::vector<std::pair<Pointer, std::string>> metadata_;
  std::vector<std::pair<uint64_t, NodeRef>> roots_;  // of points whose root has no checksum yet
  std::unique_ptr<Bitmap> live_;
  std::unique_ptr<Bitmap> seen_;
  std::unique_ptr<ReaderGuard> reader_;
  uint64_t visits_ = 0;
  bool was_full_ = false;  // guests waited when it began
};

}  // namespace hozon::store
