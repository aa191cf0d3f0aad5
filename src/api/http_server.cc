// One coroutine per connection on the server's thread; a timer per connection cancels whatever the
// connection waits for. Handlers are coroutines on a thread pool that never suspend, so `co_await`
// brings their answer back to the server's thread.
#include "api/http_server.h"

#include <pwd.h>
#include <sys/socket.h>

#include <array>
#include <atomic>
#include <charconv>
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

// The bytes of a connection.
class Stream {
 public:
  virtual ~Stream() = default;
  struct Moved {
    error_code error;
    size_t bytes = 0;
  };
  // What comes before the first byte. True when the connection can be used.
  virtual awaitable<bool> begin() { co_return true; }
  virtual awaitable<Moved> read_some(char* into, size_t size) = 0;
  virtual awaitable<error_code> write_all(const std::string& bytes) = 0;
  virtual void half_close() = 0;
  virtual void cancel() = 0;
  virtual void fill_in_peer(Request& request) = 0;  // Request::peer, peer_uid and address
};

// What the kinds of sockets have in common.
template <typename Socket>
class SocketStream : public Stream {
 public:
  template <typename... Args>
  explicit SocketStream(Args&&... args) : socket_(std::forward<Args>(args)...) {}
  awaitable<Moved> read_some(char* into, size_t size) override {
    auto [error, bytes] = co_await socket_.async_read_some(asio::buffer(into, size), kNoThrow);
    co_return Moved{error, bytes};
  }
  awaitable<error_code> write_all(const std::string& bytes) override {
    auto [error, written] = co_await asio::async_write(socket_, asio::buffer(bytes), kNoThrow);
    static_cast<void>(written);
    co_return error;
  }
  void cancel() override {
    error_code ignored;
    socket_.lowest_layer().cancel(ignored);
  }

 protected:
  Socket socket_;
};

using local = asio::local::stream_protocol;

class UnixStream : public SocketStream<local::socket> {
 public:
  using SocketStream::SocketStream;
  void half_close() override {
    error_code ignored;
    socket_.shutdown(local::socket::shutdown_send, ignored);
  }
  void fill_in_peer(Request& request) override {
    ucred who{};
    socklen_t size = sizeof(who);
    if (::getsockopt(socket_.native_handle(), SOL_SOCKET, SO_PEERCRED, &who, &size) != 0) return;
    std::array<char, 4096> room;
    passwd entry{};
    passwd* found = nullptr;
    ::getpwuid_r(who.uid, &entry, room.data(), room.size(), &found);
    request.peer = found != nullptr ? found->pw_name : fmt::format("uid {}", who.uid);
    request.peer_uid = who.uid;
  }
};

using tcp = asio::ip::tcp;

// TCP, with TLS or without.
template <typename Socket>
class TcpStream : public SocketStream<Socket> {
 public:
  template <typename... Args>
  explicit TcpStream(Args&&... args) : SocketStream<Socket>(std::forward<Args>(args)...) {
    error_code ignored;
    socket_.lowest_layer().set_option(tcp::no_delay(true), ignored);
  }
  awaitable<bool> begin() override {
    if constexpr (kIsTls) {
      auto [error] = co_await socket_.async_handshake(asio::ssl::stream_base::server, kNoThrow);
      co_return !error;
    }
    co_return true;
  }
  // Of TLS the end of the connection is told by closing it: what was sent is whole, because answers
  // say how long they are, and the last event of a stream is not known to be the last.
  void half_close() override {
    error_code ignored;
    if constexpr (!kIsTls) socket_.shutdown(tcp::socket::shutdown_send, ignored);
  }
  void fill_in_peer(Request& request) override {  // keeps H5
    error_code error;
    const auto where = socket_.lowest_layer().remote_endpoint(error);
    if (!error) request.address = where.address().to_string();
  }

 private:
  using SocketStream<Socket>::socket_;
  static constexpr bool kIsTls = !std::is_same_v<Socket, tcp::socket>;
};
using PlainTcpStream = TcpStream<tcp::socket>;
using TlsStream = TcpStream<asio::ssl::stream<tcp::socket>>;

struct TcpDoor {
  explicit TcpDoor(asio::io_context& loop) : acceptor(loop) {}
  tcp::acceptor acceptor;
  std::unique_ptr<asio::ssl::context> tls;  // none: without
};

Result<std::unique_ptr<asio::ssl::context>> make_tls(const TcpListen& where) {
  auto tls = std::make_unique<asio::ssl::context>(asio::ssl::context::tls_server);
  error_code error;
  tls->set_options(asio::ssl::context::default_workarounds | asio::ssl::context::no_tlsv1 |
                       asio::ssl::context::no_tlsv1_1,
                   error);
  if (!error) tls->use_certificate_chain_file(where.certificate, error);
  if (error)
    return make_error(Code::kInvalidArgument, "the certificate in '{}' is of no use: {}",
                      where.certificate, error.message());
  tls->use_private_key_file(where.key, asio::ssl::context::pem, error);
  if (error)
    return make_error(Code::kInvalidArgument, "the key in '{}' is of no use: {}", where.key,
                      error.message());
  return tls;
}

Result<std::unique_ptr<TcpDoor>> open_door(asio::io_context& loop, const TcpListen& where) {
  error_code error;
  const asio::ip::address address = asio::ip::make_address(where.address, error);
  if (error) return make_error(Code::kInvalidArgument, "'{}' is no numeric address", where.address);
  const bool has_tls = !where.certificate.empty() && !where.key.empty();
  if (!has_tls && !(where.certificate.empty() && where.key.empty()))
    return make_error(Code::kInvalidArgument,
                      "TLS needs both a certificate and its key, in files of their own");
  if (!has_tls && !address.is_loopback())
    return make_error(Code::kInvalidArgument,
                      "'{}' can be reached from other hosts: without TLS only 127.0.0.1 and ::1 "
                      "are listened on; give a certificate and its key",
                      where.address);
  auto door = std::make_unique<TcpDoor>(loop);
  if (has_tls) door->tls = HOZON_TRY(make_tls(where));
  const tcp::endpoint endpoint(address, where.port);
  door->acceptor.open(endpoint.protocol(), error);
  if (!error) door->acceptor.set_option(tcp::acceptor::reuse_address(true), error);
  if (!error) door->acceptor.bind(endpoint, error);
  if (!error) door->acceptor.listen(128, error);
  if (error)
    return std::unexpected(
        Error{error == asio::error::address_in_use ? Code::kBusy : Code::kUnavailable,
              fmt::format("cannot listen on '{}' port {}: {}", where.address, where.port,
                          error.message())});
  return door;
}

struct Connection {
  Connection(std::unique_ptr<Stream> bytes, asio::io_context& loop)
      : stream(std::move(bytes)), timer(loop), news(loop) {}
  std::unique_ptr<Stream> stream;
  asio::steady_timer timer;
  asio::steady_timer news;  // of a stream: cancelled when there is something to send
  RequestParser parser;
  std::array<char, 16384> buffer{};
  bool timed_out = false;
  bool gone = false;       // of a stream: the client has closed its end
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
    acceptor_.assign(local(), listener.get(), error);
    if (error)
      return make_error(Code::kInvalidArgument, "the API socket cannot be used: {}",
                        error.message());
    static_cast<void>(listener.release());
    return {};
  }

  Result<uint16_t> listen_tcp(const TcpListen& where) {
    auto door = HOZON_TRY(open_door(loop_, where));
    error_code error;
    const uint16_t port = door->acceptor.local_endpoint(error).port();
    doors_.push_back(std::move(door));
    return port;
  }

  void run() {
    const auto make_unix = [](local::socket socket) {
      return std::make_unique<UnixStream>(std::move(socket));
    };
    asio::co_spawn(loop_, accept_loop(&acceptor_, make_unix), asio::detached);
    for (const auto& door : doors_) {
      asio::ssl::context* const tls = door->tls.get();
      const auto make_tcp = [tls](tcp::socket socket) -> std::unique_ptr<Stream> {
        if (tls == nullptr) return std::make_unique<PlainTcpStream>(std::move(socket));
        return std::make_unique<TlsStream>(std::move(socket), *tls);
      };
      asio::co_spawn(loop_, accept_loop(&door->acceptor, make_tcp), asio::detached);
    }
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
    for (const auto& door : doors_) door->acceptor.close(ignored);
    signals_.cancel(ignored);
    accept_pause_.cancel();
    for (const auto& connection : connections_) {
      connection->news.cancel();
      if (!connection->answering) connection->stream->cancel();
    }
  }

  template <typename Acceptor, typename MakeStream>
  awaitable<void> accept_loop(Acceptor* acceptor, MakeStream make_stream) {
    while (!stopping_) {
      auto [error, socket] = co_await acceptor->async_accept(kNoThrow);
      if (stopping_) break;
      if (error) {  // out of descriptors, most likely: it passes
        log_warning("cannot accept a connection: {}", error.message());
        accept_pause_.expires_after(milliseconds(100));
        static_cast<void>(co_await accept_pause_.async_wait(kNoThrow));
        continue;
      }
      if (connections_.size() >= kConnectionsMax + kRefusalsMax) continue;  // closes it
      begin_connection(std::make_shared<Connection>(make_stream(std::move(socket)), loop_));
    }
  }

  void begin_connection(const std::shared_ptr<Connection>& connection) {
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

  awaitable<void> refuse_connection(std::shared_ptr<Connection> connection) {
    Response response = problem(
        Error{Code::kUnavailable,
              fmt::format("{} connections are open already, which is the limit", kConnectionsMax)});
    response.headers.emplace_back("Retry-After", "1");
    co_await send_last(connection, std::move(response));
  }

  awaitable<void> serve(std::shared_ptr<Connection> connection) {
    arm(connection, timeouts_.header);
    const bool begun = co_await connection->stream->begin();
    if (!begun) co_return;
    bool first = true;
    while (!stopping_) {
      const bool complete = co_await read_request(connection, first);
      if (!complete) co_return;
      first = false;
      connection->answering = true;
      auto request = std::make_unique<Request>(connection->parser.take());
      connection->stream->fill_in_peer(*request);
      Response response = co_await answer(connection, request.get());
      if (response.stream) {
        co_await send_stream(connection, std::move(response));
        co_return;
      }
      const bool keep = request->keep_alive && !stopping_;
      std::string bytes = serialize(response, keep);
      if (request->method == "HEAD") bytes.resize(bytes.find("\r\n\r\n") + 4);
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

  // H4. Whatever the client sends now is read to notice its end, and means nothing.
  awaitable<void> send_stream(std::shared_ptr<Connection> connection, Response response) {
    if (streams_ >= kStreamsMax) {
      // Not inside of the co_await: GCC 12 destroys such an aggregate twice.
      Response refusal = problem(
          Error{Code::kUnavailable,
                fmt::format("{} streams are open already, which is the limit", kStreamsMax)});
      co_await send_last(connection, std::move(refusal));
      co_return;
    }
    ++streams_;
    connection->answering = false;  // the end of this program need not wait for it
    const std::shared_ptr<ByteStream> body = std::move(response.stream);
    response.stream = body;
    asio::co_spawn(loop_, watch_for_end(connection), asio::detached);
    body->on_more([this, waiting = std::weak_ptr(connection)] {
      asio::post(loop_, [waiting] {
        if (const auto there = waiting.lock()) there->news.cancel();
      });
    });
    std::string bytes = serialize(response, false);
    response.stream.reset();
    while (!stopping_ && !connection->gone) {
      if (!bytes.empty()) {
        arm(connection, timeouts_.write);
        const error_code error = co_await connection->stream->write_all(bytes);
        connection->timer.cancel();
        if (error) break;
      }
      std::optional<std::string> more = body->take();
      if (!more) break;
      bytes = std::move(*more);
      if (!bytes.empty()) continue;
      connection->news.expires_after(timeouts_.heartbeat);
      const auto [woken] = co_await connection->news.async_wait(kNoThrow);
      if (!woken) bytes = body->heartbeat();
    }
    --streams_;
    connection->gone = true;
    connection->stream->cancel();
  }

  awaitable<void> watch_for_end(std::shared_ptr<Connection> connection) {
    std::array<char, 256> ignored{};
    while (!connection->gone && !stopping_) {
      const Stream::Moved moved =
          co_await connection->stream->read_some(ignored.data(), ignored.size());
      if (moved.error) break;
    }
    connection->gone = true;
    connection->news.cancel();
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
  local::acceptor acceptor_;
  std::vector<std::unique_ptr<TcpDoor>> doors_;
  asio::steady_timer accept_pause_;
  asio::signal_set signals_;
  asio::thread_pool workers_;
  ConnectionList connections_;
  std::atomic<size_t> count_{0};
  size_t streams_ = 0;  // of the server's thread
  bool stopping_ = false;
};

Result<std::unique_ptr<HttpServer>> HttpServer::create(Fd listener, Handler handler,
                                                       HttpTimeouts timeouts) {
  auto impl = std::make_unique<Impl>(std::move(handler), timeouts);
  HOZON_TRY(impl->adopt(std::move(listener)));
  return std::unique_ptr<HttpServer>(new HttpServer(std::move(impl)));
}

Result<TcpListen> parse_listen(const std::string& text) {
  TcpListen where;
  const size_t colon = text.rfind(':');
  std::string port = text;
  if (colon != std::string::npos) {
    where.address = text.substr(0, colon);
    port = text.substr(colon + 1);
  }
  if (where.address.starts_with('[') && where.address.ends_with(']'))
    where.address = where.address.substr(1, where.address.size() - 2);
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), where.port);
  if (error != std::errc() || end != port.data() + port.size() || where.address.empty())
    return make_error(Code::kInvalidArgument, "'{}' is not PORT, ADDRESS:PORT or [ADDRESS]:PORT",
                      text);
  return where;
}

Status check_listen(const TcpListen& where, bool is_up) {
  asio::io_context loop;
  const auto door = open_door(loop, where);
  if (door || (is_up && door.error().code == Code::kBusy)) return {};
  return std::unexpected(door.error());
}

Result<uint16_t> HttpServer::listen_tcp(const TcpListen& where) { return impl_->listen_tcp(where); }

HttpServer::HttpServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
HttpServer::~HttpServer() = default;
void HttpServer::run() { impl_->run(); }
void HttpServer::stop() { impl_->stop(); }
void HttpServer::stop_on_signals(const std::vector<int>& signals) {
  impl_->stop_on_signals(signals);
}
size_t HttpServer::connections() const { return impl_->connections(); }

}  // namespace hozon::api
