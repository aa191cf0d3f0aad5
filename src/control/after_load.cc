#include "control/after_load.h"

#include "control/json.h"
#include "control/names.h"
#include "qemu/guest_agent.h"

namespace hozon::control {
namespace {

using nlohmann::json;

constexpr int kAgentMs = 10'000;

// Nobody there, or not able to: that is how the guest is. Anything else went wrong.
Renewal renewal_of(const std::string& step, const Status& status, const std::string& detail) {
  if (status) return {step, "done", detail};
  const Code code = status.error().code;
  const bool impossible = code == Code::kUnavailable || code == Code::kUnimplemented;
  return {step, impossible ? "not possible" : "failed", status.error().what};
}

Status step_clock(Core& core, const MachineRow& machine) {
  const GuestHandle guest = HOZON_TRY(core.guests.handle(machine.uuid));
  if (!has_agent(*guest.qmp)) return make_error(Code::kUnavailable, "the guest has no agent");
  GuestAgent agent = HOZON_TRY(
      GuestAgent::connect(core.machine_directory(machine.uuid) + "/" + kAgentSocket, kAgentMs));
  // A snapshot that was taken while the guest's file systems were frozen comes back frozen, and a
  // frozen agent steps no clock.
  const auto frozen = agent.is_frozen(kAgentMs);
  if (frozen && *frozen) HOZON_TRY(agent.thaw(kAgentMs));
  return agent.set_time(static_cast<int64_t>(wall_clock_ns()), kAgentMs);
}

}  // namespace

json to_json(const Renewal& renewal) {
  return {{"step", renewal.step}, {"outcome", renewal.outcome}, {"detail", renewal.detail}};
}

std::string sentence_of(const Renewal& renewal) {
  return fmt::format("{}: {}{}{}", renewal.step, renewal.outcome,
                     renewal.detail.empty() ? "" : ", ", renewal.detail);
}

bool has_agent(QmpClient& qmp, int timeout_ms) {
  const auto chardevs = qmp.call("query-chardev", json::object(), timeout_ms);
  if (!chardevs || !chardevs->is_array()) return false;
  for (const json& chardev : *chardevs)
    if (chardev.is_object() && chardev.value("label", "") == "agent")
      return chardev.value("frontend-open", false);
  return false;
}

Status set_links(Core& core, const MachineRow& machine, bool up) {
  const GuestHandle guest = HOZON_TRY(core.guests.handle(machine.uuid));
  for (const Nic& nic : machine.nics)
    HOZON_TRY(guest.qmp->call("set_link", {{"name", nic.id}, {"up", up}}));
  return {};
}

std::vector<Renewal> renew_guest(Core& core, const MachineRow& machine, bool bounce) {
  std::vector<Renewal> renewals;
  renewals.push_back(renewal_of("clock", step_clock(core, machine), "set by the guest agent"));
  if (machine.nics.empty()) {
    renewals.push_back({"network", "not possible", "the machine has none"});
  } else if (!bounce) {
    renewals.push_back(
        {"network", "not possible",
         fmt::format("unplugged, because the guest knows another machine's addresses; `hozon "
                     "machine connect {}` plugs it in",
                     machine.name)});
  } else {
    Status bounced = set_links(core, machine, false);
    const Status up = set_links(core, machine, true);
    if (bounced) bounced = up;
    renewals.push_back(renewal_of("network", bounced, "links taken down and up again"));
  }
  return renewals;
}

}  // namespace hozon::control
