#include "control/guest_facts.h"

#include <algorithm>
#include <chrono>

#include "control/after_load.h"
#include "control/at_once.h"
#include "control/names.h"
#include "link/file_query.h"
#include "qemu/guest_agent.h"

namespace hozon::control {
namespace {

using nlohmann::json;

constexpr size_t kTextMax = 200;
constexpr size_t kInterfacesMax = 64;
constexpr size_t kAddressesMax = 32;

std::string text_in(const json& object, const char* member) {
  if (!object.is_object()) return {};
  const auto found = object.find(member);
  if (found == object.end() || !found->is_string()) return {};
  return link::name_text(found->get_ref<const std::string&>().substr(0, kTextMax));
}

json addresses_of(const json& interface) {
  json addresses = json::array();
  const auto found = interface.find("ip-addresses");
  if (found == interface.end() || !found->is_array()) return addresses;
  for (const json& item : *found) {
    const std::string address = text_in(item, "ip-address");
    if (address.empty() || addresses.size() >= kAddressesMax) continue;
    const auto prefix = item.find("prefix");
    const bool has_prefix = prefix != item.end() && prefix->is_number_integer();
    addresses.push_back(has_prefix ? fmt::format("{}/{}", address, prefix->get<int64_t>())
                                   : address);
  }
  return addresses;
}

// What is left of the time for all of it.
class Remaining {
 public:
  explicit Remaining(int ms)
      : end_(std::chrono::steady_clock::now() + std::chrono::milliseconds(ms)) {}
  int ms() const {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        end_ - std::chrono::steady_clock::now());
    return std::max(0, static_cast<int>(left.count()));
  }

 private:
  std::chrono::steady_clock::time_point end_;
};

}  // namespace

json facts_of(const json& os, const json& hostname, const json& interfaces) {
  json facts = json::object();
  if (const std::string name = text_in(os, "pretty-name"); !name.empty()) facts["os"] = name;
  if (const std::string name = text_in(hostname, "host-name"); !name.empty())
    facts["hostname"] = name;
  if (!interfaces.is_array()) return facts;
  facts["interfaces"] = json::array();
  for (const json& item : interfaces) {
    const std::string name = text_in(item, "name");
    if (name.empty() || name == "lo" || facts["interfaces"].size() >= kInterfacesMax) continue;
    facts["interfaces"].push_back({{"name", name},
                                   {"mac", text_in(item, "hardware-address")},
                                   {"addresses", addresses_of(item)}});
  }
  return facts;
}

namespace {

json ask_agent(const std::string& socket, const Remaining& remaining) {
  auto agent = GuestAgent::connect(socket, remaining.ms());
  if (!agent) return nullptr;
  json answers[3];
  const char* const commands[] = {"guest-get-osinfo", "guest-get-host-name",
                                  "guest-network-get-interfaces"};
  for (size_t i = 0; i < std::size(answers); ++i) {
    if (remaining.ms() == 0) break;
    auto answer = agent->call(commands[i], json::object(), remaining.ms());
    if (answer) answers[i] = *std::move(answer);
  }
  json facts = facts_of(answers[0], answers[1], answers[2]);
  if (facts.empty()) return nullptr;
  facts["captured_ns"] = wall_clock_ns();
  return facts;
}

}  // namespace

std::vector<json> ask_agents(const std::vector<std::string>& sockets, int timeout_ms) {
  std::vector<json> facts(sockets.size());
  const Remaining remaining(timeout_ms);
  at_once(sockets.size(), [&](size_t i) { facts[i] = ask_agent(sockets[i], remaining); });
  return facts;
}

json ask_guest_facts(Core& core, const MachineRow& machine) {
  const Remaining remaining(kFactsMs);
  if (core.guests.state(machine.uuid).state != PowerState::kUp) return nullptr;
  const auto guest = core.guests.handle(machine.uuid);
  if (!guest || !has_agent(*guest->qmp, remaining.ms())) return nullptr;
  return ask_agent(core.machine_directory(machine.uuid) + "/" + kAgentSocket, remaining);
}

std::vector<json> ask_guest_facts(Core& core, const std::vector<MachineRow>& machines) {
  std::vector<json> facts(machines.size());
  at_once(machines.size(), [&](size_t i) { facts[i] = ask_guest_facts(core, machines[i]); });
  return facts;
}

}  // namespace hozon::control
