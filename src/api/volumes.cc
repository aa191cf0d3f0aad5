// /v1/volumes. Every route of one volume takes ?pool=, for names that two pools have.
#include <charconv>

#include "api/handlers.h"
#include "api/json_fields.h"

namespace hozon::api {
namespace {

using control::Caller;
using control::Control;
using control::JobId;

Result<control::VolumeRequest> decode_volume_request(const std::string& body) {
  JsonFields fields = HOZON_TRY(JsonFields::parse(body));
  control::VolumeRequest request;
  request.name = HOZON_TRY(fields.text("name"));
  request.pool = HOZON_TRY(fields.text_or("pool", request.pool));
  request.size_bytes = HOZON_TRY(fields.number_or("size_bytes", 0));
  const std::string from = HOZON_TRY(fields.text_or("from", ""));
  request.from = HOZON_TRY(absolute_path(from, "from"));
  HOZON_TRY(fields.finish());
  if (request.size_bytes == 0 && request.from.empty())
    return make_error(Code::kInvalidArgument,
                      "volume '{}' needs field 'size_bytes' (above zero) or 'from'", request.name);
  return request;
}

Result<JobId> post_resize(Control& control, const Request& request, const Caller& caller) {
  JsonFields fields = HOZON_TRY(JsonFields::parse(request.body));
  const uint64_t size_bytes = HOZON_TRY(fields.number("size_bytes"));
  const bool allow_shrink = HOZON_TRY(fields.flag_or("allow_shrink", false));
  HOZON_TRY(fields.finish());
  return control.start_volume_resize(request.part("volume"), size_bytes, allow_shrink,
                                     request.query_value("pool"), caller);
}

Result<JobId> post_defragment(Control& control, const Request& request, const Caller& caller) {
  JsonFields fields = HOZON_TRY(JsonFields::parse(request.body));
  const uint64_t rate = HOZON_TRY(fields.number_or("bytes_per_second", 0));
  HOZON_TRY(fields.finish());
  return control.start_volume_defragment(request.part("volume"), rate, request.query_value("pool"),
                                         caller);
}

Result<JobId> post_snapshot(Control& control, const Request& request, const Caller& caller) {
  JsonFields fields = HOZON_TRY(JsonFields::parse(request.body));
  const std::string name = HOZON_TRY(fields.text("name"));
  std::vector<std::string> volumes = HOZON_TRY(fields.texts_or_none("with"));
  HOZON_TRY(fields.finish());
  volumes.insert(volumes.begin(), request.part("volume"));
  return control.start_volume_snapshot(volumes, name, request.query_value("pool"), caller);
}

Result<JobId> post_clone(Control& control, const Request& request, const Caller& caller) {
  JsonFields fields = HOZON_TRY(JsonFields::parse(request.body));
  const std::string point = HOZON_TRY(fields.text_or("point", ""));
  const std::string new_name = HOZON_TRY(fields.text("new_name"));
  HOZON_TRY(fields.finish());
  return control.start_volume_clone(request.part("volume"), point, new_name,
                                    request.query_value("pool"), caller);
}

Result<JobId> post_export(Control& control, const Request& request, const Caller& caller) {
  JsonFields fields = HOZON_TRY(JsonFields::parse(request.body));
  control::VolumeExport wanted{.volume = request.part("volume"),
                               .point = HOZON_TRY(fields.text_or("point", "")),
                               .pool = request.query_value("pool"),
                               .path = HOZON_TRY(fields.text("path")),
                               .format = HOZON_TRY(fields.text_or("format", "raw")),
                               .force = HOZON_TRY(fields.flag_or("force", false)),
                               .verify = HOZON_TRY(fields.flag_or("verify", true))};
  wanted.path = HOZON_TRY(absolute_path(wanted.path, "path"));
  HOZON_TRY(fields.finish());
  return control.start_volume_export(wanted, caller);
}

Result<JobId> post_return(Control& control, const Request& request, const Caller& caller) {
  JsonFields fields = HOZON_TRY(JsonFields::parse(request.body));
  const std::string point = HOZON_TRY(fields.text("point"));
  HOZON_TRY(fields.finish());
  return control.start_volume_return(request.part("volume"), point, request.query_value("pool"),
                                     caller);
}

Result<JobId> delete_volume(Control& control, const Request& request, const Caller& caller) {
  const bool with_points = HOZON_TRY(query_flag(request, "with_points"));
  return control.start_volume_delete(request.part("volume"), with_points,
                                     request.query_value("pool"), caller);
}

void add_readers(Router& router, Control& control) {
  router.add({"GET",
              "/v1/volumes",
              {"pool"},
              Body::kNone,
              [&control](const Request& request) -> Result<Response> {
                return list_response(HOZON_TRY(control.volumes(request.query_value("pool"))));
              }});
  router.add({"GET",
              "/v1/volumes/{volume}",
              {"pool"},
              Body::kNone,
              [&control](const Request& request) -> Result<Response> {
                const control::Volume volume =
                    HOZON_TRY(control.volume(request.part("volume"), request.query_value("pool")));
                return json_response(200, control::to_json(volume));
              }});
  router.add({"GET",
              "/v1/volumes/{volume}/uri",
              {"pool", "point"},
              Body::kNone,
              [&control](const Request& request) -> Result<Response> {
                const std::string uri = HOZON_TRY(control.volume_uri(request.part("volume"),
                                                                     request.query_value("point"),
                                                                     request.query_value("pool")));
                return json_response(200, {{"uri", uri}});
              }});
  router.add({"GET",
              "/v1/volumes/{volume}/points",
              {"pool", "all"},
              Body::kNone,
              [&control](const Request& request) -> Result<Response> {
                const bool all = HOZON_TRY(query_flag(request, "all"));
                return list_response(HOZON_TRY(
                    control.points(request.part("volume"), all, request.query_value("pool"))));
              }});
}

// Of what a query may say about numbers.
Result<uint64_t> query_number(const Request& request, std::string_view word, uint64_t absent) {
  const std::string text = request.query_value(word);
  if (text.empty()) return absent;
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size())
    return make_error(Code::kInvalidArgument, "query word '{}' must be a number, not '{}'", word,
                      text);
  return number;
}

Result<Response> get_diff(Control& control, const Request& request) {
  control::DiffRequest wanted;
  wanted.volume = request.part("volume");
  wanted.point = request.query_value("point");
  wanted.base_volume = request.query_value("base_volume");
  wanted.base_point = request.query_value("base_point");
  wanted.pool = request.query_value("pool");
  wanted.offset_bytes = HOZON_TRY(query_number(request, "offset", 0));
  wanted.most = HOZON_TRY(query_number(request, "most", wanted.most));
  return json_response(200, control::to_json(HOZON_TRY(control.volume_diff(wanted))));
}

}  // namespace

void add_volumes(Router& router, Control& control) {
  add_readers(router, control);
  router.add({"GET",
              "/v1/volumes/{volume}/diff",
              {"pool", "point", "base_volume", "base_point", "offset", "most"},
              Body::kNone,
              [&control](const Request& request) { return get_diff(control, request); }});
  const auto bind = [&control](Result<JobId> (*handler)(Control&, const Request&, const Caller&)) {
    return [&control, handler](const Request& request, const Caller& caller) {
      return handler(control, request, caller);
    };
  };
  add_job_route(router, control, "POST", "/v1/volumes", {}, Body::kRequired,
                [&control](const Request& request, const Caller& caller) -> Result<JobId> {
                  return control.start_volume_create(HOZON_TRY(decode_volume_request(request.body)),
                                                     caller);
                });
  const std::string one = "/v1/volumes/{volume}";
  add_job_route(router, control, "POST", one + "/resize", {"pool"}, Body::kRequired,
                bind(post_resize));
  add_job_route(router, control, "POST", one + "/defragment", {"pool"}, Body::kOptional,
                bind(post_defragment));
  add_job_route(router, control, "POST", one + "/snapshot", {"pool"}, Body::kRequired,
                bind(post_snapshot));
  add_job_route(router, control, "POST", one + "/clone", {"pool"}, Body::kRequired,
                bind(post_clone));
  add_job_route(router, control, "POST", one + "/export", {"pool"}, Body::kRequired,
                bind(post_export));
  add_job_route(router, control, "POST", one + "/return", {"pool"}, Body::kRequired,
                bind(post_return));
  add_job_route(router, control, "DELETE", one, {"pool", "with_points"}, Body::kNone,
                bind(delete_volume));
  add_job_route(router, control, "DELETE", one + "/points/{point}", {"pool"}, Body::kNone,
                [&control](const Request& request, const Caller& caller) {
                  return control.start_point_delete(request.part("volume"), request.part("point"),
                                                    request.query_value("pool"), caller);
                });
}

}  // namespace hozon::api
