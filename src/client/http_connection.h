// src/client/http_connection.h
// One HTTP/1.1 connection over a unix socket, blocking, kept open between requests.
//
// A connection that the server closed meanwhile is opened again. A request is sent a second time
// only when the caller says that repeating it is harmless (`repeatable`); the server restarts
// behind a listening socket that stays, so a second attempt usually just takes longer.
// Bounds: kHeadBytesMax for the head of an answer, kAnswerBytesMax for its body.
// Threading: one call at a time.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/fd.h"
#include "base/result.h"

namespace hozon::client {

inline constexpr size_t kHeadBytesMax = 64 << 10;
inline constexpr size_t kAnswerBytesMax = 256 << 20;

struct HttpAnswer {
  int status = 0;
  std::string content_type;
  std::string body;
};

struct HttpCall {
  std::string method;
  std::string target;
  std::string body = {};  // JSON, or empty
  std::vector<std::pair<std::string, std::string>> headers = {};
  bool repeatable = false;
  int timeout_ms = 30'000;  // for the whole exchange
};

class HttpConnection {
 public:
  explicit HttpConnection(std::string socket_path) : path_(std::move(socket_path)) {}

  // kUnavailable: nobody listens, no answer in time, or the connection broke (for a call that is
  // not repeatable: the outcome is unknown, and the sentence says so). kNotFound: no such socket.
  Result<HttpAnswer> exchange(const HttpCall& call);

 private:
  Status open();
  Status send_all(std::string_view bytes, int64_t deadline_ms);
  Result<HttpAnswer> receive(int64_t deadline_ms);
  Result<std::string> receive_chunked(int64_t deadline_ms);
  // Reads more into pending_. kUnavailable at the end of the stream.
  Status fill(int64_t deadline_ms);
  Result<std::string> take_line(int64_t deadline_ms, size_t limit);
  Result<std::string> take_bytes(size_t count, int64_t deadline_ms);

  std::string path_;
  Fd socket_;
  std::string pending_;
};

// A percent-encoded path part or query value: everything but unreserved characters.
std::string percent_encode(std::string_view text);

}  // namespace hozon::client
