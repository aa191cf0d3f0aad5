// The document is put together from the routes, from their descriptions, and, for the schemas of
// answers, from the very functions that make the answers: a value with everything absent and one
// with everything present tell the members, their types, and which of them can be null.
#include <algorithm>
#include <map>
#include <set>

#include "api/description.h"
#include "api/problem.h"
#include "api/router.h"
#include "control/access.h"
#include "control/details.h"
#include "control/event_log.h"
#include "control/json.h"
#include "link/file_query.h"

namespace hozon::api {
namespace {

using nlohmann::json;

// ---- schemas of answers ----

std::string type_of(const json& value) {
  if (value.is_string()) return "string";
  if (value.is_boolean()) return "boolean";
  if (value.is_number_float()) return "number";
  if (value.is_number()) return "integer";
  if (value.is_array()) return "array";
  return value.is_null() ? "null" : "object";
}

// `full` decides the type; what is null in `bare` can be null. Objects whose members depend on
// something (results, settings) are empty in both, and say no more than that.
json schema_of(const json& bare, const json& full) {
  const std::string type = type_of(full);
  json schema = json::object();
  if (type == "null") return schema;
  schema["type"] = type;
  if (bare.is_null()) schema["type"] = json::array({type, "null"});
  if (type == "array" && !full.empty()) schema["items"] = schema_of(full.front(), full.front());
  if (type != "object" || full.empty()) return schema;
  schema["properties"] = json::object();
  schema["required"] = json::array();
  for (const auto& [name, value] : full.items()) {
    const json& other = bare.is_object() && bare.contains(name) ? bare.at(name) : value;
    schema["properties"][name] = schema_of(other, value);
    schema["required"].push_back(name);
  }
  schema["additionalProperties"] = false;
  return schema;
}

template <typename T>
json schema_of_values(const T& bare, const T& full) {
  return schema_of(control::to_json(bare), control::to_json(full));
}

json loose(std::string_view words) { return {{"type", "object"}, {"description", words}}; }

const control::BlockedOperation kBlocked{"start", Code::kBusy, "why", "hozon job watch 1"};

json machine_schema() {
  control::Machine full;
  full.lock = control::Lock{"machine.start", 1};
  full.disks = {{}};
  full.nics = {{}};
  full.allowed_operations = {"start"};
  full.blocked_operations = {kBlocked};
  full.preview = control::Preview{};
  full.preview->parts = json::object();
  full.live_memory_obstacles = {"why"};
  return schema_of_values(control::Machine{}, full);
}

json snapshot_schema() {
  control::Snapshot full;
  full.memory = control::MemoryInfo{};
  full.exclusive_bytes = 1;
  full.tags = {"tag"};
  full.allowed_operations = {"delete"};
  full.blocked_operations = {kBlocked};
  full.settings = json::object();
  control::SnapshotDisk disk;
  json schema = schema_of_values(control::Snapshot{}, full);
  control::SnapshotDisk sized = disk;
  sized.exclusive_bytes = 1;
  schema["properties"]["disks"]["items"] = schema_of_values(disk, sized);
  return schema;
}

json details_schema() {
  control::SnapshotDetails full;
  full.disks = {{}};
  full.disks[0].disk.exclusive_bytes = 1;
  full.disks[0].filesystems = {{}};
  full.interfaces = {{}};
  full.interfaces[0].addresses = {"words"};
  full.applications = {{}};
  json schema = schema_of_values(control::SnapshotDetails{}, full);
  json& size = schema["properties"]["disks"]["items"]["properties"]["exclusive_bytes"];
  size["type"] = {"integer", "null"};
  return schema;
}

json volume_schema() {
  control::Volume full;
  full.mapped_bytes = 1;
  full.allowed_operations = {"delete"};
  full.blocked_operations = {kBlocked};
  return schema_of_values(control::Volume{}, full);
}

json job_schema() {
  control::Job full;
  full.eta_ms = 1;
  full.error = Error{Code::kBusy, "why", 0};
  full.allowed_operations = {"cancel"};
  full.blocked_operations = {kBlocked};
  return schema_of_values(control::Job{}, full);
}

json plan_schema() {
  control::Plan full;
  full.refusal = Error{Code::kBusy, "why", 0};
  for (auto* list : {&full.makes, &full.removes, &full.unreachable, &full.identity, &full.notes})
    *list = {"words"};
  full.settings_changes = {{}};
  json schema = schema_of_values(control::Plan{}, full);
  schema["properties"]["settings_changes"]["items"].erase("additionalProperties");
  return schema;
}

json problem_schema() {
  json codes = json::array();
  for (int code = 0; code <= static_cast<int>(Code::kCancelled); ++code)
    codes.push_back(code_name(static_cast<Code>(code)));
  for (const char* other :
       {"timeout", "precondition_failed", "unauthenticated", "too_many_attempts"})
    codes.push_back(other);
  return {{"type", "object"},
          {"required", {"type", "title", "status", "code", "detail"}},
          {"properties",
           {{"type", {{"type", "string"}}},
            {"title", {{"type", "string"}}},
            {"status", {{"type", "integer"}}},
            {"code", {{"type", "string"}, {"enum", codes}}},
            {"detail", {{"type", "string"}, {"description", "For people; may change"}}},
            {"remedy", {{"type", "string"}, {"description", "A command, or empty"}}},
            {"object", loose("What the request named, by kind")},
            {"job", {{"$ref", "#/components/schemas/Job"}}}}}};
}

json token_schema() {
  control::Token full;
  full.rights = control::kAllRights;
  return schema_of_values(full, full);
}

json peer_schema() {
  const control::Peer full{"root", control::kAllRights};
  return schema_of_values(full, full);
}

json schemas() {
  control::AuditEntry audit;
  audit.object = json::object();
  control::VolumeDiff diff;
  diff.next_offset = 1;
  diff.ranges = {{}};
  json volume_diff = schema_of_values(control::VolumeDiff{}, diff);
  const json pool = schema_of_values(control::Pool{}, control::Pool{});
  control::PoolCheck check;
  check.errors = check.warnings = {"words"};
  const json info = {{"name", ""}, {"version", ""}, {"directory", ""}};
  return {{"Info", schema_of(info, info)},
          {"Pool", pool},
          {"PoolCheck", schema_of_values(control::PoolCheck{}, check)},
          {"Volume", volume_schema()},
          {"Point", schema_of_values(control::Point{}, control::Point{})},
          {"Machine", machine_schema()},
          {"Snapshot", snapshot_schema()},
          {"VolumeDiff", volume_diff},
          {"SnapshotDiff", schema_of_values(control::SnapshotDiff{}, control::SnapshotDiff{})},
          {"SnapshotDetails", details_schema()},
          {"Filesystem", schema_of(to_json(link::Filesystem{}), to_json(link::Filesystem{}))},
          {"FileEntry", schema_of(to_json(link::FileEntry{}), to_json(link::FileEntry{}))},
          {"Job", job_schema()},
          {"Plan", plan_schema()},
          {"Event", schema_of_values(control::Event{}, control::Event{})},
          {"Token", token_schema()},
          {"Peer", peer_schema()},
          {"AuditEntry", schema_of_values(audit, audit)},
          {"Problem", problem_schema()}};
}

const json& all_schemas() {
  static const json kSchemas = schemas();
  return kSchemas;
}

// ---- requests ----

json field_schema(const Field& field);

json fields_schema(const std::vector<Field>& fields) {
  json schema = {{"type", "object"}, {"additionalProperties", false}};
  schema["properties"] = json::object();
  json needed = json::array();
  for (const Field& field : fields) {
    schema["properties"][field.name] = field_schema(field);
    if (field.required) needed.push_back(field.name);
  }
  if (!needed.empty()) schema["required"] = needed;
  return schema;
}

json field_schema(const Field& field) {
  json schema = {{"description", field.help}};
  const uint64_t items = field.most == 0 ? kItemsMax : field.most;
  const json any_text = {{"type", "string"}, {"maxLength", kTextMax}};
  switch (field.type) {
    case FieldType::kText:
      schema["type"] = "string";
      schema["maxLength"] = field.most == 0 ? kTextMax : field.most;
      if (!field.values.empty()) schema["enum"] = field.values;
      break;
    case FieldType::kNumber:
      schema["type"] = "integer";
      schema["minimum"] = 0;
      schema["maximum"] = field.most == 0 ? kNumberMax : field.most;
      break;
    case FieldType::kFlag: schema["type"] = "boolean"; break;
    case FieldType::kTexts:
      schema["type"] = "array";
      schema["maxItems"] = items;
      schema["items"] = any_text;
      break;
    case FieldType::kTextsByName:
      schema["type"] = "object";
      schema["maxProperties"] = items;
      schema["additionalProperties"] = any_text;
      break;
    case FieldType::kObject: schema.update(fields_schema(field.fields)); break;
    case FieldType::kObjects:
      schema["type"] = "array";
      schema["maxItems"] = items;
      schema["items"] = fields_schema(field.fields);
      break;
  }
  return schema;
}

// ---- operations ----

json parameters_of(const Router::Route& route) {
  json parameters = json::array();
  for (size_t at = 0; (at = route.pattern.find('{', at)) != std::string::npos; ++at) {
    const std::string name = route.pattern.substr(at + 1, route.pattern.find('}', at) - at - 1);
    parameters.push_back({{"name", name},
                          {"in", "path"},
                          {"required", true},
                          {"schema", {{"type", "string"}, {"minLength", 1}}}});
  }
  static const std::set<std::string> kFlags = {"wait",  "plan",        "all",
                                               "sizes", "with_points", "force"};
  static const std::set<std::string> kNumbers = {"wait_ms", "offset", "most", "after", "limit"};
  for (const std::string& word : route.query) {
    json schema = {{"type", "string"}};
    if (kFlags.contains(word)) schema = {{"type", "boolean"}};
    if (kNumbers.contains(word)) schema = {{"type", "integer"}, {"minimum", 0}};
    parameters.push_back({{"name", word}, {"in", "query"}, {"schema", schema}});
  }
  return parameters;
}

json content(const std::string& type, const json& schema) {
  return {{"content", {{type, {{"schema", schema}}}}}};
}

json reference(const std::string& schema) { return {{"$ref", "#/components/schemas/" + schema}}; }

json answers_of(const Router::Route& route, const RouteDescription* known) {
  json schema = json::object();
  if (known != nullptr && !known->answer.empty()) schema = reference(known->answer);
  if (known != nullptr && known->is_list)
    schema = {{"type", "object"},
              {"required", {"items"}},
              {"properties",
               {{"items", {{"type", "array"}, {"items", schema}}},
                {"next", {{"type", {"string", "null"}}}}}}};
  json answers = json::object();
  const char* type = "application/json";
  if (route.pattern == "/v1/events") type = "text/event-stream";
  if (route.pattern == "/metrics") type = "text/plain";
  if (route.pattern.ends_with("/content")) type = "application/octet-stream";
  answers["200"] = content(type, schema);
  answers["200"]["description"] = "The answer";
  const auto has = [&](const char* word) {
    return std::ranges::find(route.query, word) != route.query.end();
  };
  if (route.pattern == "/v1/tokens" && route.method == "POST") {
    answers["201"] = answers["200"];
    answers.erase("200");
  }
  if (has("wait") || route.pattern.ends_with("/cancel")) {
    answers["202"] = content("application/json", reference("Job"));
    answers["202"]["description"] = "The job that does it; Location names it";
  }
  answers["default"] = content("application/problem+json", reference("Problem"));
  answers["default"]["description"] = "A refusal or a failure (docs/errors.md)";
  return answers;
}

json operation_of(const Router::Route& route) {
  const RouteDescription* const known = find_description(route.method, route.pattern);
  json operation = {{"summary", known == nullptr ? "" : known->summary},
                    {"parameters", parameters_of(route)},
                    {"responses", answers_of(route, known)}};
  if (route.method != "GET")
    operation["parameters"].push_back({{"name", "Idempotency-Key"},
                                       {"in", "header"},
                                       {"schema", {{"type", "string"}, {"maxLength", 128}}}});
  if (route.body != Body::kNone && known != nullptr) {
    operation["requestBody"] = content("application/json", fields_schema(known->fields));
    operation["requestBody"]["required"] = route.body == Body::kRequired;
  }
  return operation;
}

std::string lower(std::string text) {
  for (char& c : text)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return text;
}

}  // namespace

const std::vector<std::string>& members_of_answer(const std::string& schema) {
  static const auto kMembers = [] {
    std::map<std::string, std::vector<std::string>> members;
    for (const auto& [name, known] : all_schemas().items()) {
      const json properties = known.value("properties", json::object());
      for (const auto& [member, value] : properties.items()) members[name].push_back(member);
    }
    return members;
  }();
  static const std::vector<std::string> kNone;
  const auto found = kMembers.find(schema);
  return found == kMembers.end() ? kNone : found->second;
}

json openapi_document(const Router& router, const std::string& version) {
  json document = {
      {"openapi", "3.1.0"},
      {"info",
       {{"title", "Hozon"},
        {"version", version},
        {"description",
         "Snapshots of virtual machines. Whatever changes something is a job: 202 and the job, or "
         "with ?wait=true its result when it has ended; ?plan=true says what it would do."}}},
      {"paths", json::object()},
      {"components", {{"schemas", all_schemas()}}}};
  for (const Router::Route* route : router.routes())
    document["paths"][route->pattern][lower(route->method)] = operation_of(*route);
  return document;
}

}  // namespace hozon::api
