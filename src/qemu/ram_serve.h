// src/qemu/ram_serve.h
// A memory image as a file that QEMU maps: pages are fetched from the volume when a guest touches
// them, and every guest that maps the same file shares what was fetched.
//
//   hozon-ram serve --mount DIR --uri URI --ram-bytes B --status FILE [--name X]
//
// A guest that touches a page nobody serves any more dies. So two processes stand behind the file,
// and each replaces the other: the keeper mounts it and starts the worker again when that dies, the
// worker becomes the keeper when that one dies. Invariants
//   I1  The kernel copies a request straight into a slot of memory that both processes share, and
//       the slot is emptied only after the answer: a request is answered whoever dies when.
//   I2  A volume that does not answer is waited for without an end, as a disk's is by QEMU. Only
//       one that answers with an error makes a read fail.
//   I3  Both end, and only then, when the file is unmounted and nobody maps it any more.
// Signals other than SIGKILL end neither.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"

namespace hozon {

struct RamServeRequest {
  std::string program = "hozon-ram";
  std::string directory;  // of this image alone; serve.{json,log,pid} and the mount go here
  std::string uri;        // NBD URI of the memory image; it must not change while it is served
  uint64_t ram_bytes = 0;
};

// Returns when the file can be mapped; its path. kUnimplemented: no FUSE here.
Result<std::string> serve_ram_image(const RamServeRequest& request);
bool is_ram_image_served(const std::string& directory);
std::string ram_image_file(const std::string& directory);
// The file goes; whoever maps it keeps it. Success too when it is not served.
Status end_ram_image(const std::string& directory);

// Of the program: what its arguments say.
struct RamServeOptions {
  std::string uri;
  uint64_t ram_bytes = 0;
  std::string status_path;
  std::string mount;
  int fuse_fd = -1;  // of a mount that somebody else made
  int slots_fd = -1;
};
int run_ram_serve(const RamServeOptions& options, const std::vector<std::string>& arguments);

}  // namespace hozon
