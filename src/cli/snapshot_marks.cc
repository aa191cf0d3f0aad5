// hozon snapshot tag|expire|pin|unpin, hozon snapshot trash ..., hozon machine undo|quota
#include <fmt/ranges.h>

#include <charconv>

#include "cli/commands.h"

namespace hozon::cli {

Result<uint64_t> parse_duration(const std::string& text) {
  if (text == "never") return 0;
  uint64_t count = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), count);
  const std::string_view unit(end, static_cast<size_t>(text.data() + text.size() - end));
  uint64_t seconds = 0;
  if (unit == "s") seconds = 1;
  if (unit == "m") seconds = 60;
  if (unit == "h") seconds = 3600;
  if (unit == "d") seconds = 24 * 3600;
  if (unit == "w") seconds = 7 * 24 * 3600;
  if (error == std::errc{} && seconds != 0 && count != 0 && count <= 1'000'000)
    return count * seconds;
  return make_error(Code::kInvalidArgument,
                    "'{}' is not a time such as 90s, 30m, 12h, 3d, 2w, or never", text);
}

namespace {

std::string tags_text(const std::vector<std::string>& tags) {
  if (tags.empty()) return say_filled("no tags");
  return say_filled("the tags {}", fmt::format("{}", fmt::join(tags, ", ")));
}

}  // namespace

CommandResult snapshot_tag(const Arguments& args, Context& context) {
  const client::Json result = HOZON_TRY(
      context.client().snapshot_verb(args.object, args.second, "tag", {{"tags", args.others}}));
  context.printer().done(result, args.second, "Snapshot {} of {} has {}.", args.second, args.object,
                         tags_text(args.others));
  return ExitCode::kOk;
}

CommandResult machine_tag(const Arguments& args, Context& context) {
  const client::Json result = HOZON_TRY(context.client().perform(
      "POST", "/v1/machines/" + client::percent_encode(args.object) + "/tag",
      {{"tags", args.others}}));
  context.printer().done(result, args.object, "Machine {} has {}.", args.object,
                         tags_text(args.others));
  return ExitCode::kOk;
}

CommandResult snapshot_expire(const Arguments& args, Context& context) {
  const uint64_t in_s = HOZON_TRY(parse_duration(args.third));
  const client::Json result = HOZON_TRY(
      context.client().snapshot_verb(args.object, args.second, "expire", {{"in_s", in_s}}));
  const client::Snapshot snapshot(result);
  context.printer().done(
      result, args.second, "Snapshot {} of {} {}.", args.second, args.object,
      in_s == 0 ? say_filled("does not expire")
                : say_filled("goes to the trash at {}", time_text(snapshot.expires_ns)));
  return ExitCode::kOk;
}

CommandResult snapshot_pin(const Arguments& args, Context& context) {
  const client::Json result = HOZON_TRY(
      context.client().snapshot_verb(args.object, args.second, "pin", {{"reason", args.third}}));
  context.printer().done(result, args.second, "Snapshot {} of {} is pinned.", args.second,
                         args.object);
  return ExitCode::kOk;
}

CommandResult snapshot_unpin(const Arguments& args, Context& context) {
  const client::Json result =
      HOZON_TRY(context.client().snapshot_verb(args.object, args.second, "unpin", nullptr));
  context.printer().done(result, args.second, "Snapshot {} of {} is not pinned any more.",
                         args.second, args.object);
  return ExitCode::kOk;
}

CommandResult trash_list(const Arguments& args, Context& context) {
  const std::vector<client::Snapshot> snapshots = HOZON_TRY(context.client().trash(args.object));
  client::Json items = client::Json::array();
  std::vector<std::string> names;
  for (const client::Snapshot& snapshot : snapshots) {
    items.push_back(snapshot.json);
    names.push_back(snapshot.name);
  }
  context.printer().list(items, names, [&] {
    Table table({"NAME", "TIME", "DELETED", "KEPT UNTIL", "DESCRIPTION"});
    for (const client::Snapshot& snapshot : snapshots)
      table.add(
          {snapshot.name, time_text(snapshot.created_ns), time_text(snapshot.trashed_ns),
           snapshot.trash_until_ns == 0 ? say("reclaimable") : time_text(snapshot.trash_until_ns),
           snapshot.description});
    return table;
  });
  return ExitCode::kOk;
}

CommandResult trash_restore(const Arguments& args, Context& context) {
  const client::Json result =
      HOZON_TRY(context.client().restore_from_trash(args.object, args.second));
  const auto names = client::texts_of(result, "restored");
  context.printer().done(result, args.second, "Snapshot {} of {} is back.",
                         fmt::format("{}", fmt::join(names, ", ")), args.object);
  return ExitCode::kOk;
}

CommandResult trash_empty(const Arguments& args, Context& context) {
  if (!context.confirm(args, "Delete what is in the trash of {} for good?", args.object))
    return make_error(Code::kCancelled, "not confirmed; nothing was deleted");
  const client::Json result = HOZON_TRY(context.client().empty_trash(args.object));
  context.printer().done(result, args.object, "{} snapshots of {} are gone for good.",
                         client::texts_of(result, "deleted").size(), args.object);
  return ExitCode::kOk;
}

CommandResult machine_undo(const Arguments& args, Context& context) {
  const client::Json result = HOZON_TRY(context.client().machine_verb(args.object, "undo"));
  const auto restored = client::texts_of(result, "restored");
  const std::string names = fmt::format("{}", fmt::join(restored, ", "));
  const std::string what =
      names.empty() ? say_filled("The last return") : say_filled("The deletion of {}", names);
  context.printer().done(result, args.object, "{} of {} is undone.", what, args.object);
  return ExitCode::kOk;
}

CommandResult machine_quota(const Arguments& args, Context& context) {
  uint64_t most = 0;
  const auto [end, error] =
      std::from_chars(args.second.data(), args.second.data() + args.second.size(), most);
  const bool is_number = error == std::errc{} && end == args.second.data() + args.second.size();
  if (args.second != "off" && (!is_number || most == 0 || most > 1'000'000'000))
    return make_error(Code::kInvalidArgument, "'{}' is neither a number of snapshots nor off",
                      args.second);
  const client::Json result = HOZON_TRY(context.client().set_quota(args.object, most));
  context.printer().done(result, args.object, "Machine {} may have {} snapshots.", args.object,
                         most == 0 ? say_filled("any number of") : args.second);
  return ExitCode::kOk;
}

}  // namespace hozon::cli
