// A page begins behind the item that the last one ended with. The cursor has its place, too, for
// when that item is gone meanwhile: then a page may repeat or leave out as many as were removed.
#include "api/listing.h"

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

namespace hozon::api {
namespace {

using control::Members;
using nlohmann::json;

json item_of(const Listing& listing, size_t place, const Members& wanted) {
  std::string text;
  listing.write(place, wanted, text);
  return json::parse(text, nullptr, false);
}

std::string identity_of(const Listing& listing, size_t place) {
  static const Members kIdentity({"uuid", "id", "name"});
  const json item = item_of(listing, place, kIdentity);
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
Result<size_t> first_after(const Listing& listing, const std::vector<size_t>& places,
                           const std::string& cursor) {
  const size_t colon = cursor.find(':');
  if (colon == std::string::npos)
    return make_error(Code::kInvalidArgument,
                      "query word 'after' is what a page before had as \"next\", not '{}'", cursor);
  const size_t at = HOZON_TRY(number_of(std::string_view(cursor).substr(0, colon), "after"));
  const std::string identity = cursor.substr(colon + 1);
  const auto is_it = [&](size_t place) { return identity_of(listing, place) == identity; };
  if (at < places.size() && is_it(places[at])) return at + 1;
  const auto found = std::ranges::find_if(places, is_it);
  if (found != places.end()) return static_cast<size_t>(found - places.begin()) + 1;
  return std::min(at, places.size());
}

std::vector<std::string> names_in(const std::string& text) {
  std::vector<std::string> names;
  for (size_t at = 0; at <= text.size();) {
    const size_t end = std::min(text.find(',', at), text.size());
    names.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return names;
}

Result<Members> wanted_members(const Request& request, const std::vector<std::string>& known) {
  if (!request.query.contains("fields")) return Members();
  Members::Names names;
  for (const std::string& name : names_in(request.query_value("fields"))) {
    const bool is_known = known.empty() || std::ranges::find(known, name) != known.end();
    if (!is_known || name.empty())
      return make_error(Code::kInvalidArgument,
                        "query word 'fields' names '{}', which the items do not have", name);
    names.insert(name);
  }
  return Members(std::move(names));
}

// The items that the filters leave.
std::vector<size_t> places_of(const Request& request, const std::vector<std::string>& filters,
                              const Listing& listing) {
  Members::Names given;
  for (const std::string& word : filters)
    if (request.query.contains(word)) given.insert(word);
  const Members looked_at(given);
  std::vector<size_t> places;
  for (size_t place = 0; place < listing.size; ++place) {
    const json item = given.empty() ? json() : item_of(listing, place, looked_at);
    if (std::ranges::all_of(given, [&](const std::string& word) {
          return matches(item, word, request.query_value(word));
        }))
      places.push_back(place);
  }
  return places;
}

}  // namespace

const std::vector<std::string>& page_words() {
  static const std::vector<std::string> kWords = {"limit", "after", "fields"};
  return kWords;
}

Members needed_members(const Request& request) {
  if (!request.query.contains("fields")) return Members();
  Members::Names names;
  for (const std::string& name : names_in(request.query_value("fields"))) names.insert(name);
  for (const auto& [word, value] : request.query) names.insert(word);
  return Members(std::move(names));
}

Result<std::string> answer_list(const Request& request, const std::vector<std::string>& filters,
                                const std::vector<std::string>& members, Listing& listing) {
  const auto is_given = [&](const std::string& word) { return request.query.contains(word); };
  const bool is_page = is_given("limit") || is_given("after");
  const Members wanted = HOZON_TRY(wanted_members(request, members));
  size_t limit = kPageMax;
  if (is_given("limit")) limit = HOZON_TRY(number_of(request.query_value("limit"), "limit"));
  if (limit == 0 || limit > kPageMax)
    return make_error(Code::kInvalidArgument, "query word 'limit' is 1 to {}", kPageMax);
  std::vector<size_t> places = places_of(request, filters, listing);
  const size_t total = places.size();
  std::string next = "null";
  if (is_page) {
    const size_t first = is_given("after")
                             ? HOZON_TRY(first_after(listing, places, request.query_value("after")))
                             : 0;
    const size_t end = std::min(first + limit, total);
    if (end < total && end > first)
      next = json(fmt::format("{}:{}", end - 1, identity_of(listing, places[end - 1])))
                 .dump(-1, ' ', false, json::error_handler_t::replace);
    places = {places.begin() + static_cast<std::ptrdiff_t>(first),
              places.begin() + static_cast<std::ptrdiff_t>(end)};
  }
  if (listing.prepare) HOZON_TRY(listing.prepare(places, wanted));
  std::string body = listing.beside.dump(-1, ' ', false, json::error_handler_t::replace);
  body.pop_back();  // the brace that ends it
  if (!listing.beside.empty()) body += ',';
  body += "\"items\":[";
  for (size_t i = 0; i < places.size(); ++i) {
    if (i != 0) body += ',';
    listing.write(places[i], wanted, body);
  }
  body += "]";
  if (is_page || std::ranges::any_of(filters, is_given))
    body += fmt::format(",\"next\":{},\"total\":{}", next, total);
  return body + "}\n";
}

}  // namespace hozon::api
