#include "io/loop.h"

#include <cstdlib>

#include "base/log.h"
#include "io/thread_loop.h"
#include "io/uring_loop.h"

namespace hozon {
namespace {

Result<LoopBackend> backend_wanted() {
  const char* text = std::getenv("HOZON_LOOP");
  if (text == nullptr || *text == '\0') return LoopBackend::kAuto;
  if (std::string_view(text) == "uring") return LoopBackend::kUring;
  if (std::string_view(text) == "threads") return LoopBackend::kThreads;
  return make_error(Code::kInvalidArgument,
                    "HOZON_LOOP is '{}'; it must be 'uring' or 'threads', or not be set", text);
}

}  // namespace

Result<std::unique_ptr<Loop>> Loop::create(LoopBackend backend) {
  if (backend == LoopBackend::kAuto) backend = HOZON_TRY(backend_wanted());
  if (backend == LoopBackend::kThreads) return ThreadLoop::create();
  Result<std::unique_ptr<Loop>> loop = UringLoop::create();
  if (loop || backend == LoopBackend::kUring) return loop;
  log_info("{}; storage operations run on threads instead", loop.error().what);
  return ThreadLoop::create();
}

}  // namespace hozon
