// Beast's parser is fed from a buffer of our own. It may take nothing and ask for more while bytes
// are waiting (a chunk header torn in two), so every call that makes no progress ends the turn; a
// loop "until the buffer is empty" would spin for ever.
#include "api/request_parser.h"

#include <fmt/format.h>

#include <boost/asio/buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>

namespace hozon::api {
namespace http = boost::beast::http;

namespace {

// A chunk header with its extensions, or trailers, that did not end within this is refused.
constexpr size_t kUnparsedBytesMax = kHeaderBytesMax + 4096;

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return out;
}

// Whether the first line ends like "HTTP/2.0".
bool names_a_version(std::string_view bytes) {
  const std::string_view line = bytes.substr(0, bytes.find("\r\n"));
  if (line.size() < 8 || line.size() == bytes.size()) return false;
  const std::string_view end = line.substr(line.size() - 8);
  const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
  return end.starts_with("HTTP/") && is_digit(end[5]) && end[6] == '.' && is_digit(end[7]);
}

std::string_view view(boost::beast::string_view text) { return {text.data(), text.size()}; }

}  // namespace

struct RequestParser::Beast {
  Beast() {
    parser.header_limit(kHeaderBytesMax);
    parser.body_limit(kBodyBytesMax);
    parser.eager(true);
  }
  http::request_parser<http::string_body> parser;
};

RequestParser::RequestParser() : beast_(std::make_unique<Beast>()) {}
RequestParser::~RequestParser() = default;

bool RequestParser::idle() const { return pending_.empty() && !beast_->parser.got_some(); }
bool RequestParser::header_done() const { return beast_->parser.is_header_done(); }

bool RequestParser::take_wants_continue() { return std::exchange(wants_continue_, false); }

RequestParser::State RequestParser::fail(int status, std::string reason) {
  failure_status_ = status;
  failure_ = std::move(reason);
  pending_.clear();
  return state_ = State::kFailed;
}

RequestParser::State RequestParser::feed(std::string_view bytes) {
  if (state_ == State::kFailed) return state_;
  pending_.append(bytes);
  return advance();
}

RequestParser::State RequestParser::advance() {
  while (state_ == State::kReading && !pending_.empty()) {
    if (!beast_->parser.got_some() && pending_[0] == '\r') {
      // RFC 9112 2.2: an empty line before a request line is skipped.
      if (pending_.size() == 1) break;
      if (pending_[1] == '\n') {
        pending_.erase(0, 2);
        continue;
      }
    }
    const bool other_version = !beast_->parser.is_header_done() && names_a_version(pending_);
    boost::system::error_code error;
    const size_t taken =
        beast_->parser.put(boost::asio::const_buffer(pending_.data(), pending_.size()), error);
    pending_.erase(0, taken);
    if (error == http::error::header_limit)
      return fail(431, fmt::format("the request header is larger than {} bytes", kHeaderBytesMax));
    if (error == http::error::body_limit || error == http::error::buffer_overflow)
      return fail(413, fmt::format("the request body is larger than {} bytes", kBodyBytesMax));
    if (error && error != http::error::need_more) {
      if (error == http::error::bad_version && other_version)
        return fail(505, "only HTTP/1.0 and HTTP/1.1 are spoken");
      return fail(400, fmt::format("the request is not HTTP: {}", error.message()));
    }
    if (beast_->parser.is_header_done() && !header_checked_ && !check_header()) return state_;
    if (beast_->parser.is_done()) return state_ = State::kDone;
    if (taken == 0) break;
  }
  if (state_ == State::kReading && pending_.size() > kUnparsedBytesMax)
    return fail(400, "a chunk header or trailer is too long");
  return state_;
}

// R3, and what the grammar leaves open.
bool RequestParser::check_header() {
  header_checked_ = true;
  const auto& message = beast_->parser.get();
  const auto count = [&message](http::field name) { return message.count(name); };
  if (count(http::field::transfer_encoding) > 0) {
    if (count(http::field::content_length) > 0) {
      fail(400, "the request has both Content-Length and Transfer-Encoding");
      return false;
    }
    if (count(http::field::transfer_encoding) > 1 ||
        lower(view(message[http::field::transfer_encoding])) != "chunked") {
      fail(501, "the only Transfer-Encoding that is understood is chunked");
      return false;
    }
  }
  if (count(http::field::content_length) > 1 || count(http::field::host) > 1) {
    fail(400, "a header that must be unique is there twice");
    return false;
  }
  if (message.version() >= 11 && count(http::field::host) == 0) {
    fail(400, "the Host header is missing");
    return false;
  }
  if (count(http::field::expect) > 0) {
    if (lower(view(message[http::field::expect])) != "100-continue") {
      fail(417, "the only expectation that is understood is 100-continue");
      return false;
    }
    wants_continue_ = !beast_->parser.is_done() && message.version() >= 11;
  }
  return true;
}

Request RequestParser::take() {
  auto message = beast_->parser.release();
  Request request;
  request.method = std::string(view(message.method_string()));
  request.target = std::string(view(message.target()));
  for (const auto& field : message)
    request.headers.emplace_back(lower(view(field.name_string())),
                                 std::string(view(field.value())));
  request.has_length = message.count(http::field::content_length) > 0 ||
                       message.count(http::field::transfer_encoding) > 0;
  request.keep_alive = message.keep_alive();
  request.body = std::move(message.body());

  beast_ = std::make_unique<Beast>();
  header_checked_ = false;
  wants_continue_ = false;
  state_ = State::kReading;
  advance();
  return request;
}

}  // namespace hozon::api
