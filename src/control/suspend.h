// src/control/suspend.h
// Putting a machine to sleep (suspend.cc), as a part of other jobs too.
#pragma once

#include <string>

#include "control/core.h"

namespace hozon::control {

// `goes_on`: its guest runs when it is woken; else it stands still then.
Result<nlohmann::json> suspend_machine(Core& core, JobRun& run, const std::string& machine_uuid,
                                       bool goes_on);

}  // namespace hozon::control
