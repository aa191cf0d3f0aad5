#include "control/explain.h"

#include <algorithm>
#include <span>
#include <string_view>

#include "base/result.h"

namespace hozon::control {
namespace {

using Operations = std::span<const std::string_view>;

constexpr PowerState kStates[] = {PowerState::kDown,     PowerState::kUp,
                                  PowerState::kPaused,   PowerState::kSuspended,
                                  PowerState::kStarting, PowerState::kStopping};

constexpr std::string_view kWhenDown[] = {"start",           "delete",         "snapshot.create",
                                          "snapshot.return", "snapshot.clone", "snapshot.delete",
                                          "snapshot.preview"};
constexpr std::string_view kWhenUp[] = {
    "pause",           "suspend",         "shutdown",       "kill",           "snapshot.create",
    "snapshot.memory", "snapshot.return", "snapshot.clone", "snapshot.delete"};
constexpr std::string_view kWhenPaused[] = {"resume",          "suspend",         "kill",
                                            "snapshot.create", "snapshot.memory", "snapshot.return",
                                            "snapshot.clone",  "snapshot.delete"};
constexpr std::string_view kWhenBetween[] = {"kill"};
// Of a machine whose state is kept and whose QEMU is gone.
constexpr std::string_view kWhenAsleep[] = {
    "resume", "delete", "snapshot.return", "snapshot.clone", "snapshot.delete", "snapshot.preview"};

Operations allowed_in(PowerState state, bool asleep) {
  switch (state) {
    case PowerState::kDown: return kWhenDown;
    case PowerState::kUp: return kWhenUp;
    case PowerState::kPaused: return kWhenPaused;
    case PowerState::kSuspended: return asleep ? Operations(kWhenAsleep) : kWhenBetween;
    case PowerState::kStarting:
    case PowerState::kStopping: return kWhenBetween;
  }
  return {};
}

bool is_among(Operations operations, std::string_view operation) {
  return std::ranges::find(operations, operation) != operations.end();
}

bool has(const std::vector<std::string>& words, const std::string& word) {
  return std::ranges::find(words, word) != words.end();
}

BlockedOperation busy(const std::string& operation, const std::string& subject, const Lock& lock) {
  return {operation, Code::kBusy,
          fmt::format("{} is busy: job {} ({}) works on it", subject, lock.job, lock.reason),
          fmt::format("hozon job watch {}", lock.job)};
}

// The command that brings a machine from `now` into a state that allows the operation.
std::string way_to(const Machine& machine, std::string_view operation) {
  const bool runs = machine.state == PowerState::kUp;
  const bool asleep = is_asleep(machine);
  const auto allows = [&](PowerState state) {
    return is_among(allowed_in(state, asleep), operation);
  };
  if (asleep) return "hozon machine resume " + machine.name;
  if (allows(PowerState::kUp) && machine.state == PowerState::kDown)
    return "hozon machine start " + machine.name;
  if (allows(PowerState::kUp) && !runs) return "hozon machine resume " + machine.name;
  if (allows(PowerState::kPaused) && runs) return "hozon machine pause " + machine.name;
  if (allows(PowerState::kPaused) && machine.state == PowerState::kDown)
    return "hozon machine start " + machine.name + " --paused";
  if (allows(PowerState::kDown))
    return (runs ? "hozon machine shutdown " : "hozon machine kill ") + machine.name;
  return "";
}

}  // namespace

bool is_asleep(const Machine& machine) {
  return machine.state == PowerState::kSuspended && machine.pid == 0;
}

std::string remedy_of(const std::string& sentence) {
  const size_t begin = sentence.find("`hozon ");
  if (begin == std::string::npos) return "";
  const size_t end = sentence.find('`', begin + 1);
  return end == std::string::npos ? "" : sentence.substr(begin + 1, end - begin - 1);
}

namespace {

// Every operation that some state allows and the machine does not.
void explain_state(Machine& machine) {
  const bool asleep = is_asleep(machine);
  const std::string subject = fmt::format("machine '{}'", machine.name);
  const std::string reason = fmt::format("{} is {}", subject, power_state_name(machine.state));
  const Operations allowed = machine.lock ? Operations() : allowed_in(machine.state, asleep);
  machine.allowed_operations.assign(allowed.begin(), allowed.end());
  machine.blocked_operations.clear();
  std::vector<std::string_view> seen(allowed.begin(), allowed.end());
  for (const PowerState state : kStates) {
    for (const std::string_view operation : allowed_in(state, asleep)) {
      if (is_among(seen, operation)) continue;
      seen.push_back(operation);
      if (machine.lock)
        machine.blocked_operations.push_back(busy(std::string(operation), subject, *machine.lock));
      else
        machine.blocked_operations.push_back(
            {std::string(operation), Code::kWrongState, reason, way_to(machine, operation)});
    }
  }
}

// What a preview forbids, and what only it allows.
void explain_preview(Machine& machine) {
  const std::string subject = fmt::format("machine '{}'", machine.name);
  for (const char* operation : {"snapshot.commit", "snapshot.undo"}) {
    if (machine.preview && !machine.lock)
      machine.allowed_operations.emplace_back(operation);
    else if (machine.lock)
      machine.blocked_operations.push_back(busy(operation, subject, *machine.lock));
    else
      machine.blocked_operations.push_back({operation, Code::kWrongState,
                                            subject + " is not in preview",
                                            "hozon snapshot preview " + machine.name + " NAME"});
  }
  if (!machine.preview) return;
  for (const char* operation : {"delete", "snapshot.create", "snapshot.memory", "snapshot.return",
                                "snapshot.delete", "snapshot.preview"}) {
    if (std::erase(machine.allowed_operations, operation) == 0) continue;
    machine.blocked_operations.push_back(
        {operation, Code::kWrongState,
         fmt::format("{} is in preview of '{}'", subject, machine.preview->snapshot),
         "hozon snapshot undo " + machine.name});
  }
}

}  // namespace

void explain_machine(Machine& machine) {
  explain_state(machine);
  explain_preview(machine);
}

void explain_snapshot(Snapshot& snapshot, const std::optional<Lock>& lock) {
  const std::string who = snapshot.machine + " " + snapshot.name;
  const std::string subject =
      fmt::format("snapshot '{}' of machine '{}'", snapshot.name, snapshot.machine);
  const auto block = [&](const char* operation, const std::string& reason,
                         const std::string& remedy) {
    snapshot.blocked_operations.push_back({operation, Code::kWrongState, reason, remedy});
  };
  for (const char* operation : {"return", "preview", "clone", "rename", "describe", "tag", "expire",
                                "pin", "unpin", "delete"}) {
    const std::string word = operation;
    if (lock)
      snapshot.blocked_operations.push_back(
          busy(operation, fmt::format("machine '{}'", snapshot.machine), *lock));
    else if (snapshot.status == "in_preview" && has({"preview", "return", "clone", "delete"}, word))
      block(operation, subject + " is in preview", "hozon snapshot undo " + snapshot.machine);
    else if (word == "delete" && snapshot.pinned)
      block(operation, fmt::format("{} is pinned ({})", subject, snapshot.pin_reason),
            "hozon snapshot unpin " + who);
    else if (word == "unpin" && !snapshot.pinned)
      block(operation, subject + " is not pinned", "");
    else
      snapshot.allowed_operations.push_back(word);
  }
}

void explain_volume(Volume& volume) {
  for (const char* operation : {"resize", "return", "delete"}) {
    if (volume.machine.empty())
      volume.allowed_operations.emplace_back(operation);
    else
      volume.blocked_operations.push_back(
          {operation, Code::kWrongState,
           fmt::format("volume '{}' belongs to machine '{}'", volume.name, volume.machine),
           "hozon machine show " + volume.machine});
  }
  for (const char* operation : {"snapshot", "clone", "defragment"})
    volume.allowed_operations.emplace_back(operation);
}

void explain_job(Job& job) {
  if (!job.is_ended())
    job.allowed_operations = {"cancel"};
  else
    job.blocked_operations = {{"cancel", Code::kWrongState,
                               fmt::format("job {} is {}", job.id.value, job_state_name(job.state)),
                               ""}};
}

}  // namespace hozon::control
