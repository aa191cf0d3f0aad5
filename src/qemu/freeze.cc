#include "qemu/freeze.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "qemu/files.h"
#include "qemu/spec.h"

namespace hozon {
namespace {

using Json = nlohmann::json;

constexpr int kLifelineFd = 3;
constexpr int kPollMs = 5;
constexpr int kStartMs = 20'000;
constexpr std::pair<FreezePhase, const char*> kPhases[] = {{FreezePhase::kFreezing, "freezing"},
                                                           {FreezePhase::kFrozen, "frozen"},
                                                           {FreezePhase::kThawed, "thawed"},
                                                           {FreezePhase::kFailed, "failed"}};

// Until the phase is `wanted` or a final one.
Result<FreezeStatus> wait_phase(const DetachedProcess& process, const std::string& status_path,
                                FreezePhase wanted, int timeout_ms) {
  const uint64_t deadline = monotonic_ns() + static_cast<uint64_t>(timeout_ms) * 1'000'000;
  for (;;) {
    const bool ended = process.wait_end(0);
    if (const auto text = read_small_file(status_path)) {
      const FreezeStatus status = HOZON_TRY(decode_freeze_status(*text));
      if (status.phase == wanted || status.phase == FreezePhase::kFailed ||
          status.phase == FreezePhase::kThawed)
        return status;
    }
    if (ended) return make_error(Code::kUnavailable, "the freeze helper ended without a verdict");
    if (monotonic_ns() >= deadline)
      return make_error(Code::kUnavailable, "the freeze helper does not answer");
    process.wait_end(kPollMs);
  }
}

}  // namespace

std::string encode_freeze_status(const FreezeStatus& status) {
  Json json = {{"filesystems", status.filesystems},
               {"frozen_ms", status.frozen_ms},
               {"was_asked", status.was_asked}};
  for (const auto& [phase, name] : kPhases)
    if (phase == status.phase) json["phase"] = name;
  if (status.phase == FreezePhase::kFailed)
    json["error"] = {{"code", code_name(status.error.code)}, {"message", status.error.what}};
  return json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

Result<FreezeStatus> decode_freeze_status(const std::string& text) {
  const Json json = Json::parse(text, nullptr, false);
  if (!json.is_object() || !json.contains("phase") || !json["phase"].is_string())
    return make_error(Code::kCorruption, "the status file of hozon-freeze is not one");
  FreezeStatus status;
  for (const auto& [phase, name] : kPhases)
    if (json["phase"].get<std::string>() == name) status.phase = phase;
  const auto number = [&](const char* key) -> uint64_t {
    return json.contains(key) && json[key].is_number_unsigned() ? json[key].get<uint64_t>() : 0;
  };
  status.filesystems = number("filesystems");
  status.frozen_ms = number("frozen_ms");
  status.was_asked = json.contains("was_asked") && json["was_asked"] == true;
  if (status.phase == FreezePhase::kFailed && json.contains("error") && json["error"].is_object())
    status.error = {code_from_name(json["error"].value("code", "internal")),
                    json["error"].value("message", ""), 0};
  return status;
}

Result<Freeze> freeze_guest(const FreezeRequest& request) {
  const std::string status_path = request.directory + "/" + request.name + ".json";
  std::error_code ignored;
  std::filesystem::remove(status_path, ignored);
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return errno_error(errno, "pipe for the freeze helper");
  const Fd read_end(ends[0]);
  Fd write_end(ends[1]);
  LaunchRequest launch;
  launch.argv = {request.program,
                 "--agent",
                 kAgentSocket,
                 "--status",
                 request.name + ".json",
                 "--hold-ms",
                 std::to_string(request.hold_ms),
                 "--answer-ms",
                 std::to_string(request.answer_ms),
                 "--name",
                 request.name};
  launch.directory = request.directory;
  launch.log_file = request.name + ".log";
  launch.pid_file = request.name + ".pid";
  launch.mark = request.name;
  if (request.follows_caller) {
    launch.argv.insert(launch.argv.end(), {"--lifeline-fd", std::to_string(kLifelineFd)});
    launch.fds = {{read_end.get(), kLifelineFd}};
  }
  Freeze freeze{HOZON_TRY(DetachedProcess::launch(launch)), status_path, Fd(), 0};
  if (request.follows_caller) freeze.lifeline = std::move(write_end);
  const FreezeStatus status =
      HOZON_TRY(wait_phase(freeze.process, status_path, FreezePhase::kFrozen, kStartMs));
  if (status.phase == FreezePhase::kFailed) return std::unexpected(status.error);
  freeze.filesystems = status.filesystems;
  return freeze;
}

Result<FreezeStatus> thaw_guest(const std::string& directory, const std::string& name) {
  const auto process = HOZON_TRY(DetachedProcess::adopt(directory, name + ".pid", name));
  HOZON_TRY(process.signal(SIGTERM));
  return wait_phase(process, directory + "/" + name + ".json", FreezePhase::kThawed, kThawAnswerMs);
}

}  // namespace hozon
