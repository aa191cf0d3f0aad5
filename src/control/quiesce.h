// src/control/quiesce.h
// Which order a snapshot of disks finds on them: after a power cut ("crash"), or, with the help of
// the guest's agent, that of file systems that have written everything ("filesystem").
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "control/core.h"

namespace hozon::control {

// kInvalidArgument unless it is "require", "try", "skip" or empty, which means "try".
Status check_quiesce(const std::string& word);

struct Quiesced {
  std::string consistency;  // "crash", "filesystem"
  std::string reason;       // why it is not "filesystem"
  uint64_t frozen_ms = 0;

  // What a snapshot's record keeps of it, and of what the guest said of itself (guest_facts.h).
  nlohmann::json environment(nlohmann::json guest_facts) const {
    return {{"consistency", consistency},
            {"consistency_reason", reason},
            {"frozen_ms", frozen_ms},
            {"guest", std::move(guest_facts)}};
  }
};

// Runs `make_points` while the file systems of all these guests are frozen, as far as `word` and
// they allow that; what became of each is the result. All are frozen at once and thawed at once.
// With "require" an error when the points were not, or may not have been, made while frozen. With
// "try" an agent that does not answer is waited for kTryAnswerMs only. A freeze lasts kFreezeHoldMs
// at most, whatever happens to this program.
Result<std::vector<Quiesced>> while_quiesced(Core& core, JobRun& run,
                                             const std::vector<MachineRow>& machines,
                                             const std::string& word,
                                             const std::function<Status()>& make_points);
inline constexpr int kTryAnswerMs = 1500;

// Name of the helper of `hozon machine freeze`, in the machine's directory.
inline constexpr const char* kFreezeName = "freeze-machine";

}  // namespace hozon::control
