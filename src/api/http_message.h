// src/api/http_message.h
// What handlers see of HTTP: a Request that was read whole, and the Response to it.
//
// Header names are lower case. `parts` and `query` are percent-decoded; the router fills them in.
// Any thread; plain values. Knows nothing of sockets or of Boost.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace hozon::api {

using TextMap = std::map<std::string, std::string, std::less<>>;

struct Request {
  std::string method;
  std::string target;  // as sent: path and query
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;
  bool has_length = false;  // Content-Length or chunked was given
  bool keep_alive = true;   // what the client wants
  std::string peer;         // the user at the other end: "root", "uid 1000"; empty: not known
  std::optional<unsigned> peer_uid = {};  // of a unix socket
  std::string address = {};               // of the other end of TCP: "192.0.2.1"

  TextMap parts;  // {machine} of the route's pattern -> text
  TextMap query;

  // The first header of that (lower case) name, or an empty text.
  std::string_view header(std::string_view name) const {
    for (const auto& [key, value] : headers)
      if (key == name) return value;
    return {};
  }
  bool has_header(std::string_view name) const {
    for (const auto& [key, value] : headers)
      if (key == name) return true;
    return false;
  }
  // A part that the route's pattern names; the router guarantees that it is there and not empty.
  const std::string& part(std::string_view name) const { return parts.find(name)->second; }
  // A query value, or an empty text.
  std::string query_value(std::string_view name) const {
    const auto found = query.find(name);
    return found == query.end() ? std::string() : found->second;
  }
};

// The body of an answer that goes on until somebody has enough.
class ByteStream {
 public:
  virtual ~ByteStream() = default;
  // What is there now; empty: nothing yet; nothing at all: the end. On the server's thread, so it
  // must be quick, and not much at a time.
  virtual std::optional<std::string> take() = 0;
  // `wake` is to be called, on any thread, when take() may have something; not after the
  // destruction of this has begun.
  virtual void on_more(std::function<void()> wake) = 0;
  // Sent when nothing else was for a while, so that both sides learn of a dead connection.
  virtual std::string heartbeat() const = 0;
};

struct Listing;  // listing.h

struct Response {
  int status = 200;
  std::string content_type = "application/json";
  std::string body;
  std::vector<std::pair<std::string, std::string>> headers;

  // When set, the body is to be made of it (the router does).
  std::shared_ptr<Listing> listing = {};

  // When set, the answer is not known yet: the server calls `later` on a worker, again and again
  // with short pauses, until it returns the answer. No worker is held while nothing happens.
  std::function<std::optional<Response>()> later;

  // When set, it is the body: the connection ends with it.
  std::shared_ptr<ByteStream> stream = {};
};

// Requests come here; called on worker threads, many at once. Must not throw.
using Handler = std::function<Response(Request&)>;

// The reason phrase of a status, "Not Found"; "Unknown" for one that Hozon does not use.
std::string_view reason_phrase(int status);

// The bytes of the answer's head and body. `keep_alive` decides the Connection header.
std::string serialize(const Response& response, bool keep_alive);

}  // namespace hozon::api
