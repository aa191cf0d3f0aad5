#include "serve/link_server.h"

#include <sys/socket.h>

#include "base/log.h"

namespace hozon::serve {
namespace {

constexpr size_t kReceiveBytes = 64 << 10;

}  // namespace

void LinkServer::listen(Fd listener) {
  acceptors_.emplace_back(loop_, std::move(listener), "link",
                          [this](Fd socket) { serve(std::move(socket)); });
  tasks_.start(acceptors_.back().run());
}

void LinkServer::serve(Fd socket) {
  if (stopping_) return;
  if (connections_.size() >= kConnectionsMax) {
    log_warning("a link client was sent away: {} are connected already", connections_.size());
    return;
  }
  connections_.push_back({.socket = std::move(socket), .received = {}});
  tasks_.start(run_connection(std::prev(connections_.end())));
}

Task<void> LinkServer::run_connection(std::list<Connection>::iterator connection) {
  std::string line;
  while (!stopping_) {
    const bool received = co_await receive_line(*connection, line);
    if (!received || stopping_) break;
    std::string text = co_await answer(std::move(line));
    const bool sent = co_await send_text(*connection, std::move(text));
    if (!sent) break;
  }
  connections_.erase(connection);
}

Task<bool> LinkServer::receive_line(Connection& connection, std::string& line) {
  std::string& received = connection.received;
  for (;;) {
    const size_t end = received.find('\n', connection.searched);
    if (end != std::string::npos) {
      line = received.substr(0, end);
      received.erase(0, end + 1);
      connection.searched = 0;
      co_return true;
    }
    connection.searched = received.size();
    if (received.size() >= link::kLineBytesMax) co_return false;
    const size_t before = received.size();
    received.resize(before + kReceiveBytes);
    const int32_t got = co_await loop_.recv(
        connection.socket.get(), std::as_writable_bytes(std::span(received).subspan(before)));
    received.resize(before + static_cast<size_t>(got > 0 ? got : 0));
    if (got <= 0) co_return false;
  }
}

Task<bool> LinkServer::send_text(Connection& connection, std::string text) {
  std::span<const std::byte> rest = std::as_bytes(std::span(text));
  while (!rest.empty()) {
    const int32_t sent = co_await loop_.send(connection.socket.get(), rest);
    if (sent <= 0) co_return false;
    rest = rest.subspan(static_cast<size_t>(sent));
  }
  co_return true;
}

Task<std::string> LinkServer::answer(std::string line) {
  Result<link::Request> request = link::decode_request(line);
  if (!request) co_return link::encode_answer(0, std::unexpected(std::move(request.error())));
  const uint64_t id = request->id;
  const Result<nlohmann::json> result = co_await handler_(*std::move(request));
  std::string text = link::encode_answer(id, result);
  if (text.size() > link::kLineBytesMax)
    text = link::encode_answer(
        id, make_error(Code::kResourceExhausted, "the answer is longer than a line may be"));
  co_return text;
}

Task<void> LinkServer::stop() {
  stopping_ = true;
  for (Acceptor& acceptor : acceptors_) acceptor.end();
  for (Connection& connection : connections_) ::shutdown(connection.socket.get(), SHUT_RD);
  co_await tasks_.wait();
}

}  // namespace hozon::serve
