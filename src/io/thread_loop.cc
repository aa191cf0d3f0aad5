#include "io/thread_loop.h"

#include <poll.h>
#include <sys/epoll.h>

#include <algorithm>
#include <cerrno>
#include <limits>

#include "io/perform.h"

namespace hozon {

Result<std::unique_ptr<Loop>> ThreadLoop::create() {
  Fd wake_descriptor = HOZON_TRY(make_wake_fd());
  Fd epoll(::epoll_create1(EPOLL_CLOEXEC));
  if (!epoll) return errno_error(errno, "make an epoll descriptor");
  epoll_event event{.events = EPOLLIN, .data = {.fd = wake_descriptor.get()}};
  if (::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, wake_descriptor.get(), &event) < 0)
    return errno_error(errno, "watch the event descriptor of an event loop");
  return std::unique_ptr<Loop>(new ThreadLoop(std::move(wake_descriptor), std::move(epoll)));
}

ThreadLoop::ThreadLoop(Fd wake_descriptor, Fd epoll)
    : LoopBase(std::move(wake_descriptor)), epoll_(std::move(epoll)) {
  for (unsigned i = 0; i < kWorkers; ++i) workers_.emplace_back([this] { work(); });
}

ThreadLoop::~ThreadLoop() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
    jobs_.clear();
  }
  work_there_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadLoop::work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    work_there_.wait(lock, [this] { return ending_ || !jobs_.empty(); });
    if (ending_) return;
    IoOp* op = jobs_.front();
    jobs_.pop_front();
    lock.unlock();
    const int32_t result = perform_storage(*op);
    lock.lock();
    done_.push_back({op, result});
    if (done_.size() == 1) wake();
  }
}

void ThreadLoop::submit(IoOp& op) {
  if (is_storage(op.kind))
    queued_storage_.push_back(&op);
  else
    queued_sockets_.push_back(&op);
}

void ThreadLoop::cancel(IoOp& op) {
  HOZON_CHECK(!is_storage(op.kind));
  const auto queued = std::ranges::find(queued_sockets_, &op);
  if (queued != queued_sockets_.end()) {
    queued_sockets_.erase(queued);
    complete(op, -ECANCELED);
    return;
  }
  const auto found = waiting_.find(op.fd);
  if (found == waiting_.end() || std::erase(found->second, &op) == 0) return;  // already complete
  complete(op, -ECANCELED);
  const Status watched = watch(op.fd);
  HOZON_CHECK(watched.has_value());  // asking for fewer events cannot fail
}

Status ThreadLoop::watch(int fd) {
  const auto found = waiting_.find(fd);
  HOZON_CHECK(found != waiting_.end());
  if (found->second.empty()) {
    waiting_.erase(found);
    ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);  // fails when it was never added: fine
    return {};
  }
  epoll_event event{.events = 0, .data = {.fd = fd}};
  for (const IoOp* op : found->second)
    event.events |= static_cast<uint32_t>(socket_events(op->kind));
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd, &event) == 0) return {};
  if (errno == ENOENT && ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) == 0) return {};
  return errno_error(errno, "watch descriptor {}", fd);
}

void ThreadLoop::start_socket(IoOp& op) {
  const int32_t result = try_socket(op);
  if (result != -EAGAIN) {
    complete(op, result);
    return;
  }
  waiting_[op.fd].push_back(&op);
  if (const Status watched = watch(op.fd); !watched) {
    std::erase(waiting_[op.fd], &op);
    complete(op, -watched.error().sys_errno);
  }
}

void ThreadLoop::hand_over() {
  if (!queued_storage_.empty()) {
    const size_t count = queued_storage_.size();
    {
      const std::lock_guard lock(mutex_);
      jobs_.insert(jobs_.end(), queued_storage_.begin(), queued_storage_.end());
    }
    queued_storage_.clear();
    if (count == 1)
      work_there_.notify_one();
    else
      work_there_.notify_all();
  }
  while (!queued_sockets_.empty()) {
    IoOp* op = queued_sockets_.front();
    queued_sockets_.pop_front();
    start_socket(*op);
  }
}

void ThreadLoop::retry_sockets(int fd) {
  const auto found = waiting_.find(fd);
  if (found == waiting_.end()) return;
  std::erase_if(found->second, [this](IoOp* op) {
    const int32_t result = try_socket(*op);
    if (result == -EAGAIN) return false;
    complete(*op, result);
    return true;
  });
  const Status watched = watch(fd);
  HOZON_CHECK(watched.has_value());
}

void ThreadLoop::wait_for_events(std::optional<uint64_t> limit_ns) {
  int limit_ms = -1;
  if (limit_ns) {  // rounded up, so that a timer is due when the wait ends
    const uint64_t ms = *limit_ns / 1'000'000 + (*limit_ns % 1'000'000 != 0 ? 1 : 0);
    limit_ms = static_cast<int>(std::min<uint64_t>(ms, std::numeric_limits<int>::max()));
  }
  std::array<epoll_event, kEventsMax> events;
  const int count = ::epoll_wait(epoll_.get(), events.data(), kEventsMax, limit_ms);
  HOZON_CHECK(count >= 0 || errno == EINTR);
  for (int i = 0; i < count; ++i) {
    const int fd = events[static_cast<size_t>(i)].data.fd;
    if (fd != wake_fd()) {
      retry_sockets(fd);
      continue;
    }
    uint64_t wakes = 0;
    [[maybe_unused]] const ssize_t got = ::read(fd, &wakes, sizeof wakes);
  }
}

void ThreadLoop::collect_done() {
  std::vector<Done> done;
  {
    const std::lock_guard lock(mutex_);
    done.swap(done_);
  }
  for (const Done& entry : done) complete(*entry.op, entry.result);
}

void ThreadLoop::exchange(std::optional<uint64_t> limit_ns) {
  hand_over();
  if (has_ready()) limit_ns = 0;  // some sockets were ready at once
  wait_for_events(limit_ns);
  collect_done();
}

}  // namespace hozon
