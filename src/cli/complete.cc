// hozon __complete -- WORDS...: one candidate per line for the last word. Shells call it; they
// filter by what was typed. Words and options come from the grammar, names from the running
// instance; without one there are just none.
#include <algorithm>
#include <cstdlib>
#include <optional>

#include "cli/commands.h"
#include "cli/grammar.h"

namespace hozon::cli {
namespace {

using Names = std::vector<std::string>;

Names names_of_machines(client::Client& client) {
  Names names;
  if (const auto machines = client.machines("name"))
    for (const client::Machine& machine : *machines) names.push_back(machine.name);
  return names;
}

Names names_of_volumes(client::Client& client, bool with_points) {
  Names names;
  const auto volumes = client.volumes("");
  if (!volumes) return names;
  for (const client::Volume& volume : *volumes) {
    names.push_back(volume.name);
    if (!with_points || volume.point_count == 0) continue;
    if (const auto points = client.points(volume.name, volume.pool))
      for (const client::Point& point : *points) names.push_back(volume.name + "@" + point.name);
  }
  return names;
}

Names names_of_snapshots(client::Client& client, const std::string& machine, bool deleted) {
  Names names;
  const auto snapshots = deleted ? client.trash(machine) : client.snapshots(machine, false, "name");
  if (!snapshots) return names;
  for (const client::Snapshot& snapshot : *snapshots) names.push_back(snapshot.name);
  return names;
}

Names names_of_pools(client::Client& client) {
  Names names;
  if (const auto pools = client.pools())
    for (const client::Pool& pool : *pools) names.push_back(pool.name);
  return names;
}

Names numbers_of_jobs(client::Client& client, bool running) {
  constexpr size_t kJobsShown = 20;
  Names names;
  if (const auto jobs = client.jobs())
    for (const client::Job& job : *jobs)
      if (names.size() < kJobsShown && (!running || !job.is_ended()))
        names.push_back(std::to_string(job.id));
  return names;
}

Names names_of(const Result<std::vector<client::Json>>& items) {
  Names names;
  if (items)
    for (const client::Json& item : *items) {
      const std::string name = client::text_of(item, "name");
      names.push_back(name.empty() ? client::text_of(item, "user") : name);
    }
  return names;
}

Names names_at(client::Client& client, const std::string& path) {
  Names names;
  const auto answer = client.read(path);
  if (!answer || !answer->contains("items")) return names;
  for (const client::Json& item : (*answer)["items"])
    names.push_back(client::text_of(item, "name"));
  return names;
}

// What can stand for a positional of that name; `given` are the words before it.
Names names_for(client::Client& client, const GrammarVerb& verb, const std::string& positional,
                const Names& given) {
  const std::string& noun = verb.path.front();
  const std::string& last = verb.path.back();
  const bool is_new = last == "create" && given.empty() && noun != "snapshot";
  if (is_new) return {};
  if (positional == "MACHINE") return names_of_machines(client);
  if (positional.starts_with("VOLUME"))
    return names_of_volumes(client, positional.find("POINT") != std::string::npos);
  if (positional == "POOL") return names_of_pools(client);
  if (positional == "JOB") return numbers_of_jobs(client, last == "cancel");
  if (noun == "volume" && (positional == "FROM" || positional == "TO"))
    return names_of_volumes(client, true);
  if (noun == "snapshot" && !given.empty() && last != "create" &&
      (positional == "NAME" || positional == "FROM" || positional == "TO"))
    return names_of_snapshots(client, given.front(), verb.path.size() == 3);
  const bool collection = noun == "schedule" || noun == "template" || noun == "group";
  if (collection && given.empty()) return names_at(client, "/v1/" + noun + "s");
  if (noun == "template" && positional == "SNAPSHOT" && given.size() == 2)
    return names_of_snapshots(client, given.back(), false);
  if (noun == "token") return names_of(client.tokens());
  if (noun == "peer") return names_of(client.peers());
  return {};
}

// What can be the value of an option.
Names values_of(client::Client& client, const std::string& option) {
  if (option == "--pool") return names_of_pools(client);
  if (option == "--machines") return names_of_machines(client);
  if (option == "--template") return names_at(client, "/v1/templates");
  return {};
}

const GrammarOption* find_option(const GrammarVerb* verb, const std::string& word) {
  const auto fits = [&](const GrammarOption& option) {
    return !option.is_positional && (word == option.name || word == option.brief);
  };
  for (const GrammarOption& option : grammar().anywhere)
    if (fits(option)) return &option;
  if (verb != nullptr)
    for (const GrammarOption& option : verb->options)
      if (fits(option)) return &option;
  return nullptr;
}

// The verb whose path these words begin with.
const GrammarVerb* find_verb(const Names& words) {
  for (const GrammarVerb& verb : grammar().verbs)
    if (verb.path.size() <= words.size() &&
        std::equal(verb.path.begin(), verb.path.end(), words.begin()))
      return &verb;
  return nullptr;
}

// What can follow these words of a path that is not complete yet.
Names next_words(const Names& words) {
  Names next;
  for (const GrammarVerb& verb : grammar().verbs) {
    if (verb.path.size() <= words.size() ||
        !std::equal(words.begin(), words.end(), verb.path.begin()))
      continue;
    const std::string& word = verb.path[words.size()];
    if (std::ranges::find(next, word) == next.end()) next.push_back(word);
  }
  return next;
}

// The words that matter, without options and their values.
struct Typed {
  Names words;       // before the one that is being typed
  std::string last;  // that one
  std::string head;  // of it what stands before `last`: "--pool=", or "web," of a list
  std::string directory, url;
  const GrammarOption* waiting = nullptr;  // the option whose value is being typed
};

// Shells hand a word over as it was typed.
std::string with_home(const std::string& path) {
  const char* const home = std::getenv("HOME");
  return path.starts_with("~/") && home != nullptr ? home + path.substr(1) : path;
}

// "--pool=main" in its two parts; other words have the first only.
std::pair<std::string, std::optional<std::string>> parts_of(const std::string& word) {
  const size_t at = word.starts_with("--") ? word.find('=') : std::string::npos;
  if (at == std::string::npos) return {word, std::nullopt};
  return {word.substr(0, at), word.substr(at + 1)};
}

Typed typed_of(const Arguments& args) {
  Typed typed;
  std::optional<std::string> directory, url;
  Names all = args.others;
  if (!all.empty() && all.front() == "--") all.erase(all.begin());
  if (!all.empty()) {
    typed.last = all.back();
    all.pop_back();
  }
  for (size_t i = 0; i < all.size(); ++i) {
    if (!all[i].starts_with('-') || all[i] == "-") {
      typed.words.push_back(all[i]);
      continue;
    }
    auto [name, value] = parts_of(all[i]);
    const GrammarOption* const option = find_option(find_verb(typed.words), name);
    if (option == nullptr || option->value.empty()) continue;
    if (!value && ++i == all.size()) typed.waiting = option;
    if (!value && i < all.size()) value = all[i];
    if (value && option->name == "--dir") directory = with_home(*value);
    if (value && option->name == "--url") url = *value;
  }
  // What is typed goes before what the environment names.
  typed.directory = directory.value_or(args.directory);
  typed.url = url.value_or(directory ? "" : args.url);
  const auto [name, value] = parts_of(typed.last);
  if (const auto* option = value ? find_option(find_verb(typed.words), name) : nullptr) {
    typed.waiting = option;
    typed.head = name + "=";
    typed.last = *value;
  }
  const bool is_list = typed.waiting != nullptr && typed.waiting->name == "--machines";
  if (const size_t comma = typed.last.rfind(','); is_list && comma != std::string::npos) {
    typed.head += typed.last.substr(0, comma + 1);
    typed.last.erase(0, comma + 1);
  }
  return typed;
}

Names candidates(const Typed& typed) {
  const GrammarVerb* const verb = find_verb(typed.words);
  if (typed.waiting != nullptr && typed.waiting->name == "--output")
    return {"table", "json", "yaml", "name"};
  if (typed.waiting == nullptr && typed.last.starts_with('-')) {
    Names names;
    for (const GrammarOption& option : grammar().anywhere) names.push_back(option.name);
    if (verb != nullptr)
      for (const GrammarOption& option : verb->options)
        if (!option.is_positional) names.push_back(option.name);
    return names;
  }
  if (verb == nullptr && typed.waiting == nullptr) return next_words(typed.words);
  client::Client client = client_at(typed.url, absolute_path(typed.directory));
  if (typed.waiting != nullptr) return values_of(client, typed.waiting->name);
  const Names given(typed.words.begin() + static_cast<std::ptrdiff_t>(verb->path.size()),
                    typed.words.end());
  size_t place = 0;
  for (const GrammarOption& option : verb->options) {
    if (!option.is_positional) continue;
    if (place == given.size() || option.is_many)
      return names_for(client, *verb, option.name, given);
    ++place;
  }
  return {};
}

}  // namespace

CommandResult complete(const Arguments& args, Context& context) {
  const Typed typed = typed_of(args);
  std::string text;
  for (const std::string& name : candidates(typed))
    if (name.starts_with(typed.last)) text += printable(typed.head + name) + "\n";
  context.printer().text(text);
  return ExitCode::kOk;
}

}  // namespace hozon::cli
