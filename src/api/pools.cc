// /v1/pools
#include "api/handlers.h"
#include "api/json_fields.h"

namespace hozon::api {
namespace {

Result<control::PoolRequest> decode_pool_request(const std::string& body) {
  JsonFields fields = HOZON_TRY(JsonFields::parse(body));
  control::PoolRequest request;
  request.name = HOZON_TRY(fields.text("name"));
  request.size_bytes = HOZON_TRY(fields.number("size_bytes"));
  HOZON_TRY(fields.finish());
  return request;
}

}  // namespace

void add_pools(Router& router, control::Control& control) {
  router.add({"GET", "/v1/pools", {}, Body::kNone, [&control](const Request&) -> Result<Response> {
                return list_response(HOZON_TRY(control.pools()));
              }});
  router.add({"GET",
              "/v1/pools/{pool}",
              {},
              Body::kNone,
              [&control](const Request& request) -> Result<Response> {
                const control::Pool pool = HOZON_TRY(control.pool(request.part("pool")));
                return json_response(200, control::to_json(pool));
              }});
  add_job_route(
      router, control, "POST", "/v1/pools", {}, Body::kRequired,
      [&control](const Request& request, const control::Caller& caller) -> Result<control::JobId> {
        return control.start_pool_create(HOZON_TRY(decode_pool_request(request.body)), caller);
      });
  add_job_route(
      router, control, "DELETE", "/v1/pools/{pool}", {"force"}, Body::kNone,
      [&control](const Request& request, const control::Caller& caller) -> Result<control::JobId> {
        const bool force = HOZON_TRY(query_flag(request, "force"));
        return control.start_pool_delete(request.part("pool"), force, caller);
      });
  add_job_route(
      router, control, "POST", "/v1/pools/{pool}/check", {}, Body::kOptional,
      [&control](const Request& request, const control::Caller& caller) -> Result<control::JobId> {
        JsonFields fields = HOZON_TRY(JsonFields::parse(request.body));
        const bool data = HOZON_TRY(fields.flag_or("data", false));
        HOZON_TRY(fields.finish());
        return control.start_pool_check(request.part("pool"), data, caller);
      });
  add_job_route(
      router, control, "POST", "/v1/pools/{pool}/scrub", {}, Body::kOptional,
      [&control](const Request& request, const control::Caller& caller) -> Result<control::JobId> {
        JsonFields fields = HOZON_TRY(JsonFields::parse(request.body));
        const uint64_t rate = HOZON_TRY(fields.number_or("bytes_per_second", 0));
        HOZON_TRY(fields.finish());
        return control.start_pool_scrub(request.part("pool"), rate, caller);
      });
}

}  // namespace hozon::api
