// Sockets are non-blocking; each step waits with poll() until its deadline. OpenSSL is given the
// socket itself, and says what it waits for.
#include "client/channel.h"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>

#include "base/fd.h"
#include "client/unix_connect.h"

namespace hozon::client {
namespace {

class PlainChannel : public Channel {
 public:
  explicit PlainChannel(Fd socket) : socket_(std::move(socket)) {}

  Status send_all(std::string_view bytes, int64_t deadline_ms) override {
    while (!bytes.empty()) {
      if (!HOZON_TRY(wait_for(socket_.get(), POLLOUT, deadline_ms)))
        return make_error(Code::kUnavailable, "hozond did not take the request in time");
      const ssize_t sent =
          ::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      if (sent < 0 && (errno == EINTR || errno == EAGAIN)) continue;
      if (sent < 0 && (errno == EPIPE || errno == ECONNRESET)) return {};
      if (sent < 0) return errno_error(errno, "send to hozond");
      bytes.remove_prefix(static_cast<size_t>(sent));
    }
    return {};
  }

  Result<size_t> receive(std::span<char> into, int64_t deadline_ms) override {
    while (true) {
      if (!HOZON_TRY(wait_for(socket_.get(), POLLIN, deadline_ms)))
        return make_error(Code::kUnavailable, "hozond did not answer in time");
      const ssize_t got = ::recv(socket_.get(), into.data(), into.size(), MSG_DONTWAIT);
      if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
      if (got <= 0) return make_error(Code::kUnavailable, "hozond closed the connection");
      return static_cast<size_t>(got);
    }
  }

 private:
  Fd socket_;
};

struct ContextFree {
  void operator()(SSL_CTX* context) const { ::SSL_CTX_free(context); }
};
struct SslFree {
  void operator()(SSL* ssl) const { ::SSL_free(ssl); }
};

std::string openssl_words() {
  std::array<char, 256> text{};
  const unsigned long code = ::ERR_get_error();
  ::ERR_clear_error();
  if (code == 0) return "no reason given";
  ::ERR_error_string_n(code, text.data(), text.size());
  return text.data();
}

class TlsChannel : public Channel {
 public:
  static Result<std::unique_ptr<Channel>> open(Fd socket, const Address& address,
                                               int64_t deadline_ms) {
    std::unique_ptr<TlsChannel> channel(new TlsChannel(std::move(socket)));
    HOZON_TRY(channel->prepare(address));
    HOZON_TRY(channel->shake_hands(address, deadline_ms));
    return channel;
  }

  Status send_all(std::string_view bytes, int64_t deadline_ms) override {
    while (!bytes.empty()) {
      size_t sent = 0;
      const int done = ::SSL_write_ex(ssl_.get(), bytes.data(), bytes.size(), &sent);
      if (done == 1) {
        bytes.remove_prefix(sent);
        continue;
      }
      if (!HOZON_TRY(wait(done, deadline_ms))) return {};  // closed: its answer is to be read
    }
    return {};
  }

  Result<size_t> receive(std::span<char> into, int64_t deadline_ms) override {
    while (true) {
      size_t got = 0;
      const int done = ::SSL_read_ex(ssl_.get(), into.data(), into.size(), &got);
      if (done == 1) return got;
      if (!HOZON_TRY(wait(done, deadline_ms)))
        return make_error(Code::kUnavailable, "hozond closed the connection");
    }
  }

 private:
  explicit TlsChannel(Fd socket) : socket_(std::move(socket)) {}

  Status prepare(const Address& address) {
    context_.reset(::SSL_CTX_new(::TLS_client_method()));
    if (!context_) return make_error(Code::kInternal, "TLS does not begin: {}", openssl_words());
    ::SSL_CTX_set_min_proto_version(context_.get(), TLS1_2_VERSION);
    ::SSL_CTX_set_verify(context_.get(), SSL_VERIFY_PEER, nullptr);
    const bool loaded = address.authorities.empty()
                            ? ::SSL_CTX_set_default_verify_paths(context_.get()) == 1
                            : ::SSL_CTX_load_verify_locations(
                                  context_.get(), address.authorities.c_str(), nullptr) == 1;
    if (!loaded)
      return make_error(Code::kInvalidArgument, "no certificates can be read from '{}': {}",
                        address.authorities, openssl_words());
    ssl_.reset(::SSL_new(context_.get()));
    X509_VERIFY_PARAM* const wanted = ::SSL_get0_param(ssl_.get());
    const bool named = ::X509_VERIFY_PARAM_set1_ip_asc(wanted, address.host.c_str()) == 1 ||
                       (::SSL_set1_host(ssl_.get(), address.host.c_str()) == 1 &&
                        ::SSL_set_tlsext_host_name(ssl_.get(), address.host.c_str()) == 1);
    if (!named || ::SSL_set_fd(ssl_.get(), socket_.get()) != 1)
      return make_error(Code::kInternal, "TLS does not begin: {}", openssl_words());
    ::ERR_clear_error();
    return {};
  }

  Status shake_hands(const Address& address, int64_t deadline_ms) {
    while (true) {
      const int done = ::SSL_connect(ssl_.get());
      if (done == 1) return {};
      if (const long bad = ::SSL_get_verify_result(ssl_.get()); bad != X509_V_OK)
        return make_error(Code::kPermissionDenied,
                          "the certificate of '{}' is not to be trusted: {}; HOZON_CACERT names a "
                          "file with the authority's",
                          address.host, ::X509_verify_cert_error_string(bad));
      if (!HOZON_TRY(wait(done, deadline_ms)))
        return make_error(Code::kUnavailable, "'{}' port {} does not speak TLS: {}", address.host,
                          address.port, openssl_words());
    }
  }

  // Waits for what the last call needs. False: there is nothing to wait for any more.
  Result<bool> wait(int done, int64_t deadline_ms) {
    const int reason = ::SSL_get_error(ssl_.get(), done);
    if (reason != SSL_ERROR_WANT_READ && reason != SSL_ERROR_WANT_WRITE) return false;
    const short events = reason == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT;
    if (!HOZON_TRY(wait_for(socket_.get(), events, deadline_ms)))
      return make_error(Code::kUnavailable, "hozond did not answer in time");
    return true;
  }

  Fd socket_;
  std::unique_ptr<SSL_CTX, ContextFree> context_;
  std::unique_ptr<SSL, SslFree> ssl_;
};

struct InfoFree {
  void operator()(addrinfo* info) const { ::freeaddrinfo(info); }
};

bool is_own(const sockaddr* address) {
  if (address->sa_family == AF_INET) {
    const auto* const v4 = reinterpret_cast<const sockaddr_in*>(address);
    return (ntohl(v4->sin_addr.s_addr) >> 24) == 127;
  }
  const auto* const v6 = reinterpret_cast<const sockaddr_in6*>(address);
  return address->sa_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr);
}

Result<Fd> tcp_connect(const Address& address, int64_t deadline_ms) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* raw = nullptr;
  const int failed = ::getaddrinfo(address.host.c_str(), address.port.c_str(), &hints, &raw);
  const std::unique_ptr<addrinfo, InfoFree> found(raw);
  if (failed != 0)
    return make_error(Code::kUnavailable, "'{}' is not found: {}", address.host,
                      ::gai_strerror(failed));
  int last_error = ECONNREFUSED;
  for (const addrinfo* one = found.get(); one != nullptr; one = one->ai_next) {
    if (address.kind == Address::Kind::kTcp && !is_own(one->ai_addr))
      return make_error(Code::kInvalidArgument,
                        "'{}' is another host: without TLS (https://) nothing is sent there",
                        address.host);
    Fd socket(::socket(one->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!socket) return errno_error(errno, "open a socket");
    if (::connect(socket.get(), one->ai_addr, one->ai_addrlen) != 0 && errno != EINPROGRESS) {
      last_error = errno;
      continue;
    }
    if (!HOZON_TRY(wait_for(socket.get(), POLLOUT, deadline_ms)))
      return make_error(Code::kUnavailable, "'{}' port {} does not answer", address.host,
                        address.port);
    socklen_t size = sizeof last_error;
    ::getsockopt(socket.get(), SOL_SOCKET, SO_ERROR, &last_error, &size);
    if (last_error != 0) continue;
    const int on = 1;
    ::setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return socket;
  }
  return std::unexpected(errno_to_error(
      last_error, fmt::format("connect to '{}' port {}", address.host, address.port)));
}

}  // namespace

Result<Address> parse_address_url(const std::string& url) {
  Address address;
  const auto wrong = [&] {
    return make_error(Code::kInvalidArgument,
                      "'{}' is not unix:/PATH, http://127.0.0.1:PORT or https://HOST:PORT", url);
  };
  std::string_view rest = url;
  if (rest.starts_with("unix:/")) {
    address.path = rest.substr(5);
    return address;
  }
  if (rest.starts_with("http://")) {
    address.kind = Address::Kind::kTcp;
    rest.remove_prefix(7);
  } else if (rest.starts_with("https://")) {
    address.kind = Address::Kind::kTls;
    rest.remove_prefix(8);
  } else {
    return wrong();
  }
  if (rest.ends_with('/')) rest.remove_suffix(1);
  const size_t colon = rest.rfind(':');
  if (colon == std::string_view::npos || colon == 0) return wrong();
  address.port = rest.substr(colon + 1);
  std::string_view host = rest.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  address.host = host;
  const bool good = !address.port.empty() && address.port.size() <= 5 && !address.host.empty() &&
                    address.port.find_first_not_of("0123456789") == std::string::npos &&
                    address.host.find_first_of("/?#@[] ") == std::string::npos;
  if (!good) return wrong();
  return address;
}

Result<std::unique_ptr<Channel>> open_channel(const Address& address, int64_t deadline_ms) {
  if (address.kind == Address::Kind::kUnix)
    return std::make_unique<PlainChannel>(HOZON_TRY(unix_connect(address.path)));
  Fd socket = HOZON_TRY(tcp_connect(address, deadline_ms));
  if (address.kind == Address::Kind::kTls)
    return TlsChannel::open(std::move(socket), address, deadline_ms);
  return std::make_unique<PlainChannel>(std::move(socket));
}

}  // namespace hozon::client
