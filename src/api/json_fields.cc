#include "api/json_fields.h"

#include <fmt/ranges.h>

#include <algorithm>

namespace hozon::api {
namespace {

std::string_view type_word(const Json& value) {
  if (value.is_string()) return "text";
  if (value.is_boolean()) return "true or false";
  if (value.is_number_float()) return "a fraction";
  if (value.is_number()) return "a number";
  if (value.is_array()) return "a list";
  if (value.is_object()) return "an object";
  return "null";
}

}  // namespace

Result<Json> parse_json(std::string_view text) {
  bool too_deep = false;
  std::string twice;
  std::vector<std::set<std::string>> keys;  // of the objects that are open
  const auto watch = [&](int depth, Json::parse_event_t event, Json& parsed) {
    const bool opens =
        event == Json::parse_event_t::object_start || event == Json::parse_event_t::array_start;
    if (opens && depth >= kJsonDepthMax) too_deep = true;  // the outermost opens at depth 0
    if (event == Json::parse_event_t::object_start) keys.emplace_back();
    if (event == Json::parse_event_t::object_end && !keys.empty()) keys.pop_back();
    if (event == Json::parse_event_t::key && !keys.empty() &&
        !keys.back().insert(parsed.get<std::string>()).second)
      twice = parsed.get<std::string>();
    return !too_deep;  // what is too deep is not even kept
  };
  try {
    Json parsed = Json::parse(text, watch);
    if (too_deep)
      return make_error(Code::kInvalidArgument, "the JSON text is nested deeper than {} levels",
                        kJsonDepthMax);
    if (!twice.empty())
      return make_error(Code::kInvalidArgument, "the JSON field '{}' is there twice", twice);
    return parsed;
  } catch (const Json::parse_error& e) {
    return make_error(Code::kInvalidArgument, "the body is not JSON: error at byte {}", e.byte);
  } catch (const std::exception& e) {
    return make_error(Code::kInvalidArgument, "the body is not JSON: {}", e.what());
  }
}

Result<JsonFields> JsonFields::parse(std::string_view text) {
  if (text.empty()) return JsonFields(Json::object(), "the request");
  return of(HOZON_TRY(parse_json(text)), "the request");
}

Result<JsonFields> JsonFields::of(Json object, std::string where) {
  if (!object.is_object())
    return make_error(Code::kInvalidArgument, "{} must be a JSON object, not {}", where,
                      type_word(object));
  return JsonFields(std::move(object), std::move(where));
}

bool JsonFields::has(std::string_view field) const {
  const auto found = object_.find(field);
  return found != object_.end() && !found->is_null();
}

const Json* JsonFields::find(std::string_view field) {
  known_.emplace_back(field);
  const auto found = object_.find(field);
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

std::unexpected<Error> JsonFields::missing(std::string_view field) const {
  return make_error(Code::kInvalidArgument, "field '{}' of {} is missing", field, where_);
}

std::unexpected<Error> JsonFields::wrong_type(std::string_view field, std::string_view wanted,
                                              const Json& found) const {
  return make_error(Code::kInvalidArgument, "field '{}' of {} must be {}, not {}", field, where_,
                    wanted, type_word(found));
}

Result<std::string> JsonFields::text(std::string_view field) {
  const Json* found = find(field);
  if (found == nullptr) return missing(field);
  if (!found->is_string()) return wrong_type(field, "text", *found);
  std::string value = found->get<std::string>();
  if (value.find('\0') != std::string::npos)
    return make_error(Code::kInvalidArgument, "field '{}' of {} has a zero byte", field, where_);
  return value;
}

Result<std::string> JsonFields::text_or(std::string_view field, std::string fallback) {
  if (has(field)) return text(field);
  known_.emplace_back(field);
  return fallback;
}

Result<uint64_t> JsonFields::number(std::string_view field) {
  const Json* found = find(field);
  if (found == nullptr) return missing(field);
  if (!found->is_number_unsigned())
    return make_error(Code::kInvalidArgument,
                      "field '{}' of {} must be a whole number of zero or more{}", field, where_,
                      found->is_number() ? "" : fmt::format(", not {}", type_word(*found)));
  return found->get<uint64_t>();
}

Result<uint64_t> JsonFields::number_or(std::string_view field, uint64_t fallback) {
  if (has(field)) return number(field);
  known_.emplace_back(field);
  return fallback;
}

Result<bool> JsonFields::flag_or(std::string_view field, bool fallback) {
  const Json* found = find(field);
  if (found == nullptr) return fallback;
  if (!found->is_boolean()) return wrong_type(field, "true or false", *found);
  return found->get<bool>();
}

Result<std::vector<std::string>> JsonFields::texts_or_none(std::string_view field) {
  const Json* found = find(field);
  std::vector<std::string> values;
  if (found == nullptr) return values;
  if (!found->is_array()) return wrong_type(field, "a list of texts", *found);
  for (const Json& item : *found) {
    if (!item.is_string()) return wrong_type(field, "a list of texts", item);
    values.push_back(item.get<std::string>());
  }
  return values;
}

Result<std::map<std::string, std::string>> JsonFields::texts_by_name(std::string_view field) {
  std::map<std::string, std::string> texts;
  const Json* found = find(field);
  if (found == nullptr) return texts;
  JsonFields object = HOZON_TRY(of(*found, fmt::format("'{}'", field)));
  for (const auto& [name, value] : found->items()) texts[name] = HOZON_TRY(object.text(name));
  return texts;
}

Result<std::optional<JsonFields>> JsonFields::object_or_none(std::string_view field) {
  const Json* found = find(field);
  std::optional<JsonFields> object;
  if (found != nullptr) object = HOZON_TRY(of(*found, fmt::format("'{}'", field)));
  return object;
}

Result<std::vector<JsonFields>> JsonFields::objects_or_none(std::string_view field) {
  const Json* found = find(field);
  std::vector<JsonFields> objects;
  if (found == nullptr) return objects;
  if (!found->is_array()) return wrong_type(field, "a list of objects", *found);
  for (const Json& item : *found)
    objects.push_back(
        HOZON_TRY(of(item, fmt::format("'{}' number {}", field, objects.size() + 1))));
  return objects;
}

Status JsonFields::finish() const {
  for (const auto& [field, value] : object_.items()) {
    if (std::ranges::find(known_, field) != known_.end()) continue;
    if (known_.empty())
      return make_error(Code::kInvalidArgument, "unknown field '{}' in {}, which has none", field,
                        where_);
    return make_error(Code::kInvalidArgument, "unknown field '{}' in {}; known are {}", field,
                      where_, fmt::join(known_, ", "));
  }
  return {};
}

}  // namespace hozon::api
