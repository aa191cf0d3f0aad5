// src/control/details.h
// What a snapshot is, told in four parts: General, Disks, Network interfaces, Installed
// applications.
//
// What the guest's agent said when it was made stands in its record (guest_facts.h). The rest is
// read from its disks when somebody asks, by the confined reader (snapshot_files.h); what cannot be
// had is left empty, with the reason.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "control/package_lists.h"
#include "control/types.h"
#include "link/file_query.h"

namespace hozon::control {

struct DiskDetails {
  SnapshotDisk disk;
  std::vector<link::Filesystem> filesystems;
};

struct InterfaceDetails {
  std::string id, mac, kind;
  std::string guest_name;              // as the guest calls it; empty: not known
  std::vector<std::string> addresses;  // when the snapshot was made
};

struct SnapshotDetails {
  Snapshot snapshot;
  std::string os, hostname;
  std::string os_source;  // "guest agent", "vda1:/etc/os-release"; empty: nobody said
  uint64_t memory_bytes = 0, cpus = 0;
  std::string firmware, machine_type;
  std::vector<DiskDetails> disks;
  std::string disks_reason;  // why they were not looked at; empty: they were
  std::vector<InterfaceDetails> interfaces;
  std::vector<Application> applications;
  std::string applications_source;  // "vda1:/var/lib/dpkg/status"
  std::string applications_reason;  // why there are none
};

nlohmann::json to_json(const SnapshotDetails& details);

}  // namespace hozon::control
