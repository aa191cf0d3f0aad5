#include "qemu/ram_save.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <vector>

#include "qemu/files.h"
#include "qemu/ram_helper.h"

namespace hozon {
namespace {

constexpr int kStreamFd = 3;
constexpr int kGateFd = 4;
constexpr int kPollMs = 5;

Status check_request(const RamHelperRequest& request) {
  if (request.name.empty() || request.name.find('/') != std::string::npos)
    return make_error(Code::kInvalidArgument, "'{}' is no name for a memory helper", request.name);
  return {};
}

struct Pipe {
  Fd read_end;
  Fd write_end;
};

Result<Pipe> make_pipe(const char* what) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return errno_error(errno, "pipe for {}", what);
  return Pipe{Fd(ends[0]), Fd(ends[1])};
}

// Whoever writes to it next waits. Returns how much was put in.
Result<size_t> fill_to_the_brim(const Fd& write_end) {
  const int flags = ::fcntl(write_end.get(), F_GETFL);
  const std::vector<char> filler(static_cast<size_t>(::sysconf(_SC_PAGESIZE)));
  ::fcntl(write_end.get(), F_SETPIPE_SZ, static_cast<int>(filler.size()));  // the smallest
  ::fcntl(write_end.get(), F_SETFL, flags | O_NONBLOCK);
  size_t filled = 0;
  ssize_t put = 0;
  while ((put = ::write(write_end.get(), filler.data(), filler.size())) > 0)
    filled += static_cast<size_t>(put);
  const int why = errno;
  ::fcntl(write_end.get(), F_SETFL, flags);
  if (why != EAGAIN) return errno_error(why, "fill the pipe for the memory stream");
  return filled;
}

struct HeldStream {
  int gate = -1;
  size_t filler_bytes = 0;
};

Result<RamHelper> start_helper(const RamHelperRequest& request, const char* verb, int stream,
                               const HeldStream& held = {}) {
  if (Status valid = check_request(request); !valid) return std::unexpected(valid.error());
  const std::string status_path = request.directory + "/" + request.name + ".json";
  std::error_code ignored;
  std::filesystem::remove(status_path, ignored);  // of an earlier helper of this name
  LaunchRequest launch;
  launch.argv = {request.program, verb,
                 "--stream-fd",   std::to_string(kStreamFd),
                 "--uri",         request.uri,
                 "--ram-bytes",   std::to_string(request.ram_bytes),
                 "--status",      request.name + ".json",
                 "--spill-dir",   ".",
                 "--patience-ms", std::to_string(request.patience_ms),
                 "--name",        request.name};
  if (request.is_mapped) launch.argv.insert(launch.argv.end(), {"--pages", "mapped"});
  launch.directory = request.directory;
  launch.log_file = request.name + ".log";
  launch.pid_file = request.name + ".pid";
  launch.mark = request.name;
  launch.fds = {{stream, kStreamFd}};
  if (held.gate >= 0) {
    launch.fds.emplace_back(held.gate, kGateFd);
    launch.argv.insert(launch.argv.end(), {"--gate-fd", std::to_string(kGateFd), "--filler-bytes",
                                           std::to_string(held.filler_bytes)});
  }
  DetachedProcess process = HOZON_TRY(DetachedProcess::launch(launch));
  return RamHelper{std::move(process), status_path, Fd(), Fd()};
}

Result<RamStatus> final_status(const RamHelper& helper) {
  const auto text = read_small_file(helper.status_path);
  RamStatus status;
  if (text) status = HOZON_TRY(decode_ram_status(*text));
  if (status.phase == RamPhase::kDone || status.phase == RamPhase::kFailed) return status;
  status.phase = RamPhase::kFailed;
  const std::string log = helper.status_path.substr(0, helper.status_path.size() - 4) + "log";
  status.error = {Code::kUnavailable,
                  fmt::format("the memory helper ended without a verdict: {}", last_words(log)), 0};
  return status;
}

template <typename Wanted>
Result<RamStatus> wait_status(const RamHelper& helper, int timeout_ms, Wanted wanted) {
  const uint64_t deadline = monotonic_ns() + static_cast<uint64_t>(timeout_ms) * 1'000'000;
  for (;;) {
    const bool ended = helper.process.wait_end(0);
    if (ended) return final_status(helper);
    if (const auto text = read_small_file(helper.status_path)) {
      const RamStatus status = HOZON_TRY(decode_ram_status(*text));
      if (wanted(status)) return status;
    }
    if (monotonic_ns() >= deadline)
      return make_error(Code::kUnavailable, "the memory helper was not done within {} ms",
                        timeout_ms);
    helper.process.wait_end(kPollMs);
  }
}

bool is_final(const RamStatus& status) {
  return status.phase == RamPhase::kDone || status.phase == RamPhase::kFailed;
}

}  // namespace

Result<RamHelper> start_ram_save(const RamHelperRequest& request, int timeout_ms) {
  Pipe stream = HOZON_TRY(make_pipe("the memory stream"));
  Pipe gate;
  HeldStream held;
  if (request.is_held) {
    gate = HOZON_TRY(make_pipe("the gate of the memory stream"));
    held = {gate.read_end.get(), HOZON_TRY(fill_to_the_brim(stream.write_end))};
  }
  RamHelper helper = HOZON_TRY(start_helper(request, "save", stream.read_end.get(), held));
  helper.stream = std::move(stream.write_end);
  helper.gate = std::move(gate.write_end);
  const auto status = wait_status(helper, timeout_ms, [](const RamStatus& now) {
    return is_final(now) || now.phase == RamPhase::kReady;
  });
  if (status && status->phase == RamPhase::kReady) return helper;
  // Closing the write end, which happens on return, ends the helper.
  return std::unexpected(status ? status->error : status.error());
}

Result<RamHelper> start_ram_load(const RamHelperRequest& request, int stream) {
  return start_helper(request, "load", stream);
}

Result<RamStatus> read_ram_status(const std::string& status_path) {
  const auto text = read_small_file(status_path);
  if (!text) return make_error(Code::kNotFound, "no status file '{}'", status_path);
  return decode_ram_status(*text);
}

Result<RamStatus> wait_ram_helper(const RamHelper& helper, int timeout_ms, bool first_page) {
  return wait_status(helper, timeout_ms, [&](const RamStatus& now) {
    return is_final(now) || (first_page && now.first_page_ns != 0);
  });
}

}  // namespace hozon
