// hozon machine ... (the console is in console.cc)
#include <fmt/ranges.h>

#include "base/units.h"
#include "cli/commands.h"
#include "cli/plan.h"
#include "cli/sentences.h"

namespace hozon::cli {
namespace {

constexpr double kShutdownSeconds = 120;
constexpr double kFreezeSeconds = 10;

// "up", or what it does and why it is not what somebody asked for.
std::string state_text(const client::Machine& machine) {
  std::string text = machine.state;
  if (!machine.state_reason.empty()) text += " (" + say_sentence(machine.state_reason) + ")";
  return text;
}

Details machine_details(const client::Machine& machine) {
  Details details;
  details.add("Name", machine.name);
  details.add("UUID", machine.uuid);
  details.add("Description", machine.description);
  details.add("Tags", fmt::format("{}", fmt::join(client::texts_of(machine.json, "tags"), ", ")));
  details.add("State", state_text(machine));
  details.add("In preview of", machine.preview);
  details.add("When down, returns to", client::text_of(machine.json, "initial_snapshot"));
  details.add("Locked by", machine.locked_by);
  details.add("Memory", format_bytes(machine.memory_bytes));
  details.add("CPUs", std::to_string(machine.cpus));
  details.add("Type", machine.machine_type);
  details.add("Accelerator", machine.accelerator);
  for (const client::Disk& disk : machine.disks)
    details.add("Disk " + disk.id, say_filled("{} in pool {}, {}{}", disk.volume, disk.pool,
                                              format_bytes(disk.size_bytes),
                                              disk.attached ? "" : say_filled(", not attached")));
  for (const std::string& mac : machine.macs) details.add("Network", mac);
  details.add("Kernel line", machine.append);
  details.add("Grew from", machine.current_parent_name);
  details.add("Snapshots", std::to_string(machine.snapshot_count));
  details.add("Created", time_text(machine.created_ns));
  if (machine.started_ns != 0) details.add("Started", time_text(machine.started_ns));
  details.add("Console log", machine.console_log);
  if (machine.live_memory_obstacles.empty())
    details.add("Snapshot with memory", say_filled("while the guest runs"));
  for (const std::string& obstacle : machine.live_memory_obstacles)
    details.add("Snapshot with memory", say_sentence("stops the guest: " + obstacle));
  return details;
}

CommandResult simple_verb(const Arguments& args, Context& context, const std::string& verb,
                          std::string_view outcome) {
  const client::Json result = HOZON_TRY(context.client().machine_verb(args.object, verb));
  context.printer().done(result, args.object, "Machine {} {}.", args.object, outcome);
  return ExitCode::kOk;
}

}  // namespace

CommandResult machine_create(const Arguments& args, Context& context) {
  client::MachineRequest request;
  request.name = args.object;
  request.description = args.description;
  request.pool = args.pool;
  if (!args.image.empty())
    request.disks.push_back({.size_bytes = 0, .image = absolute_path(args.image)});
  for (const uint64_t size_bytes : args.disk_sizes)
    request.disks.push_back({.size_bytes = size_bytes, .image = {}});
  if (request.disks.empty() && args.kernel.empty() && args.from_template.empty())
    return make_error(Code::kInvalidArgument,
                      "machine '{}' has nothing to start from: give --image, --disk or --kernel",
                      args.object);
  if (args.kernel.empty() && (!args.initrd.empty() || !args.append.empty()))
    return make_error(Code::kInvalidArgument, "--initrd and --append need --kernel");
  request.memory_bytes = args.memory_bytes;
  request.cpus = args.cpus;
  request.kernel = absolute_path(args.kernel);
  request.initrd = absolute_path(args.initrd);
  request.append = args.append;
  request.firmware = args.firmware;
  request.tpm = args.tpm;
  request.tags = args.tags;
  request.from_template = args.from_template;
  request.return_on_shutdown = args.return_on_shutdown;
  const client::Json result = HOZON_TRY(context.client().create_machine(request));
  context.printer().done(result, args.object,
                         "Machine {} is ready. Start it: hozon machine start {}", args.object,
                         args.object);
  return ExitCode::kOk;
}

CommandResult machine_list(const Arguments&, Context& context) {
  const std::vector<client::Machine> machines = HOZON_TRY(context.client().machines(
      context.shown("name,state,state_reason,cpus,memory_bytes,disks,snapshot_count,"
                    "current_parent_name")));
  client::Json items = client::Json::array();
  std::vector<std::string> names;
  for (const client::Machine& machine : machines) {
    items.push_back(machine.json);
    names.push_back(machine.name);
  }
  context.printer().list(items, names, [&machines] {
    Table table({"NAME", "STATE", "CPUS", "MEMORY", "DISKS", "SNAPSHOTS", "GREW FROM"});
    for (const client::Machine& machine : machines)
      table.add({machine.name, state_text(machine), std::to_string(machine.cpus),
                 format_bytes(machine.memory_bytes), std::to_string(machine.disks.size()),
                 std::to_string(machine.snapshot_count), machine.current_parent_name});
    return table;
  });
  return ExitCode::kOk;
}

CommandResult machine_show(const Arguments& args, Context& context) {
  const client::Machine machine = HOZON_TRY(context.client().machine(args.object));
  context.printer().object(machine.json, machine.name, machine_details(machine).render());
  return ExitCode::kOk;
}

CommandResult machine_start(const Arguments& args, Context& context) {
  const client::Json result = HOZON_TRY(context.client().start_machine(args.object, args.paused));
  context.printer().done(result, args.object, "Machine {} is {}.", args.object,
                         args.paused ? say_filled("started and paused") : say_filled("up"));
  return ExitCode::kOk;
}

CommandResult machine_pause(const Arguments& args, Context& context) {
  return simple_verb(args, context, "pause", say_filled("is paused"));
}

CommandResult machine_resume(const Arguments& args, Context& context) {
  const client::Json result =
      HOZON_TRY(context.client().resume_machine(args.object, args.connect, args.instant));
  context.printer().done(result, args.object, "Machine {} goes on.{}", args.object,
                         sentences_text(result, "steps"));
  return ExitCode::kOk;
}

CommandResult machine_suspend(const Arguments& args, Context& context) {
  return simple_verb(args, context, "suspend", say_filled("is suspended"));
}

CommandResult machine_freeze(const Arguments& args, Context& context) {
  const double seconds = args.has_timeout ? args.timeout_s : kFreezeSeconds;
  const client::Json result = HOZON_TRY(
      context.client().freeze_machine(args.object, static_cast<uint64_t>(seconds * 1000)));
  context.printer().done(result, args.object,
                         "{} file systems of machine {} are frozen, for {:g} s at most.",
                         client::number_of(result, "filesystems"), args.object, seconds);
  return ExitCode::kOk;
}

CommandResult machine_thaw(const Arguments& args, Context& context) {
  return simple_verb(args, context, "thaw", say_filled("is thawed"));
}

CommandResult machine_connect(const Arguments& args, Context& context) {
  return simple_verb(args, context, "connect", say_filled("is connected to its network"));
}

CommandResult machine_shutdown(const Arguments& args, Context& context) {
  const double seconds = args.has_timeout ? args.timeout_s : kShutdownSeconds;
  const client::Json result = HOZON_TRY(
      context.client().shutdown_machine(args.object, static_cast<uint64_t>(seconds * 1000)));
  context.printer().done(result, args.object, "Machine {} is down.", args.object);
  return ExitCode::kOk;
}

CommandResult machine_kill(const Arguments& args, Context& context) {
  if (!context.confirm(args, "Power machine {} off at once?", args.object))
    return make_error(Code::kCancelled, "not confirmed; machine '{}' runs on", args.object);
  return simple_verb(args, context, "kill", say_filled("is powered off"));
}

CommandResult machine_delete(const Arguments& args, Context& context) {
  const client::Machine machine = HOZON_TRY(context.client().machine(args.object));
  if (!context.confirm(args, "Delete machine {} with its {} disks and {} snapshots?", machine.name,
                       machine.disks.size(), machine.snapshot_count))
    return make_error(Code::kCancelled, "not confirmed; machine '{}' stays", args.object);
  const client::Json result = HOZON_TRY(context.client().delete_machine(args.object));
  context.printer().done(result, args.object, "Machine {} is deleted.", args.object);
  return ExitCode::kOk;
}

}  // namespace hozon::cli
