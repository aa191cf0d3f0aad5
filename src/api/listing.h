// src/api/listing.h
// Collections in pieces: ?limit= and ?after= give pages, ?fields= only some members of each item,
// and a member's name filters by its value. Every route that answers a list has them
// (RouteDescription::is_list and filters). What nobody wants to see is not put together.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "api/http_message.h"
#include "base/result.h"
#include "control/json.h"

namespace hozon::api {

inline constexpr size_t kPageMax = 1000;
// The words of a query that are read here.
const std::vector<std::string>& page_words();

// A collection that is about to be answered.
struct Listing {
  size_t size = 0;
  // Adds the JSON text of an item with the wanted members.
  std::function<void(size_t place, const control::Members& wanted, std::string& out)> write;
  // Before items are written that are shown, and not only looked at: whatever has to be read for
  // them. Takes those away that are gone meanwhile.
  std::function<Status(std::vector<size_t>& places, const control::Members& wanted)> prepare = {};
  // What the answer has beside its items.
  nlohmann::json beside = nlohmann::json::object();
};

template <typename T>
Response list_response(std::vector<T> values) {
  auto items = std::make_shared<const std::vector<T>>(std::move(values));
  const auto write = [items](size_t place, const control::Members& wanted, std::string& out) {
    control::write_json(out, (*items)[place], wanted);
  };
  Response response;
  response.listing = std::make_shared<Listing>(Listing{.size = items->size(), .write = write});
  return response;
}

// What a request wants to see or to filter by. All members without ?fields=.
control::Members needed_members(const Request& request);

// {"items": [...]}: those whose members have the wanted values (of a list of texts: that contain
// it; a text with a '*' at its end: that begin so), then the page; "next" is what to give as
// ?after= for the one that follows, or null. Without filters and page words "items" is all there
// is. `members`: what may be named in ?fields=; empty: anything.
Result<std::string> answer_list(const Request& request, const std::vector<std::string>& filters,
                                const std::vector<std::string>& members, Listing& listing);

}  // namespace hozon::api
