#include "nbd_client.h"

#include <sys/eventfd.h>

#include "base/fd.h"
#include "script_loop.h"
#include "serve/memory_backend.h"
#include "serve/nbd_connection.h"

namespace hozon::fuzz {
namespace {

Task<void> run_and_tell(serve::nbd::Connection& connection, bool& ended) {
  co_await connection.run();
  ended = true;
}

}  // namespace

void play_nbd_client(std::span<const uint8_t> bytes) {
  ScriptLoop loop(bytes);
  serve::MemoryBackend backend(loop);
  backend.add("disk", 1 << 20);
  backend.snapshot("disk", "p");
  serve::nbd::Shared shared{.loop = loop,
                            .backend = backend,
                            .buffers = {},
                            .budget = serve::MemoryBudget(loop, 64 << 20),
                            .flusher = serve::ReplyFlusher(loop)};
  bool ended = false;
  {
    // No real socket: shutdown() on it fails, as on one whose peer is gone.
    serve::nbd::Connection connection(shared, Fd(::eventfd(0, EFD_CLOEXEC)));
    spawn(run_and_tell(connection, ended));
    loop.run();
    HOZON_CHECK(ended);
  }
  HOZON_CHECK(shared.budget.held_bytes() == 0);
}

}  // namespace hozon::fuzz
