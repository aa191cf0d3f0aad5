// src/api/request_parser.h
// Turns the bytes of a connection into Requests, one after the other (keep-alive, pipelining).
//
// The grammar is Boost.Beast's parser; the limits and the refusals are ours.
// States: kReading (more bytes are needed) -> kDone (take() the request) or kFailed (answer with
// failure_status(), then close: what follows on the connection has no meaning any more).
// Invariants
//   R1  It never holds more than kHeaderBytesMax + kBodyBytesMax + one read of bytes.
//   R2  Its result does not depend on how the bytes were cut into pieces.
//   R3  A message whose length could be understood in two ways is refused, never guessed.
// Threading: one connection's. Performs no I/O and knows no clock.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "api/http_message.h"

namespace hozon::api {

inline constexpr size_t kHeaderBytesMax = 16 << 10;
inline constexpr size_t kBodyBytesMax = 1 << 20;

class RequestParser {
 public:
  enum class State { kReading, kDone, kFailed };

  RequestParser();
  ~RequestParser();
  RequestParser(const RequestParser&) = delete;
  RequestParser& operator=(const RequestParser&) = delete;

  // Adds bytes and parses as far as they reach. Bytes that follow a complete message are kept.
  State feed(std::string_view bytes);
  State state() const { return state_; }
  // True when nothing of the next message has arrived.
  bool idle() const;
  bool header_done() const;
  // True once per message, when the client waits for "100 Continue" before it sends the body.
  bool take_wants_continue();

  // Requires kDone. Begins with the next message, of which bytes may be here already: look at
  // state() before reading more.
  Request take();

  int failure_status() const { return failure_status_; }
  const std::string& failure() const { return failure_; }

 private:
  struct Beast;
  State advance();
  bool check_header();
  State fail(int status, std::string reason);

  std::unique_ptr<Beast> beast_;
  std::string pending_;  // received, not yet taken by the grammar
  State state_ = State::kReading;
  bool header_checked_ = false;
  bool wants_continue_ = false;
  int failure_status_ = 0;
  std::string failure_;
};

}  // namespace hozon::api
