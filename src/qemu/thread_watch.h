// src/qemu/thread_watch.h
// Whether the threads that a process has started lately wait for something.
//
// QEMU saves memory with a thread of its own and tells nobody how far that is before the guest is
// touched. When its stream takes nothing (RamHelper::gate) the thread sleeps at its first write,
// and everything that it does ahead is done. A wrong answer costs time, never truth: what holds
// QEMU is the stream.
#pragma once

#include <sys/types.h>

#include <set>

namespace hozon {

class NewThreads {
 public:
  explicit NewThreads(pid_t process);  // those that there are now are not looked at
  // True once some thread is new and no new one has run for a moment; false when that does not
  // happen in `timeout_ms`, or nothing can be seen.
  bool wait_at_rest(int timeout_ms) const;

 private:
  const pid_t process_;
  const std::set<pid_t> known_;
};

}  // namespace hozon
