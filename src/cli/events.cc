// hozon events: a line for each change, until somebody has enough.
#include <charconv>
#include <cstdio>

#include "cli/commands.h"

namespace hozon::cli {
namespace {

using client::text_of;

std::string line_of(const client::Json& event) {
  if (text_of(event, "kind") == "reset") return fmt::format("-- {}\n", text_of(event, "reason"));
  std::string name = text_of(event, "name");
  const std::string parent = text_of(event, "parent");
  if (!parent.empty()) name = parent + "/" + name;
  std::string line = fmt::format("{}  {:<8} {:<7}  {}", text_of(event, "time"),
                                 text_of(event, "kind"), text_of(event, "change"), name);
  if (const std::string status = text_of(event, "status"); !status.empty()) line += "  " + status;
  if (const std::string detail = text_of(event, "detail"); !detail.empty())
    line += fmt::format("  ({})", detail);
  return printable(line) + "\n";
}

std::string query_of(const Arguments& args) {
  std::string query;
  const auto add = [&query](const char* word, const std::string& value) {
    if (!value.empty())
      query +=
          (query.empty() ? "?" : "&") + std::string(word) + "=" + client::percent_encode(value);
  };
  add("kind", args.kinds);
  add("object", args.of_object);
  return query;
}

}  // namespace

CommandResult events(const Arguments& args, Context& context) {
  std::optional<uint64_t> after;
  if (!args.after.empty()) {
    uint64_t number = 0;
    const auto [end, error] =
        std::from_chars(args.after.data(), args.after.data() + args.after.size(), number);
    if (error != std::errc() || end != args.after.data() + args.after.size())
      return make_error(Code::kInvalidArgument, "'{}' is not the number of an event", args.after);
    after = number;
  }
  uint64_t shown = 0;
  HOZON_TRY(context.client().follow_events(query_of(args), after, [&](const client::Json& event) {
    switch (context.printer().format()) {
      case Format::kTable: context.printer().text(line_of(event)); break;
      case Format::kName: context.printer().text(printable(text_of(event, "name")) + "\n"); break;
      case Format::kYaml: context.printer().text("---\n" + yaml_text(event)); break;
      case Format::kJson:
        context.printer().text(event.dump(-1, ' ', false, client::Json::error_handler_t::replace) +
                               "\n");
        break;
    }
    ++shown;
    return std::fflush(stdout) == 0 && (args.at_most == 0 || shown < args.at_most);
  }));
  return ExitCode::kOk;
}

}  // namespace hozon::cli
