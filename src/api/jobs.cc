// /v1/jobs
#include <charconv>
#include <chrono>

#include "api/handlers.h"
#include "api/problem.h"

namespace hozon::api {
namespace {

constexpr uint64_t kWaitMsMax = 60'000;

Result<uint64_t> parse_number(std::string_view text, std::string_view what) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size())
    return make_error(Code::kInvalidArgument, "'{}' is not {}", text, what);
  return value;
}

Result<control::JobId> job_id(const Request& request) {
  return control::JobId{HOZON_TRY(parse_number(request.part("job"), "the number of a job"))};
}

Result<Response> get_job(control::Control& control, const Request& request) {
  const control::JobId id = HOZON_TRY(job_id(request));
  const std::string wait_text = request.query_value("wait_ms");
  uint64_t wait_ms = 0;
  if (!wait_text.empty()) wait_ms = HOZON_TRY(parse_number(wait_text, "a time in milliseconds"));
  if (wait_ms > kWaitMsMax)
    return make_error(Code::kInvalidArgument, "wait_ms is at most {}", kWaitMsMax);
  const control::Job now = HOZON_TRY(control.job(id));
  Response response = json_response(200, control::to_json(now));
  if (wait_ms == 0 || now.is_ended()) return response;
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(wait_ms);
  response.later = [&control, id, deadline]() -> std::optional<Response> {
    const auto job = control.job(id);
    if (!job) return problem(job.error());
    if (!job->is_ended() && std::chrono::steady_clock::now() < deadline) return std::nullopt;
    return json_response(200, control::to_json(*job));
  };
  return response;
}

}  // namespace

void add_jobs(Router& router, control::Control& control) {
  router.add({"GET", "/v1/jobs", {}, Body::kNone, [&control](const Request&) -> Result<Response> {
                return list_response(control.jobs());
              }});
  router.add(
      {"GET", "/v1/jobs/{job}", {"wait_ms"}, Body::kNone, [&control](const Request& request) {
         return get_job(control, request);
       }});
  router.add({"POST",
              "/v1/jobs/{job}/cancel",
              {},
              Body::kNone,
              [&control](const Request& request) -> Result<Response> {
                const control::JobId id = HOZON_TRY(job_id(request));
                HOZON_TRY(control.cancel(id));
                return json_response(202, control::to_json(HOZON_TRY(control.job(id))));
              }});
}

}  // namespace hozon::api
