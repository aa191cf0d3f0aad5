#include "cli/printer.h"

#include <algorithm>
#include <cstdio>
#include <ctime>

namespace hozon::cli {
namespace {

// Decodes one character and moves on. Damaged UTF-8 counts byte by byte.
uint32_t next_character(std::string_view text, size_t& at) {
  const auto lead = static_cast<unsigned char>(text[at++]);
  const int more = lead >= 0xf0 ? 3 : lead >= 0xe0 ? 2 : lead >= 0xc0 ? 1 : 0;
  uint32_t value = more == 0 ? lead : lead & (0x3fU >> more);
  for (int i = 0; i < more && at < text.size() && (text[at] & 0xc0) == 0x80; ++i)
    value = (value << 6) | (static_cast<unsigned char>(text[at++]) & 0x3fU);
  return value;
}

bool is_wide(uint32_t c) {
  return (c >= 0x1100 && c <= 0x115f) || (c >= 0x2e80 && c <= 0xa4cf) ||
         (c >= 0xac00 && c <= 0xd7a3) || (c >= 0xf900 && c <= 0xfaff) ||
         (c >= 0xfe30 && c <= 0xfe6f) || (c >= 0xff00 && c <= 0xff60) ||
         (c >= 0xffe0 && c <= 0xffe6) || (c >= 0x1f300 && c <= 0x1faff) ||
         (c >= 0x20000 && c <= 0x3fffd);
}

}  // namespace

size_t display_width(std::string_view text) {
  size_t width = 0;
  for (size_t at = 0; at < text.size();) {
    const uint32_t c = next_character(text, at);
    if (c >= 0x300 && c <= 0x36f) continue;  // combining marks
    width += is_wide(c) ? 2 : 1;
  }
  return width;
}

std::string printable(std::string_view text) {
  std::string out;
  for (const char c : text) out += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? '?' : c;
  return out;
}

std::string time_text(uint64_t wall_ns) {
  if (wall_ns == 0) return "-";
  const auto seconds = static_cast<std::time_t>(wall_ns / 1'000'000'000);
  std::tm local{};
  ::localtime_r(&seconds, &local);
  return fmt::format("{:04}-{:02}-{:02} {:02}:{:02}:{:02}", local.tm_year + 1900, local.tm_mon + 1,
                     local.tm_mday, local.tm_hour, local.tm_min, local.tm_sec);
}

std::string duration_text(uint64_t microseconds) {
  if (microseconds < 1000) return fmt::format("{} us", microseconds);
  const double milliseconds = static_cast<double>(microseconds) / 1e3;
  if (milliseconds < 1000) return fmt::format("{:.1f} ms", milliseconds);
  return fmt::format("{:.1f} s", milliseconds / 1e3);
}

void Table::add(std::vector<std::string> row) {
  HOZON_CHECK(row.size() == header_.size());
  for (std::string& cell : row) cell = cell.empty() ? "-" : printable(cell);
  rows_.push_back(std::move(row));
}

std::string cut_to_width(std::string_view text, size_t columns) {
  if (display_width(text) <= columns || columns == 0) return std::string(text);
  size_t end = 0, width = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t begin = at;
    static_cast<void>(next_character(text, at));
    width += display_width(text.substr(begin, at - begin));
    if (width + 1 > columns) break;
    end = at;
  }
  return std::string(text.substr(0, end)) + "…";
}

namespace {

constexpr size_t kCellMin = 8;  // a narrower cell says nothing

// Takes from the widest column until the line fits.
void fit(std::vector<size_t>& widths, size_t columns) {
  const auto total = [&widths] {
    size_t sum = 2 * (widths.size() - 1);
    for (const size_t width : widths) sum += width;
    return sum;
  };
  while (total() > columns) {
    const auto widest = std::ranges::max_element(widths);
    if (*widest <= kCellMin) return;
    --*widest;
  }
}

}  // namespace

std::string Table::render(bool bold_header, size_t columns) const {
  std::vector<size_t> widths;
  std::vector<std::string> titles;
  for (const std::string& title : header_) {
    titles.push_back(say(title));
    widths.push_back(display_width(titles.back()));
  }
  for (const auto& row : rows_)
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], display_width(row[i]));
  if (columns > 0) fit(widths, columns);
  const auto line = [&](const std::vector<std::string>& cells) {
    std::string text;
    for (size_t i = 0; i < cells.size(); ++i) {
      const std::string cell = columns > 0 ? cut_to_width(cells[i], widths[i]) : cells[i];
      text += cell;
      if (i + 1 < cells.size()) text.append(widths[i] - display_width(cell) + 2, ' ');
    }
    return text;
  };
  std::string out = bold_header ? "\x1b[1m" + line(titles) + "\x1b[0m\n" : line(titles) + "\n";
  for (const auto& row : rows_) out += line(row) + "\n";
  return out;
}

void Details::add(std::string_view label, std::string_view value) {
  if (!value.empty()) lines_.emplace_back(say(label) + ":", printable(value));
}

std::string Details::render() const {
  size_t width = 0;
  for (const auto& [label, value] : lines_) width = std::max(width, display_width(label));
  std::string out;
  for (const auto& [label, value] : lines_)
    out += fmt::format("{}{:{}}  {}\n", label, "", width - display_width(label), value);
  return out;
}

void Printer::list(const nlohmann::json& items, const std::vector<std::string>& names,
                   const std::function<Table()>& table) const {
  switch (format_) {
    case Format::kJson:
      text(items.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
      return;
    case Format::kName:
      for (const std::string& name : names) text(printable(name) + "\n");
      return;
    case Format::kYaml: text(yaml_text(items)); return;
    case Format::kTable: text(table().render(colour_, columns_)); return;
  }
}

void Printer::object(const nlohmann::json& object, std::string_view name,
                     std::string_view human) const {
  switch (format_) {
    case Format::kJson:
      text(object.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
      return;
    case Format::kYaml: text(yaml_text(object)); return;
    case Format::kName: text(printable(name) + "\n"); return;
    case Format::kTable: text(human); return;
  }
}

void Printer::text(std::string_view text) const {
  std::fwrite(text.data(), 1, text.size(), stdout);
}

}  // namespace hozon::cli
