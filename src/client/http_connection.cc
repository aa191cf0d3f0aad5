// Our own server is the peer, yet its answers are read as if they came from anybody: every length
// is bounded and every wait has the deadline of the call.
#include "client/http_connection.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "client/unix_connect.h"

namespace hozon::client {
namespace {

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return out;
}

std::string_view trim(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

Result<size_t> parse_any_length(std::string_view text, int base) {
  size_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc{} || end != text.data() + text.size() || text.empty())
    return make_error(Code::kUnavailable, "the answer has a malformed length '{}'", text);
  return value;
}

Status check_length(size_t value) {
  if (value > kAnswerBytesMax)
    return make_error(Code::kUnavailable, "the answer is larger than {} bytes", kAnswerBytesMax);
  return {};
}

Result<size_t> parse_length(std::string_view text, int base) {
  const size_t value = HOZON_TRY(parse_any_length(text, base));
  HOZON_TRY(check_length(value));
  return value;
}

using Head = HttpHead;

Status read_status_line(const std::string& line, Head& head) {
  const bool shaped =
      (line.starts_with("HTTP/1.1 ") || line.starts_with("HTTP/1.0 ")) && line.size() >= 12;
  const auto status = shaped ? parse_length(std::string_view(line).substr(9, 3), 10)
                             : make_error(Code::kUnavailable, "");
  if (!status) return make_error(Code::kUnavailable, "the answer is not HTTP");
  head.status = static_cast<int>(*status);
  return {};
}

Status read_header_line(const std::string& line, Head& head) {
  const size_t colon = line.find(':');
  if (colon == std::string::npos) return make_error(Code::kUnavailable, "the answer is not HTTP");
  const std::string name = lower(std::string_view(line).substr(0, colon));
  const std::string_view value = trim(std::string_view(line).substr(colon + 1));
  if (name == "content-length") head.length = HOZON_TRY(parse_any_length(value, 10));
  if (name == "content-type") head.content_type = std::string(value);
  if (name == "transfer-encoding") head.chunked = lower(value) == "chunked";
  if (name == "connection") head.close = lower(value) == "close";
  return {};
}

}  // namespace

std::string percent_encode(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '-' || c == '.' || c == '_' || c == '~';
    if (plain)
      out += c;
    else
      out += fmt::format("%{:02X}", static_cast<unsigned>(static_cast<unsigned char>(c)));
  }
  return out;
}

Status HttpConnection::open(int64_t deadline_ms) {
  close();
  channel_ = HOZON_TRY(open_channel(address_, deadline_ms));
  return {};
}

void HttpConnection::close() {
  channel_.reset();
  pending_.clear();
}

std::string HttpConnection::request_bytes(const HttpCall& call) const {
  std::string bytes = fmt::format("{} {} HTTP/1.1\r\nHost: hozon\r\nAccept: application/json\r\n",
                                  call.method, call.target);
  if (!token_.empty()) bytes += fmt::format("Authorization: Bearer {}\r\n", token_);
  for (const auto& [name, value] : call.headers) bytes += fmt::format("{}: {}\r\n", name, value);
  if (!call.body.empty()) bytes += "Content-Type: application/json\r\n";
  if (!call.body.empty() || call.method != "GET")
    bytes += fmt::format("Content-Length: {}\r\n", call.body.size());
  return bytes + "\r\n" + call.body;
}

Result<HttpAnswer> HttpConnection::stream(const HttpCall& call,
                                          const std::function<bool(std::string_view line)>& take) {
  HOZON_TRY(open(monotonic_ms() + call.timeout_ms));
  HOZON_TRY(channel_->send_all(request_bytes(call), monotonic_ms() + call.timeout_ms));
  Head head = HOZON_TRY(receive_head(monotonic_ms() + call.timeout_ms));
  HttpAnswer answer{head.status, head.content_type, {}};
  if (head.status >= 400) {
    HOZON_TRY(check_length(head.length));
    answer.body = HOZON_TRY(take_bytes(head.length, monotonic_ms() + call.timeout_ms));
    close();
    return answer;
  }
  for (;;) {
    const size_t end = pending_.find('\n');
    if (end == std::string::npos) {
      if (pending_.size() > kHeadBytesMax)
        return make_error(Code::kUnavailable, "a line of the stream is too long");
      if (const Status filled = fill(monotonic_ms() + call.timeout_ms); !filled) {
        close();
        return std::unexpected(filled.error());
      }
      continue;
    }
    const std::string line = pending_.substr(0, end);
    pending_.erase(0, end + 1);
    if (take(line)) continue;
    close();
    return answer;
  }
}

Status HttpConnection::pass_on(size_t count, int timeout_ms, const Sink& sink) {
  while (count > 0) {
    if (pending_.empty()) HOZON_TRY(fill(monotonic_ms() + timeout_ms));
    const size_t piece = std::min(count, pending_.size());
    HOZON_TRY(sink(std::string_view(pending_).substr(0, piece)));
    pending_.erase(0, piece);
    count -= piece;
  }
  return {};
}

Status HttpConnection::pass_on_chunks(int timeout_ms, const Sink& sink) {
  for (;;) {
    const std::string header = HOZON_TRY(take_line(monotonic_ms() + timeout_ms, kHeadBytesMax));
    const size_t size =
        HOZON_TRY(parse_length(trim(std::string_view(header).substr(0, header.find(';'))), 16));
    HOZON_TRY(pass_on(size, timeout_ms, sink));
    if (HOZON_TRY(take_bytes(2, monotonic_ms() + timeout_ms)) != "\r\n")
      return make_error(Code::kUnavailable, "the answer is not HTTP");
    if (size == 0) return {};
  }
}

Result<HttpAnswer> HttpConnection::download(const HttpCall& call, const Sink& sink) {
  HOZON_TRY(open(monotonic_ms() + call.timeout_ms));
  HOZON_TRY(channel_->send_all(request_bytes(call), monotonic_ms() + call.timeout_ms));
  const Head head = HOZON_TRY(receive_head(monotonic_ms() + call.timeout_ms));
  HttpAnswer answer{head.status, head.content_type, {}};
  if (head.status >= 400) {
    HOZON_TRY(check_length(head.length));
    answer.body = HOZON_TRY(take_bytes(head.length, monotonic_ms() + call.timeout_ms));
  } else {
    const Status passed = head.chunked ? pass_on_chunks(call.timeout_ms, sink)
                                       : pass_on(head.length, call.timeout_ms, sink);
    if (!passed) {
      close();
      return std::unexpected(passed.error());
    }
  }
  close();
  return answer;
}

Result<HttpAnswer> HttpConnection::exchange(const HttpCall& call) {
  const int64_t deadline_ms = monotonic_ms() + call.timeout_ms;
  const std::string bytes = request_bytes(call);
  constexpr int kAttempts = 3;
  for (int attempt = 1;; ++attempt) {
    if (!channel_) HOZON_TRY(open(deadline_ms));
    Status sent = channel_->send_all(bytes, deadline_ms);
    Result<HttpAnswer> answer = sent ? receive(deadline_ms) : std::unexpected(sent.error());
    if (answer) return answer;
    close();
    // A connection that idled may have been closed before the request arrived; that alone is no
    // proof that nothing was done, so only what may be repeated is.
    const bool in_time = monotonic_ms() < deadline_ms;
    if (call.repeatable && in_time && attempt < kAttempts) continue;
    if (call.repeatable || call.method == "GET") return answer;
    return make_error(Code::kUnavailable, "{}; whether it was done is unknown",
                      answer.error().what);
  }
}

Status HttpConnection::fill(int64_t deadline_ms) {
  std::array<char, 65536> buffer;
  const size_t got = HOZON_TRY(channel_->receive(buffer, deadline_ms));
  pending_.append(buffer.data(), got);
  return {};
}

Result<std::string> HttpConnection::take_line(int64_t deadline_ms, size_t limit) {
  size_t end = 0;
  while ((end = pending_.find("\r\n")) == std::string::npos) {
    if (pending_.size() > limit) return make_error(Code::kUnavailable, "the answer is not HTTP");
    HOZON_TRY(fill(deadline_ms));
  }
  std::string line = pending_.substr(0, end);
  pending_.erase(0, end + 2);
  return line;
}

Result<std::string> HttpConnection::take_bytes(size_t count, int64_t deadline_ms) {
  while (pending_.size() < count) HOZON_TRY(fill(deadline_ms));
  std::string bytes = pending_.substr(0, count);
  pending_.erase(0, count);
  return bytes;
}

Result<std::string> HttpConnection::receive_chunked(int64_t deadline_ms) {
  std::string body;
  while (true) {
    const std::string header = HOZON_TRY(take_line(deadline_ms, kHeadBytesMax));
    const size_t size =
        HOZON_TRY(parse_length(trim(std::string_view(header).substr(0, header.find(';'))), 16));
    if (body.size() + size > kAnswerBytesMax)
      return make_error(Code::kUnavailable, "the answer is larger than {} bytes", kAnswerBytesMax);
    if (size == 0) break;
    body += HOZON_TRY(take_bytes(size, deadline_ms));
    if (HOZON_TRY(take_bytes(2, deadline_ms)) != "\r\n")
      return make_error(Code::kUnavailable, "the answer is not HTTP");
  }
  while (!HOZON_TRY(take_line(deadline_ms, kHeadBytesMax)).empty()) {
  }  // trailers
  return body;
}

Result<HttpHead> HttpConnection::receive_head(int64_t deadline_ms) {
  Head head;
  do {  // interim answers (1xx) come before the real one
    head = Head();
    const std::string status_line = HOZON_TRY(take_line(deadline_ms, kHeadBytesMax));
    HOZON_TRY(read_status_line(status_line, head));
    size_t head_bytes = 0;
    while (true) {
      const std::string line = HOZON_TRY(take_line(deadline_ms, kHeadBytesMax));
      if (line.empty()) break;
      head_bytes += line.size();
      if (head_bytes > kHeadBytesMax)
        return make_error(Code::kUnavailable, "the head of the answer is too large");
      HOZON_TRY(read_header_line(line, head));
    }
  } while (head.status >= 100 && head.status < 200);
  return head;
}

Result<HttpAnswer> HttpConnection::receive(int64_t deadline_ms) {
  const Head head = HOZON_TRY(receive_head(deadline_ms));
  HttpAnswer answer;
  answer.status = head.status;
  answer.content_type = head.content_type;
  if (!head.chunked) HOZON_TRY(check_length(head.length));
  answer.body = head.chunked ? HOZON_TRY(receive_chunked(deadline_ms))
                             : HOZON_TRY(take_bytes(head.length, deadline_ms));
  if (head.close) close();
  return answer;
}

}  // namespace hozon::client
