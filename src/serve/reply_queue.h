// src/serve/reply_queue.h
// The sending side of a connection. Replies are collected until the end of the turn and leave in as
// few sends as possible; data is not copied.
//
// Invariants
//   Q1  Bytes leave in the order in which they were added; a reply is never split by another one.
//   Q2  A reply's payload is kept until its bytes are in the socket, or the connection is broken.
// Threading: the loop's thread. One task runs run().
#pragma once

#include <cstdint>
#include <vector>

#include "base/bytes.h"
#include "base/sync.h"
#include "io/loop.h"
#include "serve/payload.h"

namespace hozon::serve {

class ReplyQueue;

// Wakes the queues that got replies, when nothing more can be added to them in this turn.
class ReplyFlusher final : public Executor::TurnHook {
 public:
  explicit ReplyFlusher(Executor& executor) : executor_(executor) { executor.add_turn_hook(this); }
  ~ReplyFlusher() override { executor_.remove_turn_hook(this); }
  ReplyFlusher(const ReplyFlusher&) = delete;
  ReplyFlusher& operator=(const ReplyFlusher&) = delete;
  void mark(ReplyQueue* queue) { marked_.push_back(queue); }
  void forget(ReplyQueue* queue) { std::erase(marked_, queue); }
  void end_of_turn() override;

 private:
  Executor& executor_;
  std::vector<ReplyQueue*> marked_;
};

class ReplyQueue {
 public:
  static constexpr size_t kPartsPerSend = 256;

  ReplyQueue(Loop& loop, int fd, ReplyFlusher& flusher)
      : loop_(loop), fd_(fd), flusher_(flusher), wake_(loop), sent_(loop) {}
  ~ReplyQueue() { flusher_.forget(this); }
  ReplyQueue(const ReplyQueue&) = delete;
  ReplyQueue& operator=(const ReplyQueue&) = delete;

  // The parts of one reply, in order, then end_reply().
  template <typename T>
  void add(const T& head) {
    add_bytes(bytes_of(head));
  }
  void add_bytes(std::span<const std::byte> bytes);
  // The view must stay valid as long as the payload given to end_reply().
  void add_data(std::span<const std::byte> data);
  void end_reply(Payload payload = {});

  // Sends until finish() was called and everything has left, or the peer is gone.
  Task<void> run();
  void finish();
  // Drops everything and makes the peer see the end of the connection.
  void break_off();
  bool broken() const { return broken_; }

  // Replies added and not yet sent.
  uint64_t unsent() const { return pending_.replies + sending_.replies; }
  // Returns when replies have left or were dropped.
  Task<void> some_sent() { co_await sent_; }
  // When a send began that has not moved a byte since; 0: none is waiting.
  uint64_t waiting_since_ns() const { return waiting_since_ns_; }

 private:
  friend class ReplyFlusher;
  struct Part {
    const std::byte* data;  // nullptr: the next `size` bytes of Batch::heads
    size_t size;
  };
  struct Batch {
    std::vector<std::byte> heads;
    std::vector<Part> parts;
    std::vector<Payload> payloads;
    uint64_t replies = 0;
    void clear();
  };
  void mark();
  void build_parts();
  Task<bool> send_batch();

  Loop& loop_;
  int fd_;
  ReplyFlusher& flusher_;
  Event wake_;
  Event sent_;
  Batch pending_;
  Batch sending_;
  std::vector<iovec> iovecs_;
  uint64_t waiting_since_ns_ = 0;
  bool marked_ = false;
  bool finishing_ = false;
  bool broken_ = false;
};

}  // namespace hozon::serve
