// The program hozon-freeze: see freeze.h.
#include <fcntl.h>
#include <poll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <charconv>
#include <chrono>
#include <csignal>
#include <thread>

#include "base/log.h"
#include "qemu/files.h"
#include "qemu/freeze.h"
#include "qemu/guest_agent.h"

namespace hozon {
namespace {

constexpr int kAgentMs = 3000;
constexpr int kThawPauseMs = 200;
constexpr int kUsage = 2;

struct Options {
  std::string agent;
  std::string status_path;
  int hold_ms = 0;
  int answer_ms = kFreezeAnswerMs;
  int lifeline = -1;
};

Result<int> parse_number(const std::string& name, const std::string& text) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || value < 0 ||
      value > kFreezeHoldMsMax)
    return make_error(Code::kInvalidArgument, "hozon-freeze: {} '{}' is not a number", name, text);
  return value;
}

Result<Options> parse_options(const std::vector<std::string>& arguments) {
  Options options;
  for (size_t i = 0; i < arguments.size(); i += 2) {
    const std::string& name = arguments[i];
    if (i + 1 == arguments.size())
      return make_error(Code::kInvalidArgument, "hozon-freeze: {} needs a value", name);
    const std::string& value = arguments[i + 1];
    if (name == "--agent")
      options.agent = value;
    else if (name == "--status")
      options.status_path = value;
    else if (name == "--hold-ms")
      options.hold_ms = HOZON_TRY(parse_number(name, value));
    else if (name == "--answer-ms")
      options.answer_ms = HOZON_TRY(parse_number(name, value));
    else if (name == "--lifeline-fd")
      options.lifeline = HOZON_TRY(parse_number(name, value));
    else if (name != "--name")  // only a mark on the command line
      return make_error(Code::kInvalidArgument, "hozon-freeze: option '{}' is not known", name);
  }
  if (options.agent.empty() || options.status_path.empty() || options.hold_ms == 0)
    return make_error(Code::kInvalidArgument,
                      "hozon-freeze: --agent, --status and --hold-ms are needed");
  return options;
}

void report(const Options& options, const FreezeStatus& status) {
  if (const Status told = replace_file(options.status_path, encode_freeze_status(status)); !told)
    log_error("status is not reported: {}", told.error().what);
}

// SIGTERM, which asks for the thaw, and the signals of a session that ends.
Fd watch_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int number : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&set, number);
  ::sigprocmask(SIG_BLOCK, &set, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
  return Fd(::signalfd(-1, &set, SFD_CLOEXEC));
}

// True when it was asked to thaw, false when the asker is gone or the time is over.
bool wait_for_thaw(const Options& options, const Fd& signals, uint64_t deadline_ns) {
  pollfd waiting[2] = {{signals.get(), POLLIN, 0}, {options.lifeline, POLLIN, 0}};
  for (;;) {
    const uint64_t now = monotonic_ns();
    if (now >= deadline_ns) return false;
    const int left_ms = static_cast<int>((deadline_ns - now) / 1'000'000) + 1;
    if (::poll(waiting, 2, left_ms) <= 0) continue;
    if (waiting[0].revents != 0) return true;
    if (waiting[1].revents != 0) return false;
  }
}

// A fresh connection each time: the old one may be out of step with a guest that was slow.
Status thaw_once(const Options& options) {
  GuestAgent agent = HOZON_TRY(GuestAgent::connect(options.agent, kAgentMs));
  HOZON_TRY(agent.thaw(kAgentMs));
  if (HOZON_TRY(agent.is_frozen(kAgentMs)))
    return make_error(Code::kIo, "the guest says that it is still frozen");
  return {};
}

Status thaw(const Options& options) {
  const uint64_t deadline = monotonic_ns() + uint64_t{kThawPatienceMs} * 1'000'000;
  for (;;) {
    const Status thawed = thaw_once(options);
    if (thawed || monotonic_ns() >= deadline) return thawed;
    log_warning("thaw: {}", thawed.error().what);
    std::this_thread::sleep_for(std::chrono::milliseconds(kThawPauseMs));
  }
}

// `was_asked`: the guest may freeze, whatever becomes of its answer.
Result<uint64_t> freeze(const Options& options, bool& was_asked) {
  GuestAgent agent = HOZON_TRY(GuestAgent::connect(options.agent, options.answer_ms));
  was_asked = true;
  return agent.freeze(options.hold_ms);
}

int hold(const Options& options) {
  const Fd signals = watch_signals();
  FreezeStatus status;
  const uint64_t began = monotonic_ns();
  bool was_asked = false;
  const Result<uint64_t> frozen = freeze(options, was_asked);
  if (!frozen) {
    status.phase = FreezePhase::kFailed;
    status.error = frozen.error();
    report(options, status);
    // A guest that waited for a disk may freeze after we gave up: it has to say that it did not.
    if (was_asked && frozen.error().code == Code::kUnavailable) (void)thaw(options);
    return 1;
  }
  status.phase = FreezePhase::kFrozen;
  status.filesystems = *frozen;
  report(options, status);
  status.was_asked =
      wait_for_thaw(options, signals, began + static_cast<uint64_t>(options.hold_ms) * 1'000'000);
  const Status thawed = thaw(options);
  status.phase = thawed ? FreezePhase::kThawed : FreezePhase::kFailed;
  if (!thawed) status.error = thawed.error();
  status.frozen_ms = (monotonic_ns() - began) / 1'000'000;
  report(options, status);
  return thawed && status.was_asked ? 0 : 1;
}

}  // namespace

int run_freeze_helper(const std::vector<std::string>& arguments) {
  const Result<Options> options = parse_options(arguments);
  if (options) return hold(*options);
  fmt::print(stderr, "{}\n", options.error().what);
  return kUsage;
}

}  // namespace hozon
