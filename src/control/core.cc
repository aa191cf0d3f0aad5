#include "control/core.h"

#include <chrono>
#include <filesystem>

#include "base/log.h"
#include "control/clone_disks.h"
#include "control/names.h"
#include "control/preview.h"
#include "control/schedule_service.h"

namespace hozon::control {

constexpr auto kExpiryPause = std::chrono::seconds(2);

namespace {

// Keeps L1 of the event log: every run sets numbers aside that no later one uses, whatever the
// clock says. Otherwise somebody who comes back could be taken for a reader of this run, and miss
// changes without being told.
uint64_t first_event_id(Inventory& inventory) {
  constexpr uint64_t kSetAside = 1'000'000'000;
  constexpr const char* kName = "events_begin";
  const uint64_t now = wall_clock_ns() / 1000;
  const auto rows = inventory.database().query(
      "SELECT CAST(value AS INTEGER) FROM settings WHERE name = ?", {sql(kName)});
  const uint64_t first = rows && !rows->empty() ? std::max(now, rows->front().number(0)) : now;
  const Status kept =
      inventory.database().run("INSERT OR REPLACE INTO settings (name, value) VALUES (?, ?)",
                               {sql(kName), sql(std::to_string(first + kSetAside))});
  if (!kept) log_error("{}", kept.error().what);
  return first;
}

}  // namespace

Core::Core(Options given, Inventory opened)
    : options(std::move(given)),
      directory(options.directory),
      events(first_event_id(opened)),
      inventory(std::move(opened)),
      storage(directory,
              [this](const std::string& pool, const std::string& op,
                     const nlohmann::json& parameters) { tell_of_storage(pool, op, parameters); }),
      guests(options.qemu_binary,
             [this](const std::string& uuid, PowerState state) {
               // What a machine that is down shows depends on more: it is completed.
               const bool is_down = state == PowerState::kDown;
               events.publish({.kind = "machine",
                               .change = "changed",
                               .uuid = uuid,
                               .status = is_down ? "" : power_state_name(state)});
             }),
      images(*this),
      jobs(
          inventory,
          [this](const std::string& action, const nlohmann::json& arguments) {
            return undo(action, arguments);
          },
          [this](const JobBoard::News& news) { tell_of_job(news); }) {}

Core::~Core() {
  {
    const std::lock_guard guard(expiry_mutex_);
    ending_ = true;
  }
  expiry_changed_.notify_all();
  if (expiry_.joinable()) expiry_.join();
  events.end();
  jobs.end();
}

void Core::watch_expiry() {
  std::unique_lock guard(expiry_mutex_);
  while (!ending_) {
    guard.unlock();
    expire(wall_clock_ns());
    return_to_initial();
    images.collect();
    look_at_pools();
    guard.lock();
    expiry_changed_.wait_for(guard, kExpiryPause, [this] { return ending_ || look_now_; });
    look_now_ = false;
  }
}

Result<std::unique_ptr<Core>> Core::open(Options options) {
  std::error_code error;
  const std::filesystem::path canonical = std::filesystem::canonical(options.directory, error);
  if (error) return errno_error(error.value(), "open '{}'", options.directory);
  options.directory = canonical.string();
  if (options.program_directory.empty())
    options.program_directory =
        std::filesystem::read_symlink("/proc/self/exe", error).parent_path().string();
  for (const char* name : {"/machines", "/pools", "/run", "/log"})
    std::filesystem::create_directories(options.directory + name, error);
  Inventory inventory = HOZON_TRY(Inventory::open(options.directory + "/hozon.db"));
  std::unique_ptr<Core> core(new Core(std::move(options), std::move(inventory)));
  HOZON_TRY(core->begin_events());
  core->adopt_guests();
  HOZON_TRY(core->jobs.recover());
  core->expiry_ = std::thread([raw = core.get()] { raw->watch_expiry(); });
  return core;
}

void Core::adopt_guests() {
  const auto machines = inventory.machines();
  if (!machines) {
    log_error("{}", machines.error().what);
    return;
  }
  for (const MachineRow& machine : *machines) {
    const Status adopted = guests.adopt(machine.uuid, machine_directory(machine.uuid));
    if (adopted)
      log_info("machine '{}' runs on as pid {}", machine.name, guests.state(machine.uuid).pid);
    else if (adopted.error().code != Code::kNotFound)
      log_error("machine '{}': {}", machine.name, adopted.error().what);
  }
}

Result<JobId> Core::begin_machine(const std::string& kind, const MachineRow& machine,
                                  const std::string& object, const Caller& caller,
                                  JobBoard::Work work) {
  HOZON_TRY(refuse_template(machine));
  const bool busy = jobs.lock_of(machine_lock(machine.uuid)).has_value();
  if (!busy) HOZON_TRY(refuse_in_preview(*this, kind, machine));
  // Asked again when the lock is held: meanwhile another job may have begun a preview.
  const auto guarded = [this, kind, machine,
                        work = std::move(work)](JobRun& run) -> Result<nlohmann::json> {
    HOZON_TRY(refuse_in_preview(*this, kind, machine));
    return work(run);
  };
  return jobs.begin({.kind = kind,
                     .object = object,
                     .caller = caller,
                     .locks = {machine_lock(machine.uuid)},
                     .subject = fmt::format("machine '{}'", machine.name)},
                    guarded);
}

Result<JobId> Core::begin_volume(const std::string& kind, const std::string& pool,
                                 const std::vector<std::string>& names, const std::string& object,
                                 const Caller& caller, JobBoard::Work work) {
  std::vector<std::string> locks;
  for (const std::string& name : names) locks.push_back(volume_lock(pool, name));
  return jobs.begin({.kind = kind,
                     .object = object,
                     .caller = caller,
                     .locks = std::move(locks),
                     .subject = fmt::format("volume '{}'", names.front())},
                    std::move(work));
}

Result<QemuBinary> Core::qemu() {
  const std::lock_guard guard(qemu_mutex_);
  if (!qemu_) qemu_ = HOZON_TRY(inspect_qemu(options.qemu_binary));
  return *qemu_;
}

Result<AcceleratorChoice> Core::accelerator() {
  return choose_accelerator(
      {.qemu_binary = options.qemu_binary, .cache_directory = directory + "/run", .wanted = ""});
}

// ---- Control: construction and jobs ----

Result<std::unique_ptr<Control>> Control::open(Options options) {
  std::unique_ptr<Control> control(new Control(HOZON_TRY(Core::open(std::move(options)))));
  control->core_->control = control.get();
  control->schedules_ = std::make_unique<ScheduleService>(*control, *control->core_);
  return control;
}

Control::Control(std::unique_ptr<Core> core) : core_(std::move(core)) {}
Control::~Control() = default;

std::vector<Job> Control::jobs() const { return core_->jobs.jobs(kJobsShown); }
Result<Job> Control::job(JobId id) const { return core_->jobs.job(id); }
Result<Job> Control::wait(JobId id, int timeout_ms) const {
  return core_->jobs.wait(id, timeout_ms);
}
Result<std::optional<JobId>> Control::find_job(const Caller& caller) const {
  return core_->jobs.find_job(caller);
}
EventLog& Control::events() const { return core_->events; }
std::shared_ptr<void> Control::hold_changes() const {
  return std::make_shared<JobBoard::Hold>(core_->jobs.hold());
}
Status Control::cancel(JobId id) { return core_->jobs.cancel(id); }

}  // namespace hozon::control
