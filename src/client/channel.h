// src/client/channel.h
// The bytes between a client and hozond: a unix socket, TCP on this host, or TLS to another one.
//
// An address is "unix:/path/to/api.sock", "http://127.0.0.1:8006" or "https://host:8006". Without
// TLS only this host's own addresses are spoken to, because a token would be readable on the way.
// With TLS the server's certificate has to be good for the name and to come from an authority that
// the system trusts, or from the file in `authorities` (PEM).
// Threading: one call at a time. Every wait has a deadline (monotonic_ms()).
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"

namespace hozon::client {

struct Address {
  enum class Kind { kUnix, kTcp, kTls };
  Kind kind = Kind::kUnix;
  std::string path = {};  // of kUnix
  std::string host = {};  // otherwise
  std::string port = {};
  std::string authorities = {};  // of kTls; empty: the system's
};

// kInvalidArgument says what is allowed.
Result<Address> parse_address_url(const std::string& url);

class Channel {
 public:
  virtual ~Channel() = default;
  // Success, too, when the peer has closed: what it said before is still to be read.
  virtual Status send_all(std::string_view bytes, int64_t deadline_ms) = 0;
  // At least one byte; kUnavailable at the end.
  virtual Result<size_t> receive(std::span<char> into, int64_t deadline_ms) = 0;
};

// kUnavailable (with the errno) when nobody listens; kPermissionDenied when the certificate is bad.
Result<std::unique_ptr<Channel>> open_channel(const Address& address, int64_t deadline_ms);

}  // namespace hozon::client
