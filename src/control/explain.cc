#include "control/explain.h"

#include <algorithm>

#include "base/result.h"

namespace hozon::control {
namespace {

constexpr PowerState kStates[] = {PowerState::kDown,     PowerState::kUp,
                                  PowerState::kPaused,   PowerState::kSuspended,
                                  PowerState::kStarting, PowerState::kStopping};

bool has(const std::vector<std::string>& words, const std::string& word) {
  return std::ranges::find(words, word) != words.end();
}

BlockedOperation busy(const std::string& operation, const std::string& subject, const Lock& lock) {
  return {operation, Code::kBusy,
          fmt::format("{} is busy: job {} ({}) works on it", subject, lock.job, lock.reason),
          fmt::format("hozon job watch {}", lock.job)};
}

// The command that brings a machine from `now` into a state that allows the operation.
std::string way_to(const Machine& machine, const std::function<bool(PowerState)>& allows) {
  const bool runs = machine.state == PowerState::kUp;
  if (is_asleep(machine)) return "hozon machine resume " + machine.name;
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

std::vector<BlockedOperation> explain_machine(
    const Machine& machine, const std::function<std::vector<std::string>(PowerState)>& allowed_in) {
  std::vector<std::string> known;
  for (const PowerState state : kStates)
    for (const std::string& operation : allowed_in(state))
      if (!has(known, operation)) known.push_back(operation);
  const std::string subject = fmt::format("machine '{}'", machine.name);
  std::vector<BlockedOperation> blocked;
  for (const std::string& operation : known) {
    if (has(machine.allowed_operations, operation)) continue;
    if (machine.lock) {
      blocked.push_back(busy(operation, subject, *machine.lock));
      continue;
    }
    const auto allows = [&](PowerState state) { return has(allowed_in(state), operation); };
    blocked.push_back({operation, Code::kWrongState,
                       fmt::format("{} is {}", subject, power_state_name(machine.state)),
                       way_to(machine, allows)});
  }
  return blocked;
}

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
  for (const char* operation : {"snapshot", "clone"})
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
