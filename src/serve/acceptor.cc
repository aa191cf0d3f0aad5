#include "serve/acceptor.h"

#include <cerrno>
#include <cstring>

#include "base/log.h"

namespace hozon::serve {
namespace {

constexpr uint64_t kRetryNs = 100'000'000;  // after running out of descriptors or memory

bool passes(int32_t accept_error) {
  return accept_error == -ECONNABORTED || accept_error == -EINTR || accept_error == -EAGAIN;
}

}  // namespace

Task<void> Acceptor::run() {
  while (!ended_) {
    accepting_.reset(new Loop::Awaiter(loop_.accept(listener_.get())));
    Loop::Awaiter& accepting = *accepting_;
    const int32_t result = co_await accepting;
    accepting_.reset();
    if (result >= 0) {
      on_client_(Fd(result));
    } else if (result != -ECANCELED && !passes(result)) {
      log_warning("cannot accept {} clients: {}; trying again", what_, std::strerror(-result));
      co_await loop_.sleep(kRetryNs);
    }
  }
}

void Acceptor::end() {
  ended_ = true;
  if (accepting_) loop_.cancel(accepting_->op);
}

}  // namespace hozon::serve
