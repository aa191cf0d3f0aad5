// src/cli/context.h
// What a running command has at hand: the instance's client, the printer, and the terminal.
#pragma once

#include <memory>
#include <string>

#include "cli/arguments.h"
#include "cli/printer.h"
#include "client/client.h"

namespace hozon::cli {

// A bar on standard error while a job runs; nothing when that is no terminal. It appears only after
// a job has taken a moment, because most take milliseconds.
class ProgressBar {
 public:
  explicit ProgressBar(bool enabled) : enabled_(enabled) {}
  ~ProgressBar() { clear(); }
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;
  void update(const client::Job& job);
  void clear();

 private:
  bool enabled_;
  bool shown_ = false;
  uint64_t job_ = 0;
  int64_t began_ms_ = 0;
};

// The bar's line: "[#####     ]  50%  512.0 MiB of 1.0 GiB  copying the image".
std::string progress_line(const client::Job& job, size_t columns);

// Of the instance at the URL, or, when that is empty, of the one in the directory.
client::Client client_at(const std::string& url, const std::string& directory);

class Context {
 public:
  explicit Context(const Arguments& args);
  client::Client& client() { return client_; }
  const Printer& printer() const { return printer_; }
  const std::string& directory() const { return directory_; }  // absolute
  bool interactive() const { return interactive_; }            // somebody can answer

  // Asks on a terminal, in the user's language; true without asking when there is none, or with
  // --yes.
  template <typename... Args>
  bool confirm(const Arguments& args, fmt::format_string<Args...> question, Args&&... values) {
    return ask(args, say_filled(question, std::forward<Args>(values)...));
  }
  // Members of a list's items that are asked for: those of the table, or all (empty) for programs.
  std::string shown(const std::string& by_the_table) const {
    return printer_.format() == Format::kTable  ? by_the_table
           : printer_.format() == Format::kName ? "name"
                                                : "";
  }
  // A remark for people, on standard error; left out in a pipe with -o json or name.
  template <typename... Args>
  void note(fmt::format_string<Args...> remark, Args&&... values) {
    remark_that(say_filled(remark, std::forward<Args>(values)...));
  }
  void remark_that(const std::string& text);  // as it is

 private:
  bool ask(const Arguments& args, const std::string& question);

  std::string directory_;
  Printer printer_;
  bool interactive_;
  ProgressBar bar_;
  client::Client client_;
};

// "V@P" -> {V, P}; without '@' the point is empty. kInvalidArgument for "@P", "V@" and "".
struct Address {
  std::string volume;
  std::string point;
};
Result<Address> parse_address(const std::string& text);

// "90s", "30m", "12h", "3d", "2w" in seconds; "never" is 0.
Result<uint64_t> parse_duration(const std::string& text);

std::string absolute_path(const std::string& path);  // empty stays empty

}  // namespace hozon::cli
