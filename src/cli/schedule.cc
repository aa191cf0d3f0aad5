// hozon schedule ...
#include <fmt/ranges.h>

#include <charconv>
#include <ctime>

#include "cli/commands.h"
#include "cli/sentences.h"

namespace hozon::cli {
namespace {

using client::Json;
using client::number_of;
using client::text_of;
using client::texts_of;

std::string path_of(const Arguments& args) {
  return "/v1/schedules/" + client::percent_encode(args.object);
}

const Json& part(const Json& object, const char* member) {
  static const Json kNone;
  const auto found = object.is_object() ? object.find(member) : object.end();
  return object.is_object() && found != object.end() ? *found : kNone;
}

// "last=10", "within=30d"
Status add_rule(Json& rules, const std::string& text) {
  const size_t at = text.find('=');
  const std::string name = text.substr(0, at);
  const std::string value = at == std::string::npos ? "" : text.substr(at + 1);
  if (name == "within") {
    rules["within_s"] = HOZON_TRY(parse_duration(value));
    return {};
  }
  uint64_t count = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), count);
  const bool number = error == std::errc{} && end == value.data() + value.size();
  for (const char* known : {"last", "hourly", "daily", "weekly", "monthly", "yearly"}) {
    if (name != known || !number) continue;
    rules[known] = count;
    return {};
  }
  return make_error(Code::kInvalidArgument,
                    "'{}' is not a rule such as last=10, within=30d, daily=7, weekly=4", text);
}

// Only what was given.
Result<Json> settings_of(const Arguments& args) {
  const ScheduleArguments& given = args.schedule;
  Json body = Json::object();
  const auto text = [&body](const char* member, const std::string& value) {
    if (!value.empty()) body[member] = value;
  };
  text("rule", given.when);
  text("zone", given.zone);
  text("kind", given.kind);
  text("catch_up", given.catch_up);
  text("description", args.description);
  if (!given.jitter.empty()) body["jitter_s"] = HOZON_TRY(parse_duration(given.jitter));
  if (given.parallel != 0) body["parallel"] = given.parallel;
  if (args.all || !args.machines.empty() || !args.tags.empty() || !given.states.empty())
    body["machines"] = {
        {"names", args.machines}, {"tags", args.tags}, {"states", given.states}, {"all", args.all}};
  if (!given.keep.empty()) {
    Json rules = Json::object();
    for (const std::string& rule : given.keep)
      if (rule != "all" || given.keep.size() > 1) HOZON_TRY(add_rule(rules, rule));
    body["retention"] = std::move(rules);
  }
  return body;
}

std::string machines_text(const Json& schedule) {
  const Json& choice = part(schedule, "machines");
  if (client::flag_of(choice, "all")) return "all";
  std::vector<std::string> words;
  const auto add = [&](const char* member, const char* before) {
    const auto values = texts_of(choice, member);
    if (!values.empty()) words.push_back(fmt::format("{}{}", before, fmt::join(values, ",")));
  };
  add("names", "");
  add("tags", "tagged ");
  add("states", "");
  return fmt::format("{}", fmt::join(words, ", and "));
}

std::string keep_text(const Json& schedule) {
  const Json& rules = part(schedule, "retention");
  std::vector<std::string> words;
  for (const char* rule : {"last", "hourly", "daily", "weekly", "monthly", "yearly"})
    if (number_of(rules, rule) != 0)
      words.push_back(fmt::format("{}={}", rule, number_of(rules, rule)));
  if (const uint64_t within_s = number_of(rules, "within_s"); within_s != 0)
    words.push_back(within_s % 86400 == 0 ? fmt::format("within={}d", within_s / 86400)
                                          : fmt::format("within={}s", within_s));
  return words.empty() ? "all" : fmt::format("{}", fmt::join(words, ","));
}

std::string task_text(const Json& task) {
  std::string text = text_of(task, "machine") + ": " + text_of(task, "state");
  if (!text_of(task, "snapshot").empty()) text += ", " + text_of(task, "snapshot");
  const auto removed = texts_of(task, "removed");
  if (!removed.empty())
    text += say_filled(", dropped {}", fmt::format("{}", fmt::join(removed, " ")));
  if (!text_of(task, "message").empty())
    text += " (" + say_sentence(text_of(task, "message")) + ")";
  return printable(text);
}

std::string run_text(const Json& run) {
  std::string text = text_of(run, "cause");
  if (number_of(run, "missed") != 0)
    text += say_filled(", {} before it were missed", number_of(run, "missed"));
  for (const Json& task : part(run, "tasks")) text += "\n  " + task_text(task);
  return text;
}

std::string details_text(const Json& schedule) {
  Details details;
  details.add("Name", text_of(schedule, "name"));
  details.add("Description", text_of(schedule, "description"));
  details.add("Runs", text_of(schedule, "rule"));
  details.add("Time zone", text_of(schedule, "zone"));
  details.add("Enabled",
              client::flag_of(schedule, "enabled") ? say_filled("yes") : say_filled("no"));
  details.add("Next run", time_text(number_of(schedule, "next_ns")));
  details.add("Machines", machines_text(schedule));
  details.add("Kind", text_of(schedule, "kind"));
  details.add("Keeps", keep_text(schedule));
  if (number_of(schedule, "jitter_s") != 0)
    details.add("Jitter", fmt::format("{} s", number_of(schedule, "jitter_s")));
  details.add("At a time", std::to_string(number_of(schedule, "parallel")));
  details.add("Missed runs", text_of(schedule, "catch_up") == "none"
                                 ? say_filled("left out")
                                 : say_filled("the latest is made up for"));
  details.add("Snapshots", std::to_string(number_of(schedule, "snapshot_count")));
  std::string text = details.render();
  for (const Json& run : part(schedule, "runs"))
    text += "\n" + say_filled("Run of {}: {}", time_text(number_of(run, "due_ns")), run_text(run)) +
            "\n";
  return text;
}

// "2027-01-31" or "2027-01-31 14:00", of this terminal's time zone.
Result<uint64_t> parse_date(const std::string& text) {
  std::tm parts{};
  const char* end = ::strptime(text.c_str(), "%Y-%m-%d", &parts);
  if (end != nullptr && (*end == ' ' || *end == 'T')) end = ::strptime(end + 1, "%H:%M", &parts);
  parts.tm_isdst = -1;
  const std::time_t instant = end == nullptr || *end != '\0' ? -1 : ::mktime(&parts);
  if (instant > 0) return static_cast<uint64_t>(instant) * 1'000'000'000;
  return make_error(Code::kInvalidArgument,
                    "'{}' is not a date such as 2027-01-31 or '2027-01-31 14:00'", text);
}

std::string preview_text(const Json& preview) {
  Table runs({"NEXT RUN", "IN ITS ZONE"});
  for (const Json& run : part(preview, "runs"))
    runs.add({time_text(number_of(run, "due_ns")), text_of(run, "local")});
  std::string text = runs.render(false);
  for (const Json& machine : part(preview, "machines")) {
    text += "\n" +
            say_filled("{} at {}:", text_of(machine, "machine"),
                       time_text(number_of(preview, "until_ns"))) +
            "\n";
    Table table({"SNAPSHOT", "OF", "WHAT BECOMES OF IT"});
    const auto name = [](const Json& snapshot) {
      const std::string known = text_of(snapshot, "name");
      return known.empty() ? say_filled("(to come)") : known;
    };
    for (const Json& snapshot : part(machine, "kept"))
      table.add({name(snapshot), time_text(number_of(snapshot, "due_ns")),
                 say_filled("kept: {}",
                            fmt::format("{}", fmt::join(texts_of(snapshot, "reasons"), ", ")))});
    for (const Json& snapshot : part(machine, "dropped"))
      table.add({name(snapshot), time_text(number_of(snapshot, "due_ns")),
                 say_filled("dropped at {}", time_text(number_of(snapshot, "dropped_ns")))});
    text += table.render(false);
  }
  return text;
}

CommandResult verb(const Arguments& args, Context& context, const std::string& word,
                   std::string_view outcome) {
  const Json result =
      HOZON_TRY(context.client().perform("POST", path_of(args) + "/" + word, nullptr));
  context.printer().done(result, args.object, "Schedule {} {}.", args.object, outcome);
  return ExitCode::kOk;
}

std::string next_text(const Json& schedule) {
  const uint64_t next_ns = number_of(schedule, "next_ns");
  return next_ns == 0 ? say_filled("It is disabled.")
                      : say_filled("Its next run is at {}.", time_text(next_ns));
}

}  // namespace

CommandResult schedule_create(const Arguments& args, Context& context) {
  Json body = HOZON_TRY(settings_of(args));
  body["name"] = args.object;
  body["enabled"] = !args.schedule.disabled;
  const Json made = HOZON_TRY(context.client().perform("POST", "/v1/schedules", body));
  context.printer().done(made, args.object, "Schedule {} is made. {}", args.object,
                         next_text(made));
  return ExitCode::kOk;
}

CommandResult schedule_list(const Arguments&, Context& context) {
  const Json answer = HOZON_TRY(context.client().read("/v1/schedules"));
  const Json& items = part(answer, "items");
  std::vector<std::string> names;
  for (const Json& schedule : items) names.push_back(text_of(schedule, "name"));
  context.printer().list(items, names, [&] {
    Table table(
        {"NAME", "RUNS", "NEXT RUN", "MACHINES", "KIND", "KEEPS", "SNAPSHOTS", "LATEST RUN"});
    for (const Json& schedule : items) {
      const Json& latest = part(schedule, "latest");
      std::string outcome = "-";
      if (latest.is_object())
        outcome = number_of(latest, "ended_ns") == 0 ? say_filled("at work") : "ok";
      if (number_of(schedule, "failed") != 0)
        outcome = say_filled("{} failed", number_of(schedule, "failed"));
      const uint64_t next_ns = number_of(schedule, "next_ns");
      table.add({text_of(schedule, "name"), text_of(schedule, "rule"),
                 next_ns == 0 ? say_filled("disabled") : time_text(next_ns),
                 machines_text(schedule), text_of(schedule, "kind"), keep_text(schedule),
                 std::to_string(number_of(schedule, "snapshot_count")), outcome});
    }
    return table;
  });
  return ExitCode::kOk;
}

CommandResult schedule_show(const Arguments& args, Context& context) {
  const Json schedule = HOZON_TRY(context.client().read(path_of(args)));
  context.printer().object(schedule, text_of(schedule, "name"), details_text(schedule));
  return ExitCode::kOk;
}

CommandResult schedule_edit(const Arguments& args, Context& context) {
  const Json body = HOZON_TRY(settings_of(args));
  if (body.empty())
    return make_error(Code::kInvalidArgument,
                      "say what to change; see: hozon schedule edit --help");
  const Json changed = HOZON_TRY(context.client().perform("POST", path_of(args) + "/edit", body));
  context.printer().done(changed, args.object, "Schedule {} is changed. {}", args.object,
                         next_text(changed));
  return ExitCode::kOk;
}

CommandResult schedule_enable(const Arguments& args, Context& context) {
  return verb(args, context, "enable", say_filled("is enabled"));
}

CommandResult schedule_disable(const Arguments& args, Context& context) {
  return verb(args, context, "disable", say_filled("is disabled"));
}

CommandResult schedule_run(const Arguments& args, Context& context) {
  const Json result = HOZON_TRY(context.client().perform("POST", path_of(args) + "/run", nullptr));
  std::string tasks;
  for (const Json& task : part(result, "tasks")) tasks += "\n  " + task_text(task);
  context.printer().done(result, args.object, "Schedule {} ran.{}", args.object, tasks);
  return ExitCode::kOk;
}

CommandResult schedule_preview(const Arguments& args, Context& context) {
  std::string target = path_of(args) + "/preview?runs=" +
                       std::to_string(args.schedule.count == 0 ? 10 : args.schedule.count);
  if (!args.schedule.at.empty())
    target += "&until_ns=" + std::to_string(HOZON_TRY(parse_date(args.schedule.at)));
  if (!args.name.empty()) target += "&machine=" + client::percent_encode(args.name);
  const Json preview = HOZON_TRY(context.client().read(target));
  context.printer().object(preview, args.object, preview_text(preview));
  return ExitCode::kOk;
}

CommandResult schedule_delete(const Arguments& args, Context& context) {
  if (!context.confirm(args, "Delete schedule {}? Its snapshots stay.", args.object))
    return make_error(Code::kCancelled, "not confirmed; schedule '{}' stays", args.object);
  const Json result = HOZON_TRY(context.client().perform("DELETE", path_of(args), nullptr));
  context.printer().done(result, args.object, "Schedule {} is deleted; {} snapshots of it stay.",
                         args.object, number_of(result, "snapshots_left"));
  return ExitCode::kOk;
}

}  // namespace hozon::cli
