#include "cli/snapshot_tree.h"

#include <algorithm>
#include <map>

#include "base/units.h"

namespace hozon::cli {
namespace {

// Deeper than this, a line is drawn where its parent is: a chain of 10,000 stays readable.
constexpr size_t kIndentMax = 24;

}  // namespace

std::string kind_text(const client::Snapshot& snapshot) {
  std::string text = snapshot.has_memory ? "memory" : "disk";
  if (snapshot.kind == "system") text += ", kept";
  if (snapshot.kind == "suspend") text += ", asleep";
  if (snapshot.kind == "preview") text += ", before the preview";
  return text;
}

std::string size_text(const client::Snapshot& snapshot) {
  return snapshot.exclusive_bytes ? format_bytes(*snapshot.exclusive_bytes) : "-";
}

std::string pause_text(const client::Snapshot& snapshot) {
  return snapshot.has_memory ? duration_text(snapshot.stop_us) : "none";
}

SnapshotTree::SnapshotTree(const client::Machine& machine,
                           const std::vector<client::Snapshot>& snapshots)
    : machine_(machine), snapshots_(snapshots) {
  std::map<std::string, size_t> by_uuid;
  for (size_t i = 0; i < snapshots.size(); ++i) by_uuid[snapshots[i].uuid] = i;
  std::map<std::string, std::vector<size_t>> children;  // parent's uuid; "" holds the roots
  for (size_t i = 0; i < snapshots.size(); ++i)
    children[by_uuid.contains(snapshots[i].parent) ? snapshots[i].parent : ""].push_back(i);
  children[by_uuid.contains(machine.current_parent) ? machine.current_parent : ""].push_back(kHere);

  struct Open {
    const std::vector<size_t>* items;
    size_t next;
    std::string prefix;  // of the lines below this level
  };
  std::vector<Open> stack;
  stack.push_back({&children[""], 0, ""});
  while (!stack.empty()) {
    Open& level = stack.back();
    if (level.next == level.items->size()) {
      stack.pop_back();
      continue;
    }
    const size_t item = (*level.items)[level.next++];
    const bool last = level.next == level.items->size();
    const size_t depth = stack.size() - 1;
    const bool drawn = depth > 0 && depth <= kIndentMax;
    const std::string branch = level.prefix + (depth == 0 ? ""
                                               : !drawn   ? "· "
                                               : last     ? "└─ "
                                                          : "├─ ");
    lines_.push_back({item, depth, branch});
    if (item == kHere) continue;
    const auto found = children.find(snapshots[item].uuid);
    if (found == children.end()) continue;
    const std::string below = level.prefix + (!drawn ? "" : last ? "   " : "│  ");
    stack.push_back({&found->second, 0, below});
  }
}

Table SnapshotTree::to_table() const {
  Table table({"SNAPSHOT", "KIND", "TIME", "SIZE", "PAUSE", "DESCRIPTION"});
  for (const Line& line : lines_) {
    if (line.snapshot == kHere) {
      table.add({line.branch + "(you are here)", machine_.state, "now", "-", "-", ""});
      continue;
    }
    const client::Snapshot& snapshot = snapshots_[line.snapshot];
    const std::string status = snapshot.status == "ok" ? "" : " [" + snapshot.status + "]";
    table.add({line.branch + snapshot.name + status, kind_text(snapshot),
               time_text(snapshot.created_ns), size_text(snapshot), pause_text(snapshot),
               snapshot.description});
  }
  return table;
}

client::Json SnapshotTree::to_json() const {
  client::Json items = client::Json::array();
  for (const Line& line : lines_) {
    client::Json item = line.snapshot == kHere
                            ? client::Json{{"here", true}, {"parent", machine_.current_parent}}
                            : snapshots_[line.snapshot].json;
    item["depth"] = line.depth;
    items.push_back(std::move(item));
  }
  return items;
}

}  // namespace hozon::cli
