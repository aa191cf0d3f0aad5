// Scrubs of pools as jobs, and what is known of damage. The scrub itself runs in the pool's
// hozon-stored; the job starts it, watches it, and cancels it when the job is cancelled.
#include <algorithm>
#include <chrono>
#include <set>
#include <thread>

#include "control/core.h"
#include "control/json.h"

namespace hozon::control {
namespace {

using nlohmann::json;

constexpr auto kLookEvery = std::chrono::milliseconds(200);

json report_json(Core& core, const std::string& pool, const link::ScrubReport& report) {
  json out = link::encode(report);
  out["pool"] = pool;
  out["clean"] = report.state == "done" && report.damaged.empty();
  out["damaged"] = core.damage_json(pool, report.damaged);
  return out;
}

// Follows the scrub `id` until it has ended or the job shall end.
Result<link::ScrubReport> follow(Core& core, JobRun& run, const std::string& pool, uint64_t id) {
  while (true) {
    link::ScrubReport report = HOZON_TRY(core.storage.scrub_report(pool));
    if (report.id != id || report.state == "none")
      return make_error(Code::kUnavailable,
                        "the scrub of pool '{}' ended with its daemon, which was restarted; start "
                        "it again",
                        pool);
    run.progress(report.done_bytes, std::max(report.done_bytes, report.total_bytes));
    if (report.state != "running") return report;
    if (const Status go_on = run.check(); !go_on) {
      report.state = "cancelled";
      run.set_result(report_json(core, pool, report));
      return std::unexpected(go_on.error());
    }
    std::this_thread::sleep_for(kLookEvery);
  }
}

Result<json> scrub_pool(Core& core, JobRun& run, const std::string& pool,
                        uint64_t bytes_per_second) {
  // A job that is cancelled, fails or dies leaves no scrub behind.
  const uint64_t action = HOZON_TRY(run.journal("pool.scrub.cancel", {{"pool", pool}}));
  run.step("reading everything");
  const Result<uint64_t> started = core.storage.start_scrub(pool, bytes_per_second);
  // Then another one runs, which is not this job's to end.
  if (!started && started.error().code == Code::kBusy) HOZON_TRY(run.forget(action));
  const uint64_t id = HOZON_TRY(started);
  const link::ScrubReport report = HOZON_TRY(follow(core, run, pool, id));
  HOZON_TRY(run.forget(action));
  const json result = report_json(core, pool, report);
  run.set_result(result);
  if (report.state != "done")
    return make_error(report.state == "cancelled" ? Code::kCancelled : Code::kUnavailable,
                      "the scrub of pool '{}' ended early: {}", pool, report.failure);
  const uint64_t damaged = report.damaged.size() + report.damaged_left_out;
  if (damaged == 0) return result;
  return make_error(Code::kCorruption, "pool '{}' has {} damaged place{}; the first: {}: {}", pool,
                    damaged, damaged == 1 ? "" : "s", report.damaged[0].object,
                    report.damaged[0].what);
}

}  // namespace

json Core::damage_json(const std::string& pool, const std::vector<link::DamagedPlace>& places) {
  json out = json::array();
  for (const link::DamagedPlace& place : places) {
    std::set<std::string> volumes;
    if (!place.volume.empty()) volumes.insert(place.volume);
    for (const link::TouchedPoint& touched : place.touched) volumes.insert(touched.volume);
    std::set<std::string> machines;
    for (const std::string& volume : volumes)
      if (const auto user = inventory.user_of_volume(pool, volume); user && !user->empty())
        machines.insert(*user);
    json one = link::encode(place);
    one["machines"] = machines;
    out.push_back(std::move(one));
  }
  return out;
}

Result<JobId> Control::start_pool_scrub(const std::string& name, uint64_t bytes_per_second,
                                        const Caller& caller) {
  if (const auto found = HOZON_TRY(core_->jobs.find_job(caller))) return *found;
  if (!core_->storage.has_pool(name))
    return make_error(Code::kNotFound, "pool '{}' does not exist", name);
  return core_->jobs.begin({.kind = "pool.scrub",
                            .object = name,
                            .caller = caller,
                            .locks = {"scrub:" + name},
                            .subject = fmt::format("the scrub of pool '{}'", name)},
                           [core = core_.get(), name, bytes_per_second](JobRun& run) {
                             return scrub_pool(*core, run, name, bytes_per_second);
                           });
}

}  // namespace hozon::control
