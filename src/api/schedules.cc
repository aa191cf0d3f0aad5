// /v1/schedules
#include <charconv>

#include "api/handlers.h"
#include "api/json_fields.h"

namespace hozon::api {
namespace {

using control::Caller;
using control::Control;
using control::JobId;

Result<std::optional<std::string>> text_if(JsonFields& fields, std::string_view field) {
  std::optional<std::string> value;
  if (fields.has(field)) value = HOZON_TRY(fields.text_or(field, ""));
  return value;
}

Result<std::optional<uint64_t>> number_if(JsonFields& fields, std::string_view field) {
  std::optional<uint64_t> value;
  if (fields.has(field)) value = HOZON_TRY(fields.number_or(field, 0));
  return value;
}

Result<control::Retention> decode_retention(JsonFields& fields) {
  control::Retention rules;
  rules.last = HOZON_TRY(fields.number_or("last", 0));
  rules.within_s = HOZON_TRY(fields.number_or("within_s", 0));
  rules.hourly = HOZON_TRY(fields.number_or("hourly", 0));
  rules.daily = HOZON_TRY(fields.number_or("daily", 0));
  rules.weekly = HOZON_TRY(fields.number_or("weekly", 0));
  rules.monthly = HOZON_TRY(fields.number_or("monthly", 0));
  rules.yearly = HOZON_TRY(fields.number_or("yearly", 0));
  HOZON_TRY(fields.finish());
  return rules;
}

Result<control::MachineChoice> decode_choice(JsonFields& fields) {
  control::MachineChoice choice;
  choice.names = HOZON_TRY(fields.texts_or_none("names"));
  choice.tags = HOZON_TRY(fields.texts_or_none("tags"));
  choice.states = HOZON_TRY(fields.texts_or_none("states"));
  choice.all = HOZON_TRY(fields.flag_or("all", false));
  HOZON_TRY(fields.finish());
  return choice;
}

Result<control::ScheduleChange> decode_change(JsonFields& fields) {
  control::ScheduleChange change;
  change.description = HOZON_TRY(text_if(fields, "description"));
  change.rule = HOZON_TRY(text_if(fields, "rule"));
  change.zone = HOZON_TRY(text_if(fields, "zone"));
  change.kind = HOZON_TRY(text_if(fields, "kind"));
  change.catch_up = HOZON_TRY(text_if(fields, "catch_up"));
  if (auto choice = HOZON_TRY(fields.object_or_none("machines")))
    change.machines = HOZON_TRY(decode_choice(*choice));
  if (auto rules = HOZON_TRY(fields.object_or_none("retention")))
    change.retention = HOZON_TRY(decode_retention(*rules));
  change.jitter_s = HOZON_TRY(number_if(fields, "jitter_s"));
  change.parallel = HOZON_TRY(number_if(fields, "parallel"));
  return change;
}

Result<JobId> post_schedule(Control& control, const Request& request, const Caller& caller) {
  JsonFields fields = HOZON_TRY(JsonFields::parse(request.body));
  control::ScheduleRequest wanted;
  wanted.name = HOZON_TRY(fields.text("name"));
  wanted.enabled = HOZON_TRY(fields.flag_or("enabled", true));
  wanted.settings = HOZON_TRY(decode_change(fields));
  HOZON_TRY(fields.finish());
  return control.start_schedule_create(wanted, caller);
}

Result<JobId> post_edit(Control& control, const Request& request, const Caller& caller) {
  JsonFields fields = HOZON_TRY(JsonFields::parse(request.body));
  const control::ScheduleChange change = HOZON_TRY(decode_change(fields));
  HOZON_TRY(fields.finish());
  return control.start_schedule_edit(request.part("schedule"), change, caller);
}

Result<uint64_t> query_number(const Request& request, std::string_view word, uint64_t fallback) {
  const std::string text = request.query_value(word);
  if (text.empty()) return fallback;
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error == std::errc{} && end == text.data() + text.size()) return value;
  return make_error(Code::kInvalidArgument, "query word '{}' must be a number, not '{}'", word,
                    text);
}

Result<Response> get_preview(Control& control, const Request& request) {
  control::SchedulePreviewRequest wanted;
  wanted.runs = HOZON_TRY(query_number(request, "runs", wanted.runs));
  wanted.until_ns = HOZON_TRY(query_number(request, "until_ns", 0));
  wanted.machine = request.query_value("machine");
  return json_response(
      200, control::to_json(HOZON_TRY(control.schedule_preview(request.part("schedule"), wanted))));
}

}  // namespace

void add_schedules(Router& router, Control& control) {
  const std::string all = "/v1/schedules";
  const std::string one = all + "/{schedule}";
  router.add({"GET", all, {}, Body::kNone, [&control](const Request&) -> Result<Response> {
                return list_response(HOZON_TRY(control.schedules()));
              }});
  router.add({"GET", one, {}, Body::kNone, [&control](const Request& request) -> Result<Response> {
                return json_response(
                    200, control::to_json(HOZON_TRY(control.schedule(request.part("schedule")))));
              }});
  router.add({"GET",
              one + "/preview",
              {"runs", "until_ns", "machine"},
              Body::kNone,
              [&control](const Request& request) { return get_preview(control, request); }});
  const auto bind = [&control](auto handler) {
    return [&control, handler](const Request& request, const Caller& caller) -> Result<JobId> {
      return handler(control, request, caller);
    };
  };
  const auto plain = [&control](auto verb) {
    return [&control, verb](const Request& request, const Caller& caller) -> Result<JobId> {
      const JsonFields fields = HOZON_TRY(JsonFields::parse(request.body));
      HOZON_TRY(fields.finish());
      return verb(control, request.part("schedule"), caller);
    };
  };
  add_job_route(router, control, "POST", all, {}, Body::kRequired, bind(post_schedule));
  add_job_route(router, control, "POST", one + "/edit", {}, Body::kRequired, bind(post_edit));
  add_job_route(router, control, "POST", one + "/enable", {}, Body::kOptional,
                plain([](Control& c, const std::string& name, const Caller& caller) {
                  return c.start_schedule_enable(name, true, caller);
                }));
  add_job_route(router, control, "POST", one + "/disable", {}, Body::kOptional,
                plain([](Control& c, const std::string& name, const Caller& caller) {
                  return c.start_schedule_enable(name, false, caller);
                }));
  add_job_route(router, control, "POST", one + "/run", {}, Body::kOptional,
                plain([](Control& c, const std::string& name, const Caller& caller) {
                  return c.start_schedule_run(name, caller);
                }));
  add_job_route(router, control, "DELETE", one, {}, Body::kNone,
                plain([](Control& c, const std::string& name, const Caller& caller) {
                  return c.start_schedule_delete(name, caller);
                }));
}

}  // namespace hozon::api
