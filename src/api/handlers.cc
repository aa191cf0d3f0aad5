#include "api/handlers.h"

#include <span>

#include "api/problem.h"
#include "base/crc32c.h"

namespace hozon::api {
namespace {

using nlohmann::json;

// The answer to ?wait=true, once the job has ended.
Response ended_response(const control::Job& job) {
  if (job.state == control::JobState::kDone) {
    const json result = job.result.is_null() ? json::object() : job.result;
    return json_response(200, result);
  }
  const Error error = job.error.value_or(
      Error{Code::kCancelled, fmt::format("job {} was cancelled", job.id.value)});
  Response response = problem(error);
  json body = json::parse(response.body);
  body["job"] = control::to_json(job);
  response.body = body.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
  return response;
}

// Who asks, and what an idempotency key stands for: the same words with the same body.
Result<control::Caller> caller_of(const Request& request) {
  control::Caller caller;
  caller.key = request.header("idempotency-key");
  caller.owner = request.peer;
  if (caller.key.size() > kIdempotencyKeyMax)
    return make_error(Code::kInvalidArgument, "the Idempotency-Key is longer than {} bytes",
                      kIdempotencyKeyMax);
  caller.request = fmt::format("{} {}", request.method, request.target.substr(0, 1000));
  if (!request.body.empty())
    caller.request += fmt::format(" {:08x}/{}", crc32c(std::as_bytes(std::span(request.body))),
                                  request.body.size());
  return caller;
}

// A call that came at the same time with the same key may have made the job meanwhile.
Result<control::JobId> start_once(control::Control& control, const Request& request,
                                  const control::Caller& caller, const JobStarter& start) {
  Result<control::JobId> id = start(request, caller);
  if (id || caller.key.empty()) return id;
  const auto found = HOZON_TRY(control.find_job(caller));
  return found ? Result<control::JobId>(*found) : id;
}

// A request that is wrong in itself is refused as ever; what stands in its way at present is part
// of the plan.
Result<Response> answer_plan(const Request& request, const JobStarter& start,
                             control::Caller caller) {
  caller.key.clear();
  caller.plan = std::make_shared<control::Plan>();
  const auto begun = start(request, caller);
  if (begun) return json_response(200, control::to_json(*caller.plan));
  const Code code = begun.error().code;
  if (code == Code::kInvalidArgument || code == Code::kNotFound || code == Code::kInternal)
    return std::unexpected(begun.error());
  control::Plan refused;
  refused.kind = caller.plan->kind;
  refused.object = caller.plan->object;
  refused.refusal = begun.error();
  return json_response(200, control::to_json(refused));
}

Result<Response> answer_job(control::Control& control, const Request& request,
                            const JobStarter& start) {
  const bool wait = HOZON_TRY(query_flag(request, "wait"));
  const control::Caller caller = HOZON_TRY(caller_of(request));
  if (HOZON_TRY(query_flag(request, "plan"))) return answer_plan(request, start, caller);
  const control::JobId id = HOZON_TRY(start_once(control, request, caller, start));
  Response response = json_response(202, control::to_json(HOZON_TRY(control.job(id))));
  response.headers.emplace_back("Location", fmt::format("/v1/jobs/{}", id.value));
  if (wait) {
    response.later = [&control, id]() -> std::optional<Response> {
      const auto job = control.job(id);
      if (!job) return problem(job.error());
      if (!job->is_ended()) return std::nullopt;
      return ended_response(*job);
    };
  }
  return response;
}

}  // namespace

Response json_response(int status, const json& body) {
  Response response;
  response.status = status;
  response.body = body.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
  return response;
}

Result<bool> query_flag(const Request& request, std::string_view word) {
  const auto found = request.query.find(word);
  if (found == request.query.end()) return false;
  const std::string& value = found->second;
  if (value == "true" || value == "1" || value.empty()) return true;
  if (value == "false" || value == "0") return false;
  return make_error(Code::kInvalidArgument, "query word '{}' must be true or false, not '{}'", word,
                    value);
}

Result<std::string> absolute_path(std::string path, std::string_view field) {
  if (path.empty() || path.starts_with('/')) return path;
  return make_error(Code::kInvalidArgument, "field '{}' must be an absolute path, not '{}'", field,
                    path);
}

void add_job_route(Router& router, control::Control& control, std::string method,
                   std::string pattern, std::vector<std::string> query, Body body,
                   JobStarter start) {
  query.emplace_back("wait");
  query.emplace_back("plan");
  router.add({std::move(method), std::move(pattern), std::move(query), body,
              [&control, start = std::move(start)](const Request& request) {
                return answer_job(control, request, start);
              }});
}

}  // namespace hozon::api
