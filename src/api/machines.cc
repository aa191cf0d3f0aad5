// /v1/machines
#include <limits>

#include "api/handlers.h"
#include "api/json_fields.h"

namespace hozon::api {
namespace {

using control::Caller;
using control::Control;
using control::JobId;

// The inventory decides what is sensible; this is what fits into the field.
Result<unsigned> small_number(JsonFields& fields, std::string_view field, unsigned fallback) {
  const uint64_t value = HOZON_TRY(fields.number_or(field, fallback));
  if (value > std::numeric_limits<unsigned>::max() / 2)
    return make_error(Code::kInvalidArgument, "field '{}' is too large: {}", field, value);
  return static_cast<unsigned>(value);
}

Result<std::string> path_field(JsonFields& fields, std::string_view field) {
  const std::string path = HOZON_TRY(fields.text_or(field, ""));
  return absolute_path(path, field);
}

Result<control::MachineRequest> decode_machine_request(const std::string& body) {
  JsonFields fields = HOZON_TRY(JsonFields::parse(body));
  control::MachineRequest request;
  request.name = HOZON_TRY(fields.text("name"));
  request.description = HOZON_TRY(fields.text_or("description", ""));
  request.pool = HOZON_TRY(fields.text_or("pool", request.pool));
  request.memory_bytes = HOZON_TRY(fields.number_or("memory_bytes", request.memory_bytes));
  request.cpus = HOZON_TRY(small_number(fields, "cpus", request.cpus));
  request.nic_count = HOZON_TRY(small_number(fields, "nic_count", request.nic_count));
  request.kernel = HOZON_TRY(path_field(fields, "kernel"));
  request.initrd = HOZON_TRY(path_field(fields, "initrd"));
  request.append = HOZON_TRY(fields.text_or("append", ""));
  request.firmware = HOZON_TRY(fields.text_or("firmware", request.firmware));
  request.tpm = HOZON_TRY(fields.flag_or("tpm", false));
  request.tags = HOZON_TRY(fields.texts_or_none("tags"));
  request.from_template = HOZON_TRY(fields.text_or("template", ""));
  request.return_on_shutdown = HOZON_TRY(fields.text_or("return_on_shutdown", ""));
  if (!request.from_template.empty()) {
    if (!fields.has("pool")) request.pool.clear();
    if (!fields.has("memory_bytes")) request.memory_bytes = 0;
    if (!fields.has("cpus")) request.cpus = 0;
    if (fields.has("firmware") || fields.has("nic_count"))
      return make_error(Code::kInvalidArgument,
                        "firmware and NICs of a machine from a template are those of the template");
  }
  for (JsonFields& disk : HOZON_TRY(fields.objects_or_none("disks"))) {
    control::DiskRequest wanted;
    wanted.size_bytes = HOZON_TRY(disk.number_or("size_bytes", 0));
    wanted.image = HOZON_TRY(path_field(disk, "image"));
    HOZON_TRY(disk.finish());
    request.disks.push_back(std::move(wanted));
  }
  HOZON_TRY(fields.finish());
  return request;
}

Result<JobId> post_machine(Control& control, const Request& request, const Caller& caller) {
  return control.start_machine_create(HOZON_TRY(decode_machine_request(request.body)), caller);
}

Result<JobId> post_start(Control& control, const Request& request, const Caller& caller) {
  JsonFields fields = HOZON_TRY(JsonFields::parse(request.body));
  const bool paused = HOZON_TRY(fields.flag_or("paused", false));
  HOZON_TRY(fields.finish());
  return control.start_machine_start(request.part("machine"), paused, caller);
}

Result<JobId> post_shutdown(Control& control, const Request& request, const Caller& caller) {
  constexpr unsigned kTimeoutMsDefault = 120'000;
  JsonFields fields = HOZON_TRY(JsonFields::parse(request.body));
  const unsigned timeout_ms = HOZON_TRY(small_number(fields, "timeout_ms", kTimeoutMsDefault));
  HOZON_TRY(fields.finish());
  return control.start_machine_shutdown(request.part("machine"), static_cast<int>(timeout_ms),
                                        caller);
}

Result<JobId> post_quota(Control& control, const Request& request, const Caller& caller) {
  JsonFields fields = HOZON_TRY(JsonFields::parse(request.body));
  const unsigned snapshots = HOZON_TRY(small_number(fields, "snapshots", 0));
  HOZON_TRY(fields.finish());
  return control.start_machine_quota(request.part("machine"), snapshots, caller);
}

Result<JobId> post_tag(Control& control, const Request& request, const Caller& caller) {
  JsonFields fields = HOZON_TRY(JsonFields::parse(request.body));
  const std::vector<std::string> tags = HOZON_TRY(fields.texts_or_none("tags"));
  HOZON_TRY(fields.finish());
  return control.start_machine_tag(request.part("machine"), tags, caller);
}

Result<JobId> post_initial(Control& control, const Request& request, const Caller& caller) {
  JsonFields fields = HOZON_TRY(JsonFields::parse(request.body));
  const std::string snapshot = HOZON_TRY(fields.text("snapshot"));
  HOZON_TRY(fields.finish());
  return control.start_machine_initial(request.part("machine"), snapshot, caller);
}

Result<JobId> post_freeze(Control& control, const Request& request, const Caller& caller) {
  constexpr unsigned kHoldMsDefault = 10'000;
  JsonFields fields = HOZON_TRY(JsonFields::parse(request.body));
  const unsigned hold_ms = HOZON_TRY(small_number(fields, "hold_ms", kHoldMsDefault));
  HOZON_TRY(fields.finish());
  return control.start_machine_freeze(request.part("machine"), static_cast<int>(hold_ms), caller);
}

Result<JobId> post_resume(Control& control, const Request& request, const Caller& caller) {
  JsonFields fields = HOZON_TRY(JsonFields::parse(request.body));
  control::ResumeRequest how;
  how.connect = HOZON_TRY(fields.flag_or("connect", false));
  how.instant = HOZON_TRY(fields.flag_or("instant", false));
  HOZON_TRY(fields.finish());
  return control.start_machine_resume(request.part("machine"), caller, how);
}

// For the verbs without parameters: {} or nothing.
using PlainVerb = Result<JobId> (Control::*)(const std::string&, const Caller&);
JobStarter plain(Control& control, PlainVerb verb) {
  return [&control, verb](const Request& request, const Caller& caller) -> Result<JobId> {
    const JsonFields fields = HOZON_TRY(JsonFields::parse(request.body));
    HOZON_TRY(fields.finish());
    return (control.*verb)(request.part("machine"), caller);
  };
}

}  // namespace

void add_machines(Router& router, Control& control) {
  router.add({"GET",
              "/v1/machines",
              {},
              Body::kNone,
              [&control](const Request& request) -> Result<Response> {
                return list_response(HOZON_TRY(control.machines(needed_members(request))));
              }});
  const std::string one = "/v1/machines/{machine}";
  router.add({"GET", one, {}, Body::kNone, [&control](const Request& request) -> Result<Response> {
                const control::Machine machine =
                    HOZON_TRY(control.machine(request.part("machine")));
                return json_response(200, control::to_json(machine));
              }});
  const auto bind = [&control](Result<JobId> (*handler)(Control&, const Request&, const Caller&)) {
    return [&control, handler](const Request& request, const Caller& caller) {
      return handler(control, request, caller);
    };
  };
  add_job_route(router, control, "POST", "/v1/machines", {}, Body::kRequired, bind(post_machine));
  add_job_route(router, control, "POST", one + "/start", {}, Body::kOptional, bind(post_start));
  add_job_route(router, control, "POST", one + "/shutdown", {}, Body::kOptional,
                bind(post_shutdown));
  add_job_route(router, control, "POST", one + "/pause", {}, Body::kOptional,
                plain(control, &Control::start_machine_pause));
  add_job_route(router, control, "POST", one + "/resume", {}, Body::kOptional, bind(post_resume));
  add_job_route(router, control, "POST", one + "/suspend", {}, Body::kOptional,
                plain(control, &Control::start_machine_suspend));
  add_job_route(router, control, "POST", one + "/freeze", {}, Body::kOptional, bind(post_freeze));
  add_job_route(router, control, "POST", one + "/thaw", {}, Body::kOptional,
                plain(control, &Control::start_machine_thaw));
  add_job_route(router, control, "POST", one + "/connect", {}, Body::kOptional,
                plain(control, &Control::start_machine_connect));
  add_job_route(router, control, "POST", one + "/kill", {}, Body::kOptional,
                plain(control, &Control::start_machine_kill));
  add_job_route(router, control, "POST", one + "/undo", {}, Body::kOptional,
                plain(control, &Control::start_machine_undo));
  add_job_route(router, control, "POST", one + "/quota", {}, Body::kRequired, bind(post_quota));
  add_job_route(router, control, "POST", one + "/initial", {}, Body::kRequired, bind(post_initial));
  add_job_route(router, control, "POST", one + "/tag", {}, Body::kRequired, bind(post_tag));
  add_job_route(router, control, "DELETE", one, {}, Body::kNone,
                plain(control, &Control::start_machine_delete));
}

}  // namespace hozon::api
