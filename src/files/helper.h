// src/files/helper.h
// hozon-files: answers one question about the files of a snapshot (link/file_query.h) and ends.
// Between the handshake with the NBD servers and the first byte of a guest's disk it gives up
// everything that it does not need (confine.h).
// Exit status: 0 answered whole, 1 the first line is an error, or what followed it broke off.
#pragma once

namespace hozon::files {

int run_helper();

}  // namespace hozon::files
