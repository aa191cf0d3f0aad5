// hozon snapshot ... (the tree is in snapshot_tree.cc)
#include <fmt/ranges.h>

#include "base/units.h"
#include "cli/commands.h"
#include "cli/plan.h"
#include "cli/sentences.h"
#include "cli/snapshot_tree.h"

namespace hozon::cli {
namespace {

void add_memory(Details& details, const client::Snapshot& snapshot) {
  constexpr uint64_t kPageBytes = 4096;
  std::string how = snapshot.memory_mode;
  if (!snapshot.memory_mode_reason.empty()) how += ": " + say_sentence(snapshot.memory_mode_reason);
  details.add("Memory", fmt::format("{} ({})", format_bytes(snapshot.ram_bytes), how));
  details.add("Guest stood still", duration_text(snapshot.stop_us));
  details.add("Saved in", duration_text(snapshot.duration_us));
  details.add("Memory read", format_bytes(snapshot.stream_bytes));
  details.add("Memory stored", say_filled("{}; left out: {} zero, {} unchanged",
                                          format_bytes(snapshot.written_bytes),
                                          format_bytes(snapshot.zero_pages * kPageBytes),
                                          format_bytes(snapshot.unchanged_pages * kPageBytes)));
}

Details snapshot_details(const client::Snapshot& snapshot) {
  Details details;
  details.add("Name", snapshot.name);
  details.add("UUID", snapshot.uuid);
  details.add("Description", snapshot.description);
  details.add("Kind", kind_text(snapshot));
  details.add("Status", snapshot.status);
  details.add("Time", time_text(snapshot.created_ns));
  details.add("Machine was", snapshot.machine_state);
  details.add("Grew from", snapshot.parent_name);
  details.add("Tags", fmt::format("{}", fmt::join(snapshot.tags, ", ")));
  details.add("In group", client::text_of(snapshot.json, "group"));
  details.add("Made by schedule", client::text_of(snapshot.json, "schedule"));
  if (snapshot.pinned) details.add("Pinned", snapshot.pin_reason);
  if (snapshot.expires_ns != 0) details.add("Expires", time_text(snapshot.expires_ns));
  details.add("Consistency", snapshot.consistency_reason.empty()
                                 ? snapshot.consistency
                                 : fmt::format("{} ({})", snapshot.consistency,
                                               say_sentence(snapshot.consistency_reason)));
  details.add("Disks", fmt::format("{}", fmt::join(snapshot.disks, ", ")));
  if (snapshot.has_memory) add_memory(details, snapshot);
  if (snapshot.exclusive_bytes)
    details.add("Frees when deleted", format_bytes(*snapshot.exclusive_bytes));
  details.add("Machine is here", snapshot.is_current ? say_filled("yes") : "");
  return details;
}

}  // namespace

CommandResult snapshot_create(const Arguments& args, Context& context) {
  client::SnapshotRequest request;
  request.name = args.second;
  request.description = args.description;
  request.with_memory = args.with_memory;
  request.disks = args.disks;
  request.settings_only = args.settings_only;
  request.tags = args.tags;
  if (!args.expires.empty()) request.expires_in_s = HOZON_TRY(parse_duration(args.expires));
  request.quiesce = args.quiesce;
  const client::Json result = HOZON_TRY(context.client().create_snapshot(args.object, request));
  const client::Snapshot made(result);
  std::string pause;
  if (made.has_memory)
    pause = say_filled(" The guest stood still for {}.", duration_text(made.stop_us));
  context.printer().done(result, made.name, "Snapshot {} of {} is safe on disk.{}", made.name,
                         args.object, pause);
  return ExitCode::kOk;
}

CommandResult snapshot_list(const Arguments& args, Context& context) {
  const std::vector<client::Snapshot> snapshots = HOZON_TRY(context.client().snapshots(
      args.object, args.with_sizes,
      context.shown("name,kind,status,created_ns,memory,exclusive_bytes,parent_name,is_current,"
                    "description")));
  client::Json items = client::Json::array();
  std::vector<std::string> names;
  for (const client::Snapshot& snapshot : snapshots) {
    items.push_back(snapshot.json);
    names.push_back(snapshot.name);
  }
  context.printer().list(items, names, [&] {
    Table table({"NAME", "KIND", "STATUS", "TIME", "SIZE", "PAUSE", "GREW FROM", "DESCRIPTION"});
    for (const client::Snapshot& snapshot : snapshots)
      table.add({snapshot.name + (snapshot.is_current ? " *" : ""), kind_text(snapshot),
                 snapshot.status, time_text(snapshot.created_ns), size_text(snapshot),
                 pause_text(snapshot), snapshot.parent_name, snapshot.description});
    return table;
  });
  return ExitCode::kOk;
}

CommandResult snapshot_tree(const Arguments& args, Context& context) {
  const client::Machine machine = HOZON_TRY(context.client().machine(args.object));
  const std::vector<client::Snapshot> snapshots = HOZON_TRY(context.client().snapshots(
      args.object, true,
      context.shown("uuid,name,kind,status,parent,created_ns,memory,exclusive_bytes,"
                    "description")));
  const SnapshotTree tree(machine, snapshots);
  std::vector<std::string> names;
  for (const client::Snapshot& snapshot : snapshots) names.push_back(snapshot.name);
  context.printer().list(tree.to_json(), names, [&tree] { return tree.to_table(); });
  return ExitCode::kOk;
}

CommandResult snapshot_show(const Arguments& args, Context& context) {
  if (args.details) return snapshot_show_details(args, context);
  const client::Snapshot snapshot = HOZON_TRY(context.client().snapshot(args.object, args.second));
  context.printer().object(snapshot.json, snapshot.name, snapshot_details(snapshot).render());
  return ExitCode::kOk;
}

CommandResult snapshot_return(const Arguments& args, Context& context) {
  client::ReturnRequest how;
  how.has_parts = !args.disks.empty() || args.settings || args.with_memory;
  how.disks = args.disks;
  how.settings = args.settings;
  how.memory = args.with_memory;
  how.disks_only = args.disks_only;
  how.discard_newer = args.discard_newer;
  how.state = args.state;
  how.instant = args.instant;
  how.reset_nvram = args.reset_nvram;
  if (!args.plan) {
    const client::Json plan =
        HOZON_TRY(context.client().plan_return(args.object, args.second, how));
    HOZON_TRY(client::refusal_of(plan));
    for (const std::string& change : settings_sentences(plan)) context.remark_that(change);
    for (const std::string& lost : client::texts_of(plan, "removes"))
      context.note("{} goes to the trash", say_sentence(lost));
  }
  if (!context.confirm(args, "Take {} back to {}? Its present state is kept.", args.object,
                       args.second))
    return make_error(Code::kCancelled, "not confirmed; machine '{}' stays", args.object);
  const client::Json result = HOZON_TRY(context.client().return_to(args.object, args.second, how));
  const std::string kept = client::text_of(result, "kept");
  context.printer().done(result, args.second, "Machine {} is back at {}.{}{}", args.object,
                         args.second,
                         kept.empty() ? "" : say_filled(" The state it left is snapshot {}.", kept),
                         sentences_text(result, "steps"));
  return ExitCode::kOk;
}

CommandResult snapshot_preview(const Arguments& args, Context& context) {
  client::PreviewRequest request{
      .settings = args.settings_from, .memory = args.memory_from, .disks = {}};
  for (const std::string& text : args.disks) {
    const size_t at = text.find('=');
    if (at == std::string::npos || at == 0 || at + 1 == text.size())
      return make_error(Code::kInvalidArgument, "'{}' is not DISK=SNAPSHOT", text);
    if (!request.disks.emplace(text.substr(0, at), text.substr(at + 1)).second)
      return make_error(Code::kInvalidArgument, "disk '{}' is given twice", text.substr(0, at));
  }
  const client::Json result =
      HOZON_TRY(context.client().preview(args.object, args.second, request));
  context.printer().done(result, args.second, "Machine {} is in preview of {}.{}", args.object,
                         args.second, sentences_text(result, "steps"));
  return ExitCode::kOk;
}

CommandResult snapshot_commit(const Arguments& args, Context& context) {
  if (!context.confirm(args, "Keep what machine {} is in preview of?", args.object))
    return make_error(Code::kCancelled, "not confirmed; machine '{}' stays in preview",
                      args.object);
  const client::Json result =
      HOZON_TRY(context.client().commit_preview(args.object, args.discard_newer));
  const std::vector<std::string> discarded = client::texts_of(result, "discarded");
  context.printer().done(
      result, args.object,
      "Machine {} stays as it is. The state before the preview is snapshot {}.{}", args.object,
      client::text_of(result, "kept"),
      discarded.empty()
          ? ""
          : "\n  " + say_filled("in the trash: {}", fmt::format("{}", fmt::join(discarded, ", "))));
  return ExitCode::kOk;
}

CommandResult snapshot_undo(const Arguments& args, Context& context) {
  if (!context.confirm(args, "Give up what machine {} did in the preview?", args.object))
    return make_error(Code::kCancelled, "not confirmed; machine '{}' stays in preview",
                      args.object);
  const client::Json result = HOZON_TRY(context.client().undo_preview(args.object));
  context.printer().done(result, args.object, "Machine {} is as it was before the preview.",
                         args.object);
  return ExitCode::kOk;
}

CommandResult snapshot_clone(const Arguments& args, Context& context) {
  const client::Json result =
      HOZON_TRY(context.client().clone_snapshot(args.object, args.second,
                                                {.new_name = args.third,
                                                 .description = args.description,
                                                 .pool = args.pool,
                                                 .with_memory = args.with_memory,
                                                 .full = args.full}));
  context.printer().done(result, args.third, "Machine {} is a clone of {} at {}.{}", args.third,
                         args.object, args.second, sentences_text(result, "notes"));
  return ExitCode::kOk;
}

CommandResult snapshot_rename(const Arguments& args, Context& context) {
  const client::Json result =
      HOZON_TRY(context.client().rename_snapshot(args.object, args.second, args.third));
  context.printer().done(result, args.third, "Snapshot {} of {} is called {} now.", args.second,
                         args.object, args.third);
  return ExitCode::kOk;
}

CommandResult snapshot_describe(const Arguments& args, Context& context) {
  const client::Json result =
      HOZON_TRY(context.client().describe_snapshot(args.object, args.second, args.third));
  context.printer().done(result, args.second, "Snapshot {} of {} has its new description.",
                         args.second, args.object);
  return ExitCode::kOk;
}

namespace {

bool confirm_delete(const Arguments& args, Context& context) {
  const std::string names = fmt::format("{}", fmt::join(args.others, ", "));
  if (args.all)
    return context.confirm(args, "Delete all snapshots of {} that are not pinned?", args.object);
  if (args.subtree)
    return context.confirm(args, "Delete {} of {} and what grew from there?", names, args.object);
  if (args.others.size() == 1)
    return context.confirm(args, "Delete snapshot {} of {}?", names, args.object);
  return context.confirm(args, "Delete snapshots {} of {}?", names, args.object);
}

}  // namespace

CommandResult snapshot_delete(const Arguments& args, Context& context) {
  if (!confirm_delete(args, context))
    return make_error(Code::kCancelled, "not confirmed; nothing was deleted");
  client::DeleteRequest request;
  request.snapshots = args.others;
  request.all_unpinned = args.all;
  request.subtree = args.subtree;
  request.for_good = args.for_good;
  request.metadata_only = args.metadata_only;
  const client::Json result = HOZON_TRY(context.client().delete_snapshots(args.object, request));
  const std::vector<std::string> deleted = client::texts_of(result, "deleted");
  if (context.printer().format() == Format::kName) {
    context.printer().list(result, deleted, nullptr);
    return ExitCode::kOk;
  }
  const std::string names = fmt::format("{}", fmt::join(deleted, ", "));
  const bool one = deleted.size() == 1;
  context.printer().done(result, names, "Snapshot{} {} of {} {} deleted.", one ? "" : "s", names,
                         args.object, one ? "is" : "are");
  if (args.metadata_only)
    context.note("their points stay until `hozon snapshot trash empty {}` reclaims them",
                 args.object);
  else if (!args.for_good && context.interactive())
    context.note("until {}, `hozon machine undo {}` brings back what was deleted",
                 time_text(client::number_of(result, "trash_until_ns")), args.object);
  return ExitCode::kOk;
}

}  // namespace hozon::cli
