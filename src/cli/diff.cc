// hozon snapshot diff, hozon volume diff
#include "base/units.h"
#include "cli/commands.h"
#include "cli/plan.h"

namespace hozon::cli {
namespace {

client::Json ranges_of(const client::Json& diff) {
  const auto found = diff.find("ranges");
  return found == diff.end() ? client::Json::array() : *found;
}

// One line for each disk, or with `all` one for each range.
std::string disks_text(const std::vector<client::Json>& diffs, bool all, bool bold) {
  Table sums({"DISK", "DIFFERS", "RANGES", "NOTE"});
  Table lines({"DISK", "OFFSET", "LENGTH"});
  for (const client::Json& diff : diffs) {
    const std::string disk = client::text_of(diff, "disk");
    const std::string name = disk.empty() ? client::text_of(diff, "volume") : disk;
    const client::Json ranges = ranges_of(diff);
    sums.add({name, format_bytes(client::number_of(diff, "changed_bytes")),
              std::to_string(ranges.size()), client::text_of(diff, "note")});
    for (const client::Json& range : ranges)
      lines.add({name, std::to_string(client::number_of(range, "offset_bytes")),
                 std::to_string(client::number_of(range, "length_bytes"))});
  }
  return (all ? lines : sums).render(bold);
}

}  // namespace

CommandResult snapshot_diff(const Arguments& args, Context& context) {
  const client::Json diff =
      HOZON_TRY(context.client().snapshot_diff(args.object, args.second, args.third));
  std::string text;
  for (const std::string& change : settings_sentences(diff)) text += printable(change) + "\n";
  const std::vector<client::Json> disks = diff["disks"];
  text += disks_text(disks, args.ranges, context.printer().colour());
  context.printer().object(diff, args.second, text);
  return ExitCode::kOk;
}

CommandResult volume_diff(const Arguments& args, Context& context) {
  const Address from = HOZON_TRY(parse_address(args.object));
  const Address to = HOZON_TRY(parse_address(args.second));
  const client::Json diff = HOZON_TRY(
      context.client().volume_diff(to.volume, to.point, from.volume, from.point, args.pool));
  context.printer().object(diff, to.volume,
                           disks_text({diff}, args.ranges, context.printer().colour()));
  return ExitCode::kOk;
}

}  // namespace hozon::cli
