// hozon template ..., hozon group ..., and sizes
#include <fmt/ranges.h>

#include "base/units.h"
#include "cli/commands.h"

namespace hozon::cli {
namespace {

using client::Json;
using client::number_of;
using client::text_of;

Json items_of(const Json& answer) { return answer.value("items", Json::array()); }

std::vector<std::string> names_of(const Json& items) {
  std::vector<std::string> names;
  for (const Json& item : items) names.push_back(text_of(item, "name"));
  return names;
}

std::string template_path(const std::string& name) {
  return "/v1/templates/" + client::percent_encode(name);
}
std::string group_path(const std::string& name) {
  return "/v1/groups/" + client::percent_encode(name);
}

std::string disks_text(const Json& shown) {
  std::vector<std::string> disks;
  for (const Json& disk : shown.value("disks", Json::array()))
    disks.push_back(
        fmt::format("{} {}", text_of(disk, "id"), format_bytes(number_of(disk, "size_bytes"))));
  return fmt::format("{}", fmt::join(disks, ", "));
}

std::string members_text(const Json& group) {
  std::vector<std::string> machines;
  for (const Json& member : group.value("members", Json::array()))
    machines.push_back(text_of(member, "machine"));
  return fmt::format("{}", fmt::join(machines, ", "));
}

std::string bytes_text(const Json& object, const char* member) {
  return format_bytes(number_of(object, member));
}

}  // namespace

CommandResult template_create(const Arguments& args, Context& context) {
  const Json made = HOZON_TRY(context.client().perform("POST", "/v1/templates",
                                                       {{"name", args.object},
                                                        {"machine", args.second},
                                                        {"snapshot", args.third},
                                                        {"description", args.description}}));
  context.printer().done(
      made, args.object,
      "Template {} is ready. Make a machine of it: hozon machine create NAME --template {}",
      args.object, args.object);
  return ExitCode::kOk;
}

CommandResult template_list(const Arguments&, Context& context) {
  const Json items = items_of(HOZON_TRY(context.client().read("/v1/templates")));
  context.printer().list(items, names_of(items), [&items] {
    Table table({"NAME", "CPUS", "MEMORY", "DISKS", "POOL", "CREATED", "DESCRIPTION"});
    for (const Json& shown : items)
      table.add({text_of(shown, "name"), std::to_string(number_of(shown, "cpus")),
                 bytes_text(shown, "memory_bytes"), disks_text(shown), text_of(shown, "pool"),
                 time_text(number_of(shown, "created_ns")), text_of(shown, "description")});
    return table;
  });
  return ExitCode::kOk;
}

CommandResult template_show(const Arguments& args, Context& context) {
  const Json shown = HOZON_TRY(context.client().read(template_path(args.object)));
  Details details;
  details.add("Name", text_of(shown, "name"));
  details.add("UUID", text_of(shown, "uuid"));
  details.add("Description", text_of(shown, "description"));
  details.add("Memory", bytes_text(shown, "memory_bytes"));
  details.add("CPUs", std::to_string(number_of(shown, "cpus")));
  details.add("Firmware", text_of(shown, "firmware"));
  details.add("Disks", disks_text(shown));
  details.add("Networks", std::to_string(number_of(shown, "nic_count")));
  details.add("Pool", text_of(shown, "pool"));
  details.add("Created", time_text(number_of(shown, "created_ns")));
  context.printer().object(shown, args.object, details.render());
  return ExitCode::kOk;
}

CommandResult template_delete(const Arguments& args, Context& context) {
  if (!context.confirm(args, "Delete template {}? Machines that were made from it stay.",
                       args.object))
    return make_error(Code::kCancelled, "not confirmed; template '{}' stays", args.object);
  const Json result =
      HOZON_TRY(context.client().perform("DELETE", template_path(args.object), nullptr));
  context.printer().done(result, args.object, "Template {} is deleted.", args.object);
  return ExitCode::kOk;
}

CommandResult group_create(const Arguments& args, Context& context) {
  Json body = {{"name", args.object},
               {"machines", args.machines},
               {"description", args.description},
               {"quiesce", args.quiesce},
               {"tags", args.tags}};
  if (!args.expires.empty()) body["expires_in_s"] = HOZON_TRY(parse_duration(args.expires));
  const Json made = HOZON_TRY(context.client().perform("POST", "/v1/groups", body));
  context.printer().done(made, args.object,
                         "Snapshot {} of {} is safe on disk, all of one instant.", args.object,
                         members_text(made));
  return ExitCode::kOk;
}

CommandResult group_list(const Arguments&, Context& context) {
  const Json items = items_of(HOZON_TRY(context.client().read("/v1/groups")));
  context.printer().list(items, names_of(items), [&items] {
    Table table({"NAME", "TIME", "MACHINES", "DESCRIPTION"});
    for (const Json& group : items)
      table.add({text_of(group, "name"), time_text(number_of(group, "created_ns")),
                 members_text(group), text_of(group, "description")});
    return table;
  });
  return ExitCode::kOk;
}

CommandResult group_show(const Arguments& args, Context& context) {
  const Json group = HOZON_TRY(context.client().read(group_path(args.object)));
  Details details;
  details.add("Name", text_of(group, "name"));
  details.add("UUID", text_of(group, "uuid"));
  details.add("Description", text_of(group, "description"));
  details.add("Time", time_text(number_of(group, "created_ns")));
  for (const Json& member : group.value("members", Json::array()))
    details.add("Machine " + text_of(member, "machine"),
                fmt::format("{}, {}", text_of(member, "snapshot"), text_of(member, "consistency")));
  context.printer().object(group, args.object, details.render());
  return ExitCode::kOk;
}

CommandResult group_return(const Arguments& args, Context& context) {
  const Json group = HOZON_TRY(context.client().read(group_path(args.object)));
  if (!context.confirm(args, "Take {} back to {}? Their present states are kept.",
                       members_text(group), args.object))
    return make_error(Code::kCancelled, "not confirmed; nothing was returned");
  const Json result = HOZON_TRY(context.client().perform(
      "POST", group_path(args.object) + "/return", {{"state", args.state}}));
  std::string machines;
  for (const Json& machine : result.value("machines", Json::array()))
    machines += "\n  " + say_filled("{}: the state it left is snapshot {}",
                                    text_of(machine, "machine"), text_of(machine, "kept"));
  context.printer().done(result, args.object, "{} are back at {}.{}", members_text(group),
                         args.object, machines);
  return ExitCode::kOk;
}

CommandResult group_delete(const Arguments& args, Context& context) {
  if (!context.confirm(args, "Delete the snapshots of group {}?", args.object))
    return make_error(Code::kCancelled, "not confirmed; nothing was deleted");
  const Json result =
      HOZON_TRY(context.client().perform("DELETE", group_path(args.object), nullptr));
  context.printer().done(result, args.object, "Snapshots {} are deleted.",
                         fmt::join(client::texts_of(result, "deleted"), ", "));
  return ExitCode::kOk;
}

CommandResult machine_initial(const Arguments& args, Context& context) {
  const bool off = args.second == "off";
  const Json result = HOZON_TRY(context.client().perform(
      "POST", "/v1/machines/" + client::percent_encode(args.object) + "/initial",
      {{"snapshot", off ? "" : args.second}}));
  context.printer().done(result, args.object, "Machine {} {}.", args.object,
                         off ? say_filled("keeps what it does when it goes down")
                             : say_filled("returns to {} whenever it goes down", args.second));
  return ExitCode::kOk;
}

namespace {

// "a,b" for the API; a comma in a name is told by a backslash before it.
std::string listed(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) {
    if (!text.empty()) text += ',';
    for (const char c : name) {
      if (c == ',' || c == '\\') text += '\\';
      text += c;
    }
  }
  return text;
}

}  // namespace

CommandResult snapshot_sizes(const Arguments& args, Context& context) {
  std::string target = "/v1/machines/" + client::percent_encode(args.object) + "/sizes";
  if (!args.others.empty()) target += "?snapshots=" + client::percent_encode(listed(args.others));
  const Json sizes = HOZON_TRY(context.client().read(target));
  const Json snapshots = sizes.value("snapshots", Json::array());
  Table table({"SNAPSHOT", "REFERENCED", "SHARED", "FREED IF DELETED"});
  for (const Json& size : snapshots)
    table.add({text_of(size, "name"), bytes_text(size, "referenced_bytes"),
               bytes_text(size, "shared_bytes"), bytes_text(size, "freed_bytes")});
  table.add({args.others.empty() ? say_filled("(all of them)") : say_filled("(these together)"), "",
             "", bytes_text(sizes, "set_bytes")});
  table.add({say_filled("(the machine as it is now)"), bytes_text(sizes, "now_bytes"), "", ""});
  table.add(
      {say_filled("(the machine with all snapshots)"), "", "", bytes_text(sizes, "machine_bytes")});
  context.printer().object(sizes, args.object, table.render(context.printer().colour()));
  return ExitCode::kOk;
}

CommandResult pool_sizes(const Arguments& args, Context& context) {
  const Json sizes = HOZON_TRY(
      context.client().read("/v1/pools/" + client::percent_encode(args.object) + "/sizes"));
  Table table({"OWNER", "KIND", "FREED IF DELETED"});
  for (const Json& owner : sizes.value("owners", Json::array()))
    table.add({text_of(owner, "name"), text_of(owner, "kind"), bytes_text(owner, "freed_bytes")});
  table.add({say_filled("(shared between owners)"), "", bytes_text(sizes, "shared_bytes")});
  table.add({say_filled("(the pool's own records)"), "", bytes_text(sizes, "own_bytes")});
  table.add({say_filled("(used)"), "", bytes_text(sizes, "used_bytes")});
  context.printer().object(sizes, args.object, table.render(context.printer().colour()));
  return ExitCode::kOk;
}

}  // namespace hozon::cli
