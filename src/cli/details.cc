// hozon snapshot show --details
#include <fmt/ranges.h>

#include "base/units.h"
#include "cli/commands.h"

namespace hozon::cli {
namespace {

using client::Json;

Json member_of(const Json& object, const char* member) {
  const auto found = object.find(member);
  return found == object.end() ? Json() : *found;
}

std::vector<Json> list_of(const Json& object, const char* member) {
  const Json list = member_of(object, member);
  return list.is_array() ? list.get<std::vector<Json>>() : std::vector<Json>();
}

std::string general_text(const Json& general) {
  Details details;
  details.add("Machine", client::text_of(general, "machine"));
  details.add("Name", client::text_of(general, "snapshot"));
  details.add("Description", client::text_of(general, "description"));
  details.add("Time", time_text(client::number_of(general, "created_ns")));
  details.add("System", client::text_of(general, "os"));
  details.add("Said by", client::text_of(general, "os_source"));
  details.add("Host name", client::text_of(general, "hostname"));
  details.add("Memory", format_bytes(client::number_of(general, "memory_bytes")));
  details.add("CPUs", std::to_string(client::number_of(general, "cpus")));
  details.add("Firmware", client::text_of(general, "firmware"));
  details.add("Machine was", client::text_of(general, "machine_state"));
  details.add("Consistency", client::text_of(general, "consistency"));
  return details.render();
}

std::string disks_text(const Json& answer, const Printer& printer) {
  Table table({"DISK", "SIZE", "FILE SYSTEM", "TYPE", "LABEL", "NOTE"});
  for (const Json& disk : list_of(answer, "disks")) {
    const std::string size = format_bytes(client::number_of(disk, "size_bytes"));
    const std::vector<Json> systems = list_of(disk, "filesystems");
    if (systems.empty())
      table.add({client::text_of(disk, "disk"), size, "-", "-", "-",
                 client::text_of(answer, "disks_reason")});
    for (const Json& one : systems) {
      const std::string reason = client::text_of(one, "reason");
      table.add({client::text_of(disk, "disk"), size, client::text_of(one, "name"),
                 client::text_of(one, "type"), client::text_of(one, "label"),
                 reason.empty() ? client::text_of(one, "note") : reason});
    }
  }
  return table.render(printer.colour(), printer.columns());
}

std::string interfaces_text(const Json& answer, const Printer& printer) {
  Table table({"INTERFACE", "MAC ADDRESS", "IN THE GUEST", "ADDRESSES"});
  for (const Json& one : list_of(answer, "network_interfaces"))
    table.add({client::text_of(one, "id"), client::text_of(one, "mac"),
               client::text_of(one, "guest_name"),
               fmt::format("{}", fmt::join(client::texts_of(one, "addresses"), ", "))});
  return table.render(printer.colour(), printer.columns());
}

std::string applications_text(const Json& applications, const Printer& printer) {
  const std::string reason = client::text_of(applications, "reason");
  if (!reason.empty()) return printable(reason) + "\n";
  Table table({"NAME", "VERSION", "ARCHITECTURE"});
  for (const Json& one : list_of(applications, "items"))
    table.add({client::text_of(one, "name"), client::text_of(one, "version"),
               client::text_of(one, "architecture")});
  return table.render(printer.colour(), printer.columns());
}

std::string titled(std::string_view title, const std::string& text, bool first = false) {
  return fmt::format("{}{}\n{}", first ? "" : "\n", say(title), text);
}

}  // namespace

CommandResult snapshot_show_details(const Arguments& args, Context& context) {
  const Json answer = HOZON_TRY(context.client().details(args.object, args.second));
  const Printer& printer = context.printer();
  const std::string text = titled("General", general_text(member_of(answer, "general")), true) +
                           titled("Disks", disks_text(answer, printer)) +
                           titled("Network interfaces", interfaces_text(answer, printer)) +
                           titled("Installed applications",
                                  applications_text(member_of(answer, "applications"), printer));
  printer.object(answer, args.second, text);
  return ExitCode::kOk;
}

}  // namespace hozon::cli
