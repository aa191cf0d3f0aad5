// JSON as YAML. Texts are in double quotes, whose escapes are those of JSON, unless they are words
// that no reader of YAML takes for something else.
#include <algorithm>

#include "cli/printer.h"

namespace hozon::cli {
namespace {

using nlohmann::json;

bool is_plain(const std::string& text) {
  const auto is_letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); };
  const auto fits = [&](char c) {
    return is_letter(c) || (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '.' || c == '/';
  };
  if (text.empty() || !is_letter(text[0]) || !std::ranges::all_of(text, fits)) return false;
  // What YAML 1.1 takes for a truth, nothing, or a number.
  std::string lower = text;
  std::ranges::transform(lower, lower.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  for (const char* word : {"true", "false", "yes", "no", "on", "off", "y", "n", "null"})
    if (lower == word) return false;
  return true;
}

std::string scalar(const json& value) {
  if (value.is_string() && is_plain(value.get<std::string>())) return value.get<std::string>();
  if (value.is_array()) return "[]";  // empty, or it were no scalar
  if (value.is_object()) return "{}";
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

bool is_block(const json& value) { return value.is_structured() && !value.empty(); }

void add(const json& value, size_t indent, std::string& out) {
  const std::string margin(indent, ' ');
  bool is_first = true;
  if (value.is_array()) {
    for (const json& item : value) {
      out += is_first ? "- " : margin + "- ";
      is_first = false;
      if (is_block(item))
        add(item, indent + 2, out);
      else
        out += scalar(item) + "\n";
    }
    return;
  }
  for (const auto& [name, member] : value.items()) {
    if (!is_first) out += margin;
    is_first = false;
    out += scalar(name) + ":";
    if (!is_block(member)) {
      out += " " + scalar(member) + "\n";
      continue;
    }
    out += "\n" + margin + "  ";
    add(member, indent + 2, out);
  }
}

}  // namespace

std::string yaml_text(const json& value) {
  if (!is_block(value)) return scalar(value) + "\n";
  std::string out;
  add(value, 0, out);
  return out;
}

}  // namespace hozon::cli
