// src/control/preview.h
// A return that is not decided yet. The machine stands on the disks, settings and memory of the
// snapshot (or of several, each part from its own) and can be booted; what it was before is kept
// whole. Commit decides for the preview, undo for what was before.
//
// Invariants
//   P1  A machine is in at most one preview; the snapshot that it is of has the status "in_preview"
//       exactly as long.
//   P2  The state before is a snapshot of kind "preview" and what `before` says. Undo brings back
//       every byte of the disks, the settings, the memory of a machine that slept, and the list of
//       snapshots. So nothing may add to or take from that list meanwhile (refuse_in_preview).
//   P3  A commit makes that snapshot the state that a return leaves: it can be undone until it
//       expires.
#pragma once

#include "control/core.h"

namespace hozon::control {

// kWrongState when the machine is in preview and jobs of that kind would break P2.
Status refuse_in_preview(Core& core, const std::string& kind, const MachineRow& machine);

// Takes back a switch of the disks that was not completed. May be repeated. If there was one,
// `then` follows, as often as it is repeated.
Status take_preview_back(
    Core& core, const std::string& pool, const std::vector<std::string>& volumes,
    const std::string& kept, const std::function<Status()>& then = [] { return Status(); });
// Brings back what was before and gives up the snapshot `kept` that held it. May be repeated.
Status undo_preview(Core& core, const std::string& machine_uuid, const std::string& kept);

}  // namespace hozon::control
