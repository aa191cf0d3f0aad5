// hozon pool ...
#include "base/units.h"
#include "cli/commands.h"
#include "cli/sentences.h"

namespace hozon::cli {

CommandResult pool_create(const Arguments& args, Context& context) {
  const client::Json result = HOZON_TRY(context.client().create_pool(args.object, args.size_bytes));
  context.printer().done(result, args.object, "Pool {} is ready ({}).", args.object,
                         format_bytes(args.size_bytes));
  return ExitCode::kOk;
}

CommandResult pool_list(const Arguments&, Context& context) {
  const std::vector<client::Pool> pools = HOZON_TRY(context.client().pools());
  client::Json items = client::Json::array();
  std::vector<std::string> names;
  for (const client::Pool& pool : pools) {
    items.push_back(pool.json);
    names.push_back(pool.name);
  }
  context.printer().list(items, names, [&pools] {
    Table table({"NAME", "STATE", "SIZE", "USED", "FREE", "VOLUMES", "POINTS"});
    for (const client::Pool& pool : pools)
      table.add({pool.name, pool.state, format_bytes(pool.size_bytes),
                 format_bytes(pool.used_bytes), format_bytes(pool.free_bytes),
                 std::to_string(pool.volumes), std::to_string(pool.points)});
    return table;
  });
  return ExitCode::kOk;
}

CommandResult pool_show(const Arguments& args, Context& context) {
  const client::Pool pool = HOZON_TRY(context.client().pool(args.object));
  Details details;
  details.add("Name", pool.name);
  details.add("State", pool.state);
  details.add("Message", say_sentence(pool.message));
  details.add("Size", format_bytes(pool.size_bytes));
  details.add("Used", format_bytes(pool.used_bytes));
  details.add("Free", format_bytes(pool.free_bytes));
  details.add("Volumes", std::to_string(pool.volumes));
  details.add("Points", std::to_string(pool.points));
  for (const std::string& place : pool.damage) details.add("Damaged", printable(place));
  context.printer().object(pool.json, pool.name, details.render());
  return ExitCode::kOk;
}

CommandResult pool_check(const Arguments& args, Context& context) {
  const auto checked = context.client().check_pool(args.object, args.data);
  if (!checked) {
    Error error = checked.error();
    if (error.code == Code::kUnavailable)
      error.what += fmt::format("; or check the pool offline: hozon-check {}/pools/{}",
                                context.directory(), args.object);
    return std::unexpected(error);
  }
  std::string text;
  for (const std::string& error : checked->errors) text += "error: " + printable(error) + "\n";
  for (const std::string& warning : checked->warnings)
    text += "warning: " + printable(warning) + "\n";
  if (checked->errors.empty())
    text += say_filled("no errors ({} points, {} map blocks, {} data blocks, {} lost blocks)",
                       checked->points, checked->map_blocks, checked->data_blocks,
                       checked->lost_blocks) +
            "\n";
  context.printer().object(checked->json, args.object, text);
  if (checked->errors.empty() && checked->clean) return ExitCode::kOk;
  return make_error(Code::kCorruption, "pool '{}' has {} error{}", args.object,
                    checked->errors.size(), checked->errors.size() == 1 ? "" : "s");
}

CommandResult pool_scrub(const Arguments& args, Context& context) {
  const client::PoolScrub scrub =
      HOZON_TRY(context.client().scrub_pool(args.object, args.size_bytes));
  std::string text;
  for (const std::string& place : scrub.damaged) text += "damaged: " + printable(place) + "\n";
  text += say_filled("{} read: {} points, {} metadata, {} map and {} data blocks",
                     format_bytes(scrub.done_bytes), scrub.points, scrub.metadata_blocks,
                     scrub.map_blocks, scrub.data_blocks) +
          "\n";
  context.printer().object(scrub.json, args.object, text);
  const uint64_t damaged = scrub.damaged.size() + scrub.damaged_left_out;
  if (damaged == 0) return ExitCode::kOk;
  return make_error(Code::kCorruption, "pool '{}' has {} damaged place{}", args.object, damaged,
                    damaged == 1 ? "" : "s");
}

CommandResult pool_delete(const Arguments& args, Context& context) {
  if (!context.confirm(args, "Delete pool {} and its files?", args.object))
    return make_error(Code::kCancelled, "not confirmed; pool '{}' stays", args.object);
  const client::Json result = HOZON_TRY(context.client().delete_pool(args.object, args.force));
  context.printer().done(result, args.object, "Pool {} is deleted.", args.object);
  return ExitCode::kOk;
}

}  // namespace hozon::cli
