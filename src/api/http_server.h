// src/api/http_server.h
// An HTTP/1.1 server on a listening unix socket, and on TCP if asked: keep-alive, bounded in every
// direction.
//
// One thread runs all connections (the one that calls run()); handlers run on kWorkers others,
// because control calls block. A connection has one request at a time.
// Invariants
//   H1  At most kConnectionsMax connections are served; further ones are answered 503 and closed.
//   H2  A client that is slow or silent is cut after the timeouts below; it costs no thread.
//   H3  An answer that ends a connection (a malformed or oversized request) is sent whole, then
//       the rest of what the client sends is drained for a moment, so that it sees the answer.
//   H4  At most kStreamsMax answers are streams; one whose client takes nothing for the time of a
//       write is cut. The others do not notice.
//   H5  What a peer on TCP says of itself is nothing: Request::peer is empty, and
//       Request::address is where its packets come from.
// Nothing here throws; Boost is seen by http_server.cc and request_parser.cc only.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "api/http_message.h"
#include "base/fd.h"
#include "base/result.h"

namespace hozon::api {

inline constexpr size_t kConnectionsMax = 64;
inline constexpr size_t kStreamsMax = 32;
inline constexpr size_t kWorkers = 8;

struct HttpTimeouts {
  std::chrono::milliseconds header{10'000};  // first byte of a request (or connect) to its header
  std::chrono::milliseconds body{30'000};    // header to the end of the body
  std::chrono::milliseconds idle{60'000};    // between requests of one connection
  std::chrono::milliseconds write{30'000};   // one answer
  std::chrono::milliseconds drain{2'000};    // H3
  std::chrono::milliseconds heartbeat{15'000};  // of a stream in which nothing happens
};

// Where TCP is listened on. An address that is not this host's own needs TLS.
struct TcpListen {
  std::string address = "127.0.0.1";  // numeric, IPv4 or IPv6
  uint16_t port = 0;                  // 0: the system chooses
  std::string certificate;            // file: PEM, with the chain
  std::string key;                    // file: PEM; both or none
};
// "8006", "127.0.0.1:8006", "[::1]:8006".
Result<TcpListen> parse_listen(const std::string& text);
// Whether listen_tcp() would work, without listening for longer than it takes to know. `is_up`:
// somebody may listen there already.
Status check_listen(const TcpListen& where, bool is_up);

class HttpServer {
 public:
  // `listener` is a listening unix socket. The handler outlives the server.
  static Result<std::unique_ptr<HttpServer>> create(Fd listener, Handler handler,
                                                    HttpTimeouts timeouts = {});
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  // Before run(). kInvalidArgument: TLS is missing, or its files are of no use. The port.
  Result<uint16_t> listen_tcp(const TcpListen& where);
  // Serves until stop(); returns when running handlers have ended and connections are closed.
  void run();
  // Any thread. Also called when one of the signals given to stop_on_signals() arrives.
  void stop();
  void stop_on_signals(const std::vector<int>& signals);
  size_t connections() const;  // any thread

 private:
  class Impl;
  explicit HttpServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace hozon::api
