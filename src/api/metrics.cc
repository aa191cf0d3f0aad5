// /healthz and /metrics, for those who watch hozond from outside. Metrics are in Prometheus' text
// format 0.0.4: https://prometheus.io/docs/instrumenting/exposition_formats/
#include <dirent.h>
#include <unistd.h>

#include <array>
#include <fstream>

#include "api/handlers.h"
#include "api/http_counters.h"
#include "control/names.h"

namespace hozon::api {
namespace {

using control::Control;

// Families in order, each with its HELP and TYPE before its samples.
class Exposition {
 public:
  void family(std::string_view name, std::string_view type, std::string_view help) {
    name_ = name;
    text_ += fmt::format("# HELP {} {}\n# TYPE {} {}\n", name, help, name, type);
  }
  using Labels = std::vector<std::pair<std::string_view, std::string>>;
  void sample(const Labels& labels, double value, std::string_view suffix = "") {
    text_ += name_;
    text_ += suffix;
    std::string inside;
    for (const auto& [label, content] : labels)
      inside += fmt::format("{}{}=\"{}\"", inside.empty() ? "" : ",", label, escaped(content));
    if (!inside.empty()) text_ += "{" + inside + "}";
    text_ += fmt::format(" {}\n", value);
  }
  void sample(const Labels& labels, uint64_t value, std::string_view suffix = "") {
    sample(labels, static_cast<double>(value), suffix);
  }
  std::string take() { return std::move(text_); }

 private:
  static std::string escaped(const std::string& content) {
    std::string out;
    for (const char c : content) {
      if (c == '\\' || c == '"') out += '\\';
      if (c == '\n')
        out += "\\n";
      else
        out += c;
    }
    return out;
  }
  std::string name_;
  std::string text_;
};

void add_machines(Exposition& out, const Control& control) {
  using control::PowerState;
  std::map<std::string, uint64_t> states;
  for (const PowerState state :
       {PowerState::kDown, PowerState::kStarting, PowerState::kUp, PowerState::kPaused,
        PowerState::kSuspended, PowerState::kStopping})
    states[control::power_state_name(state)] = 0;
  uint64_t snapshots = 0, locked = 0;
  const control::Members wanted({"state", "lock", "snapshot_count"});
  const auto machines = control.machines(wanted).value_or(std::vector<control::Machine>());
  for (const control::Machine& machine : machines) {
    ++states[control::power_state_name(machine.state)];
    snapshots += machine.snapshot_count;
    locked += machine.lock ? 1 : 0;
  }
  out.family("hozon_machines", "gauge", "Machines by power state.");
  for (const auto& [state, count] : states) out.sample({{"state", state}}, count);
  out.family("hozon_machines_locked", "gauge", "Machines that a job works on.");
  out.sample({}, locked);
  out.family("hozon_snapshots", "gauge", "Snapshots of machines, without those in the trash.");
  out.sample({}, snapshots);
}

void add_jobs(Exposition& out, const Control& control) {
  using control::JobState;
  std::map<std::string, uint64_t> states;
  for (const JobState state : {JobState::kRunning, JobState::kDone, JobState::kFailed,
                               JobState::kCancelled, JobState::kUndoFailed})
    states[control::job_state_name(state)] = 0;
  for (const control::Job& job : control.jobs()) ++states[control::job_state_name(job.state)];
  out.family("hozon_jobs", "gauge", "Jobs by state, of the newest 1000.");
  for (const auto& [state, count] : states) out.sample({{"state", state}}, count);
}

void add_pools(Exposition& out, const std::vector<control::Pool>& pools) {
  const auto each = [&](std::string_view name, std::string_view type, std::string_view help,
                        uint64_t control::Pool::* member) {
    out.family(name, type, help);
    for (const control::Pool& pool : pools) out.sample({{"pool", pool.name}}, pool.*member);
  };
  each("hozon_pool_size_bytes", "gauge", "How large the pool may become.",
       &control::Pool::size_bytes);
  each("hozon_pool_used_bytes", "gauge", "Bytes that hold something.", &control::Pool::used_bytes);
  each("hozon_pool_free_bytes", "gauge", "Bytes that hold nothing.", &control::Pool::free_bytes);
  each("hozon_pool_volumes", "gauge", "Volumes in the pool.", &control::Pool::volumes);
  each("hozon_pool_points", "gauge", "Points of volumes in the pool.", &control::Pool::points);
  each("hozon_pool_reclaiming", "gauge", "Deleted points whose space is coming back.",
       &control::Pool::reclaiming);
  each("hozon_pool_damaged_places", "gauge", "Places that cannot be read.",
       &control::Pool::damaged);
  each("hozon_pool_restarts_total", "counter", "Restarts of the pool's daemon.",
       &control::Pool::restarts);
  out.family("hozon_pool_state", "gauge", "1 for the state that the pool is in.");
  for (const control::Pool& pool : pools)
    for (const char* state : {"ok", "damaged", "full", "read_only", "down"})
      out.sample({{"pool", pool.name}, {"state", state}}, uint64_t{pool.state == state});
}

void add_requests(Exposition& out, const HttpCounters& counters) {
  const HttpCounters::Sums sums = counters.sums();
  out.family("hozon_http_requests_total", "counter", "Requests answered, by method and status.");
  for (const auto& [key, count] : sums.answers)
    out.sample({{"method", key.first}, {"status", std::to_string(key.second)}}, count);
  out.family("hozon_http_request_seconds", "histogram", "How long handlers took.");
  uint64_t total = 0;
  for (size_t i = 0; i < sums.durations.size(); ++i) {
    total += sums.durations.at(i);
    const bool is_last = i == HttpCounters::kBounds.size();
    out.sample({{"le", is_last ? "+Inf" : fmt::format("{}", HttpCounters::kBounds.at(i))}}, total,
               "_bucket");
  }
  out.sample({}, sums.seconds, "_sum");
  out.sample({}, total, "_count");
}

void add_process(Exposition& out, double began_s) {
  std::ifstream statm("/proc/self/statm");
  uint64_t pages = 0, resident = 0;
  statm >> pages >> resident;
  uint64_t descriptors = 0;
  if (DIR* const directory = ::opendir("/proc/self/fd")) {
    while (::readdir(directory) != nullptr) ++descriptors;
    ::closedir(directory);
  }
  out.family("process_start_time_seconds", "gauge", "When hozond began, in seconds since 1970.");
  out.sample({}, began_s);
  out.family("process_resident_memory_bytes", "gauge", "Memory that hozond uses.");
  out.sample({}, resident * static_cast<uint64_t>(::sysconf(_SC_PAGESIZE)));
  out.family("process_open_fds", "gauge", "Descriptors that hozond has open.");
  out.sample({}, descriptors);
}

}  // namespace

void add_metrics(Router& router, Control& control, std::string_view version) {
  // Asks the inventory, which everything else needs: without it hozond is of no use.
  router.add({"GET", "/healthz", {}, Body::kNone, [&control](const Request&) -> Result<Response> {
                const auto job = control.job({0});
                if (!job && job.error().code != Code::kNotFound)
                  return make_error(Code::kUnavailable, "the inventory does not answer: {}",
                                    job.error().what);
                return json_response(200, {{"status", "ok"}});
              }});
  const double began_s = static_cast<double>(control::wall_clock_ns() / 1'000'000) / 1e3;
  router.add({"GET",
              "/metrics",
              {},
              Body::kNone,
              [&control, counters = router.counters(), version = std::string(version),
               began_s](const Request&) -> Result<Response> {
                Exposition out;
                out.family("hozon_build_info", "gauge", "The version, as a label.");
                out.sample({{"version", version}}, uint64_t{1});
                add_machines(out, control);
                add_jobs(out, control);
                add_pools(out, HOZON_TRY(control.pools()));
                add_requests(out, *counters);
                add_process(out, began_s);
                Response response;
                response.content_type = "text/plain; version=0.0.4; charset=utf-8";
                response.body = out.take();
                return response;
              }});
}

}  // namespace hozon::api
