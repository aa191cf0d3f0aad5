// src/api/problem.h
// Errors as the API shows them: application/problem+json (RFC 9457)
//   {"type":"urn:hozon:problem:not_found","title":"Not Found","status":404,"code":"not_found",
//    "detail":"there is no machine 'web'"}
// `code` is stable (base code_name) and is what programs look at; `detail` is for people.
#pragma once

#include <string_view>

#include "api/http_message.h"
#include "base/result.h"

namespace hozon::api {

int http_status(Code code);
Response problem(const Error& error);
// With what the request named: {"machine": "web", "snapshot": "before"}.
Response problem(const Error& error, const TextMap& object);
// For refusals of HTTP itself, which have a status of their own (405, 411, 413, 431 ...).
Response problem_status(int status, std::string_view code, std::string_view detail);

}  // namespace hozon::api
