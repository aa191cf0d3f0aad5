#include "api/api.h"

#include "api/handlers.h"

namespace hozon::api {

Router make_router(control::Control& control, const ApiInfo& info) {
  Router router;
  router.add({"GET", "/v1", {}, Body::kNone, [info](const Request&) -> Result<Response> {
                return json_response(
                    200,
                    {{"name", "hozon"}, {"version", info.version}, {"directory", info.directory}});
              }});
  add_jobs(router, control);
  add_pools(router, control);
  add_volumes(router, control);
  add_machines(router, control);
  add_snapshots(router, control);
  return router;
}

}  // namespace hozon::api
