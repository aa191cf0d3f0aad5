// How what the parts of Core notice becomes events, and what the log does not know when they come.
#include "control/core.h"
#include "control/names.h"

namespace hozon::control {
namespace {

using nlohmann::json;

constexpr int kLookPatienceMs = 1000;
constexpr std::string_view kMachineLock = "machine:";

std::string text_member(const json& object, const char* name) {
  const auto found = object.find(name);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

Event volume_event(const std::string& pool, const char* change, const std::string& name) {
  return {.kind = "volume", .change = change, .name = name, .parent = pool};
}

Event point_event(const char* change, const std::string& volume, const std::string& name) {
  return {.kind = "point", .change = change, .name = name, .parent = volume};
}

}  // namespace

// Called under locks of the board.
void Core::tell_of_job(const JobBoard::News& news) {
  if (news.locks.empty()) {
    events.publish({.kind = "job",
                    .change = "changed",
                    .uuid = std::to_string(news.job.id.value),
                    .name = news.job.object,
                    .status = job_state_name(news.job.state),
                    .detail = news.job.kind + ": " + news.job.step});
    return;
  }
  for (const std::string& lock : news.locks) {
    if (!lock.starts_with(kMachineLock)) continue;
    events.publish({.kind = "machine",
                    .change = "changed",
                    .uuid = lock.substr(kMachineLock.size()),
                    .status = news.is_locked ? "image_locked" : ""});
  }
}

// Called after a call over a pool's link.
void Core::tell_of_storage(const std::string& pool, const std::string& op, const json& about) {
  if (op == "volume.create") {
    events.publish(volume_event(pool, "created", text_member(about, "name")));
  } else if (op == "volume.resize") {
    events.publish(volume_event(pool, "changed", text_member(about, "name")));
  } else if (op == "volume.delete") {
    events.publish(volume_event(pool, "deleted", text_member(about, "name")));
  } else if (op == "volume.clone") {
    events.publish(volume_event(pool, "created", text_member(about, "new_name")));
  } else if (op == "volume.snapshot") {
    for (const json& volume : about.at("volumes"))
      events.publish(
          point_event("created", volume.get<std::string>(), text_member(about, "point")));
  } else if (op == "volume.return") {
    for (const json& item : about.at("items")) {
      const std::string volume = text_member(item, "volume");
      events.publish(point_event("created", volume, text_member(about, "keep")));
      events.publish(volume_event(pool, "changed", volume));
    }
  } else if (op == "point.delete") {
    events.publish(
        point_event("deleted", text_member(about, "volume"), text_member(about, "point")));
  }
}

// On the log's thread.
void Core::complete_event(Event& event) {
  if (event.kind == "snapshot" && !event.parent.empty()) {
    if (const auto name = machine_names_.find(event.parent); name != machine_names_.end())
      event.parent = name->second;
    return;
  }
  if (event.kind == "job" && event.detail.starts_with("pool.") && event.status != "running") {
    const std::lock_guard guard(expiry_mutex_);
    look_now_ = true;
    expiry_changed_.notify_all();
  }
  if (event.kind != "machine") return;
  if (!event.name.empty()) machine_names_[event.uuid] = event.name;
  if (event.name.empty()) event.name = machine_names_[event.uuid];
  if (event.change == "deleted") machine_names_.erase(event.uuid);
  if (event.change == "deleted" || !event.status.empty()) return;
  PowerState state = guests.state(event.uuid).state;
  if (state == PowerState::kDown) {
    const auto asleep = inventory.suspend_of(event.uuid);
    if (asleep && *asleep) state = PowerState::kSuspended;
  }
  event.status = jobs.lock_of(machine_lock(event.uuid)) ? "image_locked" : power_state_name(state);
}

Status Core::begin_events() {
  for (const MachineRow& machine : HOZON_TRY(inventory.machines()))
    machine_names_[machine.uuid] = machine.name;
  HOZON_TRY(inventory.watch([this](Event event) { events.publish(std::move(event)); }));
  events.begin([this](Event& event) { complete_event(event); });
  return {};
}

// Their daemons do not call; so they are asked, and what differs from the last answer is told.
void Core::look_at_pools() {
  std::map<std::string, std::string> seen;
  for (const std::string& name : storage.pool_names()) {
    const auto stats = storage.stats(name, kLookPatienceMs);
    std::string& state = seen[name];
    state = !stats               ? "down"
            : stats->read_only   ? "read_only"
            : stats->parked      ? "full"
            : stats->damaged > 0 ? "damaged"
                                 : "ok";
  }
  if (looked_at_pools_) {
    for (const auto& [name, state] : seen) {
      const auto before = pool_states_.find(name);
      const bool is_new = before == pool_states_.end();
      if (!is_new && before->second == state) continue;
      events.publish({.kind = "pool",
                      .change = is_new ? "created" : "changed",
                      .name = name,
                      .status = state});
    }
    for (const auto& [name, state] : pool_states_)
      if (!seen.contains(name)) events.publish({.kind = "pool", .change = "deleted", .name = name});
  }
  looked_at_pools_ = true;
  pool_states_ = std::move(seen);
}

}  // namespace hozon::control
