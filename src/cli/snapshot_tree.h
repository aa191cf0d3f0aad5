// src/cli/snapshot_tree.h
// A machine's snapshots as the tree they grew in, with "(you are here)" where the machine's present
// state hangs. Works at any depth and for any number: no recursion.
#pragma once

#include <string>
#include <vector>

#include "cli/printer.h"
#include "client/types.h"

namespace hozon::cli {

class SnapshotTree {
 public:
  // `snapshots` oldest first. One whose parent is not among them is a root.
  SnapshotTree(const client::Machine& machine, const std::vector<client::Snapshot>& snapshots);

  Table to_table() const;
  // The snapshots in the order of the tree, each with "depth"; and the present state as an object
  // {"here": true, "depth": N, "parent": uuid}.
  client::Json to_json() const;

 private:
  static constexpr size_t kHere = ~size_t{0};
  struct Line {
    size_t snapshot;  // index, or kHere
    size_t depth;
    std::string branch;  // "│  └─ "
  };
  const client::Machine& machine_;
  const std::vector<client::Snapshot>& snapshots_;
  std::vector<Line> lines_;
};

std::string kind_text(const client::Snapshot& snapshot);   // "disk", "memory", "memory, kept"
std::string size_text(const client::Snapshot& snapshot);   // what deleting it would free
std::string pause_text(const client::Snapshot& snapshot);  // how long the guest stood still

}  // namespace hozon::cli
