#include "serve/reply_queue.h"

#include <sys/socket.h>

#include <algorithm>

namespace hozon::serve {

void ReplyFlusher::end_of_turn() {
  for (ReplyQueue* queue : std::exchange(marked_, {})) {
    queue->marked_ = false;
    queue->wake_.pulse();
  }
}

void ReplyQueue::Batch::clear() {
  heads.clear();
  parts.clear();
  payloads.clear();
  replies = 0;
}

void ReplyQueue::add_bytes(std::span<const std::byte> bytes) {
  pending_.heads.insert(pending_.heads.end(), bytes.begin(), bytes.end());
  if (!pending_.parts.empty() && pending_.parts.back().data == nullptr)
    pending_.parts.back().size += bytes.size();
  else
    pending_.parts.push_back({nullptr, bytes.size()});
}

void ReplyQueue::add_data(std::span<const std::byte> data) {
  pending_.parts.push_back({data.data(), data.size()});
}

void ReplyQueue::end_reply(Payload payload) {
  if (broken_) {  // nobody will send it: the payload goes back now
    pending_.clear();
    sent_.pulse();
    return;
  }
  if (payload) pending_.payloads.push_back(std::move(payload));
  ++pending_.replies;
  mark();
}

void ReplyQueue::mark() {
  if (marked_) return;
  marked_ = true;
  flusher_.mark(this);
}

void ReplyQueue::finish() {
  finishing_ = true;
  mark();
}

void ReplyQueue::break_off() {
  broken_ = true;
  ::shutdown(fd_, SHUT_RDWR);  // ends a receive or send that waits
  mark();
}

void ReplyQueue::build_parts() {
  iovecs_.clear();
  std::byte* head = sending_.heads.data();
  for (const Part& part : sending_.parts) {
    iovecs_.push_back({part.data == nullptr ? head : const_cast<std::byte*>(part.data), part.size});
    if (part.data == nullptr) head += part.size;
  }
}

Task<bool> ReplyQueue::send_batch() {
  build_parts();
  std::span<iovec> rest(iovecs_);
  while (!rest.empty()) {
    waiting_since_ns_ = loop_.now_ns();
    const int32_t result =
        co_await loop_.send_parts(fd_, rest.first(std::min(rest.size(), kPartsPerSend)));
    waiting_since_ns_ = 0;
    if (result <= 0) co_return false;
    auto moved = static_cast<size_t>(result);
    while (!rest.empty() && moved >= rest.front().iov_len) {
      moved -= rest.front().iov_len;
      rest = rest.subspan(1);
    }
    if (moved == 0) continue;
    rest.front().iov_base = static_cast<std::byte*>(rest.front().iov_base) + moved;
    rest.front().iov_len -= moved;
  }
  co_return true;
}

Task<void> ReplyQueue::run() {
  for (;;) {
    while (pending_.parts.empty() && !finishing_ && !broken_) co_await wake_;
    if (!broken_ && !pending_.parts.empty()) {
      std::swap(pending_, sending_);
      const bool sent = co_await send_batch();
      sending_.clear();
      if (!sent) break_off();
    }
    if (broken_) pending_.clear();
    sent_.pulse();
    if (broken_ || (finishing_ && pending_.parts.empty())) co_return;
  }
}

}  // namespace hozon::serve
