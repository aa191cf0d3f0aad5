// src/store/early_writes.h
// Writes whose journal record goes ahead of their data, so that the device writes both at a time.
//
// Who waits for a flush after each write (flusher.h) waits for three things that a disk does one
// after the other: the data, the record, the flush of its cache. For them the record is made when
// the data is submitted, and takes effect in memory when the data is there. In between the journal
// promises what is not true yet, and memory does not know what the journal says; so meanwhile
//   W1  nobody is answered: should the data never arrive, replay ends at the record, and what was
//       recorded after it is lost;
//   W2  no sync begins that would count for the record (the mark, docs/format.md "Frame");
//   W3  no checkpoint is frozen, and no operation on volumes or points is recorded.
// Whoever does one of these waits while is_running(), for none(). A write that fails makes its
// record VOID before anybody goes on. Only where one sync covers data and journal: with two files
// there is nothing to gain. Threading: the pool's thread.
#pragma once

#include <cstdint>

#include "base/sync.h"
#include "base/task.h"

namespace hozon::store {

class EarlyWrites {
 public:
  explicit EarlyWrites(Executor& executor) : ended_(executor) {}
  // One at a time, and not before those who wait have gone on.
  bool may_begin() const { return !running_ && waiting_ == 0; }
  bool is_running() const { return running_; }
  void begin() {
    running_ = true;
    ++begun_;
  }
  uint64_t begun() const { return begun_; }
  void end() {
    running_ = false;
    ended_.pulse();
  }
  // Returns when none ran for an instant.
  Task<void> none() {
    ++waiting_;
    while (running_) co_await ended_;
    --waiting_;
  }

 private:
  bool running_ = false;
  uint64_t begun_ = 0;
  uint64_t waiting_ = 0;
  Event ended_;
};

}  // namespace hozon::store
