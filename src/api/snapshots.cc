// /v1/machines/{machine}/snapshots
#include "api/handlers.h"
#include "api/json_fields.h"

namespace hozon::api {
namespace {

using control::Caller;
using control::Control;
using control::JobId;

Result<JobId> post_snapshot(Control& control, const Request& request, const Caller& caller) {
  JsonFields fields = HOZON_TRY(JsonFields::parse(request.body));
  control::SnapshotRequest wanted;
  wanted.name = HOZON_TRY(fields.text_or("name", ""));
  wanted.description = HOZON_TRY(fields.text_or("description", ""));
  wanted.with_memory = HOZON_TRY(fields.flag_or("with_memory", false));
  wanted.quiesce = HOZON_TRY(fields.text_or("quiesce", ""));
  wanted.disks = HOZON_TRY(fields.texts_or_none("disks"));
  wanted.settings_only = HOZON_TRY(fields.flag_or("settings_only", false));
  wanted.tags = HOZON_TRY(fields.texts_or_none("tags"));
  wanted.expires_in_s = HOZON_TRY(fields.number_or("expires_in_s", 0));
  HOZON_TRY(fields.finish());
  return control.start_snapshot_create(request.part("machine"), wanted, caller);
}

Result<JobId> post_return(Control& control, const Request& request, const Caller& caller) {
  JsonFields fields = HOZON_TRY(JsonFields::parse(request.body));
  control::ReturnRequest how;
  if (auto parts = HOZON_TRY(fields.object_or_none("parts"))) {
    how.parts = control::ReturnParts{.disks = HOZON_TRY(parts->texts_or_none("disks")),
                                     .settings = HOZON_TRY(parts->flag_or("settings", false)),
                                     .memory = HOZON_TRY(parts->flag_or("memory", false))};
    HOZON_TRY(parts->finish());
  }
  how.discard_newer = HOZON_TRY(fields.flag_or("discard_newer", false));
  how.disks_only = HOZON_TRY(fields.flag_or("disks_only", false));
  how.state = HOZON_TRY(fields.text_or("state", ""));
  how.instant = HOZON_TRY(fields.flag_or("instant", false));
  how.reset_nvram = HOZON_TRY(fields.flag_or("reset_nvram", false));
  HOZON_TRY(fields.finish());
  return control.start_snapshot_return(request.part("machine"), request.part("snapshot"), caller,
                                       how);
}

Result<JobId> post_preview(Control& control, const Request& request, const Caller& caller) {
  JsonFields fields = HOZON_TRY(JsonFields::parse(request.body));
  control::PreviewRequest wanted;
  wanted.settings = HOZON_TRY(fields.text_or("settings", ""));
  wanted.memory = HOZON_TRY(fields.text_or("memory", ""));
  wanted.disks = HOZON_TRY(fields.texts_by_name("disks"));
  HOZON_TRY(fields.finish());
  return control.start_snapshot_preview(request.part("machine"), request.part("snapshot"), wanted,
                                        caller);
}

Result<JobId> post_commit(Control& control, const Request& request, const Caller& caller) {
  JsonFields fields = HOZON_TRY(JsonFields::parse(request.body));
  const bool discard_newer = HOZON_TRY(fields.flag_or("discard_newer", false));
  HOZON_TRY(fields.finish());
  return control.start_snapshot_commit(request.part("machine"), discard_newer, caller);
}

Result<JobId> post_undo_preview(Control& control, const Request& request, const Caller& caller) {
  const JsonFields fields = HOZON_TRY(JsonFields::parse(request.body));
  HOZON_TRY(fields.finish());
  return control.start_snapshot_undo(request.part("machine"), caller);
}

Result<JobId> post_clone(Control& control, const Request& request, const Caller& caller) {
  JsonFields fields = HOZON_TRY(JsonFields::parse(request.body));
  control::CloneRequest wanted;
  wanted.new_name = HOZON_TRY(fields.text("new_name"));
  wanted.description = HOZON_TRY(fields.text_or("description", ""));
  wanted.with_memory = HOZON_TRY(fields.flag_or("with_memory", false));
  wanted.full = HOZON_TRY(fields.flag_or("full", false));
  wanted.pool = HOZON_TRY(fields.text_or("pool", ""));
  HOZON_TRY(fields.finish());
  return control.start_snapshot_clone(request.part("machine"), request.part("snapshot"), wanted,
                                      caller);
}

Result<JobId> post_rename(Control& control, const Request& request, const Caller& caller) {
  JsonFields fields = HOZON_TRY(JsonFields::parse(request.body));
  const std::string new_name = HOZON_TRY(fields.text("new_name"));
  HOZON_TRY(fields.finish());
  return control.start_snapshot_rename(request.part("machine"), request.part("snapshot"), new_name,
                                       caller);
}

Result<JobId> post_describe(Control& control, const Request& request, const Caller& caller) {
  JsonFields fields = HOZON_TRY(JsonFields::parse(request.body));
  const std::string description = HOZON_TRY(fields.text("description"));
  HOZON_TRY(fields.finish());
  return control.start_snapshot_describe(request.part("machine"), request.part("snapshot"),
                                         description, caller);
}

Result<JobId> post_delete_snapshots(Control& control, const Request& request,
                                    const Caller& caller) {
  JsonFields fields = HOZON_TRY(JsonFields::parse(request.body));
  control::DeleteRequest wanted;
  wanted.snapshots = HOZON_TRY(fields.texts_or_none("snapshots"));
  wanted.subtree = HOZON_TRY(fields.flag_or("subtree", false));
  wanted.all_unpinned = HOZON_TRY(fields.flag_or("all_unpinned", false));
  wanted.ttl_s = HOZON_TRY(fields.number_or("ttl_s", wanted.ttl_s));
  wanted.metadata_only = HOZON_TRY(fields.flag_or("metadata_only", false));
  HOZON_TRY(fields.finish());
  if (wanted.ttl_s > control::kTrashSecondsMax)
    return make_error(Code::kInvalidArgument, "field 'ttl_s' is at most {}",
                      control::kTrashSecondsMax);
  return control.start_snapshot_delete(request.part("machine"), wanted, caller);
}

Result<JobId> delete_snapshot(Control& control, const Request& request, const Caller& caller) {
  control::DeleteRequest wanted;
  wanted.snapshots = {request.part("snapshot")};
  return control.start_snapshot_delete(request.part("machine"), wanted, caller);
}

Result<JobId> post_tag(Control& control, const Request& request, const Caller& caller) {
  JsonFields fields = HOZON_TRY(JsonFields::parse(request.body));
  const std::vector<std::string> tags = HOZON_TRY(fields.texts_or_none("tags"));
  HOZON_TRY(fields.finish());
  return control.start_snapshot_tag(request.part("machine"), request.part("snapshot"), tags,
                                    caller);
}

Result<JobId> post_expire(Control& control, const Request& request, const Caller& caller) {
  JsonFields fields = HOZON_TRY(JsonFields::parse(request.body));
  const uint64_t in_s = HOZON_TRY(fields.number("in_s"));
  HOZON_TRY(fields.finish());
  return control.start_snapshot_expire(request.part("machine"), request.part("snapshot"), in_s,
                                       caller);
}

Result<JobId> post_pin(Control& control, const Request& request, const Caller& caller) {
  JsonFields fields = HOZON_TRY(JsonFields::parse(request.body));
  const std::string reason = HOZON_TRY(fields.text("reason"));
  HOZON_TRY(fields.finish());
  return control.start_snapshot_pin(request.part("machine"), request.part("snapshot"), reason,
                                    caller);
}

Result<JobId> post_unpin(Control& control, const Request& request, const Caller& caller) {
  const JsonFields fields = HOZON_TRY(JsonFields::parse(request.body));
  HOZON_TRY(fields.finish());
  return control.start_snapshot_unpin(request.part("machine"), request.part("snapshot"), caller);
}

Result<JobId> post_restore(Control& control, const Request& request, const Caller& caller) {
  const JsonFields fields = HOZON_TRY(JsonFields::parse(request.body));
  HOZON_TRY(fields.finish());
  return control.start_trash_restore(request.part("machine"), request.part("snapshot"), caller);
}

Result<JobId> delete_trash(Control& control, const Request& request, const Caller& caller) {
  return control.start_trash_empty(request.part("machine"), caller);
}

}  // namespace

void add_snapshots(Router& router, Control& control) {
  const std::string all = "/v1/machines/{machine}/snapshots";
  const std::string one = all + "/{snapshot}";
  router.add(
      {"GET", all, {"sizes"}, Body::kNone, [&control](const Request& request) -> Result<Response> {
         const bool sizes = HOZON_TRY(query_flag(request, "sizes"));
         auto list = std::make_shared<control::SnapshotList>(
             HOZON_TRY(control.snapshots(request.part("machine"))));
         Response response;
         response.listing = std::make_shared<Listing>();
         response.listing->size = list->size();
         response.listing->write = [list](size_t place, const control::Members& wanted,
                                          std::string& out) {
           control::write_json(out, list->at(place, wanted), wanted);
         };
         response.listing->prepare = [list, sizes](std::vector<size_t>& places,
                                                   const control::Members& wanted) {
           return list->complete(places, wanted, sizes);
         };
         return response;
       }});
  router.add({"GET", one, {}, Body::kNone, [&control](const Request& request) -> Result<Response> {
                const control::Snapshot snapshot =
                    HOZON_TRY(control.snapshot(request.part("machine"), request.part("snapshot")));
                return json_response(200, control::to_json(snapshot));
              }});
  const auto bind = [&control](Result<JobId> (*handler)(Control&, const Request&, const Caller&)) {
    return [&control, handler](const Request& request, const Caller& caller) {
      return handler(control, request, caller);
    };
  };
  add_job_route(router, control, "POST", all, {}, Body::kOptional, bind(post_snapshot));
  add_job_route(router, control, "POST", "/v1/machines/{machine}/delete-snapshots", {},
                Body::kRequired, bind(post_delete_snapshots));
  add_job_route(router, control, "DELETE", one, {}, Body::kNone, bind(delete_snapshot));
  add_job_route(router, control, "POST", one + "/tag", {}, Body::kRequired, bind(post_tag));
  add_job_route(router, control, "POST", one + "/expire", {}, Body::kRequired, bind(post_expire));
  add_job_route(router, control, "POST", one + "/pin", {}, Body::kRequired, bind(post_pin));
  add_job_route(router, control, "POST", one + "/unpin", {}, Body::kOptional, bind(post_unpin));
  const std::string trash = "/v1/machines/{machine}/trash";
  router.add(
      {"GET", trash, {}, Body::kNone, [&control](const Request& request) -> Result<Response> {
         return list_response(HOZON_TRY(control.trash(request.part("machine"))));
       }});
  add_job_route(router, control, "DELETE", trash, {}, Body::kNone, bind(delete_trash));
  add_job_route(router, control, "POST", trash + "/{snapshot}/restore", {}, Body::kOptional,
                bind(post_restore));
  router.add({"GET",
              "/v1/machines/{machine}/diff",
              {"from", "to"},
              Body::kNone,
              [&control](const Request& request) -> Result<Response> {
                if (request.query_value("from").empty())
                  return make_error(Code::kInvalidArgument,
                                    "query word 'from' names the snapshot to begin with");
                return json_response(200, control::to_json(HOZON_TRY(control.snapshot_diff(
                                              request.part("machine"), request.query_value("from"),
                                              request.query_value("to")))));
              }});
  const std::string preview = "/v1/machines/{machine}/preview";
  add_job_route(router, control, "POST", one + "/preview", {}, Body::kOptional, bind(post_preview));
  add_job_route(router, control, "POST", preview + "/commit", {}, Body::kOptional,
                bind(post_commit));
  add_job_route(router, control, "POST", preview + "/undo", {}, Body::kOptional,
                bind(post_undo_preview));
  add_job_route(router, control, "POST", one + "/return", {}, Body::kOptional, bind(post_return));
  add_job_route(router, control, "POST", one + "/clone", {}, Body::kRequired, bind(post_clone));
  add_job_route(router, control, "POST", one + "/rename", {}, Body::kRequired, bind(post_rename));
  add_job_route(router, control, "POST", one + "/describe", {}, Body::kRequired,
                bind(post_describe));
}

}  // namespace hozon::api
