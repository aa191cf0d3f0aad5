#include "control/package_lists.h"

#include <algorithm>
#include <map>

#include "link/file_query.h"

namespace hozon::control {
namespace {

constexpr size_t kTextMax = 200;

std::string shown(std::string_view bytes) { return link::name_text(bytes.substr(0, kTextMax)); }

std::string_view take_line(std::string_view& text) {
  const size_t end = text.find('\n');
  std::string_view line = text.substr(0, end);
  text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  if (line.ends_with('\r')) line.remove_suffix(1);
  return line;
}

// A shell's word: 'x', "x" with backslashes, or x.
std::string unquoted(std::string_view text) {
  const bool quoted =
      text.size() >= 2 && (text[0] == '"' || text[0] == '\'') && text.back() == text[0];
  const bool escapes = !quoted || text[0] == '"';
  if (quoted) text = text.substr(1, text.size() - 2);
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (escapes && text[i] == '\\' && i + 1 < text.size()) ++i;
    out += text[i];
  }
  return out;
}

// Paragraphs of "KEY<separator>value" lines with empty lines between them. Lines that go on (they
// begin with a blank) are passed over.
template <typename Take>
void each_paragraph(std::string_view text, std::string_view separator, Take take) {
  std::map<std::string_view, std::string_view> fields;
  while (!text.empty()) {
    const std::string_view line = take_line(text);
    if (line.empty()) {
      take(fields);
      fields.clear();
      continue;
    }
    const size_t at = line.find(separator);
    if (line[0] == ' ' || line[0] == '\t' || at == std::string_view::npos) continue;
    fields.emplace(line.substr(0, at), line.substr(at + separator.size()));
  }
  take(fields);
}

std::vector<Application> in_order(std::vector<Application> all) {
  std::ranges::sort(all, {}, [](const Application& one) {
    return std::pair<std::string_view, std::string_view>(one.name, one.architecture);
  });
  return all;
}

}  // namespace

std::string os_name(std::string_view os_release) {
  std::map<std::string_view, std::string> values;
  while (!os_release.empty()) {
    const std::string_view line = take_line(os_release);
    const size_t equals = line.find('=');
    if (equals == std::string_view::npos || line.starts_with('#')) continue;
    values[line.substr(0, equals)] = unquoted(line.substr(equals + 1));
  }
  if (!values["PRETTY_NAME"].empty()) return shown(values["PRETTY_NAME"]);
  if (values["VERSION_ID"].empty()) return shown(values["NAME"]);
  return shown(values["NAME"] + " " + values["VERSION_ID"]);
}

std::vector<Application> dpkg_packages(std::string_view status) {
  std::vector<Application> all;
  each_paragraph(status, ": ", [&](auto& fields) {
    if (fields["Package"].empty() || !fields["Status"].ends_with(" installed")) return;
    if (all.size() < kApplicationsMax)
      all.push_back(
          {shown(fields["Package"]), shown(fields["Version"]), shown(fields["Architecture"])});
  });
  return in_order(std::move(all));
}

std::vector<Application> apk_packages(std::string_view installed) {
  std::vector<Application> all;
  each_paragraph(installed, ":", [&](auto& fields) {
    if (!fields["P"].empty() && all.size() < kApplicationsMax)
      all.push_back({shown(fields["P"]), shown(fields["V"]), shown(fields["A"])});
  });
  return in_order(std::move(all));
}

}  // namespace hozon::control
