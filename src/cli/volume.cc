// hozon volume ...
#include <fmt/ranges.h>

#include "base/units.h"
#include "cli/commands.h"

namespace hozon::cli {
namespace {

Result<std::string> plain_volume(const std::string& text) {
  const Address address = HOZON_TRY(parse_address(text));
  if (!address.point.empty())
    return make_error(Code::kInvalidArgument, "'{}' names a point, and a volume is needed", text);
  return address.volume;
}

}  // namespace

CommandResult volume_create(const Arguments& args, Context& context) {
  if (args.size_bytes == 0 && args.from.empty())
    return make_error(Code::kInvalidArgument, "volume '{}' needs --size or --from", args.object);
  client::VolumeRequest request;
  request.name = args.object;
  request.pool = args.pool;
  request.from = absolute_path(args.from);
  request.size_bytes = args.size_bytes;
  const client::Json result = HOZON_TRY(context.client().create_volume(request));
  const client::Volume made(result);
  context.printer().done(result, args.object, "Volume {} is ready ({}).", args.object,
                         format_bytes(made.size_bytes));
  return ExitCode::kOk;
}

CommandResult volume_list(const Arguments& args, Context& context) {
  const std::vector<client::Volume> volumes = HOZON_TRY(context.client().volumes(args.pool));
  client::Json items = client::Json::array();
  std::vector<std::string> names;
  for (const client::Volume& volume : volumes) {
    items.push_back(volume.json);
    names.push_back(volume.name);
  }
  context.printer().list(items, names, [&volumes] {
    Table table({"NAME", "POOL", "SIZE", "POINTS", "MACHINE", "CREATED"});
    for (const client::Volume& volume : volumes)
      table.add({volume.name, volume.pool, format_bytes(volume.size_bytes),
                 std::to_string(volume.point_count), volume.machine, time_text(volume.created_ns)});
    return table;
  });
  return ExitCode::kOk;
}

CommandResult volume_show(const Arguments& args, Context& context) {
  const std::string name = HOZON_TRY(plain_volume(args.object));
  const client::Volume volume = HOZON_TRY(context.client().volume(name, args.pool));
  const std::vector<client::Point> points = HOZON_TRY(context.client().points(name, volume.pool));
  Details details;
  details.add("Name", volume.name);
  details.add("Pool", volume.pool);
  details.add("Size", format_bytes(volume.size_bytes));
  if (volume.mapped_bytes) details.add("Data", format_bytes(*volume.mapped_bytes));
  details.add("Machine", volume.machine);
  details.add("Created", time_text(volume.created_ns));
  details.add("URI", volume.uri);
  std::string text = details.render();
  client::Json object = volume.json;
  object["points"] = client::Json::array();
  Table table({"POINT", "SIZE", "CREATED", "SNAPSHOT"});
  for (const client::Point& point : points) {
    object["points"].push_back(point.json);
    table.add(
        {point.name, format_bytes(point.size_bytes), time_text(point.created_ns), point.snapshot});
  }
  if (!points.empty()) text += "\n" + table.render(context.printer().colour());
  context.printer().object(object, volume.name, text);
  return ExitCode::kOk;
}

CommandResult volume_uri(const Arguments& args, Context& context) {
  const Address address = HOZON_TRY(parse_address(args.object));
  const std::string uri =
      HOZON_TRY(context.client().volume_uri(address.volume, address.point, args.pool));
  context.printer().object({{"uri", uri}}, uri, uri + "\n");
  return ExitCode::kOk;
}

CommandResult volume_resize(const Arguments& args, Context& context) {
  const std::string name = HOZON_TRY(plain_volume(args.object));
  const client::Json result = HOZON_TRY(
      context.client().resize_volume(name, args.size_bytes, args.allow_shrink, args.pool));
  context.printer().done(result, name, "Volume {} has {} now.", name,
                         format_bytes(args.size_bytes));
  return ExitCode::kOk;
}

CommandResult volume_defragment(const Arguments& args, Context& context) {
  const std::string name = HOZON_TRY(plain_volume(args.object));
  const client::Json result =
      HOZON_TRY(context.client().defragment_volume(name, args.size_bytes, args.pool));
  const auto bytes = [&](const char* member) { return format_bytes(result.value(member, 0ULL)); };
  context.printer().done(result, name, "{} of {} put side by side, {} left as it was.",
                         bytes("moved_bytes"), bytes("examined_bytes"), bytes("left_bytes"));
  return ExitCode::kOk;
}

CommandResult volume_snapshot(const Arguments& args, Context& context) {
  std::vector<std::string> volumes;
  for (const std::string& text : args.others) volumes.push_back(HOZON_TRY(plain_volume(text)));
  if (args.name.empty() || args.name.find('@') != std::string::npos)
    return make_error(Code::kInvalidArgument, "'{}' cannot be the name of a point", args.name);
  const client::Json result =
      HOZON_TRY(context.client().snapshot_volumes(volumes, args.name, args.pool));
  context.printer().done(result, args.name, "Point {} of {} is safe on disk.", args.name,
                         fmt::join(volumes, ", "));
  return ExitCode::kOk;
}

CommandResult volume_clone(const Arguments& args, Context& context) {
  const Address address = HOZON_TRY(parse_address(args.object));
  const std::string name = HOZON_TRY(plain_volume(args.second));
  const client::Json result =
      HOZON_TRY(context.client().clone_volume(address.volume, address.point, name, args.pool));
  context.printer().done(result, name, "Volume {} is a clone of {}.", name, args.object);
  return ExitCode::kOk;
}

CommandResult volume_export(const Arguments& args, Context& context) {
  const Address address = HOZON_TRY(parse_address(args.object));
  const std::string by_name = args.second.ends_with(".qcow2") ? "qcow2" : "raw";
  const client::Json result = HOZON_TRY(context.client().export_volume(
      {.volume = address.volume,
       .point = address.point,
       .pool = args.pool,
       .path = absolute_path(args.second),
       .format = args.image_format.empty() ? by_name : args.image_format,
       .force = args.force,
       .verify = !args.skip_verify}));
  context.printer().done(result, args.second, "{} is exported to {} ({}).", args.object,
                         args.second, client::text_of(result, "format"));
  return ExitCode::kOk;
}

CommandResult volume_return(const Arguments& args, Context& context) {
  const Address address = HOZON_TRY(parse_address(args.object));
  if (address.point.empty())
    return make_error(Code::kInvalidArgument, "which point? Use {}@POINT", address.volume);
  if (!context.confirm(args, "Take volume {} back to {}? Its present state is kept.",
                       address.volume, address.point))
    return make_error(Code::kCancelled, "not confirmed; volume '{}' stays", address.volume);
  const client::Json result =
      HOZON_TRY(context.client().return_volume(address.volume, address.point, args.pool));
  const std::string kept = client::text_of(result, "kept");
  context.printer().done(
      result, address.volume, "Volume {} is back at {}.{}", address.volume, address.point,
      kept.empty() ? "" : say_filled(" The state it left is {}@{}.", address.volume, kept));
  return ExitCode::kOk;
}

CommandResult volume_delete(const Arguments& args, Context& context) {
  const Address address = HOZON_TRY(parse_address(args.object));
  if (!context.confirm(args, "Delete {}?", args.object))
    return make_error(Code::kCancelled, "not confirmed; '{}' stays", args.object);
  if (!address.point.empty() && args.with_points)
    return make_error(Code::kInvalidArgument, "--with-points is for a whole volume, not for '{}'",
                      args.object);
  const client::Json result =
      HOZON_TRY(address.point.empty()
                    ? context.client().delete_volume(address.volume, args.with_points, args.pool)
                    : context.client().delete_point(address.volume, address.point, args.pool));
  context.printer().done(result, args.object, "{} is deleted.", args.object);
  return ExitCode::kOk;
}

}  // namespace hozon::cli
