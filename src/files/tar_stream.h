// src/files/tar_stream.h
// A file or a directory with all below it as a tar archive (pax form), written to a descriptor.
//
// Holes of files stay holes. Left out: devices, fifos, sockets. What cannot be read, or has a name
// that cannot be one, is left out or cut with zeros, and named in the archive's last member,
// kFailuresMember, one line each; an archive without that member is whole.
#pragma once

#include "files/tree.h"

namespace hozon::files {

inline constexpr const char* kFailuresMember = "HOZON-COULD-NOT-READ";
inline constexpr size_t kTarDepthMax = 128;
inline constexpr size_t kTarMembersMax = 10'000'000;

// The top is called as `node` is. An error: the archive is not complete (nobody reads it any more,
// or a bound is passed).
Status write_tar(Tree& tree, const Node& node, int output);
// All bytes of a file. An error: not complete.
Status write_file(Tree& tree, const Node& file, int output);
Status write_bytes(int output, std::string_view bytes);

}  // namespace hozon::files
