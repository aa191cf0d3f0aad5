// src/api/json_fields.h
// Reads the fields of a JSON object strictly: what is missing, of the wrong type or not known is
// refused by name, in a sentence that the caller of the API can act on.
//
//   JsonFields fields = HOZON_TRY(JsonFields::parse(request.body));
//   const std::string name = HOZON_TRY(fields.text("name"));
//   const uint64_t size = HOZON_TRY(fields.number_or("size_bytes", 0));
//   HOZON_TRY(fields.finish());
//
// Bounds: kJsonDepthMax levels; a field that is there twice is refused. null counts as absent.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace hozon::api {

inline constexpr int kJsonDepthMax = 16;

using Json = nlohmann::ordered_json;

// Any JSON text within the bounds; kInvalidArgument otherwise.
Result<Json> parse_json(std::string_view text);

class JsonFields {
 public:
  // An empty text counts as {}. `where` begins the sentences, as in "the request".
  static Result<JsonFields> parse(std::string_view text);
  static Result<JsonFields> of(Json object, std::string where);

  bool has(std::string_view field) const;
  Result<std::string> text(std::string_view field);
  Result<std::string> text_or(std::string_view field, std::string fallback);
  Result<uint64_t> number(std::string_view field);
  Result<uint64_t> number_or(std::string_view field, uint64_t fallback);
  Result<bool> flag_or(std::string_view field, bool fallback);
  Result<std::vector<std::string>> texts_or_none(std::string_view field);
  // An object whose members are texts; empty when the field is absent.
  Result<std::map<std::string, std::string>> texts_by_name(std::string_view field);
  // The object in a field, to be read in its turn.
  Result<std::optional<JsonFields>> object_or_none(std::string_view field);
  // The objects of a list, each to be read in its turn.
  Result<std::vector<JsonFields>> objects_or_none(std::string_view field);
  // Refuses fields that no call above asked for.
  Status finish() const;

 private:
  JsonFields(Json object, std::string where)
      : object_(std::move(object)), where_(std::move(where)) {}
  const Json* find(std::string_view field);
  std::unexpected<Error> missing(std::string_view field) const;
  std::unexpected<Error> wrong_type(std::string_view field, std::string_view wanted,
                                    const Json& found) const;

  Json object_;
  std::string where_;
  std::vector<std::string> known_;
};

}  // namespace hozon::api
