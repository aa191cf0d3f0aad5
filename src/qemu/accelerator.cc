#include "qemu/accelerator.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <ctime>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>

#include "base/fd.h"
#include "base/log.h"
#include "qemu/command.h"
#include "qemu/files.h"
#include "qemu/probe_guest.h"

namespace hozon {
namespace {

using Json = nlohmann::json;

// A probe that ran out of time may have met a busy host: its answer is not kept for the whole boot.
constexpr int64_t kTimeoutKeptSeconds = 600;

struct ProbeAnswer {
  bool usable = false;
  bool timed_out = false;
  std::string reason;
};

// The newest named model that the host has all of, so that a snapshot finds it on the next host
// too.
std::string kvm_cpu_model() {
  const std::string text = read_small_file("/proc/cpuinfo").value_or("");
  const size_t start = text.find("\nflags");
  const std::string flags =
      start == std::string::npos
          ? ""
          : " " + text.substr(start, text.find('\n', start + 1) - start) + " ";
  const auto has = [&](std::initializer_list<std::string_view> names) {
    for (const std::string_view name : names)
      if (flags.find(fmt::format(" {} ", name)) == std::string::npos) return false;
    return true;
  };
  if (!has({"ssse3", "sse4_1", "sse4_2", "cx16", "popcnt", "lahf_lm"})) return "qemu64";
  return has({"aes", "pclmulqdq"}) ? "Westmere" : "Nehalem";
}

AcceleratorChoice chosen(Accelerator accelerator, std::string reason) {
  AcceleratorChoice choice;
  choice.accelerator = accelerator;
  choice.cpu_model = accelerator == Accelerator::kKvm ? kvm_cpu_model() : "qemu64";
  choice.reason = std::move(reason);
  return choice;
}

Result<Fd> probe_guest_file() {
  Fd file(::memfd_create("hozon-probe", MFD_CLOEXEC));
  if (!file) return errno_error(errno, "memfd for the probe guest");
  const auto image = probe_guest_firmware();
  if (::write(file.get(), image.data(), image.size()) != static_cast<ssize_t>(image.size()))
    return errno_error(errno, "write the probe guest");
  return file;
}

ProbeAnswer judge(const CommandOutcome& outcome) {
  if (outcome.exit_status == kProbeGuestSuccess) return {true, false, "a test guest ran under KVM"};
  std::string_view step = "start";
  for (const char c : outcome.output)
    if (const std::string_view begun = probe_guest_step(c); !begun.empty()) step = begun;
  const std::string why = outcome.stopped     ? "it reported an internal error"
                          : outcome.timed_out ? fmt::format("no result after {} ms", kProbeMs)
                                              : "QEMU stopped";
  return {false, outcome.timed_out,
          fmt::format("KVM does not run guests here: {} at a test guest's {}", why, step)};
}

ProbeAnswer probe_kvm(const std::string& qemu_binary) {
  const Result<Fd> firmware = probe_guest_file();
  if (!firmware) return {false, true, firmware.error().what};
  CommandRequest request;
  request.argv = {qemu_binary,
                  "-accel",
                  "kvm",
                  "-cpu",
                  kvm_cpu_model(),
                  "-machine",
                  "q35",
                  "-m",
                  "64M",
                  "-nodefaults",
                  "-no-user-config",
                  "-display",
                  "none",
                  "-no-reboot",
                  "-debugcon",
                  "file:/dev/stdout",
                  "-device",
                  "isa-debug-exit,iobase=0xf4,iosize=1",
                  "-bios",
                  "/dev/fd/3"};
  request.timeout_ms = kProbeMs;
  request.stop_text = "KVM internal error";
  request.fd = firmware->get();
  const Result<CommandOutcome> outcome = run_command(request);
  if (!outcome) return {false, true, "KVM was not tried: " + outcome.error().what};
  return judge(*outcome);
}

std::string cache_path(const AcceleratorRequest& request) {
  return request.cache_directory.empty() ? "" : request.cache_directory + "/accelerator.json";
}

std::optional<AcceleratorChoice> cached(const AcceleratorRequest& request) {
  if (request.cache_directory.empty()) return std::nullopt;
  const auto text = read_small_file(cache_path(request));
  if (!text) return std::nullopt;
  const Json kept = Json::parse(*text, nullptr, false);
  const auto word = [&](const char* key) {
    return kept.is_object() && kept.contains(key) && kept[key].is_string()
               ? kept[key].get<std::string>()
               : std::string();
  };
  if (word("boot_id") != host_boot_id() || word("qemu") != request.qemu_binary) return std::nullopt;
  if (!kept.contains("until") || !kept["until"].is_number_integer()) return std::nullopt;
  const int64_t until = kept["until"].get<int64_t>();
  if (until != 0 && std::time(nullptr) >= until) return std::nullopt;
  const std::string name = word("accelerator");
  if (name != "kvm" && name != "tcg") return std::nullopt;
  AcceleratorChoice choice =
      chosen(name == "kvm" ? Accelerator::kKvm : Accelerator::kTcg, word("reason"));
  choice.from_cache = true;
  return choice;
}

void keep(const AcceleratorRequest& request, const AcceleratorChoice& choice, bool timed_out) {
  if (request.cache_directory.empty()) return;
  const Json record = {{"boot_id", host_boot_id()},
                       {"qemu", request.qemu_binary},
                       {"accelerator", accelerator_name(choice.accelerator)},
                       {"reason", choice.reason},
                       {"until", timed_out ? std::time(nullptr) + kTimeoutKeptSeconds : 0}};
  if (const Status kept = replace_file(cache_path(request), record.dump(2) + "\n"); !kept)
    log_warning("the accelerator choice is not remembered: {}", kept.error().what);
}

Result<std::string> wanted_accelerator(const AcceleratorRequest& request) {
  if (!request.wanted.empty() && request.wanted != "auto") {
    if (request.wanted == "kvm" || request.wanted == "tcg") return request.wanted;
    return make_error(Code::kInvalidArgument, "accelerator '{}' is not known; use auto, kvm or tcg",
                      request.wanted);
  }
  const char* environment = std::getenv("HOZON_ACCEL");
  const std::string word = environment != nullptr ? environment : "";
  if (word.empty() || word == "auto") return std::string();
  if (word == "kvm" || word == "tcg") return word;
  return make_error(Code::kInvalidArgument, "HOZON_ACCEL='{}' is not known; use auto, kvm or tcg",
                    word);
}

}  // namespace

std::string accelerator_name(Accelerator accelerator) {
  return accelerator == Accelerator::kKvm ? "kvm" : "tcg";
}

Result<AcceleratorChoice> choose_accelerator(const AcceleratorRequest& request) {
  const std::string wanted = HOZON_TRY(wanted_accelerator(request));
  if (!wanted.empty())
    return chosen(wanted == "kvm" ? Accelerator::kKvm : Accelerator::kTcg,
                  fmt::format("{} was asked for", wanted));
  // What an administrator can change at any moment is looked at every time.
  const Fd device(::open("/dev/kvm", O_RDWR | O_CLOEXEC));
  if (!device)
    return chosen(Accelerator::kTcg,
                  errno == EACCES
                      ? "/dev/kvm is there but not ours to open; join the group 'kvm' to use it"
                      : errno_to_error(errno, "no KVM: /dev/kvm").what);
  if (auto remembered = cached(request)) return *std::move(remembered);
  const ProbeAnswer answer = probe_kvm(request.qemu_binary);
  AcceleratorChoice choice =
      chosen(answer.usable ? Accelerator::kKvm : Accelerator::kTcg, answer.reason);
  keep(request, choice, answer.timed_out);
  return choice;
}

}  // namespace hozon
