#include "api/router.h"

#include <algorithm>

#include "api/description.h"
#include "api/etag.h"
#include "api/listing.h"
#include "api/problem.h"
#include "base/text.h"

namespace hozon::api {
namespace {

Result<std::string> percent_decode(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += text[i];
      continue;
    }
    const int high = i + 2 < text.size() ? hex_digit(text[i + 1]) : -1;
    const int low = i + 2 < text.size() ? hex_digit(text[i + 2]) : -1;
    if (high < 0 || low < 0)
      return make_error(Code::kInvalidArgument, "the request target has a damaged %-escape");
    out += static_cast<char>(high * 16 + low);
    i += 2;
  }
  if (out.find('\0') != std::string::npos || !is_utf8(out))
    return make_error(Code::kInvalidArgument, "the request target is not UTF-8 text");
  return out;
}

// As forms are sent (WHATWG URL, application/x-www-form-urlencoded), which most clients do.
Result<std::string> query_decode(std::string_view text) {
  std::string spaced(text);
  std::ranges::replace(spaced, '+', ' ');
  return percent_decode(spaced);
}

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> pieces;
  while (true) {
    const size_t at = text.find(separator);
    pieces.push_back(text.substr(0, at));
    if (at == std::string_view::npos) return pieces;
    text.remove_prefix(at + 1);
  }
}

bool is_named(const std::string& part) { return part.starts_with('{'); }

bool matches(const std::vector<std::string>& pattern, const std::vector<std::string>& parts) {
  if (pattern.size() != parts.size()) return false;
  for (size_t i = 0; i < parts.size(); ++i) {
    if (is_named(pattern[i]) ? parts[i].empty() : pattern[i] != parts[i]) return false;
  }
  return true;
}

bool is_json_type(std::string_view content_type) {
  std::string kind(content_type.substr(0, content_type.find(';')));
  while (!kind.empty() && kind.back() == ' ') kind.pop_back();
  std::ranges::transform(kind, kind.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  return kind == "application/json";
}

// What a route asks of a request besides its path.
std::optional<Response> refuse(const Router::Route& route, const Request& request) {
  for (const auto& [word, value] : request.query) {
    if (std::ranges::find(route.query, word) == route.query.end())
      return problem(Error{Code::kInvalidArgument, fmt::format("unknown query word '{}' for {} {}",
                                                               word, route.method, route.pattern)});
  }
  if (route.body == Body::kRequired && !request.has_length)
    return problem_status(411, "invalid_argument",
                          "this request needs a JSON body with a Content-Length");
  if (route.body == Body::kNone && !request.body.empty())
    return problem(Error{Code::kInvalidArgument,
                         fmt::format("{} {} takes no body", route.method, route.pattern)});
  if (!request.body.empty() && !is_json_type(request.header("content-type")))
    return problem_status(415, "invalid_argument",
                          "the body must be sent with Content-Type: application/json");
  return std::nullopt;
}

}  // namespace

Result<Target> parse_target(std::string_view target) {
  if (!target.starts_with('/'))
    return make_error(Code::kInvalidArgument, "the request target must begin with '/'");
  Target out;
  const size_t question = target.find('?');
  for (const std::string_view piece : split(target.substr(1, question - 1), '/'))
    out.parts.push_back(HOZON_TRY(percent_decode(piece)));
  if (question == std::string_view::npos) return out;
  for (const std::string_view pair : split(target.substr(question + 1), '&')) {
    if (pair.empty()) continue;
    const size_t equals = pair.find('=');
    const std::string word = HOZON_TRY(query_decode(pair.substr(0, equals)));
    const std::string value =
        equals == std::string_view::npos ? "" : HOZON_TRY(query_decode(pair.substr(equals + 1)));
    if (!out.query.emplace(word, value).second)
      return make_error(Code::kInvalidArgument, "the query word '{}' is there twice", word);
  }
  return out;
}

void Router::add(Route route) {
  HOZON_CHECK(route.pattern.starts_with('/'));
  std::vector<std::string> parts;
  for (const std::string_view part : split(std::string_view(route.pattern).substr(1), '/'))
    parts.emplace_back(part);
  const RouteDescription* const description = find_description(route.method, route.pattern);
  if (description != nullptr && description->is_list) {
    for (const auto* words : {&page_words(), &description->filters})
      for (const std::string& word : *words)
        if (std::ranges::find(route.query, word) == route.query.end()) route.query.push_back(word);
  }
  routes_.push_back({std::move(route), std::move(parts), description});
}

std::vector<const Router::Route*> Router::routes() const {
  std::vector<const Route*> routes;
  for (const Compiled& entry : routes_) routes.push_back(&entry.route);
  return routes;
}

const Router::Compiled* Router::find(std::string_view method, const std::vector<std::string>& parts,
                                     std::string& allow) const {
  for (const Compiled& entry : routes_) {
    if (!matches(entry.parts, parts)) continue;
    if (entry.route.method == method) return &entry;
    allow += (allow.empty() ? "" : ", ") + entry.route.method;
  }
  return nullptr;
}

namespace {

void take_parts(Request& request, const std::vector<std::string>& pattern,
                const std::vector<std::string>& parts) {
  for (size_t i = 0; i < pattern.size(); ++i)
    if (is_named(pattern[i])) request.parts[pattern[i].substr(1, pattern[i].size() - 2)] = parts[i];
}

bool is_plain_answer(const Response& response) {
  return response.status == 200 && !response.later && !response.stream;
}

// Pages, filters and the tag of an answer to GET.
Response finish_read(const RouteDescription* description, const Request& request,
                     Response response) {
  if (response.listing) {
    static const RouteDescription kUnknown;
    const RouteDescription& known = description == nullptr ? kUnknown : *description;
    auto body =
        answer_list(request, known.filters, members_of_answer(known.answer), *response.listing);
    if (!body) return problem(body.error(), request.parts);
    response.body = std::move(*body);
    response.listing.reset();
  }
  const std::string tag = etag_of(response.body);
  response.headers.emplace_back("ETag", tag);
  response.headers.emplace_back("Cache-Control", "no-cache");
  if (!names_etag(request.header("if-none-match"), tag)) return response;
  response.status = 304;
  response.body.clear();
  return response;
}

}  // namespace

// The record that a change is about is the nearest one above it: of /v1/machines/web/start the
// machine, of /v1/machines/web/snapshots/s/pin the snapshot. When it is gone the handler says so.
std::optional<Response> Router::refuse_changed(const Request& request,
                                               const std::vector<std::string>& parts) const {
  const std::string_view wanted = request.header("if-match");
  if (wanted.empty()) return std::nullopt;
  for (size_t length = parts.size(); length > 1; --length) {
    const std::vector<std::string> above(parts.begin(),
                                         parts.begin() + static_cast<std::ptrdiff_t>(length));
    std::string ignored;
    const Compiled* const entry = find("GET", above, ignored);
    if (entry == nullptr || !is_named(entry->parts.back())) continue;
    Request read;
    read.method = "GET";
    if (const auto pool = request.query.find("pool"); pool != request.query.end())
      read.query.insert(*pool);
    take_parts(read, entry->parts, above);
    const auto now = entry->route.handler(read);
    if (!now || now->status != 200 || names_etag(wanted, etag_of(now->body))) return std::nullopt;
    return problem_status(412, "precondition_failed",
                          "it has changed since: read it again and decide anew");
  }
  return problem(Error{Code::kInvalidArgument, "there is no record here for If-Match to name"});
}

Response Router::run(const Compiled& entry, Request& request,
                     const std::vector<std::string>& parts) const {
  if (gate_.admit)
    if (auto refusal = gate_.admit(request, entry.route)) return std::move(*refusal);
  if (auto refusal = refuse(entry.route, request)) return std::move(*refusal);
  const bool compares = request.method != "GET" && request.has_header("if-match");
  const std::shared_ptr<void> held = compares ? hold_() : nullptr;
  if (compares)
    if (auto refusal = refuse_changed(request, parts)) return std::move(*refusal);
  if (entry.description != nullptr)
    if (const Status fits = check_body(*entry.description, request.body); !fits)
      return problem(fits.error(), request.parts);
  auto response = entry.route.handler(request);
  if (!response) return problem(response.error(), request.parts);
  if (request.method != "GET" || !is_plain_answer(*response)) return std::move(*response);
  return finish_read(entry.description, request, std::move(*response));
}

Response Router::answer(Request& request) const {
  const auto began = std::chrono::steady_clock::now();
  Response response = find_answer(request);
  counters_->count(request.method, response.status, std::chrono::steady_clock::now() - began);
  return response;
}

Response Router::find_answer(Request& request) const {
  auto target = parse_target(request.target);
  if (!target) return problem(target.error());
  std::string allow;
  if (const Compiled* const entry = find(request.method, target->parts, allow)) {
    request.query = std::move(target->query);
    take_parts(request, entry->parts, target->parts);
    Response response = run(*entry, request, target->parts);
    if (gate_.note) gate_.note(request, entry->route, response);
    return response;
  }
  if (allow.empty())
    return problem(Error{Code::kNotFound,
                         fmt::format("there is no resource '{}'", request.target.substr(0, 200))});
  Response response =
      problem_status(405, "invalid_argument",
                     fmt::format("'{}' is not possible here; use {}", request.method, allow));
  response.headers.emplace_back("Allow", allow);
  return response;
}

}  // namespace hozon::api
