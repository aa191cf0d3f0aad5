// src/api/description.h
// What the API says of itself: for each route a sentence, the fields of its body with their types
// and limits, the words of its query, and what it answers. One table for three uses: the router
// refuses a body that does not fit before its handler runs, GET /v1/openapi.json is made of it, and
// a test holds both against real requests and answers.
//
// A route that is not in the table works, and tests/rest/openapi_test.py names it.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "api/json_fields.h"
#include "base/result.h"

namespace hozon::api {

class Router;

enum class FieldType { kText, kNumber, kFlag, kTexts, kTextsByName, kObject, kObjects };

struct Field {
  std::string name;
  FieldType type = FieldType::kText;
  std::string help;
  bool required = false;
  // Bytes of a text, the value of a number, the items of a list (whose texts have kTextMax bytes).
  uint64_t most = 0;                     // 0: kTextMax, kNumberMax, kItemsMax
  std::vector<std::string> values = {};  // the only texts; empty: any
  std::vector<Field> fields = {};        // of kObject and kObjects
};

inline constexpr uint64_t kTextMax = 4096;
inline constexpr uint64_t kNumberMax = std::numeric_limits<int64_t>::max();
inline constexpr uint64_t kItemsMax = 10'000;

struct RouteDescription {
  std::string method;
  std::string pattern;
  std::string summary;
  std::vector<Field> fields = {};
  std::string answer = {};  // schema of a 200; of a job: of its result. Empty: any object
  bool is_list = false;     // {"items": [answer]}, with pages and filters (listing.h)
  std::vector<std::string> filters = {};  // members by which a list can be narrowed
};

const std::vector<RouteDescription>& route_descriptions();
const RouteDescription* find_description(const std::string& method, const std::string& pattern);

// The members that an answer of that schema has; empty: not known.
const std::vector<std::string>& members_of_answer(const std::string& schema);

// kInvalidArgument names the field.
Status check_body(const RouteDescription& route, std::string_view body);

// The OpenAPI 3.1 document of the routes of a router.
nlohmann::json openapi_document(const Router& router, const std::string& version);

}  // namespace hozon::api
