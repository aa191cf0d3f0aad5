// src/cli/unpack.h
// Writes what a tar archive of a snapshot's files holds into a new directory.
//
// The archive comes from a stranger's disk: nothing is written outside of that directory, through a
// symbolic link, or over something that is there; devices are not made, and what is written belongs
// to whoever runs this, without set-user-id bits.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/result.h"

namespace hozon::cli {

struct Unpacked {
  std::string top;  // name of the first member's first part, in bytes; empty: nothing came
  bool is_directory = false;
  uint64_t files = 0;
  uint64_t bytes = 0;
  std::vector<std::string> failures;  // what could not be read from the snapshot
};

// Reads `archive` to its end. `may_have_directories` false: kInvalidArgument for one.
// `interrupted` is asked again and again; kCancelled when it says so.
Result<Unpacked> unpack(const Fd& archive, const std::string& directory, bool may_have_directories,
                        const std::function<bool()>& interrupted);

}  // namespace hozon::cli
