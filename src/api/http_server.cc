// One coroutine per connection on the server's thread; a timer per connection cancels whatever the
// connection waits for. Handlers are coroutines on a thread pool that never suspend, so `co_await`
// brings their answer back to the server's thread.
#include "api/http_server.h"

#include <pwd.h>
#include <sys/socket.h>

#include <array>
#include <atomic>
#include <list>

#include "api/asio.h"
#include "api/problem.h"
#include "api/request_parser.h"
#include "base/log.h"

namespace hozon::api {
namespace asio = boost::asio;
using asio::awaitable;
using asio::use_awaitable;
using boost::system::error_code;
using std::chrono::milliseconds;

namespace {

constexpr auto kNoThrow = asio::as_tuple(asio::use_awaitable);
constexpr milliseconds kLaterPauseFirst{2};
constexpr milliseconds kLaterPauseMax{200};
constexpr size_t kDrainBytesMax = 8 << 20;

// The bytes of a connection. TCP and TLS become further implementations.
class Stream {
 public:
  virtual ~Stream() = default;
  struct Moved {
    error_code error;
    size_t bytes = 0;
  };
  virtual awaitable<Moved> read_some(char* into, size_t size) = 0;
  virtual awaitable<error_code> write_all(const std::string& bytes) = 0;
  virtual void half_close() = 0;
  virtual void cancel() = 0;
  virtual std::string peer() = 0;  // Request::peer
};

class UnixStream : public Stream {
 public:
  explicit UnixStream(asio::local::stream_protocol::socket socket) : socket_(std::move(socket)) {}
  awaitable<Moved> read_some(char* into, size_t size) override {
    auto [error, bytes] = co_await socket_.async_read_some(asio::buffer(into, size), kNoThrow);
    co_return Moved{error, bytes};
  }
  awaitable<error_code> write_all(const std::string& bytes) override {
    auto [error, written] = co_await asio::async_write(socket_, asio::buffer(bytes), kNoThrow);
    static_cast<void>(written);
    co_return error;
  }
  void half_close() override {
    error_code ignored;
    socket_.shutdown(asio::local::stream_protocol::socket::shutdown_send, ignored);
  }
  void cancel() override {
    error_code ignored;
    socket_.cancel(ignored);
  }
  std::string peer() override {
    ucred who{};
    socklen_t size = sizeof(who);
    if (::getsockopt(socket_.native_handle(), SOL_SOCKET, SO_PEERCRED, &who, &size) != 0) return "";
    std::array<char, 4096> room;
    passwd entry{};
    passwd* found = nullptr;
    ::getpwuid_r(who.uid, &entry, room.data(), room.size(), &found);
    return found != nullptr ? found->pw_name : fmt::format("uid {}", who.uid);
  }

 private:
  asio::local::stream_protocol::socket socket_;
};

struct Connection {
  Connection(std::unique_ptr<Stream> bytes, asio::io_context& loop)
      : stream(std::move(bytes)), timer(loop) {}
  std::unique_ptr<Stream> stream;
  asio::steady_timer timer;
  RequestParser parser;
  std::array<char, 16384> buffer{};
  bool timed_out = false;
  bool answering = false;  // a request was read whole and its answer is not sent yet
};

// Cancels the connection's current operation after `limit`, unless armed again before.
void arm(const std::shared_ptr<Connection>& connection, milliseconds limit) {
  connection->timed_out = false;
  connection->timer.expires_after(limit);
  connection->timer.async_wait([connection](error_code error) {
    if (error || connection->timer.expiry() > std::chrono::steady_clock::now()) return;
    connection->timed_out = true;
    connection->stream->cancel();
  });
}

Response answer_now(const Handler& handler, Request& request) {
  try {
    return handler(request);
  } catch (const std::exception& e) {  // libraries below may throw, e.g. std::bad_alloc
    log_error("{} {}: {}", request.method, request.target, e.what());
    return problem(Error{Code::kInternal, fmt::format("the request failed: {}", e.what())});
  }
}

std::optional<Response> poll_later(const std::function<std::optional<Response>()>& later) {
  try {
    return later();
  } catch (const std::exception& e) {
    return problem(Error{Code::kInternal, fmt::format("the request failed: {}", e.what())});
  }
}

awaitable<Response> run_handler(const Handler* handler, Request* request) {
  co_return answer_now(*handler, *request);
}

awaitable<std::optional<Response>> run_later(const Response* pending) {
  co_return poll_later(pending->later);
}

}  // namespace

class HttpServer::Impl {
 public:
  Impl(Handler handler, HttpTimeouts timeouts)
      : handler_(std::move(handler)),
        timeouts_(timeouts),
        acceptor_(loop_),
        accept_pause_(loop_),
        signals_(loop_),
        workers_(kWorkers) {}

  Status adopt(Fd listener) {
    error_code error;
    acceptor_.assign(asio::local::stream_protocol(), listener.get(), error);
    if (error)
      return make_error(Code::kInvalidArgument, "the API socket cannot be used: {}",
                        error.message());
    static_cast<void>(listener.release());
    return {};
  }

  void run() {
    asio::co_spawn(loop_, accept_loop(), asio::detached);
    loop_.run();
    workers_.join();
  }

  void stop() {
    asio::post(loop_, [this] { close_all(); });
  }

  void stop_on_signals(const std::vector<int>& signals) {
    for (const int signal : signals) {
      error_code error;
      signals_.add(signal, error);
      if (error) log_error("cannot watch for signal {}: {}", signal, error.message());
    }
    signals_.async_wait([this](error_code error, int signal) {
      if (error) return;
      log_info("stopping on signal {}", signal);
      close_all();
    });
  }

  size_t connections() const { return count_.load(); }

 private:
  using ConnectionList = std::list<std::shared_ptr<Connection>>;

  void close_all() {
    stopping_ = true;
    error_code ignored;
    acceptor_.close(ignored);
    signals_.cancel(ignored);
    accept_pause_.cancel();
    for (const auto& connection : connections_)
      if (!connection->answering) connection->stream->cancel();
  }

  awaitable<void> accept_loop() {
    while (!stopping_) {
      auto [error, socket] = co_await acceptor_.async_accept(kNoThrow);
      if (stopping_) break;
      if (error) {  // out of descriptors, most likely: it passes
        log_warning("cannot accept a connection: {}", error.message());
        accept_pause_.expires_after(milliseconds(100));
        static_cast<void>(co_await accept_pause_.async_wait(kNoThrow));
        continue;
      }
      auto connection =
          std::make_shared<Connection>(std::make_unique<UnixStream>(std::move(socket)), loop_);
      const bool full = connections_.size() >= kConnectionsMax + kRefusalsMax;
      if (full) continue;  // closes it: even refusals are bounded
      const bool refuse = count_.load() >= kConnectionsMax;
      const auto place = connections_.insert(connections_.end(), connection);
      if (!refuse) ++count_;
      asio::co_spawn(loop_, refuse ? refuse_connection(connection) : serve(connection),
                     [this, place, refuse](const std::exception_ptr& failure) {
                       if (failure) log_error("a connection ended by an exception");
                       if (!refuse) --count_;
                       (*place)->timer.cancel();
                       connections_.erase(place);
                     });
    }
  }

  awaitable<void> refuse_connection(std::shared_ptr<Connection> connection) {
    Response response = problem(
        Error{Code::kUnavailable,
              fmt::format("{} connections are open already, which is the limit", kConnectionsMax)});
    response.headers.emplace_back("Retry-After", "1");
    co_await send_last(connection, std::move(response));
  }

  awaitable<void> serve(std::shared_ptr<Connection> connection) {
    bool first = true;
    while (!stopping_) {
      const bool complete = co_await read_request(connection, first);
      if (!complete) co_return;
      first = false;
      connection->answering = true;
      auto request = std::make_unique<Request>(connection->parser.take());
      request->peer = connection->stream->peer();
      Response response = co_await answer(connection, request.get());
      const bool keep = request->keep_alive && !stopping_;
      const std::string bytes = serialize(response, keep);
      arm(connection, timeouts_.write);
      const error_code error = co_await connection->stream->write_all(bytes);
      connection->answering = false;
      if (error || !keep) co_return;
    }
  }

  // True when a whole request is there. Otherwise the connection is over, and was told why.
  awaitable<bool> read_request(std::shared_ptr<Connection> connection, bool first) {
    RequestParser& parser = connection->parser;
    bool in_header = first || !parser.idle();
    arm(connection, in_header ? timeouts_.header : timeouts_.idle);
    bool in_body = false;
    while (parser.state() == RequestParser::State::kReading) {
      if (stopping_) co_return false;
      if (parser.take_wants_continue()) {
        const std::string interim = "HTTP/1.1 100 Continue\r\n\r\n";
        const error_code error = co_await connection->stream->write_all(interim);
        if (error) co_return false;
      }
      const Stream::Moved moved = co_await connection->stream->read_some(connection->buffer.data(),
                                                                         connection->buffer.size());
      if (moved.error) {
        if (connection->timed_out && !parser.idle())
          co_await send_last(connection,
                             problem_status(408, "timeout", "the request did not arrive in time"));
        co_return false;
      }
      parser.feed({connection->buffer.data(), moved.bytes});
      if (!in_header && !parser.idle()) {
        in_header = true;
        arm(connection, timeouts_.header);
      }
      if (!in_body && parser.header_done()) {
        in_body = true;
        arm(connection, timeouts_.body);
      }
    }
    if (parser.state() == RequestParser::State::kFailed) {
      co_await send_last(connection, problem_status(parser.failure_status(), "invalid_argument",
                                                    parser.failure()));
      co_return false;
    }
    connection->timer.cancel();
    co_return true;
  }

  awaitable<Response> answer(std::shared_ptr<Connection> connection, Request* request) {
    Response response =
        co_await asio::co_spawn(workers_, run_handler(&handler_, request), use_awaitable);
    milliseconds pause = kLaterPauseFirst;
    while (response.later) {
      connection->timer.expires_after(pause);
      static_cast<void>(co_await connection->timer.async_wait(kNoThrow));
      pause = std::min(pause * 3 / 2, kLaterPauseMax);
      if (stopping_)
        co_return problem(
            Error{Code::kUnavailable, "hozond is stopping; the job goes on when it is back"});
      std::optional<Response> known =
          co_await asio::co_spawn(workers_, run_later(&response), use_awaitable);
      if (known) {
        Response final_answer = std::move(*known);
        co_return final_answer;
      }
    }
    co_return response;
  }

  // H3.
  awaitable<void> send_last(std::shared_ptr<Connection> connection, Response response) {
    const std::string bytes = serialize(response, false);
    arm(connection, timeouts_.write);
    const error_code error = co_await connection->stream->write_all(bytes);
    if (error) co_return;
    connection->stream->half_close();
    arm(connection, timeouts_.drain);
    size_t drained = 0;
    while (drained < kDrainBytesMax && !stopping_) {
      const Stream::Moved moved = co_await connection->stream->read_some(connection->buffer.data(),
                                                                         connection->buffer.size());
      if (moved.error) co_return;
      drained += moved.bytes;
    }
  }

  static constexpr size_t kRefusalsMax = 64;

  const Handler handler_;
  const HttpTimeouts timeouts_;
  asio::io_context loop_{1};
  asio::local::stream_protocol::acceptor acceptor_;
  asio::steady_timer accept_pause_;
  asio::signal_set signals_;
  asio::thread_pool workers_;
  ConnectionList connections_;
  std::atomic<size_t> count_{0};
  bool stopping_ = false;
};

Result<std::unique_ptr<HttpServer>> HttpServer::create(Fd listener, Handler handler,
                                                       HttpTimeouts timeouts) {
  auto impl = std::make_unique<Impl>(std::move(handler), timeouts);
  HOZON_TRY(impl->adopt(std::move(listener)));
  return std::unique_ptr<HttpServer>(new HttpServer(std::move(impl)));
}

HttpServer::HttpServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
HttpServer::~HttpServer() = default;
void HttpServer::run() { impl_->run(); }
void HttpServer::stop() { impl_->stop(); }
void HttpServer::stop_on_signals(const std::vector<int>& signals) {
  impl_->stop_on_signals(signals);
}
size_t HttpServer::connections() const { return impl_->connections(); }

}  // namespace hozon::api
