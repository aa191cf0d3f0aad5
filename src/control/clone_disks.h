// src/control/clone_disks.h
// What clones, templates and machines made from templates have in common: disks that share every
// block with a snapshot's, and files to boot from.
#pragma once

#include "control/core.h"

namespace hozon::control {

// Kernel and initial RAM disk, from one machine's directory to another's.
Status copy_boot_files(const MachineRow& clone, const std::string& from, const std::string& to);

// The clone's disks that are part of the snapshot; the others are left out, which `notes` says.
std::vector<Disk> disks_of_clone(const MachineRow& settings, const SnapshotRow& snapshot,
                                 const MachineRow& clone, std::vector<std::string>& notes);

// Makes them, journaled; `full` copies every block.
Status make_disks(Core& core, JobRun& run, const SnapshotRow& snapshot, bool full,
                  std::vector<Disk>& disks);

// A snapshot of the disks of a machine that is being made: its points are made and journaled; the
// caller records it with the machine.
Result<SnapshotRow> make_first_snapshot(Core& core, JobRun& run, const MachineRow& machine,
                                        const std::string& name, const std::string& description);

// Records with a new machine the snapshot that it returns to. Called inside a transaction.
Status record_initial(Core& core, const MachineRow& machine, const SnapshotRow& initial);
SnapshotMarks marks_of_initial(const std::string& machine);

// Refuses what is of a template or the other way round (kWrongState).
Status refuse_template(const MachineRow& machine);

// A machine from a template, as start_machine_create() makes it.
Result<JobId> start_from_template(Core& core, const MachineRequest& request, const Caller& caller);

}  // namespace hozon::control
