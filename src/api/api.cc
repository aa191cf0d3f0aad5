#include "api/api.h"

#include "api/description.h"
#include "api/gate.h"
#include "api/handlers.h"

namespace hozon::api {

Router make_router(control::Control& control, const ApiInfo& info, control::Access* access) {
  Router router;
  if (access != nullptr) {
    router.set_gate(make_gate(*access));
    add_access(router, *access);
  }
  router.set_hold([&control] { return control.hold_changes(); });
  add_metrics(router, control, info.version);
  router.add({"GET", "/v1", {}, Body::kNone, [info](const Request&) -> Result<Response> {
                return json_response(
                    200,
                    {{"name", "hozon"}, {"version", info.version}, {"directory", info.directory}});
              }});
  add_jobs(router, control);
  add_events(router, control);
  add_pools(router, control);
  add_volumes(router, control);
  add_machines(router, control);
  add_snapshots(router, control);
  add_files(router, control);
  add_collections(router, control);
  add_schedules(router, control);
  // Made once, of what is there now and itself.
  const auto document = std::make_shared<std::string>();
  router.add(
      {"GET", "/v1/openapi.json", {}, Body::kNone, [document](const Request&) -> Result<Response> {
         Response response;
         response.body = *document;
         return response;
       }});
  *document = openapi_document(router, info.version).dump(1) + "\n";
  return router;
}

}  // namespace hozon::api
