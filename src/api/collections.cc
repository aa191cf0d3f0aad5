// /v1/templates, /v1/groups, and sizes of machines and pools
#include "api/handlers.h"
#include "api/json_fields.h"

namespace hozon::api {
namespace {

using control::Caller;
using control::Control;
using control::JobId;

Result<JobId> post_template(Control& control, const Request& request, const Caller& caller) {
  JsonFields fields = HOZON_TRY(JsonFields::parse(request.body));
  control::TemplateRequest wanted;
  wanted.name = HOZON_TRY(fields.text("name"));
  wanted.machine = HOZON_TRY(fields.text("machine"));
  wanted.snapshot = HOZON_TRY(fields.text_or("snapshot", ""));
  wanted.description = HOZON_TRY(fields.text_or("description", ""));
  HOZON_TRY(fields.finish());
  return control.start_template_create(wanted, caller);
}

Result<JobId> post_group(Control& control, const Request& request, const Caller& caller) {
  JsonFields fields = HOZON_TRY(JsonFields::parse(request.body));
  control::GroupRequest wanted;
  wanted.name = HOZON_TRY(fields.text("name"));
  wanted.machines = HOZON_TRY(fields.texts_or_none("machines"));
  wanted.description = HOZON_TRY(fields.text_or("description", ""));
  wanted.quiesce = HOZON_TRY(fields.text_or("quiesce", ""));
  wanted.tags = HOZON_TRY(fields.texts_or_none("tags"));
  wanted.expires_in_s = HOZON_TRY(fields.number_or("expires_in_s", 0));
  HOZON_TRY(fields.finish());
  return control.start_group_create(wanted, caller);
}

Result<JobId> post_group_return(Control& control, const Request& request, const Caller& caller) {
  JsonFields fields = HOZON_TRY(JsonFields::parse(request.body));
  const std::string state = HOZON_TRY(fields.text_or("state", ""));
  HOZON_TRY(fields.finish());
  return control.start_group_return(request.part("group"), state, caller);
}

// "a,b"; empty: none. A backslash takes what is special from the character behind it.
std::vector<std::string> names_of(const std::string& text) {
  std::vector<std::string> names = {""};
  for (size_t at = 0; at < text.size(); ++at) {
    if (text[at] == ',') {
      names.emplace_back();
      continue;
    }
    if (text[at] == '\\' && at + 1 < text.size()) ++at;
    names.back() += text[at];
  }
  std::erase(names, "");
  return names;
}

}  // namespace

void add_collections(Router& router, Control& control) {
  const auto bind = [&control](auto handler) {
    return [&control, handler](const Request& request, const Caller& caller) -> Result<JobId> {
      return handler(control, request, caller);
    };
  };
  router.add(
      {"GET", "/v1/templates", {}, Body::kNone, [&control](const Request&) -> Result<Response> {
         return list_response(HOZON_TRY(control.templates()));
       }});
  router.add({"GET",
              "/v1/templates/{template}",
              {},
              Body::kNone,
              [&control](const Request& request) -> Result<Response> {
                return json_response(
                    200,
                    control::to_json(HOZON_TRY(control.template_named(request.part("template")))));
              }});
  add_job_route(router, control, "POST", "/v1/templates", {}, Body::kRequired, bind(post_template));
  add_job_route(router, control, "DELETE", "/v1/templates/{template}", {}, Body::kNone,
                bind([](Control& c, const Request& request, const Caller& caller) {
                  return c.start_template_delete(request.part("template"), caller);
                }));
  const std::string group = "/v1/groups/{group}";
  router.add({"GET", "/v1/groups", {}, Body::kNone, [&control](const Request&) -> Result<Response> {
                return list_response(HOZON_TRY(control.groups()));
              }});
  router.add(
      {"GET", group, {}, Body::kNone, [&control](const Request& request) -> Result<Response> {
         return json_response(200,
                              control::to_json(HOZON_TRY(control.group(request.part("group")))));
       }});
  add_job_route(router, control, "POST", "/v1/groups", {}, Body::kRequired, bind(post_group));
  add_job_route(router, control, "POST", group + "/return", {}, Body::kOptional,
                bind(post_group_return));
  add_job_route(router, control, "DELETE", group, {}, Body::kNone,
                bind([](Control& c, const Request& request, const Caller& caller) {
                  return c.start_group_delete(request.part("group"), caller);
                }));
  router.add({"GET",
              "/v1/machines/{machine}/sizes",
              {"snapshots"},
              Body::kNone,
              [&control](const Request& request) -> Result<Response> {
                return json_response(
                    200,
                    control::to_json(HOZON_TRY(control.machine_sizes(
                        request.part("machine"), names_of(request.query_value("snapshots"))))));
              }});
  router.add({"GET",
              "/v1/pools/{pool}/sizes",
              {},
              Body::kNone,
              [&control](const Request& request) -> Result<Response> {
                return json_response(
                    200, control::to_json(HOZON_TRY(control.pool_sizes(request.part("pool")))));
              }});
}

}  // namespace hozon::api
