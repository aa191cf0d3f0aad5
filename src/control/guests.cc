#include "control/guests.h"

#include "base/log.h"

namespace hozon::control {
namespace {

constexpr int kListenMs = 300;
constexpr int kStateMs = 10'000;

struct Seen {
  PowerState state = PowerState::kPaused;
  std::string reason;
};

// QEMU's run states in our words.
Seen seen_state(const std::string& status) {
  if (status == "running") return {PowerState::kUp, ""};
  if (status == "suspended") return {PowerState::kSuspended, ""};
  if (status == "inmigrate") return {PowerState::kStarting, ""};
  if (status == "shutdown") return {PowerState::kStopping, ""};
  if (status == "io-error")
    return {PowerState::kPaused,
            "a disk failed or stayed away too long; `hozon machine resume` tries again"};
  if (status == "guest-panicked") return {PowerState::kPaused, "the guest's kernel panicked"};
  if (status == "internal-error") return {PowerState::kPaused, "QEMU met an internal error"};
  return {PowerState::kPaused, ""};
}

std::string text_member(const nlohmann::json& object, const char* name) {
  if (!object.is_object()) return "";
  const auto found = object.find(name);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

std::string shutdown_reason(const nlohmann::json& data) {
  const std::string reason = text_member(data, "reason");
  if (reason == "guest-shutdown") return "the guest switched itself off";
  if (reason == "guest-panic") return "the guest's kernel panicked";
  if (reason == "host-signal") return "QEMU was ended by a signal";
  return "";
}

}  // namespace

Guests::~Guests() {
  std::vector<std::shared_ptr<Guest>> guests;
  {
    const std::lock_guard guard(mutex_);
    ending_ = true;
    for (const auto& [uuid, guest] : guests_) guests.push_back(guest);
    changed_.notify_all();
  }
  for (const auto& guest : guests)
    if (guest->monitor.joinable()) guest->monitor.join();
  for (std::thread& thread : ended_)
    if (thread.joinable()) thread.join();
}

std::shared_ptr<Guests::Guest> Guests::find(const std::string& uuid) const {
  const std::lock_guard guard(mutex_);
  const auto found = guests_.find(uuid);
  return found == guests_.end() ? nullptr : found->second;
}

std::shared_ptr<QmpClient> Guests::qmp_of(const std::shared_ptr<Guest>& guest) const {
  const std::lock_guard guard(mutex_);
  return guest->qmp;
}

// Under the mutex.
void Guests::show(Guest& guest, PowerState state) {
  if (guest.state.state == state) return;
  guest.state.state = state;
  tell_(guest.uuid, state);
}

void Guests::join_ended() {
  std::vector<std::thread> ended;
  {
    const std::lock_guard guard(mutex_);
    ended.swap(ended_);
  }
  for (std::thread& thread : ended) thread.join();
}

void Guests::add(const std::shared_ptr<Guest>& guest) {
  join_ended();
  const std::lock_guard guard(mutex_);
  guests_[guest->uuid] = guest;
  last_reasons_.erase(guest->uuid);
  tell_(guest->uuid, guest->state.state);
  guest->monitor = std::thread([this, guest] { monitor(guest); });
}

Status Guests::start(const MachineSpec& spec, const std::string& directory, StartMode mode,
                     int incoming_fd) {
  LaunchRequest request;
  request.argv = HOZON_TRY(build_command_line(spec, mode, qemu_binary_));
  request.directory = directory;
  request.log_file = kQemuLog;
  request.pid_file = kQemuPidFile;
  request.mark = spec.uuid;
  if (mode == StartMode::kIncoming) request.fds = {{incoming_fd, kIncomingFd}};
  DetachedProcess process = HOZON_TRY(DetachedProcess::launch(request));
  auto qmp = QmpClient::connect(directory + "/" + kQmpSocket, kStartMs,
                                [&process] { return process.is_running(); });
  if (!qmp) {
    const bool died = !process.is_running();
    (void)process.kill();
    const std::string words = last_words(directory + "/" + kQemuLog);
    return make_error(Code::kIo, "QEMU {}{}{}", died ? "ended at once" : "does not answer",
                      words.empty() ? "" : ": ", words);
  }
  auto guest = std::make_shared<Guest>(spec.uuid, directory, std::move(process), std::move(*qmp));
  guest->state.state = PowerState::kStarting;
  guest->state.accelerator = accelerator_name(spec.accelerator);
  guest->starting = true;
  add(guest);
  return {};
}

Status Guests::adopt(const std::string& uuid, const std::string& directory) {
  DetachedProcess process = HOZON_TRY(DetachedProcess::adopt(directory, kQemuPidFile, uuid));
  auto qmp = QmpClient::connect(directory + "/" + kQmpSocket, kStateMs);
  if (!qmp) return add_context(qmp.error(), "QEMU runs and does not answer");
  auto guest = std::make_shared<Guest>(uuid, directory, std::move(process), std::move(*qmp));
  const auto kvm = guest->qmp->call("query-kvm");
  guest->state.accelerator = kvm && kvm->value("enabled", false) ? "kvm" : "tcg";
  refresh(guest);
  add(guest);
  return {};
}

Status Guests::settle(const std::string& uuid) {
  const auto guest = find(uuid);
  if (guest == nullptr) return make_error(Code::kWrongState, "QEMU ended while it started");
  {
    const std::lock_guard guard(mutex_);
    guest->starting = false;
  }
  refresh(guest);
  return {};
}

// Events say that something changed; what it changed to is asked, except for the two frequent ones.
void Guests::refresh(const std::shared_ptr<Guest>& guest) {
  const auto status = qmp_of(guest)->call("query-status", nlohmann::json::object(), kStateMs);
  if (!status) return;
  const Seen seen = seen_state(text_member(*status, "status"));
  const std::lock_guard guard(mutex_);
  if (guest->starting) return;
  guest->state.reason = seen.reason;
  show(*guest, guest->stopping ? PowerState::kStopping : seen.state);
  changed_.notify_all();
}

void Guests::note_event(const std::shared_ptr<Guest>& guest, const QmpEvent& event) {
  guest->seen_event = event.number;
  if (event.name == "SHUTDOWN") {
    const std::lock_guard guard(mutex_);
    guest->stopping = true;
    show(*guest, PowerState::kStopping);
    if (guest->end_reason.empty()) guest->end_reason = shutdown_reason(event.data);
    if (guest->end_reason.empty()) guest->end_reason = " ";  // ended in an orderly way
    return;
  }
  if (event.name == "RESUME") {
    const std::lock_guard guard(mutex_);
    if (!guest->starting && !guest->stopping) {
      guest->state.reason.clear();
      show(*guest, PowerState::kUp);
      changed_.notify_all();
    }
    return;
  }
  refresh(guest);
}

void Guests::monitor(const std::shared_ptr<Guest>& guest) {
  const std::vector<std::string> names = {"STOP",   "RESUME",         "SHUTDOWN", "SUSPEND",
                                          "WAKEUP", "GUEST_PANICKED", "RESET",    "SUSPEND_DISK"};
  for (;;) {
    {
      const std::lock_guard guard(mutex_);
      if (ending_) return;
    }
    const auto event = guest->qmp->wait_event(names, guest->seen_event, kListenMs);
    if (event) {
      note_event(guest, *event);
      continue;
    }
    if (!guest->process.is_running()) return note_end(guest);
    if (guest->qmp->is_connected() || guest->process.wait_end(kListenMs)) continue;
    // QEMU lives and dropped us: it serves one monitor, so this is a new attempt at the same one.
    auto again = QmpClient::connect(guest->directory + "/" + kQmpSocket, kStateMs);
    if (!again) continue;
    {
      const std::lock_guard guard(mutex_);
      guest->qmp = std::move(*again);
      guest->seen_event = 0;
    }
    refresh(guest);
  }
}

void Guests::note_end(const std::shared_ptr<Guest>& guest) {
  for (const QmpEvent& event : guest->qmp->events_after(guest->seen_event))
    if (event.name == "SHUTDOWN") note_event(guest, event);
  std::string reason = guest->end_reason;
  if (reason.empty()) {
    const std::string words = last_words(guest->directory + "/" + kQemuLog);
    reason = "QEMU died" + (words.empty() ? "" : ": " + words);
    log_error("machine {}: {}", guest->uuid, reason);
  }
  if (reason == " ") reason.clear();
  const std::lock_guard guard(mutex_);
  last_reasons_[guest->uuid] = reason;
  if (!ending_) ended_.push_back(std::move(guest->monitor));
  guests_.erase(guest->uuid);
  tell_(guest->uuid, PowerState::kDown);
  changed_.notify_all();
}

GuestState Guests::state(const std::string& uuid) const {
  const std::lock_guard guard(mutex_);
  const auto found = guests_.find(uuid);
  if (found != guests_.end()) return found->second->state;
  GuestState down;
  if (const auto reason = last_reasons_.find(uuid); reason != last_reasons_.end())
    down.reason = reason->second;
  return down;
}

Result<GuestHandle> Guests::handle(const std::string& uuid) const {
  const std::lock_guard guard(mutex_);
  const auto found = guests_.find(uuid);
  if (found == guests_.end()) return make_error(Code::kWrongState, "the machine is down");
  return GuestHandle{found->second->qmp, found->second->state.pid};
}

void Guests::set_stopping(const std::string& uuid, bool stopping) {
  const auto guest = find(uuid);
  if (guest == nullptr) return;
  {
    const std::lock_guard guard(mutex_);
    guest->stopping = stopping;
  }
  refresh(guest);
}

bool Guests::wait_down(const std::string& uuid, int timeout_ms) const {
  std::unique_lock guard(mutex_);
  return changed_.wait_for(guard, std::chrono::milliseconds(timeout_ms),
                           [&] { return !guests_.contains(uuid); });
}

Status Guests::end(const std::string& uuid, const std::string& reason) {
  const auto guest = find(uuid);
  if (guest == nullptr) return {};
  {
    const std::lock_guard guard(mutex_);
    guest->end_reason = reason.empty() ? " " : reason;
    guest->stopping = true;
    show(*guest, PowerState::kStopping);
  }
  (void)qmp_of(guest)->call("quit", nlohmann::json::object(), kQuitMs);
  if (wait_down(uuid, kQuitMs)) return {};
  return kill(uuid, reason);
}

Status Guests::kill(const std::string& uuid, const std::string& reason) {
  const auto guest = find(uuid);
  if (guest == nullptr) return {};
  {
    const std::lock_guard guard(mutex_);
    guest->end_reason = reason.empty() ? " " : reason;
    show(*guest, PowerState::kStopping);
  }
  HOZON_TRY(guest->process.kill());
  if (wait_down(uuid, kQuitMs)) return {};
  return make_error(Code::kUnavailable, "QEMU (pid {}) does not end", guest->state.pid);
}

}  // namespace hozon::control
