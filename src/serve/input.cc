#include "serve/input.h"

#include <algorithm>

namespace hozon::serve {

Task<bool> Input::receive_more() {
  if (begin_ == end_) begin_ = end_ = 0;
  if (end_ == buffer_.size()) {
    std::memmove(buffer_.data(), buffer_.data() + begin_, available());
    end_ -= begin_;
    begin_ = 0;
  }
  const int32_t got = co_await loop_.recv(fd_, std::span(buffer_).subspan(end_));
  if (got <= 0) co_return false;
  end_ += static_cast<size_t>(got);
  co_return true;
}

Task<bool> Input::read(std::span<std::byte> into) {
  for (;;) {
    const size_t part = std::min(into.size(), available());
    take(into.first(part));
    into = into.subspan(part);
    if (into.empty()) co_return true;
    if (into.size() < kDirectBytes) {
      if (!co_await receive_more()) co_return false;
      continue;
    }
    const int32_t got = co_await loop_.recv(fd_, into);
    if (got <= 0) co_return false;
    into = into.subspan(static_cast<size_t>(got));
  }
}

Task<bool> Input::skip(uint64_t count) {
  while (count > 0) {
    const uint64_t part = std::min<uint64_t>(count, available());
    begin_ += part;
    count -= part;
    if (count == 0) break;
    if (!co_await receive_more()) co_return false;
  }
  co_return true;
}

}  // namespace hozon::serve
