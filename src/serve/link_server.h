// src/serve/link_server.h
// Answers the control plane: JSON lines over a unix socket, one request at a time per connection.
//
// A line that is no request is answered with an error; one that is too long ends the connection.
// Threading: the pool's thread. stop() must have ended before the server is destroyed.
#pragma once

#include <functional>
#include <list>
#include <string>

#include "base/fd.h"
#include "base/sync.h"
#include "link/protocol.h"
#include "serve/acceptor.h"

namespace hozon::serve {

class LinkServer {
 public:
  static constexpr size_t kConnectionsMax = 128;
  using Handler = std::function<Task<Result<nlohmann::json>>(link::Request)>;

  LinkServer(Loop& loop, Handler handler)
      : loop_(loop), handler_(std::move(handler)), tasks_(loop) {}
  LinkServer(const LinkServer&) = delete;
  LinkServer& operator=(const LinkServer&) = delete;

  void listen(Fd listener);
  void serve(Fd socket);
  // Accepts nothing more and reads no further request; returns when running ones are answered.
  Task<void> stop();

 private:
  struct Connection {
    Fd socket;
    std::string received;
    size_t searched = 0;  // bytes of `received` that hold no end of line
  };
  Task<void> run_connection(std::list<Connection>::iterator connection);
  // The next line without its end; false when the peer is gone or says too much.
  Task<bool> receive_line(Connection& connection, std::string& line);
  Task<bool> send_text(Connection& connection, std::string text);
  Task<std::string> answer(std::string line);

  Loop& loop_;
  Handler handler_;
  std::list<Acceptor> acceptors_;
  std::list<Connection> connections_;
  Group tasks_;
  bool stopping_ = false;
};

}  // namespace hozon::serve
