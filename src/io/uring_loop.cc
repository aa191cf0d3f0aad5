// Operations wait in `queued_` until the turn ends, so a full submission queue is no special case:
// the rest goes in another round. Every entry's user data is the address of the operation, which
// stays valid because its coroutine is suspended until the result is here.
#include "io/uring_loop.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cerrno>

#include "io/perform.h"

namespace hozon {
namespace {

// So many operations go to the kernel before the turn ends, so that the disk begins with the first
// of them while the others are made, and the client gets its answers spread over time.
constexpr size_t kSubmitAt = 2;

constexpr unsigned kFeatures =
    IORING_FEAT_NODROP | IORING_FEAT_SUBMIT_STABLE | IORING_FEAT_FAST_POLL | IORING_FEAT_EXT_ARG;

int open_ring(io_uring& ring, unsigned flags) {
  io_uring_params params{};
  params.flags = flags | IORING_SETUP_CQSIZE;
  params.cq_entries = UringLoop::kCompletionEntries;
  const int result = io_uring_queue_init_params(UringLoop::kSubmissionEntries, &ring, &params);
  if (result == 0 && (params.features & kFeatures) != kFeatures) {
    io_uring_queue_exit(&ring);
    return -ENOSYS;
  }
  return result;
}

IoOp& op_of(uint64_t about, uint64_t tag_mask) {
  return *reinterpret_cast<IoOp*>(about & ~tag_mask);
}

uint64_t address_of(const IoOp& op) { return reinterpret_cast<uint64_t>(&op); }

}  // namespace

Result<std::unique_ptr<Loop>> UringLoop::create() {
  static_assert(alignof(IoOp) > kTagMask);
  io_uring ring{};
  bool disabled = true;
  int result = open_ring(
      ring, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_R_DISABLED);
  if (result == -EINVAL) {  // before Linux 6.1
    disabled = false;
    result = open_ring(ring, IORING_SETUP_COOP_TASKRUN);
  }
  if (result == -EINVAL) result = open_ring(ring, 0);  // before Linux 5.19
  if (result < 0) {
    Error error = errno_to_error(-result, "set up io_uring");
    error.code = Code::kUnavailable;
    return std::unexpected(std::move(error));
  }
  Result<Fd> wake_descriptor = make_wake_fd();
  if (!wake_descriptor) {
    io_uring_queue_exit(&ring);
    return std::unexpected(std::move(wake_descriptor.error()));
  }
  return std::unique_ptr<Loop>(new UringLoop(*std::move(wake_descriptor), ring, disabled));
}

UringLoop::UringLoop(Fd wake_descriptor, io_uring ring, bool disabled)
    : LoopBase(std::move(wake_descriptor)), ring_(ring), disabled_(disabled) {
  queued_.push_back(kWake);
}

UringLoop::~UringLoop() { io_uring_queue_exit(&ring_); }

Status UringLoop::begin_run() {
  if (!disabled_) return {};
  // As io_uring_enable_rings(), which the library of liburing 2.3 forgot to export.
  if (::syscall(__NR_io_uring_register, ring_.ring_fd, IORING_REGISTER_ENABLE_RINGS, nullptr, 0) <
      0)
    return errno_error(errno, "enable io_uring");
  disabled_ = false;
  return {};
}

void UringLoop::submit(IoOp& op) {
  queued_.push_back(address_of(op) | kStart);
  if (queued_.size() >= kSubmitAt && !disabled_) hand_over();
}

void UringLoop::cancel(IoOp& op) {
  HOZON_CHECK(!is_storage(op.kind));
  const auto found = std::ranges::find_if(queued_, [&](uint64_t about) {
    return about == (address_of(op) | kStart) || about == (address_of(op) | kPoll);
  });
  if (found != queued_.end()) {
    queued_.erase(found);
    complete(op, -ECANCELED);
    return;
  }
  // Entries are handed over in order, so an operation that takes this address later is safe.
  queued_.push_back(address_of(op) | kCancelStart);
  queued_.push_back(address_of(op) | kCancelPoll);
}

void UringLoop::prepare_start(io_uring_sqe* sqe, IoOp& op) {
  const auto size = static_cast<unsigned>(std::min(op.size, kTransferMax));
  switch (op.kind) {
    case IoOp::Kind::kRead: io_uring_prep_read(sqe, op.fd, op.data, size, op.offset); break;
    case IoOp::Kind::kWrite: io_uring_prep_write(sqe, op.fd, op.data, size, op.offset); break;
    case IoOp::Kind::kSync: io_uring_prep_fsync(sqe, op.fd, IORING_FSYNC_DATASYNC); break;
    case IoOp::Kind::kPunch:
      io_uring_prep_fallocate(sqe, op.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                              static_cast<off_t>(op.offset), static_cast<off_t>(op.size));
      break;
    case IoOp::Kind::kAccept:
      io_uring_prep_accept(sqe, op.fd, nullptr, nullptr, SOCK_CLOEXEC);
      break;
    case IoOp::Kind::kRecv: io_uring_prep_recv(sqe, op.fd, op.data, size, 0); break;
    case IoOp::Kind::kSend: io_uring_prep_send(sqe, op.fd, op.data, size, MSG_NOSIGNAL); break;
    case IoOp::Kind::kSendMsg:
      io_uring_prep_sendmsg(sqe, op.fd, reinterpret_cast<const msghdr*>(op.data), MSG_NOSIGNAL);
      break;
    case IoOp::Kind::kPollIn: io_uring_prep_poll_add(sqe, op.fd, POLLIN); break;
  }
}

void UringLoop::prepare(io_uring_sqe* sqe, uint64_t about) {
  if (about == kWake) {
    io_uring_prep_read(sqe, wake_fd(), &wake_count_, sizeof wake_count_, 0);
    io_uring_sqe_set_data64(sqe, kWake);
    return;
  }
  IoOp& op = op_of(about, kTagMask);
  switch (about & kTagMask) {
    case kStart: prepare_start(sqe, op); break;
    case kPoll:
      io_uring_prep_poll_add(sqe, op.fd, static_cast<unsigned>(socket_events(op.kind)));
      break;
    case kCancelStart: io_uring_prep_cancel64(sqe, address_of(op) | kStart, 0); break;
    case kCancelPoll: io_uring_prep_cancel64(sqe, address_of(op) | kPoll, 0); break;
    default: HOZON_CHECK(!"unknown submission tag");
  }
  const bool cancels = (about & kTagMask) == kCancelStart || (about & kTagMask) == kCancelPoll;
  io_uring_sqe_set_data64(sqe, cancels ? kIgnored : about);
}

void UringLoop::fill_submission_queue() {
  while (!queued_.empty()) {
    io_uring_sqe* sqe = io_uring_get_sqe(&ring_);
    if (sqe == nullptr) return;
    prepare(sqe, queued_.front());
    queued_.pop_front();
  }
}

// Results are not looked at: nobody is resumed from submit() (L1).
void UringLoop::hand_over() {
  fill_submission_queue();
  check(io_uring_submit(&ring_));
}

void UringLoop::check(int result) {
  // EBUSY, EAGAIN: the kernel wants results to be collected, or memory; entries stay queued.
  const bool passing = result == -EINTR || result == -ETIME || result == -EBUSY ||
                       result == -EAGAIN || result == -ENOMEM;
  if (result >= 0 || passing) return;
  fmt::print(stderr, "hozon: {}\n", errno_to_error(-result, "io_uring_enter").what);
  HOZON_CHECK(!"io_uring refuses to work");
}

void UringLoop::submit_and_wait(std::optional<uint64_t> limit_ns) {
  int result = 0;
  if (!limit_ns) {
    result = io_uring_submit_and_wait(&ring_, 1);
  } else if (*limit_ns == 0) {
    result = io_uring_submit_and_get_events(&ring_);
  } else {
    io_uring_cqe* first = nullptr;
    __kernel_timespec limit{.tv_sec = static_cast<int64_t>(*limit_ns / 1'000'000'000),
                            .tv_nsec = static_cast<long long>(*limit_ns % 1'000'000'000)};
    result = io_uring_submit_and_wait_timeout(&ring_, &first, 1, &limit, nullptr);
  }
  check(result);
}

void UringLoop::exchange(std::optional<uint64_t> limit_ns) {
  fill_submission_queue();
  while (!queued_.empty()) {  // more than the submission queue holds
    submit_and_wait(0);
    reap();
    fill_submission_queue();
    limit_ns = 0;
  }
  submit_and_wait(limit_ns);
  reap();
}

void UringLoop::reap() {
  unsigned head = 0;
  unsigned count = 0;
  io_uring_cqe* cqe = nullptr;
  io_uring_for_each_cqe(&ring_, head, cqe) {
    handle(io_uring_cqe_get_data64(cqe), cqe->res);
    ++count;
  }
  io_uring_cq_advance(&ring_, count);
}

void UringLoop::handle(uint64_t about, int32_t result) {
  if (about == kIgnored) return;
  if (about == kWake) {
    queued_.push_back(kWake);
    return;
  }
  IoOp& op = op_of(about, kTagMask);
  if ((about & kTagMask) == kPoll) {
    // Readiness, or an error that the operation itself will report.
    if (result == -ECANCELED)
      complete(op, result);
    else
      submit(op);
    return;
  }
  if (is_storage(op.kind)) {
    handle_storage(op, result);
  } else if (result == -EAGAIN) {
    queued_.push_back(address_of(op) | kPoll);  // a descriptor in non-blocking mode
  } else if (result == -EINTR) {
    submit(op);
  } else {
    complete(op, result);
  }
}

void UringLoop::handle_storage(IoOp& op, int32_t result) {
  if (result == -EINTR || result == -EAGAIN) {
    submit(op);
    return;
  }
  const bool transfers = op.kind == IoOp::Kind::kRead || op.kind == IoOp::Kind::kWrite;
  if (result < 0 || !transfers) {
    complete(op, result);
    return;
  }
  const auto moved = static_cast<uint64_t>(result);
  if (moved == op.size) {
    complete(op, 0);
  } else if (moved == 0) {
    complete(op, -EIO);  // the file ends here
  } else {
    op.data += moved;
    op.size -= moved;
    op.offset += moved;
    submit(op);
  }
}

}  // namespace hozon
