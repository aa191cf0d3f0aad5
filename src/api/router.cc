#include "api/router.h"

#include <algorithm>

#include "api/problem.h"

namespace hozon::api {
namespace {

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// Strict: no overlong forms, no surrogates, nothing past U+10FFFF.
bool is_utf8(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i]);
    const size_t length = lead < 0x80   ? 1
                          : lead < 0xc2 ? 0
                          : lead < 0xe0 ? 2
                          : lead < 0xf0 ? 3
                          : lead < 0xf5 ? 4
                                        : 0;
    if (length == 0 || i + length > text.size()) return false;
    uint32_t value = length == 1 ? lead : lead & (0xffU >> (length + 1));
    for (size_t k = 1; k < length; ++k) {
      const auto next = static_cast<unsigned char>(text[i + k]);
      if ((next & 0xc0) != 0x80) return false;
      value = (value << 6) | (next & 0x3fU);
    }
    if ((length == 3 && value < 0x800) || (length == 4 && value < 0x10000)) return false;
    if ((value >= 0xd800 && value < 0xe000) || value > 0x10ffff) return false;
    i += length;
  }
  return true;
}

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
    const std::string word = HOZON_TRY(percent_decode(pair.substr(0, equals)));
    const std::string value =
        equals == std::string_view::npos ? "" : HOZON_TRY(percent_decode(pair.substr(equals + 1)));
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
  routes_.push_back({std::move(route), std::move(parts)});
}

Response Router::answer(Request& request) const {
  auto target = parse_target(request.target);
  if (!target) return problem(target.error());
  std::string allow;
  for (const Compiled& entry : routes_) {
    if (!matches(entry.parts, target->parts)) continue;
    if (entry.route.method != request.method) {
      allow += (allow.empty() ? "" : ", ") + entry.route.method;
      continue;
    }
    request.query = std::move(target->query);
    for (size_t i = 0; i < entry.parts.size(); ++i) {
      if (is_named(entry.parts[i]))
        request.parts[entry.parts[i].substr(1, entry.parts[i].size() - 2)] = target->parts[i];
    }
    if (auto refusal = refuse(entry.route, request)) return *refusal;
    auto response = entry.route.handler(request);
    return response ? std::move(*response) : problem(response.error(), request.parts);
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
