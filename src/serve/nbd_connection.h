// src/serve/nbd_connection.h
// One NBD client from its first byte to its last: handshake, transmission, end.
#pragma once

#include <optional>

#include "base/fd.h"
#include "serve/input.h"
#include "serve/nbd_transmission.h"
#include "serve/payload.h"
#include "serve/reply_queue.h"

namespace hozon::serve::nbd {

// What the connections of one server share.
struct Shared {
  Loop& loop;
  Backend& backend;
  BufferPool buffers;
  MemoryBudget budget;
  ReplyFlusher flusher;
};

class Connection {
 public:
  Connection(Shared& shared, Fd socket);
  Task<void> run();

  // No further request is read; the running ones are answered.
  void end();
  // The peer is cut off; what runs, ends without being heard.
  void break_off() { replies_.break_off(); }

  bool in_handshake() const { return !transmission_; }
  uint64_t began_ns() const { return began_ns_; }
  // Holds memory that others may be waiting for, behind a client that does not read.
  bool stalls_since(uint64_t time_ns) const;

 private:
  Shared& shared_;
  Fd socket_;
  uint64_t began_ns_;
  Input input_;
  PayloadAccount memory_;  // outlives the queue, which holds payloads
  ReplyQueue replies_;
  std::optional<Transmission> transmission_;
  bool ending_ = false;
};

}  // namespace hozon::serve::nbd
