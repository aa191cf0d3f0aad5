#include "serve/nbd_server.h"

#include <sys/socket.h>

#include "base/log.h"

namespace hozon::serve {
namespace {

constexpr int kSendBufferBytes = 1 << 20;  // a wish; the system's maximum applies

}  // namespace

NbdServer::NbdServer(Loop& loop, Backend& backend, Limits limits)
    : loop_(loop),
      limits_(limits),
      shared_{.loop = loop,
              .backend = backend,
              .buffers = {},
              .budget = MemoryBudget(loop, limits.payload_bytes),
              .flusher = ReplyFlusher(loop)},
      tasks_(loop),
      watch_interval_(loop) {
  tasks_.start(watch());
}

NbdServer::~NbdServer() { HOZON_CHECK(connections_.empty()); }

void NbdServer::listen(Fd listener) {
  acceptors_.emplace_back(loop_, std::move(listener), "NBD",
                          [this](Fd socket) { serve(std::move(socket)); });
  tasks_.start(acceptors_.back().run());
}

void NbdServer::serve(Fd socket) {
  if (stopping_) return;
  if (connections_.size() >= limits_.connections_max) {
    log_warning("an NBD client was sent away: {} are connected already", connections_.size());
    return;
  }
  ::setsockopt(socket.get(), SOL_SOCKET, SO_SNDBUF, &kSendBufferBytes, sizeof kSendBufferBytes);
  connections_.emplace_back(shared_, std::move(socket));
  tasks_.start(run_connection(std::prev(connections_.end())));
}

Task<void> NbdServer::run_connection(std::list<nbd::Connection>::iterator connection) {
  co_await connection->run();
  connections_.erase(connection);
}

Task<void> NbdServer::watch() {
  while (!stopping_) {
    co_await watch_interval_.wait(limits_.watch_ns);
    if (!stopping_) end_slow_ones();
  }
}

void NbdServer::end_slow_ones() {
  const uint64_t now = loop_.now_ns();
  const bool memory_is_short = shared_.budget.has_waiters();
  for (nbd::Connection& connection : connections_) {
    if (connection.in_handshake() && now - connection.began_ns() > limits_.handshake_ns) {
      connection.break_off();
    } else if (memory_is_short && now > limits_.stall_ns &&
               connection.stalls_since(now - limits_.stall_ns)) {
      log_warning("an NBD client that does not read its replies was cut off: others need memory");
      connection.break_off();
    }
  }
}

Task<void> NbdServer::cut_off_after_grace(Interval& grace) {
  co_await grace.wait(limits_.grace_ns);
  for (nbd::Connection& connection : connections_) connection.break_off();
}

Task<void> NbdServer::stop() {
  stopping_ = true;
  for (Acceptor& acceptor : acceptors_) acceptor.end();
  watch_interval_.end();
  for (nbd::Connection& connection : connections_) connection.end();
  Interval grace(loop_);
  Group cutting(loop_);
  cutting.start(cut_off_after_grace(grace));
  co_await tasks_.wait();
  grace.end();
  co_await cutting.wait();
}

}  // namespace hozon::serve
