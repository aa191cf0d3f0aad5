// src/client/http_connection.h
// One HTTP/1.1 connection, blocking, kept open between requests.
//
// A connection that the server closed meanwhile is opened again. A request is sent a second time
// only when the caller says that repeating it is harmless (`repeatable`); the server restarts
// behind a listening socket that stays, so a second attempt usually just takes longer.
// Bounds: kHeadBytesMax for the head of an answer, kAnswerBytesMax for its body.
// Threading: one call at a time.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "client/channel.h"

namespace hozon::client {

inline constexpr size_t kHeadBytesMax = 64 << 10;
inline constexpr size_t kAnswerBytesMax = 256 << 20;

struct HttpAnswer {
  int status = 0;
  std::string content_type;
  std::string body;
};

struct HttpHead {
  int status = 0;
  bool chunked = false;
  bool close = false;
  size_t length = 0;
  std::string content_type;
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
  // `token`: sent with each request; empty: none.
  explicit HttpConnection(Address address, std::string token = {})
      : address_(std::move(address)), token_(std::move(token)) {}

  // kUnavailable: nobody listens, no answer in time, or the connection broke (for a call that is
  // not repeatable: the outcome is unknown, and the sentence says so). kNotFound: no such socket.
  Result<HttpAnswer> exchange(const HttpCall& call);
  // For an answer of any length: `sink` gets its bytes as they come, until it fails. kUnavailable
  // when it broke off, so success means that all of it came. A refusal is an answer, and nothing of
  // it is taken.
  using Sink = std::function<Status(std::string_view bytes)>;
  Result<HttpAnswer> download(const HttpCall& call, const Sink& sink);
  // For an answer that goes on: `take` gets its lines as they come, until it says false. Returns
  // when it did, or with an answer that is a refusal. kUnavailable: the stream broke, or nothing
  // came for `call.timeout_ms`. Always a connection of its own.
  Result<HttpAnswer> stream(const HttpCall& call,
                            const std::function<bool(std::string_view line)>& take);

 private:
  Status open(int64_t deadline_ms);
  void close();
  Result<HttpHead> receive_head(int64_t deadline_ms);
  Result<HttpAnswer> receive(int64_t deadline_ms);
  std::string request_bytes(const HttpCall& call) const;
  Status pass_on(size_t count, int timeout_ms, const Sink& sink);
  Status pass_on_chunks(int timeout_ms, const Sink& sink);
  Result<std::string> receive_chunked(int64_t deadline_ms);
  // Reads more into pending_. kUnavailable at the end of the stream.
  Status fill(int64_t deadline_ms);
  Result<std::string> take_line(int64_t deadline_ms, size_t limit);
  Result<std::string> take_bytes(size_t count, int64_t deadline_ms);

  Address address_;
  std::string token_;
  std::unique_ptr<Channel> channel_;
  std::string pending_;
};

// A percent-encoded path part or query value: everything but unreserved characters.
std::string percent_encode(std::string_view text);

}  // namespace hozon::client
