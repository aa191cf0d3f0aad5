#include "cli/grammar.h"

#include "cli/declare.h"

namespace hozon::cli {
namespace {

std::vector<CLI::App*> shown_subcommands(const CLI::App& app) {
  // CLI11 lists them through a filter only when the object may change; nothing does here.
  return const_cast<CLI::App&>(app).get_subcommands(
      [](CLI::App* sub) { return !sub->get_group().empty(); });
}

GrammarOption option_of(const CLI::Option& option) {
  GrammarOption shown;
  shown.help = option.get_description();
  shown.required = option.get_required();
  shown.is_positional = option.get_positional();
  shown.is_many = option.get_items_expected_max() > 1;
  if (shown.is_positional) {
    shown.name = option.get_name(true);
    return shown;
  }
  if (!option.get_lnames().empty()) shown.name = "--" + option.get_lnames().front();
  if (!option.get_snames().empty()) shown.brief = "-" + option.get_snames().front();
  if (option.get_items_expected_max() > 0) shown.value = option.get_type_name();
  return shown;
}

void add_options(const CLI::App& app, std::vector<GrammarOption>& options) {
  for (const bool positionals : {true, false})
    for (const CLI::Option* option : app.get_options())
      if (option->get_positional() == positionals) options.push_back(option_of(*option));
}

void add_verbs(const CLI::App& app, std::vector<std::string> path, Grammar& all) {
  const auto below = shown_subcommands(app);
  for (const CLI::App* sub : below) {
    path.push_back(sub->get_name());
    add_verbs(*sub, path, all);
    path.pop_back();
  }
  if (!below.empty()) return;
  GrammarVerb verb{path, app.get_description(), {}, {}};
  const std::string footer = app.get_footer();
  const std::string mark = "Example:\n  ";
  if (const size_t at = footer.find(mark); at != std::string::npos)
    verb.example = footer.substr(at + mark.size());
  add_options(app, verb.options);
  all.verbs.push_back(std::move(verb));
}

}  // namespace

const Grammar& grammar() {
  static const Grammar kGrammar = [] {
    Arguments unused;
    CLI::App root("", "hozon");
    declare_all(root, unused);
    Grammar all;
    for (const CLI::App* noun : shown_subcommands(root))
      all.nouns.push_back({noun->get_name(), noun->get_description()});
    add_options(root, all.anywhere);
    add_verbs(root, {}, all);
    return all;
  }();
  return kGrammar;
}

}  // namespace hozon::cli
