// src/cli/printer.h
// How results look. Data goes to standard output, everything else to standard error.
//
// Tables are for people: columns are padded, control characters are shown as '?', and the header is
// bold on a terminal (unless NO_COLOR is set or TERM is dumb). -o json (and yaml) is the API's
// object itself, -o name one name per line.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "cli/arguments.h"
#include "cli/messages.h"

namespace hozon::cli {

class Table {
 public:
  explicit Table(std::vector<std::string> header) : header_(std::move(header)) {}
  // As many cells as the header has.
  void add(std::vector<std::string> row);
  // Trailing blanks are left out. Without rows, only the header. `columns`: the widest cells are
  // cut
  // ("…") until a line fits, as far as something is left of them; 0: no bound.
  std::string render(bool bold_header, size_t columns = 0) const;

 private:
  std::vector<std::string> header_;
  std::vector<std::vector<std::string>> rows_;
};

// "Name:  value" lines of one object.
class Details {
 public:
  // Empty values are left out.
  void add(std::string_view label, std::string_view value);
  std::string render() const;

 private:
  std::vector<std::pair<std::string, std::string>> lines_;
};

class Printer {
 public:
  Printer(Format format, bool colour, size_t columns = 0)
      : format_(format), colour_(colour), columns_(columns) {}
  Format format() const { return format_; }

  // One of the three, whichever the user asked for. The table is not built when it is not shown.
  void list(const nlohmann::json& items, const std::vector<std::string>& names,
            const std::function<Table()>& table) const;
  void object(const nlohmann::json& object, std::string_view name, std::string_view text) const;
  // A finished change: a sentence for people, the job's result for programs.
  template <typename... Args>
  void done(const nlohmann::json& result, std::string_view name,
            fmt::format_string<Args...> sentence, Args&&... args) const {
    const fmt::string_view english = sentence;
    const std::string words = say({english.data(), english.size()});
    object(result, name, fmt::vformat(words, fmt::make_format_args(args...)) + "\n");
  }
  void text(std::string_view text) const;
  bool colour() const { return colour_; }
  size_t columns() const { return columns_; }  // of the terminal; 0: it is none

 private:
  Format format_;
  bool colour_;
  size_t columns_;
};

// Columns that a text takes on a terminal; wide East Asian characters take two.
size_t display_width(std::string_view text);
// As much of a text as fits, with "…" when something was left out.
std::string cut_to_width(std::string_view text, size_t columns);
// YAML 1.2 of any JSON value: block style, texts in double quotes unless they are plain words.
std::string yaml_text(const nlohmann::json& value);
// Control characters become '?'.
std::string printable(std::string_view text);
// Local time "2026-01-31 12:00:00"; "-" for 0.
std::string time_text(uint64_t wall_ns);
// "850 us", "3.2 ms", "1.4 s".
std::string duration_text(uint64_t microseconds);

}  // namespace hozon::cli
