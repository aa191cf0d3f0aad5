// src/qemu/fuse_mount.h
// Mounting a file system that a process of ours serves, and taking it away: by root itself, by any
// other user through the program fusermount3.
//
// Who holds the descriptor answers the requests; when nobody holds it any more, everything that was
// under way fails and the mount point answers ENOTCONN until it is unmounted.
#pragma once

#include <string>

#include "base/fd.h"
#include "base/result.h"

namespace hozon {

// `directory` exists and is empty. kUnimplemented: this host has no FUSE, or does not let us.
Result<Fd> mount_fuse(const std::string& directory);
// Success too when nothing is mounted there. Who has a file of it open or mapped keeps it.
Status unmount_fuse(const std::string& directory);
// Whether somebody answers for the mount at `directory`.
bool is_fuse_served(const std::string& directory);

}  // namespace hozon
