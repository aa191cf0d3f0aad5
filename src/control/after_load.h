// src/control/after_load.h
// What is done to a guest that goes on with an old memory, so that it fits into the present: its
// clock is stepped and its network links are taken down and up, so that leases and neighbours are
// asked for again. Each step may be impossible (no agent), or fail; the return has happened all the
// same.
#pragma once

#include <string>
#include <vector>

#include "control/core.h"

namespace hozon::control {

struct Renewal {
  std::string step;     // "clock", "network"
  std::string outcome;  // "done", "not possible", "failed"
  std::string detail;   // a sentence, or empty
};
nlohmann::json to_json(const Renewal& renewal);
std::string sentence_of(const Renewal& renewal);

// Whether something in the guest holds the agent's port open: asking QEMU costs nothing, waiting
// for an agent that is not there costs seconds.
bool has_agent(QmpClient& qmp, int timeout_ms = 2000);
// Takes every network link of the machine up or down.
Status set_links(Core& core, const MachineRow& machine, bool up);
// Of a guest that runs again. `bounce`: its links are up and shall be renewed.
std::vector<Renewal> renew_guest(Core& core, const MachineRow& machine, bool bounce);

}  // namespace hozon::control
