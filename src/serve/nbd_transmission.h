// src/serve/nbd_transmission.h
// The second phase of an NBD connection: requests come in, replies go out, in any order.
//
// Invariants
//   T1  At most kRequestsInFlightMax requests are read and not yet answered into the socket.
//   T2  Nothing is executed that is outside the export or that a read-only export forbids.
//   T3  run() returns after the last request has ended: what a request refers to is alive.
// Threading: the loop's thread.
#pragma once

#include <memory>

#include "base/sync.h"
#include "serve/input.h"
#include "serve/nbd_handshake.h"
#include "serve/payload.h"
#include "serve/reply_queue.h"

namespace hozon::serve::nbd {

class Transmission {
 public:
  Transmission(Loop& loop, Input& input, ReplyQueue& replies, PayloadAccount& memory,
               Negotiated chosen);

  // Serves requests until the client leaves, breaks the protocol, or stop_reading() was called;
  // then waits for the running ones. Their replies are in the queue when it returns.
  Task<void> run();
  void stop_reading() { stopping_ = true; }

 private:
  struct Request {
    uint16_t flags = 0;
    uint16_t type = 0;
    uint64_t cookie = 0;
    uint64_t offset = 0;
    uint32_t length = 0;
    Payload payload;
    bool fua() const { return (flags & kFlagFua) != 0; }
  };
  // What is wrong with a request before it is executed.
  struct Refusal {
    WireError error = kOk;
    std::string_view reason;
  };

  Task<bool> receive(RequestHeader header);
  Task<bool> receive_payload(Request& request);
  Refusal examine(const Request& request) const;
  Refusal examine_range(const Request& request) const;

  Task<void> execute(Request request);
  Task<void> execute_read(Request request);
  Task<void> execute_block_status(Request request);
  Task<Status> perform(const Request& request, std::span<const std::byte> data);
  Task<Result<std::vector<Extent>>> context_extents(const Context& context, const Request& request,
                                                    uint32_t extents_max);

  void add_status_chunk(const Request& request, const Context& context,
                        const std::vector<Extent>& extents, bool last);
  void reply_ok(uint64_t cookie);
  void reply_error(const Request& request, WireError error, std::string_view reason);
  void reply_error(const Request& request, const Error& error);
  void reply_data(Request request);
  void reply_chunks(const Request& request, std::span<const std::byte> data);
  void add_chunk(const Request& request, std::span<const std::byte> data, uint64_t offset,
                 bool zero, bool last);

  Loop& loop_;
  Input& input_;
  ReplyQueue& replies_;
  PayloadAccount& memory_;
  Negotiated chosen_;
  Group running_;
  bool stopping_ = false;
};

// Whether all bytes are zero.
bool is_zero(std::span<const std::byte> data);

}  // namespace hozon::serve::nbd
