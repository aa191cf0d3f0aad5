#include "api/problem.h"

#include <nlohmann/json.hpp>

#include "control/explain.h"

namespace hozon::api {

int http_status(Code code) {
  switch (code) {
    case Code::kInvalidArgument: return 400;
    case Code::kPermissionDenied: return 403;
    case Code::kNotFound: return 404;
    case Code::kAlreadyExists:
    case Code::kBusy:
    case Code::kWrongState:
    case Code::kCancelled: return 409;
    case Code::kUnimplemented: return 501;
    case Code::kUnavailable: return 503;
    case Code::kResourceExhausted: return 507;
    case Code::kCorruption:
    case Code::kIo:
    case Code::kInternal: return 500;
  }
  return 500;
}

Response problem_status(int status, std::string_view code, std::string_view words) {
  // What somebody sent may be quoted in it; the sentence stays one line all the same.
  std::string detail(words);
  for (char& c : detail)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  const nlohmann::ordered_json body = {
      {"type", "urn:hozon:problem:" + std::string(code)},
      {"title", reason_phrase(status)},
      {"status", status},
      {"code", code},
      {"detail", detail},
  };
  Response response;
  response.status = status;
  response.content_type = "application/problem+json";
  // What a name or a path in the sentence contains need not be UTF-8.
  response.body =
      body.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
  return response;
}

Response problem(const Error& error) { return problem(error, {}); }

Response problem(const Error& error, const TextMap& object) {
  Response response = problem_status(http_status(error.code), code_name(error.code), error.what);
  auto body = nlohmann::ordered_json::parse(response.body);
  body["remedy"] = control::remedy_of(error.what);
  body["object"] = nlohmann::ordered_json::object();
  for (const auto& [kind, name] : object) body["object"][kind] = name;
  response.body =
      body.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
  return response;
}

}  // namespace hozon::api
