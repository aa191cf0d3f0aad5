#include "serve/nbd_connection.h"

#include <sys/socket.h>

namespace hozon::serve::nbd {

Connection::Connection(Shared& shared, Fd socket)
    : shared_(shared),
      socket_(std::move(socket)),
      began_ns_(shared.loop.now_ns()),
      input_(shared.loop, socket_.get()),
      memory_(shared.loop, shared.buffers, shared.budget),
      replies_(shared.loop, socket_.get(), shared.flusher) {}

Task<void> Connection::run() {
  Handshake handshake(shared_.loop, socket_.get(), input_, shared_.backend);
  std::optional<Negotiated> chosen = co_await handshake.run();
  if (!chosen || ending_) co_return;
  Group sending(shared_.loop);
  sending.start(replies_.run());
  transmission_.emplace(shared_.loop, input_, replies_, memory_, *std::move(chosen));
  co_await transmission_->run();
  replies_.finish();
  co_await sending.wait();
}

void Connection::end() {
  ending_ = true;
  if (transmission_) {
    transmission_->stop_reading();
    ::shutdown(socket_.get(), SHUT_RD);  // ends a receive that waits
  } else {
    break_off();
  }
}

bool Connection::stalls_since(uint64_t time_ns) const {
  const uint64_t since = replies_.waiting_since_ns();
  return memory_.shared_bytes() > 0 && since != 0 && since <= time_ns;
}

}  // namespace hozon::serve::nbd
