#include "control/schedule_service.h"

#include <cstdlib>
#include <fstream>

#include "base/log.h"
#include "control/explain.h"
#include "control/json.h"
#include "control/names.h"
#include "control/stop_point.h"

namespace hozon::control {

constexpr auto kTurnPause = std::chrono::seconds(1);

class ScheduleService::Hands final : public ScheduleHands {
 public:
  Hands(Control& control, Core& core) : control_(control), core_(core) {}

  Result<std::vector<ScheduledMachine>> machines() override {
    std::vector<ScheduledMachine> machines;
    const Members wanted({"uuid", "name", "tags", "state"});
    for (const Machine& machine : HOZON_TRY(control_.machines(wanted)))
      machines.push_back(
          {machine.uuid, machine.name, machine.tags, power_state_name(machine.state)});
    return machines;
  }

  Result<JobId> begin_snapshot(const std::string& machine_uuid, const SnapshotRequest& request,
                               const Caller& caller) override {
    return control_.start_snapshot_create(machine_uuid, request, caller);
  }

  Result<JobId> begin_delete(const std::string& machine_uuid, const DeleteRequest& request,
                             const Caller& caller) override {
    return control_.start_snapshot_delete(machine_uuid, request, caller);
  }

  Result<std::optional<Job>> job_of(const std::string& key) override {
    Caller caller;
    caller.key = key;
    std::optional<Job> job;
    if (const auto id = HOZON_TRY(control_.find_job(caller))) job = HOZON_TRY(control_.job(*id));
    return job;
  }

  void report(const ScheduleRow& schedule, const ScheduleTask& task, uint64_t again_ns) override {
    log_warning("schedule '{}', machine '{}': {}{}", schedule.name, task.machine, task.message,
                again_ns == 0 ? "" : "; tried again at " + utc_text(again_ns));
  }

  void between_steps() override { stop_point("schedule"); }

 private:
  Control& control_;
  Core& core_;
};

ScheduleService::ScheduleService(Control& control, Core& core)
    : hands_(std::make_unique<Hands>(control, core)), runner_(core.inventory, *hands_) {
  begin_stop_points("schedule");
  thread_ = std::thread([this] { run(); });
}

ScheduleService::~ScheduleService() {
  {
    const std::lock_guard guard(mutex_);
    ending_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

uint64_t ScheduleService::now_ns() const {
  static const char* const file = std::getenv("HOZON_TEST_CLOCK");
  uint64_t ahead_s = 0;
  if (file != nullptr) std::ifstream(file) >> ahead_s;
  return wall_clock_ns() + ahead_s * 1'000'000'000;
}

void ScheduleService::wake() {
  const std::lock_guard guard(mutex_);
  wanted_ = true;
  changed_.notify_all();
}

void ScheduleService::run() {
  std::unique_lock guard(mutex_);
  while (!ending_) {
    wanted_ = false;
    guard.unlock();
    const Status turned = runner_.turn(now_ns());
    const std::string trouble = turned ? "" : turned.error().what;
    if (!trouble.empty() && trouble != last_trouble_) log_error("schedules: {}", trouble);
    last_trouble_ = trouble;
    guard.lock();
    changed_.wait_for(guard, kTurnPause, [this] { return ending_ || wanted_; });
  }
}

}  // namespace hozon::control
