// The end of a save that was not completed: what QEMU and the memory helper still do is ended, and
// the guest goes on.
#include <filesystem>
#include <thread>

#include "base/log.h"
#include "control/core.h"
#include "control/migration.h"
#include "control/names.h"
#include "qemu/ram_save.h"
#include "qemu/write_protection.h"

namespace hozon::control {

using nlohmann::json;

namespace {

constexpr int kContinueMs = 90'000;  // `cont` waits for a pool that is being restarted
constexpr int kCancelMs = 10'000;
constexpr int kDrainMs = 10'000;
constexpr int kPollMs = 20;
constexpr int kFinishPollMs = 2;
constexpr int kAnswerMs = 2000;
constexpr int kLostSaveMs = 60'000;

// Only without write protection: see qemu-facts.md, 1a.
Result<std::string> cancel_stopped_save(QmpClient& qmp) {
  HOZON_TRY(qmp.call("migrate_cancel"));
  std::string status;
  for (int waited = 0; waited < kCancelMs; waited += kPollMs) {
    status = HOZON_TRY(migration_status(qmp));
    if (!is_saving(status)) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(kPollMs));
  }
  return status;
}

// Waits for QEMU to say how its save stands. When the save has lost its reader, QEMU itself may
// sleep in a write to protected memory and say nothing: then the protection is lifted, until it
// speaks. This save is given up, so nothing is torn by that.
Result<std::string> status_of_lost_save(const GuestHandle& guest, const Guests& guests,
                                        const std::string& machine_uuid) {
  const uint64_t end_us = monotonic_us() + uint64_t{kLostSaveMs} * 1000;
  for (;;) {
    auto status = migration_status(*guest.qmp, kAnswerMs);
    const bool silent = !status && status.error().code == Code::kUnavailable;
    if (!silent || monotonic_us() > end_us || guests.wait_down(machine_uuid, 0)) return status;
    const auto freed = free_write_protection(guest.pid);
    if (!freed) log_error("free the guest of {}: {}", machine_uuid, freed.error().what);
  }
}

}  // namespace

std::string text_member(const json& object, const char* name) {
  const auto found = object.is_object() ? object.find(name) : object.end();
  return object.is_object() && found != object.end() && found->is_string()
             ? found->get<std::string>()
             : "";
}

Status set_capabilities(QmpClient& qmp, bool background) {
  const json capabilities = {{{"capability", "events"}, {"state", true}},
                             {{"capability", "background-snapshot"}, {"state", background}}};
  HOZON_TRY(qmp.call("migrate-set-capabilities", {{"capabilities", capabilities}}));
  return {};
}

Result<std::string> migration_status(QmpClient& qmp, int timeout_ms) {
  return text_member(HOZON_TRY(qmp.call("query-migrate", json::object(), timeout_ms)), "status");
}

bool is_saving(const std::string& status) {
  return status == "setup" || status == "active" || status == "device" ||
         status == "pre-switchover" || status == "wait-unplug" || status == "cancelling";
}

Status continue_after_save(QmpClient& qmp, int timeout_ms) {
  const uint64_t end_us = monotonic_us() + static_cast<uint64_t>(timeout_ms) * 1000;
  while (text_member(HOZON_TRY(qmp.call("query-status")), "status") == "finish-migrate" &&
         monotonic_us() < end_us)
    std::this_thread::sleep_for(std::chrono::milliseconds(kFinishPollMs));
  HOZON_TRY(qmp.call("cont", json::object(), timeout_ms));
  return {};
}

// The status file and its drafts, the log and the pid file.
void Core::remove_helper_files(const std::string& machine_uuid, const std::string& name) const {
  std::error_code ignored;
  for (const auto& entry :
       std::filesystem::directory_iterator(machine_directory(machine_uuid), ignored))
    if (entry.path().filename().string().starts_with(name + "."))
      std::filesystem::remove(entry.path(), ignored);
}

Status Core::drain_helper(const std::string& machine_uuid, const std::string& name) {
  const std::string place = machine_directory(machine_uuid);
  const auto helper = DetachedProcess::adopt(place, name + ".pid", name);
  if (!helper)
    return helper.error().code == Code::kNotFound ? Status() : std::unexpected(helper.error());
  HOZON_TRY(helper->signal(kGiveUpSignal));
  for (int waited = 0; waited < kDrainMs; waited += kPollMs) {
    const auto status = read_ram_status(place + "/" + name + ".json");
    if (status && (status->phase == RamPhase::kFailed || status->phase == RamPhase::kDone))
      return {};
    if (helper->wait_end(kPollMs)) return {};
  }
  return make_error(Code::kUnavailable, "the memory helper does not give up");
}

Status Core::end_helper(const std::string& machine_uuid, const std::string& name) {
  const auto helper = DetachedProcess::adopt(machine_directory(machine_uuid), name + ".pid", name);
  if (!helper && helper.error().code != Code::kNotFound) return std::unexpected(helper.error());
  if (helper) HOZON_TRY(helper->kill());
  remove_helper_files(machine_uuid, name);
  return {};
}

Status Core::settle_save(const std::string& machine_uuid, bool run, bool live) {
  const auto guest = guests.handle(machine_uuid);
  if (!guest) return {};  // QEMU is gone, and with it everything that could hang
  auto status = status_of_lost_save(*guest, guests, machine_uuid);
  if (status && is_saving(*status) && !live) status = cancel_stopped_save(*guest->qmp);
  if (!status) {
    if (guests.state(machine_uuid).state == PowerState::kDown) return {};
    return std::unexpected(status.error());
  }
  if (is_saving(*status))
    return make_error(Code::kUnavailable, "QEMU is still saving memory, which cannot be stopped");
  if (*status == "failed" || *status == "cancelled") {
    const auto freed = free_write_protection(guest->pid);
    if (!freed) log_error("free the guest of {}: {}", machine_uuid, freed.error().what);
  }
  (void)guest->qmp->call("closefd", {{"fdname", "mig"}});
  (void)set_capabilities(*guest->qmp, false);
  const auto state = guest->qmp->call("query-status");
  const std::string word = state ? text_member(*state, "status") : "";
  if (run && (word == "paused" || word == "postmigrate" || word == "finish-migrate"))
    HOZON_TRY(continue_after_save(*guest->qmp, kContinueMs));
  return guests.settle(machine_uuid);
}

}  // namespace hozon::control
