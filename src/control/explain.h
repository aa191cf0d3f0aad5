// src/control/explain.h
// Why something is not possible now, in a form that a program can use: what every record says about
// the operations that it does not allow, and what is taken out of a refusal's sentence.
//
// A sentence that knows a remedy names the command between backticks: "`hozon machine start web`".
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "control/types.h"

namespace hozon::control {

// The first command between backticks that begins with "hozon "; empty: none.
std::string remedy_of(const std::string& sentence);

// Its memory is kept in the pool and its QEMU is gone; one whose guest sleeps by itself has a QEMU.
bool is_asleep(const Machine& machine);

// Fills allowed_operations and blocked_operations of a machine whose other members are true.
void explain_machine(Machine& machine);

// Fills allowed_operations and blocked_operations. `lock`: of its machine.
void explain_snapshot(Snapshot& snapshot, const std::optional<Lock>& lock);
void explain_volume(Volume& volume);
void explain_job(Job& job);

}  // namespace hozon::control
