// src/cli/declare.h
// How commands are declared to CLI11: a noun, its verbs, their options and an example each.
#pragma once

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <string>

#include "cli/arguments.h"

namespace hozon::cli {

// One verb while it is declared. `arguments` is where parsed values go.
class Verb {
 public:
  Verb(CLI::App* app, Arguments& arguments) : app_(app), arguments_(&arguments) {}

  Verb& required(const std::string& name, std::string& into, const std::string& help);
  Verb& optional(const std::string& name, std::string& into, const std::string& help);
  // One or more / zero or more words at the end.
  Verb& some(const std::string& name, std::vector<std::string>& into, const std::string& help);
  Verb& any(const std::string& name, std::vector<std::string>& into, const std::string& help);
  // One or more words at the end, or none when `flag` of this verb is given, which sets `given`.
  Verb& some_unless(const std::string& flag, const bool& given, const std::string& name,
                    std::vector<std::string>& into, const std::string& help);
  Verb& number(const std::string& name, uint64_t& into, const std::string& help);

  Verb& text(const std::string& option, std::string& into, const std::string& help);
  Verb& flag(const std::string& option, bool& into, const std::string& help);
  Verb& size(const std::string& option, uint64_t& into, const std::string& help);
  Verb& sizes(const std::string& option, std::vector<uint64_t>& into, const std::string& help);
  Verb& list(const std::string& option, std::vector<std::string>& into, const std::string& help);
  Verb& count(const std::string& option, uint64_t& into, const std::string& help);
  Verb& seconds(const std::string& option, const std::string& help);
  Verb& confirmed();  // --yes
  Verb& anywhere();   // needs no instance directory
  Verb& here();       // needs the directory, whatever URL is set
  Verb& must_have(const std::string& option);

 private:
  CLI::App* app_;
  Arguments* arguments_;
};

// Adds a verb to `parent`. Each gets --help with the example, --dir and -o.
Verb add_verb(CLI::App* parent, Arguments& arguments, const std::string& name,
              const std::string& help, const std::string& example, Command command);
// One that changes something, as a job: it has --plan too.
Verb add_change(CLI::App* parent, Arguments& arguments, const std::string& name,
                const std::string& help, const std::string& example, Command command);
CLI::App* add_noun(CLI::App& root, const std::string& name, const std::string& help);

// All of it, on a root that is empty.
void declare_all(CLI::App& root, Arguments& arguments);
void declare_instance(CLI::App& root, Arguments& arguments);
void declare_pools(CLI::App& root, Arguments& arguments);
void declare_volumes(CLI::App& root, Arguments& arguments);
void declare_machines(CLI::App& root, Arguments& arguments);
void declare_snapshots(CLI::App& root, Arguments& arguments);
void declare_templates(CLI::App& root, Arguments& arguments);
void declare_groups(CLI::App& root, Arguments& arguments);
void declare_schedules(CLI::App& root, Arguments& arguments);
void declare_jobs(CLI::App& root, Arguments& arguments);
void declare_access(CLI::App& root, Arguments& arguments);

}  // namespace hozon::cli
