#include "api/description.h"

#include "control/groups.h"
#include "control/names.h"
#include "control/schedule.h"
#include "control/schedule_rule.h"
#include "control/types.h"

namespace hozon::api {
namespace {

using enum FieldType;

Field text(std::string name, std::string help, uint64_t most = 0) {
  return {.name = std::move(name), .type = kText, .help = std::move(help), .most = most};
}
Field number(std::string name, std::string help, uint64_t most = 0) {
  return {.name = std::move(name), .type = kNumber, .help = std::move(help), .most = most};
}
Field flag(std::string name, std::string help) {
  return {.name = std::move(name), .type = kFlag, .help = std::move(help)};
}
Field texts(std::string name, std::string help, uint64_t most = 0) {
  return {.name = std::move(name), .type = kTexts, .help = std::move(help), .most = most};
}
Field one_of(std::string name, std::string help, std::vector<std::string> values) {
  return {
      .name = std::move(name), .type = kText, .help = std::move(help), .values = std::move(values)};
}
Field required(Field field) {
  field.required = true;
  return field;
}

const Field kDescription = text("description", "For people", control::kDescriptionMax);
const Field kTags = texts("tags", "For people and filters", control::kTagsMax);
const Field kNewSnapshotName =
    required(text("new_name", "The new name", control::kSnapshotNameMax));
const Field kDiscardNewer = flag("discard_newer", "What grew from the snapshot goes to the trash");
const Field kConnect = flag("connect", "Its network links are up at once");
const Field kInstant = flag("instant", "Its memory comes page by page, when the guest touches it");
constexpr uint64_t kSmallNumberMax = std::numeric_limits<unsigned>::max() / 2;

std::vector<RouteDescription> of_instance() {
  return {
      {"GET", "/v1", "Name and version of the program, directory of the instance", {}, "Info"},
      {"GET", "/v1/openapi.json", "This document"},
      {"GET", "/healthz", "Whether hozond can work; needs no token"},
      {"GET", "/metrics", "Figures in Prometheus' text format"},
      {"GET", "/v1/events", "Server-sent events: every change of every object", {}, "Event"},
      {"GET",
       "/v1/jobs",
       "Jobs, newest first",
       {},
       "Job",
       true,
       {"kind", "object", "state", "owner"}},
      {"GET",
       "/v1/jobs/{job}",
       "A job; with wait_ms when it has ended, or after that time",
       {},
       "Job"},
      {"POST", "/v1/jobs/{job}/cancel", "Ask a job to stop and take back what it began", {}, "Job"},
  };
}

std::vector<RouteDescription> of_access() {
  const Field rights = texts("rights", "read, operate, snapshot, return, admin", 5);
  return {
      {"GET",
       "/v1/tokens",
       "Tokens, revoked ones too",
       {},
       "Token",
       true,
       {"name", "state", "rights"}},
      {"POST",
       "/v1/tokens",
       "Make a token; its secret is in this answer and nowhere else",
       {required(text("name", "Letters, digits, '.', '_' and '-'", 64)), rights,
        number("expires_in_s", "0: never", control::kExpirySecondsMax)}},
      {"DELETE", "/v1/tokens/{token}", "Revoke a token", {}, "Token"},
      {"GET", "/v1/peers", "Users of this host with rights of their own", {}, "Peer", true},
      {"PUT",
       "/v1/peers/{user}",
       "Say what a user of this host may do",
       {required(rights)},
       "Peer"},
      {"DELETE", "/v1/peers/{user}", "Take a user's rights away"},
      {"GET",
       "/v1/audit",
       "Every call that could change something, newest first",
       {},
       "AuditEntry",
       true,
       {"who", "method", "path", "code", "status", "job"}},
  };
}

std::vector<RouteDescription> of_storage() {
  const Field new_volume =
      required(text("new_name", "Name of the new volume", control::kVolumeNameMax));
  const Field size = number("size_bytes", "A multiple of 512", control::kVolumeBytesMax);
  return {
      {"GET", "/v1/pools", "Pools", {}, "Pool", true, {"name", "state"}},
      {"GET", "/v1/pools/{pool}", "A pool", {}, "Pool"},
      {"POST",
       "/v1/pools",
       "Make a pool",
       {required(text("name", "Letters, digits, '.', '_' and '-'", control::kPoolNameMax)),
        required(number("size_bytes", "How large it may become"))},
       "Pool"},
      {"DELETE", "/v1/pools/{pool}", "Delete a pool"},
      {"POST",
       "/v1/pools/{pool}/check",
       "Verify its structure while it is served",
       {flag("data", "Read and verify all data, too")},
       "PoolCheck"},
      {"POST",
       "/v1/pools/{pool}/scrub",
       "Read and verify everything, in the background",
       {number("bytes_per_second", "At most; 0: no bound")}},
      {"GET", "/v1/volumes", "Volumes", {}, "Volume", true, {"name", "machine"}},
      {"GET", "/v1/volumes/{volume}", "A volume", {}, "Volume"},
      {"GET", "/v1/volumes/{volume}/uri", "Where it is served: an NBD URI"},
      {"GET",
       "/v1/volumes/{volume}/points",
       "Its points, oldest first",
       {},
       "Point",
       true,
       {"name", "kind"}},
      {"GET",
       "/v1/volumes/{volume}/diff",
       "What differs between two points, in pages",
       {},
       "VolumeDiff"},
      {"POST",
       "/v1/volumes",
       "Make a volume, empty or from an image",
       {required(text("name", "Letters, digits, '.', '_' and '-'", control::kVolumeNameMax)),
        text("pool", "The pool that stores it", control::kPoolNameMax), size,
        text("from", "Absolute path of an image file")},
       "Volume"},
      {"POST",
       "/v1/volumes/{volume}/resize",
       "Change its size",
       {required(size), flag("allow_shrink", "It may become smaller, when the end is empty")},
       "Volume"},
      {"POST",
       "/v1/volumes/{volume}/defragment",
       "Put its scattered blocks in order, in the background",
       {number("bytes_per_second", "At most; 0: no bound")}},
      {"POST",
       "/v1/volumes/{volume}/snapshot",
       "Keep the state of volumes, all at one instant",
       {required(text("name", "Of the point", control::kPointNameMax)),
        texts("with", "Further volumes of the same pool", 1000)}},
      {"POST",
       "/v1/volumes/{volume}/clone",
       "Make a new volume from a point",
       {new_volume, text("point", "Empty: the volume as it is now", control::kPointNameMax)},
       "Volume"},
      {"POST",
       "/v1/volumes/{volume}/export",
       "Write a volume or a point to a file",
       {required(text("path", "Absolute path of the file")),
        text("point", "Empty: the volume as it is now", control::kPointNameMax),
        one_of("format", "Of the file", {"raw", "qcow2"}), flag("force", "Replace the file"),
        flag("verify", "Read both again and compare")}},
      {"POST",
       "/v1/volumes/{volume}/return",
       "Take it back to a point",
       {required(text("point", "Name of the point", control::kPointNameMax))}},
      {"DELETE", "/v1/volumes/{volume}", "Delete a volume"},
      {"DELETE", "/v1/volumes/{volume}/points/{point}", "Delete a point"},
  };
}

std::vector<RouteDescription> of_machines() {
  const std::string one = "/v1/machines/{machine}";
  const Field disks = {
      .name = "disks",
      .type = kObjects,
      .help = "They become vda, vdb, ... in this order",
      .most = 26,
      .fields = {number("size_bytes", "A multiple of 512; with an image at least its size",
                        control::kVolumeBytesMax),
                 text("image", "Absolute path of an image file")}};
  return {
      {"GET",
       "/v1/machines",
       "Machines",
       {},
       "Machine",
       true,
       {"name", "uuid", "state", "status", "pool", "firmware", "tags"}},
      {"GET", one, "A machine", {}, "Machine"},
      {"POST",
       "/v1/machines",
       "Make a machine",
       {required(text("name", "Letters, digits, '.', '_' and '-'", control::kMachineNameMax)),
        kDescription, text("pool", "The pool of its disks", control::kPoolNameMax),
        number("memory_bytes", "Of the guest"), number("cpus", "Of the guest", kSmallNumberMax),
        number("nic_count", "Network interfaces", kSmallNumberMax), disks,
        text("kernel", "Absolute path of a kernel that it boots"),
        text("initrd", "Absolute path of its initial RAM disk"),
        text("append", "The kernel's command line"),
        one_of("firmware", "What it boots with", {"bios", "uefi", "uefi-secure"}),
        flag("tpm", "With a TPM 2.0"), kTags,
        text("template", "What it is made from", control::kMachineNameMax),
        text("return_on_shutdown", "A snapshot of this name is made; it returns to that when down",
             control::kSnapshotNameMax)},
       "Machine"},
      {"POST",
       one + "/start",
       "Start it",
       {flag("paused", "Stand still at the first instruction")},
       "Machine"},
      {"POST",
       one + "/shutdown",
       "Press its power button and wait",
       {number("timeout_ms", "How long it may take", kSmallNumberMax)},
       "Machine"},
      {"POST", one + "/pause", "Let the guest stand still", {}, "Machine"},
      {"POST", one + "/resume", "Let a paused or suspended guest go on", {kConnect, kInstant}},
      {"POST", one + "/suspend", "Keep its memory and end it", {}, "Machine"},
      {"POST",
       one + "/freeze",
       "Freeze the guest's file systems for a moment",
       {number("hold_ms", "At most so long", kSmallNumberMax)}},
      {"POST", one + "/thaw", "Thaw the guest's file systems"},
      {"POST", one + "/connect", "Plug its network in", {}, "Machine"},
      {"POST", one + "/kill", "Switch it off at once", {}, "Machine"},
      {"POST", one + "/undo", "Undo its last return or deletion"},
      {"POST",
       one + "/quota",
       "How many snapshots it may have",
       {required(number("snapshots", "0: any number", kSmallNumberMax))},
       "Machine"},
      {"POST", one + "/tag", "Set its tags, by which schedules choose it", {kTags}, "Machine"},
      {"POST",
       one + "/initial",
       "Say to which snapshot it returns whenever it goes down",
       {required(text("snapshot", "Empty: none", control::kSnapshotNameMax))},
       "Machine"},
      {"GET", one + "/sizes",
       "What its snapshots cost, one by one and together; ?snapshots=a,b: only these, with a "
       "backslash before a comma that is part of a name"},
      {"DELETE", one, "Delete it with its disks and snapshots"},
  };
}

std::vector<RouteDescription> of_snapshots() {
  const std::string machine = "/v1/machines/{machine}";
  const std::string all = machine + "/snapshots";
  const std::string one = all + "/{snapshot}";
  const Field parts = {
      .name = "parts",
      .type = kObject,
      .help = "Only these; what is not named stays as it is now",
      .fields = {texts("disks", "vda, or all", 26), flag("settings", "Memory size, ..."),
                 flag("memory", "With settings and all disks only")}};
  return {
      {"GET",
       all,
       "Its snapshots, oldest first",
       {},
       "Snapshot",
       true,
       {"name", "uuid", "kind", "status", "tags", "pinned", "parent_name"}},
      {"GET", one, "A snapshot", {}, "Snapshot"},
      {"GET",
       one + "/details",
       "General, disks, network interfaces and installed applications",
       {},
       "SnapshotDetails"},
      {"GET", one + "/filesystems", "File systems on its disks", {}, "Filesystem", true, {"disk"}},
      {"GET",
       one + "/files",
       "A directory of it, by place: vda1:/etc, or /etc when only one file system has that",
       {},
       "FileEntry",
       true,
       {"kind", "name"}},
      {"GET", one + "/content", "A file of it, or with as=tar all that is at a place"},
      {"POST",
       all,
       "Keep the machine's state of this instant",
       {text("name", "Empty: made from the time", control::kSnapshotNameMax), kDescription,
        flag("with_memory", "The guest goes on where it was"),
        one_of("quiesce", "Freeze the guest's file systems", {"", "require", "try", "skip"}),
        texts("disks", "Only these: vda, vdb, ...", 26), flag("settings_only", "No disk"), kTags,
        number("expires_in_s", "0: never", control::kExpirySecondsMax)},
       "Snapshot"},
      {"POST",
       machine + "/delete-snapshots",
       "Delete several",
       {texts("snapshots", "Their names"), flag("subtree", "And all that grew from them"),
        flag("all_unpinned", "All of the machine's that are not pinned"),
        number("ttl_s", "In the trash; 0: for good", control::kTrashSecondsMax),
        flag("metadata_only", "Only the record: the points stay until the trash is emptied")}},
      {"DELETE", one, "Delete one: it goes to the trash"},
      {"POST", one + "/tag", "Set its tags", {kTags}, "Snapshot"},
      {"POST",
       one + "/expire",
       "Say when it goes to the trash by itself",
       {required(number("in_s", "0: never", control::kExpirySecondsMax))},
       "Snapshot"},
      {"POST",
       one + "/pin",
       "Protect it from being deleted and from expiring",
       {required(text("reason", "Shown to whoever wants to delete it", control::kDescriptionMax))},
       "Snapshot"},
      {"POST", one + "/unpin", "Take the protection away", {}, "Snapshot"},
      {"GET",
       machine + "/trash",
       "Deleted snapshots that can come back",
       {},
       "Snapshot",
       true,
       {"name", "kind"}},
      {"DELETE", machine + "/trash", "Delete them for good"},
      {"POST", machine + "/trash/{snapshot}/restore", "Bring one back"},
      {"GET",
       machine + "/diff",
       "What differs between two snapshots, or one and now",
       {},
       "SnapshotDiff"},
      {"POST",
       one + "/preview",
       "Try it out: a return that is not decided yet",
       {text("settings", "A snapshot, or current"),
        text("memory", "A snapshot, or none"),
        {.name = "disks", .type = kTextsByName, .help = "Disks of other snapshots", .most = 26}}},
      {"POST", machine + "/preview/commit", "Keep what is in preview", {kDiscardNewer}},
      {"POST", machine + "/preview/undo", "Leave the preview: all is as it was"},
      {"POST",
       one + "/return",
       "Take the machine back to it",
       {parts, kDiscardNewer, flag("disks_only", "Without its memory"),
        one_of("state", "As what it ends",
               {"", "as-captured", "running", "paused", "suspended", "down"}),
        kInstant, flag("reset_nvram", "With the firmware's variables of a new machine")}},
      {"POST",
       one + "/clone",
       "Make a new machine from it",
       {required(text("new_name", "Name of the new machine", control::kMachineNameMax)),
        kDescription, flag("with_memory", "It sleeps where the snapshot was made"),
        flag("full", "Share nothing with the original"),
        text("pool", "Of a full clone", control::kPoolNameMax)}},
      {"POST", one + "/rename", "Rename it", {kNewSnapshotName}, "Snapshot"},
      {"POST", one + "/describe", "Change its description", {required(kDescription)}, "Snapshot"},
  };
}

std::vector<Field> schedule_fields() {
  const Field machines = {
      .name = "machines",
      .type = kObject,
      .help = "Which it chooses, each time it runs",
      .fields = {texts("names", "Of these names", 1000),
                 texts("tags", "With one of these tags", 1000),
                 texts("states", "up, paused, down", 1000), flag("all", "All of them")}};
  const Field retention = {
      .name = "retention",
      .type = kObject,
      .help = "What stays; all that any of them names, and the newest",
      .fields = {number("last", "The newest so many", control::kRetentionMax),
                 number("within_s", "As old as this at most", control::kExpirySecondsMax),
                 number("hourly", "One of each of so many hours", control::kRetentionMax),
                 number("daily", "Of days", control::kRetentionMax),
                 number("weekly", "Of weeks", control::kRetentionMax),
                 number("monthly", "Of months", control::kRetentionMax),
                 number("yearly", "Of years", control::kRetentionMax)}};
  return {kDescription,
          text("rule", "When: 'daily at 02:00', 'weekly on mon at 02:00', 'hourly', 'cron ...'",
               control::ScheduleRule::kTextMax),
          text("zone", "Time zone, such as Europe/Berlin", 64),
          machines,
          one_of("kind", "Of its snapshots", {"disk", "quiesced", "memory"}),
          retention,
          number("jitter_s", "Each machine's turn comes up to so much later",
                 control::kJitterSecondsMax),
          number("parallel", "Machines at a time", control::kParallelMax),
          one_of("catch_up", "What to do about missed runs", {"latest", "none"})};
}

std::vector<RouteDescription> of_collections() {
  const std::string schedule = "/v1/schedules/{schedule}";
  std::vector<Field> created = {required(text("name", "Its name", control::kScheduleNameMax)),
                                flag("enabled", "Whether it runs")};
  for (const Field& field : schedule_fields()) created.push_back(field);
  return {
      {"GET", "/v1/schedules", "Schedules", {}, "", true, {"name", "enabled"}},
      {"GET", schedule, "A schedule and its latest runs"},
      {"GET", schedule + "/preview", "Its next runs, and what will be kept"},
      {"POST", "/v1/schedules", "Make a schedule", created},
      {"POST", schedule + "/edit", "Change what is given", schedule_fields()},
      {"POST", schedule + "/enable", "Let it run"},
      {"POST", schedule + "/disable", "Do not let it run"},
      {"POST", schedule + "/run", "Run it once, now"},
      {"DELETE", schedule, "Delete it; its snapshots stay"},
      {"GET", "/v1/templates", "Templates", {}, "", true, {"name", "pool"}},
      {"GET", "/v1/templates/{template}", "A template"},
      {"POST",
       "/v1/templates",
       "Make a template from a snapshot or a machine",
       {required(text("name", "Its name", control::kMachineNameMax)),
        required(text("machine", "Name or uuid")),
        text("snapshot", "Empty: the machine as it is now", control::kSnapshotNameMax),
        kDescription}},
      {"DELETE", "/v1/templates/{template}", "Delete it; machines made from it stay"},
      {"GET",
       "/v1/groups",
       "Groups: snapshots of several machines of one instant",
       {},
       "",
       true,
       {"name"}},
      {"GET", "/v1/groups/{group}", "A group"},
      {"POST",
       "/v1/groups",
       "Snapshot several machines at one instant",
       {required(text("name", "Of the group and of each snapshot", control::kSnapshotNameMax)),
        required(texts("machines", "Names or uuids", control::kGroupMachinesMax)), kDescription,
        one_of("quiesce", "Freeze the guests' file systems", {"", "require", "try", "skip"}), kTags,
        number("expires_in_s", "0: never", control::kExpirySecondsMax)}},
      {"POST",
       "/v1/groups/{group}/return",
       "Take all of its machines back",
       {one_of("state", "As what they end",
               {"", "as-captured", "running", "paused", "suspended", "down"})}},
      {"DELETE", "/v1/groups/{group}", "Delete its snapshots, all or none"},
      {"GET", "/v1/pools/{pool}/sizes", "Who uses how much of it"},
  };
}

std::string where_of(const std::string& path, const Field& field) {
  return path.empty() ? field.name : path + "." + field.name;
}

Status check_text(const Json& value, const Field& field, const std::string& where) {
  const std::string content = value.get<std::string>();
  const uint64_t most = field.most == 0 || field.type != kText ? kTextMax : field.most;
  if (content.size() > most)
    return make_error(Code::kInvalidArgument, "field '{}' is longer than {} bytes", where, most);
  if (field.values.empty() || field.type != kText) return {};
  for (const std::string& allowed : field.values)
    if (content == allowed) return {};
  std::string choices;
  for (const std::string& allowed : field.values)
    if (!allowed.empty()) choices += (choices.empty() ? "" : ", ") + allowed;
  return make_error(Code::kInvalidArgument, "field '{}' cannot be '{}'; use one of {}", where,
                    content, choices);
}

Status check_items(const Json& value, const Field& field, const std::string& where) {
  const uint64_t most = field.most == 0 ? kItemsMax : field.most;
  if (value.size() > most)
    return make_error(Code::kInvalidArgument, "field '{}' has more than {} items", where, most);
  return {};
}

Status check_fields(const std::vector<Field>& fields, const Json& object, const std::string& path);

// Types other than the one wanted are left to the handler, which has the words for them.
Status check_field(const Field& field, const Json& value, const std::string& where) {
  switch (field.type) {
    case kText:
      if (value.is_string()) return check_text(value, field, where);
      return {};
    case kNumber: {
      const uint64_t most = field.most == 0 ? kNumberMax : field.most;
      if (value.is_number_unsigned() && value.get<uint64_t>() > most)
        return make_error(Code::kInvalidArgument, "field '{}' is at most {}", where, most);
      return {};
    }
    case kFlag: return {};
    case kTexts:
    case kTextsByName:
      if (!value.is_array() && !value.is_object()) return {};
      HOZON_TRY(check_items(value, field, where));
      for (const Json& item : value)
        if (item.is_string()) HOZON_TRY(check_text(item, field, where));
      return {};
    case kObject: return value.is_object() ? check_fields(field.fields, value, where) : Status();
    case kObjects:
      if (!value.is_array()) return {};
      HOZON_TRY(check_items(value, field, where));
      for (const Json& item : value)
        if (item.is_object()) HOZON_TRY(check_fields(field.fields, item, where));
      return {};
  }
  return {};
}

Status check_fields(const std::vector<Field>& fields, const Json& object, const std::string& path) {
  for (const auto& [name, value] : object.items()) {
    const Field* known = nullptr;
    std::string names;
    for (const Field& field : fields) {
      if (field.name == name) known = &field;
      names += (names.empty() ? "" : ", ") + field.name;
    }
    if (known == nullptr)
      return make_error(Code::kInvalidArgument, "unknown field '{}' in {}; {}", name,
                        path.empty() ? "the request" : "'" + path + "'",
                        names.empty() ? "it has none" : "known are " + names);
    HOZON_TRY(check_field(*known, value, where_of(path, *known)));
  }
  for (const Field& field : fields) {
    if (!field.required || (object.contains(field.name) && !object.at(field.name).is_null()))
      continue;
    return make_error(Code::kInvalidArgument, "field '{}' of {} is missing", field.name,
                      path.empty() ? "the request" : "'" + path + "'");
  }
  return {};
}

}  // namespace

const std::vector<RouteDescription>& route_descriptions() {
  static const std::vector<RouteDescription> kAll = [] {
    std::vector<RouteDescription> all;
    for (auto part : {of_instance(), of_access(), of_storage(), of_machines(), of_snapshots(),
                      of_collections()})
      for (RouteDescription& route : part) all.push_back(std::move(route));
    return all;
  }();
  return kAll;
}

const RouteDescription* find_description(const std::string& method, const std::string& pattern) {
  for (const RouteDescription& route : route_descriptions())
    if (route.method == method && route.pattern == pattern) return &route;
  return nullptr;
}

Status check_body(const RouteDescription& route, std::string_view body) {
  if (body.empty()) return check_fields(route.fields, Json::object(), "");
  const Json parsed = HOZON_TRY(parse_json(body));
  if (!parsed.is_object()) return {};
  return check_fields(route.fields, parsed, "");
}

}  // namespace hozon::api
