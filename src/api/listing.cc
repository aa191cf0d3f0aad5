// A page begins behind the item that the last one ended with. The cursor has its place, too, for
// when that item is gone meanwhile: then a page may repeat or leave out as many as were removed.
#include "api/listing.h"

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

namespace hozon::api {
namespace {

using nlohmann::json;

std::string identity_of(const json& item) {
  for (const char* member : {"uuid", "id", "name"}) {
    const auto found = item.find(member);
    if (found == item.end()) continue;
    return found->is_string() ? found->get<std::string>() : found->dump();
  }
  return "";
}

bool text_matches(const std::string& value, const std::string& wanted) {
  if (wanted.ends_with('*'))
    return value.starts_with(std::string_view(wanted).substr(0, wanted.size() - 1));
  return value == wanted;
}

bool matches(const json& item, const std::string& member, const std::string& wanted) {
  const auto found = item.find(member);
  if (found == item.end() || found->is_null()) return wanted.empty();
  if (found->is_string()) return text_matches(found->get<std::string>(), wanted);
  if (found->is_array())
    return std::ranges::any_of(*found, [&](const json& value) {
      return value.is_string() && text_matches(value.get<std::string>(), wanted);
    });
  return found->dump() == wanted;
}

Result<size_t> number_of(std::string_view text, std::string_view word) {
  size_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || text.empty())
    return make_error(Code::kInvalidArgument, "query word '{}' cannot be '{}'", word, text);
  return value;
}

// "12:IDENTITY" of the 13th item of all that match.
Result<size_t> first_after(const json& items, const std::string& cursor) {
  const size_t colon = cursor.find(':');
  if (colon == std::string::npos)
    return make_error(Code::kInvalidArgument,
                      "query word 'after' is what a page before had as \"next\", not '{}'", cursor);
  const size_t place = HOZON_TRY(number_of(std::string_view(cursor).substr(0, colon), "after"));
  const std::string identity = cursor.substr(colon + 1);
  if (place < items.size() && identity_of(items[place]) == identity) return place + 1;
  for (size_t i = 0; i < items.size(); ++i)
    if (identity_of(items[i]) == identity) return i + 1;
  return std::min(place, items.size());
}

}  // namespace

const std::vector<std::string>& page_words() {
  static const std::vector<std::string> kWords = {"limit", "after"};
  return kWords;
}

Result<std::string> narrow_list(const Request& request, const std::vector<std::string>& filters,
                                std::string body) {
  const auto is_given = [&](const std::string& word) { return request.query.contains(word); };
  if (!std::ranges::any_of(filters, is_given) && !std::ranges::any_of(page_words(), is_given))
    return body;
  json list = json::parse(body, nullptr, false);
  if (!list.is_object() || !list.contains("items"))
    return make_error(Code::kInternal, "a list that is none");
  json items = json::array();
  for (json& item : list["items"]) {
    const bool fits = std::ranges::all_of(filters, [&](const std::string& word) {
      return !is_given(word) || matches(item, word, request.query_value(word));
    });
    if (fits) items.push_back(std::move(item));
  }
  size_t limit = kPageMax;
  if (is_given("limit")) limit = HOZON_TRY(number_of(request.query_value("limit"), "limit"));
  if (limit == 0 || limit > kPageMax)
    return make_error(Code::kInvalidArgument, "query word 'limit' is 1 to {}", kPageMax);
  size_t first = 0;
  if (is_given("after")) first = HOZON_TRY(first_after(items, request.query_value("after")));
  const size_t end =
      is_given("limit") || is_given("after") ? std::min(first + limit, items.size()) : items.size();
  json page = {{"items", json::array()}, {"next", nullptr}, {"total", items.size()}};
  for (size_t i = first; i < end; ++i) page["items"].push_back(items[i]);
  if (end < items.size() && end > first)
    page["next"] = fmt::format("{}:{}", end - 1, identity_of(items[end - 1]));
  return page.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
}

}  // namespace hozon::api
