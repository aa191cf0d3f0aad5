// hozon __complete -- WORDS...: one candidate per line for the last word. Shells call it; they
// filter by what was typed. Names come from the running instance; without one there are just none.
#include <algorithm>
#include <map>

#include "cli/commands.h"

namespace hozon::cli {
namespace {

using Names = std::vector<std::string>;

const std::map<std::string, Names, std::less<>> kVerbs = {
    {"pool", {"create", "list", "show", "check", "scrub", "delete"}},
    {"volume",
     {"create", "list", "show", "uri", "resize", "snapshot", "clone", "return", "delete"}},
    {"machine",
     {"create", "list", "show", "start", "pause", "suspend", "resume", "shutdown", "kill",
      "console", "connect", "freeze", "thaw", "undo", "quota", "delete"}},
    {"snapshot",
     {"create", "list", "tree", "show", "return", "clone", "rename", "describe", "tag", "expire",
      "pin", "unpin", "trash", "delete"}},
    {"job", {"list", "show", "watch", "cancel"}},
};

Names names_of_machines(client::Client& client) {
  Names names;
  if (const auto machines = client.machines())
    for (const client::Machine& machine : *machines) names.push_back(machine.name);
  return names;
}

Names names_of_volumes(client::Client& client) {
  Names names;
  const auto volumes = client.volumes("");
  if (!volumes) return names;
  for (const client::Volume& volume : *volumes) {
    names.push_back(volume.name);
    if (volume.point_count == 0) continue;
    if (const auto points = client.points(volume.name, volume.pool))
      for (const client::Point& point : *points) names.push_back(volume.name + "@" + point.name);
  }
  return names;
}

Names names_of_snapshots(client::Client& client, const std::string& machine) {
  Names names;
  if (const auto snapshots = client.snapshots(machine, false))
    for (const client::Snapshot& snapshot : *snapshots) names.push_back(snapshot.name);
  return names;
}

Names candidates(client::Client& client, const Names& words) {
  if (words.size() <= 1)
    return {"up", "down", "pool", "volume", "machine", "snapshot", "job", "version"};
  const auto verbs = kVerbs.find(words[0]);
  if (verbs == kVerbs.end()) return {};
  if (words.size() == 2) return verbs->second;
  if (words[1] == "create" && words[0] != "snapshot") return {};
  if (words[0] == "machine" || (words[0] == "snapshot" && words.size() == 3))
    return words.size() == 3 ? names_of_machines(client) : Names();
  if (words[0] == "snapshot") return names_of_snapshots(client, words[2]);
  if (words[0] == "volume") return names_of_volumes(client);
  Names names;
  if (words[0] == "pool")
    if (const auto pools = client.pools())
      for (const client::Pool& pool : *pools) names.push_back(pool.name);
  return names;
}

}  // namespace

CommandResult complete(const Arguments& args, Context& context) {
  // Options and their values are left out; what remains are the words that matter, and the last
  // one, which is being typed.
  Names words;
  std::string directory = args.directory;
  for (size_t i = 0; i < args.others.size(); ++i) {
    const std::string& word = args.others[i];
    if (word == "--" && i == 0) continue;
    const bool takes_value = word == "--dir" || word == "-o" || word == "--output";
    if (takes_value && i + 1 < args.others.size()) {
      if (word == "--dir") directory = args.others[i + 1];
      ++i;
      continue;
    }
    if (!word.starts_with('-')) words.push_back(word);
  }
  if (words.empty()) words.emplace_back();
  client::Client client(absolute_path(directory));
  Names found = candidates(client, words);
  std::erase_if(found,
                [&words](const std::string& name) { return !name.starts_with(words.back()); });
  std::string text;
  for (const std::string& name : found) text += printable(name) + "\n";
  context.printer().text(text);
  return ExitCode::kOk;
}

}  // namespace hozon::cli
