// src/cli/arguments.h
// A command line after parsing: what to run, and every value that some command takes. Commands read
// the members that their declaration (parser.cc and declare_*.cc) fills in.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/result.h"

namespace hozon::cli {

// What scripts look at. The documentation and tests/cli hold us to these numbers.
enum class ExitCode { kOk = 0, kFailed = 1, kUsage = 2, kNotFound = 3, kConflict = 4 };
ExitCode exit_code_of(Code code);

enum class Format { kTable, kJson, kYaml, kName };

struct Arguments;
class Context;
using Command = std::function<Result<ExitCode>(const Arguments&, Context&)>;

// What only schedules take. Empty or 0: not given.
struct ScheduleArguments {
  std::string when, zone, kind, catch_up, jitter, at;
  std::vector<std::string> states, keep;
  uint64_t parallel = 0, count = 0;
  bool disabled = false;
};

struct Arguments {
  Command command;
  bool needs_directory = true;
  bool is_local = false;  // of an instance on this host only: the URL means nothing to it

  // every command
  std::string directory;
  std::string url;  // goes before the directory; empty: none
  Format format = Format::kTable;
  bool yes = false;
  bool plan = false;                   // of verbs that change something: only say what would be
  bool wait = false, no_wait = false;  // for the end of the job

  // positionals, in their order
  std::string object;               // machine, volume[@point], pool, job
  std::string second;               // snapshot, new name
  std::string third;                // new machine, new name, text, place
  std::string destination;          // of what is copied out
  std::vector<std::string> others;  // further volumes, snapshots, words

  // options
  std::string pool;
  std::string name;
  std::string from;
  std::string description;
  std::string image;
  std::string image_format;
  std::string kernel, initrd, append, firmware;
  std::string until;
  std::string state;
  std::string quiesce;
  std::vector<uint64_t> disk_sizes;
  std::vector<std::string> disks;
  std::vector<std::string> tags;
  std::vector<std::string> machines;
  std::string group, from_template, return_on_shutdown;
  ScheduleArguments schedule;
  std::string expires;
  std::string settings_from, memory_from;
  uint64_t size_bytes = 0;
  uint64_t memory_bytes = 0;
  uint64_t cpus = 0;
  uint64_t job = 0;
  std::string kinds, of_object, after;  // of events
  std::vector<std::string> rights;
  std::string listen, certificate, key, who;
  uint64_t at_most = 0;
  double timeout_s = 0;
  bool has_timeout = false;
  bool with_memory = false;
  bool with_points = false;
  bool with_sizes = false;
  bool allow_shrink = false;
  bool paused = false;
  bool disks_only = false;
  bool connect = false;
  bool settings = false;
  bool full = false;
  bool ranges = false;
  bool settings_only = false;
  bool discard_newer = false;
  bool instant = false;
  bool reset_nvram = false;
  bool tpm = false;
  bool force = false;
  bool skip_verify = false;
  bool kill = false;
  bool data = false;
  bool all = false;
  bool subtree = false;
  bool for_good = false;
  bool metadata_only = false;
  bool recursive = false;
  bool details = false;
};

}  // namespace hozon::cli
