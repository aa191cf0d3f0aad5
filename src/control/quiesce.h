// src/control/quiesce.h
// Which order a snapshot of disks finds on them: after a power cut ("crash"), or, with the help of
// the guest's agent, that of file systems that have written everything ("filesystem").
#pragma once

#include <functional>
#include <string>

#include "control/core.h"

namespace hozon::control {

// kInvalidArgument unless it is "require", "try", "skip" or empty, which means "try".
Status check_quiesce(const std::string& word);

struct Quiesced {
  std::string consistency;  // "crash", "filesystem"
  std::string reason;       // why it is not "filesystem"
  uint64_t frozen_ms = 0;
};

// Runs `make_points` while the guest's file systems are frozen, if `word` and the guest allow that.
// With "require" an error when the points were not, or may not have been, made while frozen. The
// freeze lasts kFreezeHoldMs at most, whatever happens to this program.
Result<Quiesced> while_quiesced(Core& core, JobRun& run, const MachineRow& machine,
                                const std::string& word,
                                const std::function<Status()>& make_points);

// Name of the helper of `hozon machine freeze`, in the machine's directory.
inline constexpr const char* kFreezeName = "freeze-machine";

}  // namespace hozon::control
