#include "serve/pool_daemon.h"

#include <signal.h>
#include <sys/signalfd.h>

#include <algorithm>
#include <cerrno>
#include <memory>

#include "base/log.h"
#include "base/units.h"
#include "serve/interval.h"
#include "serve/link_operations.h"
#include "serve/link_server.h"
#include "serve/nbd_server.h"
#include "serve/pool_backend.h"

namespace hozon::serve {
namespace {

// How long running requests may take after a signal before the pool is closed under them: writes
// that wait for space end only then.
constexpr uint64_t kPatienceNs = 4'000'000'000;

sigset_t end_signals() {
  sigset_t set;
  ::sigemptyset(&set);
  ::sigaddset(&set, SIGTERM);
  ::sigaddset(&set, SIGINT);
  return set;
}

class Daemon {
 public:
  Daemon(Loop& loop, PoolDaemonOptions options, Fd signals)
      : loop_(loop), options_(std::move(options)), signals_(std::move(signals)) {}

  Task<void> run(bool& opened, Status& result) {
    co_await loop_.yield();
    auto pool =
        co_await store::Pool::open(loop_, *options_.files.data, options_.files.journal(), {});
    if (pool) {
      opened = true;
      pool_ = *std::move(pool);
      result = co_await serve();
    } else {
      result = std::unexpected(std::move(pool.error()));
    }
    loop_.stop();
  }

 private:
  Task<Status> serve() {
    pool_->on_event([this](const store::PoolStats& stats) { tell(stats); });
    backend_ = std::make_unique<PoolBackend>(*pool_);
    nbd_ = std::make_unique<NbdServer>(loop_, *backend_, NbdServer::Limits{});
    link_ = std::make_unique<LinkServer>(
        loop_, [this](link::Request request) { return run_operation(*pool_, std::move(request)); });
    nbd_->listen(std::move(options_.nbd_listener));
    link_->listen(std::move(options_.link_listener));
    tell_start();
    co_await loop_.poll_in(signals_.get());
    co_return co_await end();
  }

  Task<Status> end() {
    log_info("pool '{}': ending", options_.name);
    Interval patience(loop_);
    Group stopping(loop_);
    stopping.start(stop_servers(patience));
    co_await patience.wait(kPatienceNs);
    const Status closed = co_await pool_->close();
    co_await stopping.wait();
    link_.reset();
    nbd_.reset();
    pool_.reset();
    if (closed) log_info("pool '{}': closed", options_.name);
    co_return closed;
  }

  Task<void> stop_servers(Interval& patience) {
    co_await nbd_->stop();
    co_await link_->stop();
    patience.end();
  }

  void tell_start() const {
    const store::PoolStats stats = pool_->stats();
    log_info("pool '{}' ({}): {}, {} volumes, {} points, {} free; storage by {}", options_.name,
             options_.directory, format_bytes(stats.size_bytes), stats.volumes, stats.points,
             format_bytes(stats.free_bytes), loop_.backend_name());
  }

  void tell(const store::PoolStats& stats) {
    if (stats.parked != parked_) {
      parked_ = stats.parked;
      if (parked_)
        log_warning("{} '{}' is full: guest writes wait until snapshots or volumes are deleted{}",
                    stats.filesystem_full ? "the filesystem below pool" : "pool", options_.name,
                    stats.filesystem_full ? " or other files there" : "");
      else
        log_info("pool '{}' has space again: guest writes go on", options_.name);
    }
    if (stats.damaged > 0) tell_damage();
    if (stats.read_only && !read_only_) {
      read_only_ = true;
      log_error("pool '{}' takes no more writes: {}; restart hozon-stored after repairing the disk",
                options_.name, stats.failure);
    }
  }

  // Each place once, when it is new.
  void tell_damage() {
    uint64_t newest_ns = told_damage_ns_;
    for (const store::DamagedPlace& place : pool_->damaged_places()) {
      if (place.first_ns <= told_damage_ns_) continue;
      newest_ns = std::max(newest_ns, place.first_ns);
      log_error("pool '{}' is damaged: {}", options_.name, store::to_sentence(place));
    }
    told_damage_ns_ = newest_ns;
  }

  Loop& loop_;
  PoolDaemonOptions options_;
  Fd signals_;
  std::unique_ptr<store::Pool> pool_;
  std::unique_ptr<PoolBackend> backend_;
  std::unique_ptr<NbdServer> nbd_;
  std::unique_ptr<LinkServer> link_;
  uint64_t told_damage_ns_ = 0;
  bool parked_ = false;
  bool read_only_ = false;
};

}  // namespace

Status block_end_signals() {
  const sigset_t set = end_signals();
  const int failed = ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
  if (failed != 0) return errno_error(failed, "block signals");
  ::signal(SIGPIPE, SIG_IGN);
  return {};
}

Status run_pool_daemon(Loop& loop, PoolDaemonOptions options, bool& opened) {
  opened = false;
  const sigset_t set = end_signals();
  Fd signals(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!signals) return errno_error(errno, "make a descriptor for signals");
  const std::string name = options.name;
  Daemon daemon(loop, std::move(options), std::move(signals));
  Status result;
  spawn(daemon.run(opened, result));
  loop.run();
  if (!result) return add_context(std::move(result.error()), fmt::format("pool '{}'", name));
  return result;
}

}  // namespace hozon::serve
