// src/api/listing.h
// Collections in pieces: ?limit= and ?after= give pages, and a member's name filters by its value.
// Every route that answers a list has them (RouteDescription::is_list and filters).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "api/http_message.h"
#include "base/result.h"

namespace hozon::api {

inline constexpr size_t kPageMax = 1000;
// The words of a query that are read here.
const std::vector<std::string>& page_words();

// `body` is {"items": [...]}. Keeps the items whose members have the wanted values (of a list of
// texts: that contain it; a text with a '*' at its end: that begin so), then the page; "next" is
// what to give as ?after= for the one that follows, or null. Without any of these words the body
// stays as it is.
Result<std::string> narrow_list(const Request& request, const std::vector<std::string>& filters,
                                std::string body);

}  // namespace hozon::api
