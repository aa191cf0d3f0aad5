#include "api/gate.h"

#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <nlohmann/json.hpp>

#include "api/problem.h"
#include "api/wrong_tokens.h"
#include "base/log.h"

namespace hozon::api {
namespace {

using control::Access;
using control::Right;
using nlohmann::json;

struct Rule {
  std::string_view end;  // of the pattern
  Right right;
};
// The verbs of a machine, a snapshot, a volume; the first that fits.
constexpr std::array kRules = {
    Rule{"/snapshots/{snapshot}/return", control::kReturn},
    Rule{"/snapshots/{snapshot}/preview", control::kReturn},
    Rule{"/preview/commit", control::kReturn},
    Rule{"/preview/undo", control::kReturn},
    Rule{"{machine}/undo", control::kReturn},
    Rule{"{volume}/return", control::kReturn},
    Rule{"{machine}/snapshots", control::kSnapshot},
    Rule{"{machine}/delete-snapshots", control::kSnapshot},
    Rule{"/snapshots/{snapshot}", control::kSnapshot},
    Rule{"/snapshots/{snapshot}/tag", control::kSnapshot},
    Rule{"/snapshots/{snapshot}/expire", control::kSnapshot},
    Rule{"/snapshots/{snapshot}/pin", control::kSnapshot},
    Rule{"/snapshots/{snapshot}/unpin", control::kSnapshot},
    Rule{"/snapshots/{snapshot}/rename", control::kSnapshot},
    Rule{"/snapshots/{snapshot}/describe", control::kSnapshot},
    Rule{"/trash/{snapshot}/restore", control::kSnapshot},
    Rule{"{volume}/snapshot", control::kSnapshot},
    Rule{"{volume}/defragment", control::kOperate},
    Rule{"/points/{point}", control::kSnapshot},
    Rule{"/groups/{group}/return", control::kReturn},
    Rule{"/v1/groups", control::kSnapshot},
    Rule{"/groups/{group}", control::kSnapshot},
    Rule{"/schedules/{schedule}/run", control::kSnapshot},
    Rule{"{machine}/start", control::kOperate},
    Rule{"{machine}/shutdown", control::kOperate},
    Rule{"{machine}/pause", control::kOperate},
    Rule{"{machine}/resume", control::kOperate},
    Rule{"{machine}/suspend", control::kOperate},
    Rule{"{machine}/freeze", control::kOperate},
    Rule{"{machine}/thaw", control::kOperate},
    Rule{"{machine}/connect", control::kOperate},
    Rule{"{machine}/kill", control::kOperate},
    Rule{"/jobs/{job}/cancel", control::kOperate},
    Rule{"{pool}/check", control::kOperate},
    Rule{"{pool}/scrub", control::kOperate},
};

constexpr std::string_view kContent = "/snapshots/{snapshot}/content";
constexpr std::string_view kBearer = "Bearer ";

Response unauthenticated(std::string_view words) {
  Response response = problem_status(401, "unauthenticated", words);
  response.headers.emplace_back("WWW-Authenticate", "Bearer realm=\"hozon\"");
  return response;
}

Response too_many_attempts() {
  Response response = problem_status(429, "too_many_attempts",
                                     "too many wrong tokens came from this address: wait a second");
  response.headers.emplace_back("Retry-After", "1");
  return response;
}

struct Who {
  std::string name;
  unsigned rights = 0;
};

// Nobody in particular: no value.
Result<std::optional<Who>> who_sends(Access& access, const Request& request) {
  const std::string_view given = request.header("authorization");
  if (!given.empty()) {
    if (!given.starts_with(kBearer)) return std::optional<Who>();
    const auto token = access.find_token(given.substr(kBearer.size()));
    if (!token && token.error().code == Code::kPermissionDenied) return std::optional<Who>();
    if (!token) return std::unexpected(token.error());
    return Who{"token " + token->name, token->rights};
  }
  if (!request.peer_uid) return std::optional<Who>();
  if (*request.peer_uid == ::geteuid() || *request.peer_uid == 0)
    return Who{request.peer, control::kAllRights};
  return Who{request.peer, HOZON_TRY(access.rights_of_user(request.peer))};
}

std::optional<Response> admit(Access& access, WrongTokens& wrong, Request& request,
                              const Router::Route& route) {
  if (route.pattern == "/healthz") return std::nullopt;
  const std::string_view token = request.header("authorization");
  const auto now = std::chrono::steady_clock::now();
  if (!token.empty() && !wrong.may_try(request.address, token, now)) {
    request.peer.clear();
    return too_many_attempts();
  }
  const auto who = who_sends(access, request);
  if (!who) return problem(who.error());
  if (!token.empty() && *who) wrong.note_right(token);
  if (!token.empty() && !*who) wrong.note_wrong(request.address, token, now);
  if (!*who) {
    request.peer.clear();
    return unauthenticated(request.header("authorization").empty()
                               ? "this needs a token: send it as Authorization: Bearer TOKEN"
                               : "the token is not valid");
  }
  request.peer = (*who)->name;
  const Right needed = right_of(route.method, route.pattern);
  if (((*who)->rights & needed) != 0) return std::nullopt;
  return problem(Error{
      Code::kPermissionDenied,
      fmt::format("'{}' may not do this: it needs the right '{}' and has {}", request.peer,
                  fmt::join(control::right_names(needed), ", "),
                  (*who)->rights == 0
                      ? "none"
                      : fmt::format("{}", fmt::join(control::right_names((*who)->rights), ", ")))});
}

uint64_t job_of(const Response& response) {
  constexpr std::string_view kJobs = "/v1/jobs/";
  uint64_t job = 0;
  for (const auto& [name, value] : response.headers)
    if (name == "Location" && value.starts_with(kJobs))
      std::from_chars(value.data() + kJobs.size(), value.data() + value.size(), job);
  return job;
}

void note(Access& access, const Request& request, const Router::Route& route,
          const Response& response) {
  const auto plan = request.query.find("plan");
  const bool is_plan =
      plan != request.query.end() && plan->second != "false" && plan->second != "0";
  const bool is_read = route.method == "GET" && !route.pattern.ends_with(kContent);
  if (is_read || is_plan || response.status == 429) return;
  control::AuditEntry entry;
  entry.who = request.peer;
  entry.method = route.method;
  entry.path = route.pattern;
  entry.object = json::object();
  for (const auto& [kind, name] : request.parts) entry.object[kind] = name;
  if (const std::string place = request.query_value("place"); !place.empty())
    entry.object["place"] = place;
  entry.status = response.status;
  if (response.status >= 400) {
    const json body = json::parse(response.body, nullptr, false);
    if (body.is_object()) entry.code = body.value("code", "");
  }
  entry.job = job_of(response);
  if (const Status recorded = access.record(entry); !recorded)
    log_error("the audit log misses {} {}: {}", route.method, route.pattern, recorded.error().what);
}

}  // namespace

Right right_of(const std::string& method, const std::string& pattern) {
  const bool is_secret = pattern.starts_with("/v1/tokens") || pattern.starts_with("/v1/audit") ||
                         pattern.starts_with("/v1/peers");
  if (is_secret) return control::kAdmin;
  // What guests keep in their files is not for everybody who may look at Hozon.
  if (pattern.ends_with("/files") || pattern.ends_with("{snapshot}/details") ||
      pattern.ends_with(kContent))
    return control::kOperate;
  if (method == "GET") return control::kRead;
  for (const Rule& rule : kRules)
    if (pattern.ends_with(rule.end)) return rule.right;
  return control::kAdmin;
}

Router::Gate make_gate(Access& access) {
  const auto wrong = std::make_shared<WrongTokens>();
  return {.admit =
              [&access, wrong](Request& request, const Router::Route& route) {
                return admit(access, *wrong, request, route);
              },
          .note = [&access](const Request& request, const Router::Route& route,
                            const Response& response) { note(access, request, route, response); }};
}

}  // namespace hozon::api
