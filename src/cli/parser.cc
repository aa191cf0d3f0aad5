// CLI11 throws; everything it throws becomes a Parsed here, always with a single line.
#include "cli/parser.h"

#include <algorithm>
#include <cstdlib>
#include <map>

#include "base/units.h"
#include "cli/commands.h"
#include "cli/declare.h"
#include "cli/messages.h"
#include "cli/nearest.h"
#include "cli/version.h"
#include "client/channel.h"

namespace hozon::cli {
namespace {

uint64_t size_or_throw(const std::string& option, const std::string& text) {
  const auto bytes = parse_bytes(text);
  if (!bytes) throw CLI::ValidationError(option, bytes.error().what);
  if (*bytes == 0) throw CLI::ValidationError(option, "a size must be above zero");
  return *bytes;
}

uint64_t number_or_throw(const std::string& option, const std::string& text, uint64_t most) {
  uint64_t value = 0;
  const bool digits = !text.empty() && text.size() <= 18 &&
                      text.find_first_not_of("0123456789") == std::string::npos;
  if (digits) value = std::stoull(text);
  if (!digits || value == 0 || value > most)
    throw CLI::ValidationError(option,
                               fmt::format("'{}' is not a number from 1 to {}", text, most));
  return value;
}

std::string one_line(const std::string& text) {
  std::string line;
  for (const char c : text) line += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
  while (!line.empty() && line.back() == ' ') line.pop_back();
  if (line.size() > 1 && line[0] >= 'A' && line[0] <= 'Z' && !(line[1] >= 'A' && line[1] <= 'Z'))
    line[0] = static_cast<char>(line[0] - 'A' + 'a');
  return line;
}

// The words that lead to the deepest subcommand that was understood: "hozon volume create".
std::string path_of(const CLI::App& root) {
  std::string path = "hozon";
  const CLI::App* app = &root;
  while (!app->get_subcommands().empty()) {
    app = app->get_subcommands().front();
    path += " " + app->get_name();
  }
  return path;
}

Parsed usage_error(const CLI::App& root, const std::string& sentence) {
  Parsed parsed;
  parsed.exit_code = ExitCode::kUsage;
  parsed.error = fmt::format("{} (see: {} --help)", one_line(sentence), path_of(root));
  return parsed;
}

void declare_globals(CLI::App& root, Arguments& arguments) {
  static const std::map<std::string, Format> kFormats = {{"table", Format::kTable},
                                                         {"json", Format::kJson},
                                                         {"yaml", Format::kYaml},
                                                         {"name", Format::kName}};
  root.add_option_function<std::string>(
          "--dir",
          [&arguments](const std::string& value) {
            if (value.empty()) throw CLI::ValidationError("--dir", "the directory is empty");
            arguments.directory = value;
          },
          say("Directory of the Hozon instance"))
      ->envname("HOZON_DIR")
      ->type_name("D");
  root.add_option("--url", arguments.url,
                  say("An instance elsewhere: https://HOST:PORT; HOZON_TOKEN has the token"))
      ->envname("HOZON_URL")
      ->type_name("URL");
  root.add_option_function<std::string>(
          "-o,--output",
          [&arguments](const std::string& value) {
            const auto found = kFormats.find(value);
            if (found == kFormats.end())
              throw CLI::ValidationError(
                  "-o",
                  fmt::format("'{}' is not an output form; use table, json, yaml or name", value));
            arguments.format = found->second;
          },
          say("Output: table, json, yaml or name"))
      ->type_name("FORM");
}

// "hozon" with `volume crate`: CLI11 says only what was not expected; a person wants the choices.
std::optional<std::string> explain_unknown(const CLI::App& root,
                                           const std::vector<std::string>& words) {
  const CLI::App* app = &root;
  for (size_t i = 0; i < words.size(); ++i) {
    const std::string& word = words[i];
    if (word == "--dir" || word == "--url" || word == "-o" || word == "--output") {
      ++i;
      continue;
    }
    if (word.starts_with('-')) continue;
    const auto subcommands = app->get_subcommands([](const CLI::App*) { return true; });
    if (subcommands.empty()) return std::nullopt;
    const CLI::App* next = nullptr;
    std::string choices;
    std::vector<std::string> names;
    for (const CLI::App* candidate : subcommands) {
      if (candidate->get_name() == word) next = candidate;
      if (candidate->get_group().empty()) continue;
      names.push_back(candidate->get_name());
      choices += (choices.empty() ? "" : ", ") + candidate->get_name();
    }
    if (next == nullptr)
      return fmt::format(
          "'{}' is not a {} of {}; there are {}{}", word, app == &root ? "command" : "verb",
          app == &root ? "hozon" : "'" + app->get_name() + "'", choices, suggestion(word, names));
    app = next;
  }
  const auto left = app->get_subcommands([](const CLI::App*) { return true; });
  if (left.empty()) return std::nullopt;
  std::string choices;
  for (const CLI::App* candidate : left)
    if (!candidate->get_group().empty())
      choices += (choices.empty() ? "" : ", ") + candidate->get_name();
  return fmt::format("{} is missing; there are {}", app == &root ? "a command" : "a verb", choices);
}

// "--sise" of `volume create`: names the option that was meant.
std::optional<std::string> explain_option(const CLI::App& root,
                                          const std::vector<std::string>& words) {
  const CLI::App* app = &root;
  while (!app->get_subcommands().empty()) app = app->get_subcommands().front();
  std::vector<std::string> known;
  for (const CLI::App* of : {app, &root})
    for (const CLI::Option* option : of->get_options())
      for (const std::string& name : option->get_lnames()) known.push_back("--" + name);
  for (const std::string& given : words) {
    const std::string word = given.substr(0, given.find('='));
    if (word == "--") break;
    if (!word.starts_with("--") || std::ranges::find(known, word) != known.end()) continue;
    return fmt::format("'{}' is not an option of '{}'{}", word, path_of(root),
                       suggestion(word, known));
  }
  return std::nullopt;
}

}  // namespace

Verb& Verb::required(const std::string& name, std::string& into, const std::string& help) {
  app_->add_option(name, into, say(help))->required()->type_name("");
  return *this;
}
Verb& Verb::optional(const std::string& name, std::string& into, const std::string& help) {
  app_->add_option(name, into, say(help))->type_name("");
  return *this;
}
Verb& Verb::some(const std::string& name, std::vector<std::string>& into, const std::string& help) {
  app_->add_option(name, into, say(help))->required()->type_name("");
  return *this;
}
Verb& Verb::any(const std::string& name, std::vector<std::string>& into, const std::string& help) {
  app_->add_option(name, into, say(help))->type_name("");
  return *this;
}
Verb& Verb::some_unless(const std::string& flag, const bool& given, const std::string& name,
                        std::vector<std::string>& into, const std::string& help) {
  any(name, into, help);
  app_->parse_complete_callback([flag, &given, &into, name] {
    if (into.empty() && !given) throw CLI::RequiredError(fmt::format("{} or {}", name, flag));
  });
  return *this;
}
Verb& Verb::number(const std::string& name, uint64_t& into, const std::string& help) {
  app_->add_option_function<std::string>(
          name,
          [&into, name](const std::string& text) {
            into = number_or_throw(name, text, uint64_t{1} << 53);
          },
          say(help))
      ->required()
      ->type_name("");
  return *this;
}
Verb& Verb::text(const std::string& option, std::string& into, const std::string& help) {
  app_->add_option(option, into, say(help))->type_name("TEXT");
  return *this;
}
Verb& Verb::flag(const std::string& option, bool& into, const std::string& help) {
  app_->add_flag(option, into, say(help))->disable_flag_override();
  return *this;
}
Verb& Verb::size(const std::string& option, uint64_t& into, const std::string& help) {
  app_->add_option_function<std::string>(
          option, [&into, option](const std::string& text) { into = size_or_throw(option, text); },
          say(help))
      ->type_name("SIZE");
  return *this;
}
Verb& Verb::sizes(const std::string& option, std::vector<uint64_t>& into, const std::string& help) {
  app_->add_option_function<std::vector<std::string>>(
          option,
          [&into, option](const std::vector<std::string>& texts) {
            into.clear();
            for (const std::string& text : texts) into.push_back(size_or_throw(option, text));
          },
          say(help))
      ->allow_extra_args(false)
      ->type_name("SIZE");
  return *this;
}
Verb& Verb::list(const std::string& option, std::vector<std::string>& into,
                 const std::string& help) {
  app_->add_option(option, into, say(help))
      ->delimiter(',')
      ->allow_extra_args(false)
      ->type_name("A,B");
  return *this;
}
Verb& Verb::count(const std::string& option, uint64_t& into, const std::string& help) {
  constexpr uint64_t kCountMax = 1024;
  app_->add_option_function<std::string>(
          option,
          [&into, option](const std::string& text) {
            into = number_or_throw(option, text, kCountMax);
          },
          say(help))
      ->type_name("N");
  return *this;
}
Verb& Verb::seconds(const std::string& option, const std::string& help) {
  app_->add_option_function<double>(
          option,
          [arguments = arguments_, option](const double& value) {
            if (!(value >= 0 && value <= 1e6))
              throw CLI::ValidationError(option, "a time is 0 to 1000000 seconds");
            arguments->timeout_s = value;
            arguments->has_timeout = true;
          },
          say(help))
      ->type_name("SECONDS");
  return *this;
}
Verb& Verb::confirmed() { return flag("-y,--yes", arguments_->yes, "Do not ask on a terminal"); }
Verb& Verb::anywhere() {
  app_->preparse_callback([arguments = arguments_](size_t) { arguments->needs_directory = false; });
  return *this;
}
Verb& Verb::here() {
  app_->preparse_callback([arguments = arguments_](size_t) { arguments->is_local = true; });
  return *this;
}
Verb& Verb::must_have(const std::string& option) {
  app_->get_option(option)->required();
  return *this;
}

Verb add_verb(CLI::App* parent, Arguments& arguments, const std::string& name,
              const std::string& help, const std::string& example, Command command) {
  CLI::App* app = parent->add_subcommand(name, say(help));
  app->footer(
      "Everywhere: --dir D (or HOZON_DIR) names the instance; -o table|json|yaml|name.\nExample:\n "
      " " +
      example);
  app->final_callback([&arguments, command = std::move(command)] { arguments.command = command; });
  return Verb(app, arguments);
}

Verb add_change(CLI::App* parent, Arguments& arguments, const std::string& name,
                const std::string& help, const std::string& example, Command command) {
  Verb verb = add_verb(parent, arguments, name, help, example, std::move(command));
  verb.flag("--plan", arguments.plan, "Only say what it would do; nothing is changed");
  verb.flag("--no-wait", arguments.no_wait, "Return when its job has begun");
  verb.flag("--wait", arguments.wait, "Return when its job has ended (as without this)");
  return verb;
}

CLI::App* add_noun(CLI::App& root, const std::string& name, const std::string& help) {
  CLI::App* noun = root.add_subcommand(name, say(help));
  noun->require_subcommand(1);
  return noun;
}

void declare_all(CLI::App& root, Arguments& arguments) {
  declare_globals(root, arguments);
  declare_instance(root, arguments);
  declare_pools(root, arguments);
  declare_volumes(root, arguments);
  declare_machines(root, arguments);
  declare_snapshots(root, arguments);
  declare_templates(root, arguments);
  declare_groups(root, arguments);
  declare_schedules(root, arguments);
  declare_jobs(root, arguments);
  declare_access(root, arguments);
}

Parsed parse_command_line(const std::vector<std::string>& words) {
  Parsed parsed;
  Arguments arguments;
  if (!words.empty() && words[0] == "__complete") {
    // For shells: what follows is text, whatever it looks like, so it is kept from the grammar.
    const char* directory = std::getenv("HOZON_DIR");
    const char* url = std::getenv("HOZON_URL");
    arguments.directory = directory == nullptr ? "" : directory;
    arguments.url = url == nullptr ? "" : url;
    arguments.others.assign(words.begin() + 1, words.end());
    arguments.command = complete;
    parsed.arguments = std::move(arguments);
    return parsed;
  }
  if (words.size() == 2 && words[0] == "__manual") {
    arguments.object = words[1];
    arguments.command = manual;
    parsed.arguments = std::move(arguments);
    return parsed;
  }
  CLI::App root(say("Snapshots of virtual machines, done right."), "hozon");
  try {
    root.require_subcommand(1);
    root.fallthrough();
    root.set_help_flag("-h,--help", say("Show this help"));
    root.set_version_flag("--version", fmt::format("hozon {}", kVersion));
    root.footer(
        "Exit codes: 0 ok, 1 failed, 2 usage, 3 not found, 4 conflict or wrong state.\nExample:\n"
        "  hozon up --dir ~/vms");
    declare_all(root, arguments);
    std::vector<std::string> reversed(words.rbegin(), words.rend());  // as CLI11 wants them
    root.parse(reversed);
  } catch (const CLI::CallForHelp&) {
    parsed.output = root.help();
    if (!parsed.output.ends_with('\n')) parsed.output += '\n';
    return parsed;
  } catch (const CLI::CallForVersion& e) {
    parsed.output = std::string(e.what()) + "\n";
    return parsed;
  } catch (const CLI::Error& e) {
    const bool structural = dynamic_cast<const CLI::RequiredError*>(&e) != nullptr ||
                            dynamic_cast<const CLI::ExtrasError*>(&e) != nullptr;
    if (structural)
      if (const auto sentence = explain_unknown(root, words)) return usage_error(root, *sentence);
    if (dynamic_cast<const CLI::ExtrasError*>(&e) != nullptr)
      if (const auto sentence = explain_option(root, words)) return usage_error(root, *sentence);
    return usage_error(root, e.what());
  } catch (const std::exception& e) {
    return usage_error(root, e.what());
  }
  // What the command line names goes before what the environment names.
  const auto is_said = [&words](std::string_view option) {
    return std::ranges::any_of(words, [&](const std::string& word) {
      return word == option || word.starts_with(std::string(option) + "=");
    });
  };
  if (arguments.wait && arguments.no_wait)
    return usage_error(root, "--wait and --no-wait exclude each other");
  if (arguments.is_local || (is_said("--dir") && !is_said("--url"))) arguments.url.clear();
  if (arguments.needs_directory && arguments.directory.empty() && arguments.url.empty())
    return usage_error(root, "which instance? Give --dir D or set HOZON_DIR");
  if (!arguments.url.empty())
    if (const auto address = client::parse_address_url(arguments.url); !address)
      return usage_error(root, address.error().what);
  parsed.arguments = std::move(arguments);
  return parsed;
}

}  // namespace hozon::cli
