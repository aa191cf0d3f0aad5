// src/serve/nbd_server.h
// Accepts NBD clients on listening sockets and serves each from a Backend.
//
// Limits: kConnectionsMax clients; a handshake takes at most handshake_ns; all clients together
// hold at most payload_bytes beyond their reserves; a client that holds such memory and reads
// nothing for stall_ns while others wait for memory is cut off.
// Threading: the loop's thread. stop() must have ended before the server is destroyed.
#pragma once

#include <list>
#include <memory>
#include <vector>

#include "base/fd.h"
#include "base/units.h"
#include "serve/acceptor.h"
#include "serve/interval.h"
#include "serve/nbd_connection.h"

namespace hozon::serve {

class NbdServer {
 public:
  struct Limits {
    size_t connections_max = 512;
    uint64_t handshake_ns = 10'000'000'000;
    uint64_t payload_bytes = 256_MiB;
    uint64_t watch_ns = 500'000'000;  // how often the above and the below are looked at
    uint64_t stall_ns = 30'000'000'000;
    uint64_t grace_ns = 2'000'000'000;  // for running requests, when the server stops
  };

  NbdServer(Loop& loop, Backend& backend, Limits limits);
  ~NbdServer();
  NbdServer(const NbdServer&) = delete;
  NbdServer& operator=(const NbdServer&) = delete;

  // Accepts clients on a listening socket until stop().
  void listen(Fd listener);
  // Serves one connected client.
  void serve(Fd socket);
  // Accepts nothing more, answers running requests, ends all connections.
  Task<void> stop();
  size_t connections() const { return connections_.size(); }

 private:
  Task<void> run_connection(std::list<nbd::Connection>::iterator connection);
  // Ends clients that are too slow, from time to time.
  Task<void> watch();
  void end_slow_ones();
  Task<void> cut_off_after_grace(Interval& grace);

  Loop& loop_;
  Limits limits_;
  nbd::Shared shared_;
  std::list<nbd::Connection> connections_;
  std::list<Acceptor> acceptors_;
  Group tasks_;
  Interval watch_interval_;
  bool stopping_ = false;
};

}  // namespace hozon::serve
