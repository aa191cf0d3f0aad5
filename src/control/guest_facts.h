// src/control/guest_facts.h
// What a guest's agent says of it when a snapshot is made: its operating system, its name, its
// addresses. Kept in the snapshot's record.
//
// It is asked when the points are there already, and for kFactsMs at most in all, whatever it and
// QEMU do, so that a snapshot is neither failed by it nor noticeably later; a guest without an
// agent is not asked. The guests of a group are asked all at once.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "control/core.h"

namespace hozon::control {

inline constexpr int kFactsMs = 400;

// {"os", "hostname", "interfaces": [{"name", "mac", "addresses": [text]}], "captured_ns"}, as far
// as it is known; null: nothing is.
nlohmann::json ask_guest_facts(Core& core, const MachineRow& machine);
// Of each of the machines.
std::vector<nlohmann::json> ask_guest_facts(Core& core, const std::vector<MachineRow>& machines);

// The same from the agents behind these sockets. Exposed for tests.
std::vector<nlohmann::json> ask_agents(const std::vector<std::string>& sockets, int timeout_ms);

// The same from the agent's answers, which may be anything. Exposed for tests.
nlohmann::json facts_of(const nlohmann::json& os, const nlohmann::json& hostname,
                        const nlohmann::json& interfaces);

}  // namespace hozon::control
