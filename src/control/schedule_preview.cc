// What a schedule may be, and what it is going to do.
#include <algorithm>

#include "control/names.h"
#include "control/schedule_runner.h"

namespace hozon::control {
namespace {

constexpr uint64_t kSecondNs = 1'000'000'000;
constexpr uint64_t kNamesMax = 1000;
constexpr size_t kStepsMax = 200'000;  // runs times machines that a preview goes through

// Goes through the runs as they are going to come, dropping after each what the rules drop then:
// what is dropped on the way is not there any more for a later look.
PreviewedMachine walk(const std::string& name, const std::vector<ScheduledSnapshot>& present,
                      const std::vector<int64_t>& runs, const Retention& rules,
                      const TimeZone& zone) {
  PreviewedMachine machine{.machine = name, .kept = {}, .dropped = {}};
  std::vector<RetentionItem> items;
  for (const ScheduledSnapshot& snapshot : present) {
    items.push_back({static_cast<int64_t>(snapshot.due_ns / kSecondNs), snapshot.pinned});
    machine.kept.push_back(
        {.name = snapshot.name, .due_ns = snapshot.due_ns, .reasons = {}, .dropped_ns = 0});
  }
  for (const int64_t run : runs) {
    items.push_back({run, false});
    machine.kept.push_back({.name = "",
                            .due_ns = static_cast<uint64_t>(run) * kSecondNs,
                            .reasons = {},
                            .dropped_ns = 0});
    const auto reasons = retain(items, rules, zone);
    size_t left = 0;
    for (size_t i = 0; i < items.size(); ++i) {
      PreviewedSnapshot& snapshot = machine.kept[i];
      if (reasons[i].empty()) {
        snapshot.dropped_ns = static_cast<uint64_t>(run) * kSecondNs;
        machine.dropped.push_back(std::move(snapshot));
        continue;
      }
      items[left] = items[i];
      if (left != i) machine.kept[left] = std::move(snapshot);
      ++left;
    }
    items.resize(left);
    machine.kept.resize(left);
  }
  const auto reasons = retain(items, rules, zone);
  for (size_t i = 0; i < items.size(); ++i) machine.kept[i].reasons = reasons[i];
  std::ranges::sort(machine.dropped, {}, &PreviewedSnapshot::due_ns);
  return machine;
}

Status check_one_of(const std::string& what, const std::string& word,
                    const std::vector<std::string>& words) {
  if (std::ranges::find(words, word) != words.end()) return {};
  std::string known;
  for (const std::string& other : words) known += (known.empty() ? "" : ", ") + other;
  return make_error(Code::kInvalidArgument, "{} '{}' is not one of {}", what, word, known);
}

Status check_choice(const MachineChoice& choice) {
  const size_t lists = choice.names.size() + choice.tags.size() + choice.states.size();
  if (lists == 0 && !choice.all)
    return make_error(Code::kInvalidArgument,
                      "a schedule needs machines: by name, tag or state, or all of them");
  if (lists != 0 && choice.all)
    return make_error(Code::kInvalidArgument,
                      "all machines, or those of a name, tag or state: not both");
  if (lists > kNamesMax)
    return make_error(Code::kInvalidArgument,
                      "a schedule names at most {} machines, tags and states", kNamesMax);
  for (const std::string& name : choice.names)
    HOZON_TRY(check_name("machine", name, kMachineNameMax));
  for (const std::string& tag : choice.tags) HOZON_TRY(check_name("tag", tag, kTagMax));
  for (const std::string& state : choice.states)
    HOZON_TRY(check_one_of("state", state, {"up", "paused", "down"}));
  return {};
}

Status check_retention(const Retention& rules) {
  for (const uint64_t count :
       {rules.last, rules.hourly, rules.daily, rules.weekly, rules.monthly, rules.yearly})
    if (count > kRetentionMax)
      return make_error(Code::kInvalidArgument, "a schedule keeps at most {} of a kind",
                        kRetentionMax);
  if (rules.within_s > kExpirySecondsMax)
    return make_error(Code::kInvalidArgument, "a schedule keeps for at most 100 years");
  return {};
}

}  // namespace

Status check_schedule(ScheduleSettings& settings) {
  HOZON_TRY(check_description(settings.description));
  settings.rule = HOZON_TRY(ScheduleRule::parse(settings.rule)).text();
  if (settings.zone.empty()) settings.zone = TimeZone::name_of_host();
  HOZON_TRY(TimeZone::of(settings.zone));
  HOZON_TRY(check_choice(settings.machines));
  HOZON_TRY(check_one_of("kind", settings.kind, {"disk", "quiesced", "memory"}));
  HOZON_TRY(check_one_of("catch-up", settings.catch_up, {"latest", "none"}));
  HOZON_TRY(check_retention(settings.retention));
  if (settings.jitter_s > kJitterSecondsMax)
    return make_error(Code::kInvalidArgument, "a jitter is at most {} hours",
                      kJitterSecondsMax / 3600);
  if (settings.parallel < 1 || settings.parallel > kParallelMax)
    return make_error(Code::kInvalidArgument, "1 to {} machines can be at work at a time, not {}",
                      kParallelMax, settings.parallel);
  return {};
}

Result<SchedulePreview> preview_schedule(
    const ScheduleRow& schedule, const SchedulePreviewRequest& request, uint64_t now_ns,
    const std::vector<std::pair<std::string, std::vector<ScheduledSnapshot>>>& machines) {
  const ScheduleRule rule = HOZON_TRY(ScheduleRule::parse(schedule.settings.rule));
  const TimeZone zone = HOZON_TRY(TimeZone::of(schedule.settings.zone));
  if (request.runs > kPreviewRunsMax)
    return make_error(Code::kInvalidArgument, "at most {} runs are shown", kPreviewRunsMax);
  SchedulePreview preview{.schedule = schedule.name,
                          .zone = schedule.settings.zone,
                          .runs = {},
                          .until_ns = request.until_ns,
                          .machines = {}};
  const auto until_s = static_cast<int64_t>(request.until_ns / kSecondNs);
  const auto from_s = static_cast<int64_t>(std::max(now_ns, schedule.cursor_ns) / kSecondNs);
  std::vector<int64_t> runs;
  for (auto next = rule.next_after(from_s, zone); next; next = rule.next_after(*next, zone)) {
    if (preview.runs.size() < request.runs)
      preview.runs.emplace_back(static_cast<uint64_t>(*next) * kSecondNs, zone.text(*next));
    if (*next <= until_s) runs.push_back(*next);
    if (preview.runs.size() >= request.runs && *next >= until_s) break;
    if (runs.size() * std::max<size_t>(1, machines.size()) > kStepsMax)
      return make_error(Code::kInvalidArgument,
                        "that is too much to look at: name an earlier date, or one machine");
  }
  if (request.until_ns == 0) return preview;
  if (request.until_ns <= now_ns)
    return make_error(Code::kInvalidArgument, "a preview is of a date that is still to come");
  for (const auto& [name, present] : machines)
    preview.machines.push_back(walk(name, present, runs, schedule.settings.retention, zone));
  return preview;
}

}  // namespace hozon::control
