// src/serve/pool_daemon.h
// hozon-stored at work: one open pool, its NBD server and its link server, from open to close.
#pragma once

#include <string>

#include "base/fd.h"
#include "io/loop.h"
#include "serve/pool_directory.h"

namespace hozon::serve {

struct PoolDaemonOptions {
  std::string directory;  // where `files` come from, for messages
  std::string name;
  PoolFiles files;
  Fd nbd_listener;
  Fd link_listener;
};

// Opens the pool, serves until SIGTERM or SIGINT, closes the pool. Runs `loop`. The signals must
// have been blocked by block_end_signals() before any thread was started. An error before the first
// client means that the pool could not be opened; `opened` tells the two apart.
Status run_pool_daemon(Loop& loop, PoolDaemonOptions options, bool& opened);

// SIGTERM and SIGINT wait in a descriptor from now on; SIGPIPE is ignored.
Status block_end_signals();

}  // namespace hozon::serve
