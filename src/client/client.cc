#include "client/client.h"

#include <sys/random.h>

#include <array>
#include <chrono>
#include <optional>
#include <thread>

#include "client/targets.h"
#include "client/unix_connect.h"

namespace hozon::client {
namespace {

constexpr int kFollowStepMs = 200;
constexpr int kRestartPatienceMs = 30'000;  // how long a job is followed while hozond is away

std::string random_key() {
  std::array<unsigned char, 16> bytes{};
  if (::getrandom(bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size())) return "";
  std::string key;
  for (const unsigned char byte : bytes) key += fmt::format("{:02x}", byte);
  return key;
}

std::string pool_query(const std::string& pool) {
  return pool.empty() ? "" : "?pool=" + percent_encode(pool);
}

std::string volume_path(const std::string& name) { return "/v1/volumes/" + percent_encode(name); }

Status put_body(HttpCall& call, const Json& body) {
  if (body.is_null()) return {};
  try {
    call.body = body.dump();
  } catch (const Json::exception&) {  // an argument with bytes that are not UTF-8
    return make_error(Code::kInvalidArgument, "names and texts must be valid UTF-8");
  }
  return {};
}

Json return_body(const ReturnRequest& how) {
  Json body = {{"disks_only", how.disks_only},
               {"state", how.state},
               {"discard_newer", how.discard_newer},
               {"instant", how.instant},
               {"reset_nvram", how.reset_nvram}};
  if (how.has_parts)
    body["parts"] = {{"disks", how.disks}, {"settings", how.settings}, {"memory", how.memory}};
  return body;
}

}  // namespace

Client::Client(std::string directory)
    : directory_(std::move(directory)),
      connection_(Address{.path = directory_ + "/run/api.sock"}) {}

Client::Client(std::string name, Address address, std::string token)
    : directory_(std::move(name)),
      is_remote_(true),
      connection_(std::move(address), std::move(token)) {}

// Nobody listens: then the way out is to start an instance.
std::optional<Error> Client::absence_of(const Error& error) const {
  const bool absent =
      error.code == Code::kNotFound || (error.code == Code::kUnavailable && error.sys_errno != 0);
  if (!absent) return std::nullopt;
  if (is_remote_)
    return Error{Code::kUnavailable, fmt::format("no Hozon answers at '{}'", directory_)};
  return Error{Code::kUnavailable,
               fmt::format("no Hozon is up in '{}'; start it with: hozon up --dir {}", directory_,
                           directory_)};
}

Result<Json> Client::exchange(const HttpCall& call) {
  Result<HttpAnswer> answer = connection_.exchange(call);
  if (!answer) return std::unexpected(absence_of(answer.error()).value_or(answer.error()));
  if (answer->status >= 400) return std::unexpected(error_of(*answer));
  Json body = Json::parse(answer->body, nullptr, false);
  if (body.is_discarded())
    return make_error(Code::kInternal, "hozond's answer to {} {} is not JSON", call.method,
                      call.target);
  return body;
}

Result<Json> Client::get(const std::string& target) {
  return exchange({.method = "GET", .target = target, .repeatable = true});
}

Result<Json> Client::get(const std::string& target, int timeout_ms) {
  return exchange(
      {.method = "GET", .target = target, .repeatable = true, .timeout_ms = timeout_ms});
}

template <typename T>
Result<std::vector<T>> Client::list(const std::string& target, int timeout_ms) {
  Json body = HOZON_TRY(get(target, timeout_ms));
  std::vector<T> values;
  const auto items = body.find("items");
  if (items == body.end() || !items->is_array())
    return make_error(Code::kInternal, "hozond's answer to GET {} is no list", target);
  values.reserve(items->size());
  for (Json& item : *items) values.emplace_back(std::move(item));
  return values;
}

Result<Json> Client::ask_plan(const std::string& method, const std::string& target,
                              const Json& body) {
  const char* word = target.find('?') == std::string::npos ? "?plan=true" : "&plan=true";
  HttpCall call{.method = method, .target = target + word, .repeatable = true};
  HOZON_TRY(put_body(call, body));
  return exchange(call);
}

Result<Job> Client::start(const std::string& method, const std::string& target, const Json& body) {
  if (plan_only_) {
    plan_ = HOZON_TRY(ask_plan(method, target, body));
    return make_error(Code::kCancelled, "only the plan was asked for");
  }
  HttpCall call{.method = method, .target = target, .repeatable = true};
  HOZON_TRY(put_body(call, body));
  const std::string key = random_key();
  if (key.empty())
    call.repeatable = false;
  else
    call.headers.emplace_back("Idempotency-Key", key);
  Job job(HOZON_TRY(exchange(call)));
  if (!leaves_jobs_) return job;
  left_ = std::move(job);
  return make_error(Code::kCancelled, "nobody waits for the job");
}

namespace {

// The lines of one server-sent event, as far as they have come.
struct EventLines {
  std::string kind, id, data;
};

}  // namespace

Status Client::follow_events(const std::string& query, std::optional<uint64_t> after,
                             const std::function<bool(const Json& event)>& take) {
  constexpr int kSilenceMs = 60'000;  // hozond sends a comment every 15 s
  EventLines lines;
  std::optional<int64_t> failing_since_ms;
  bool enough = false;
  const auto take_line = [&](std::string_view line) {
    const auto value = [&line](std::string_view name) {
      std::string_view text = line.substr(name.size());
      if (text.starts_with(' ')) text.remove_prefix(1);
      return std::string(text);
    };
    if (line.starts_with("event:")) lines.kind = value("event:");
    if (line.starts_with("id:")) lines.id = value("id:");
    if (line.starts_with("data:")) lines.data += value("data:");
    if (!line.empty() || lines.data.empty()) return true;
    const EventLines whole = std::exchange(lines, {});
    failing_since_ms.reset();
    after = std::strtoull(whole.id.c_str(), nullptr, 10);
    Json event = Json::parse(whole.data, nullptr, false);
    if (whole.kind == "hello" || !event.is_object()) return true;
    if (whole.kind == "reset") event["kind"] = "reset";
    enough = !take(event);
    return !enough;
  };
  while (!enough) {
    HttpCall call{.method = "GET", .target = "/v1/events" + query, .timeout_ms = kSilenceMs};
    if (after) call.headers.emplace_back("Last-Event-ID", std::to_string(*after));
    lines = {};
    const auto answer = connection_.stream(call, take_line);
    if (answer && answer->status >= 400) return std::unexpected(error_of(*answer));
    if (answer) return {};
    const int64_t now_ms = monotonic_ms();
    if (!failing_since_ms) failing_since_ms = now_ms;
    if (now_ms - *failing_since_ms > kRestartPatienceMs || !after)
      return std::unexpected(absence_of(answer.error()).value_or(answer.error()));
    std::this_thread::sleep_for(std::chrono::milliseconds(kFollowStepMs));
  }
  return {};
}

Result<Job> Client::follow(Job job) { return follow(std::move(job), nullptr); }

Result<Job> Client::finish(Job job) {
  if (!say_) return follow(std::move(job));
  const Interrupts interrupts;
  return follow(std::move(job), &interrupts);
}

Result<Job> Client::follow(Job job, const Interrupts* interrupts) {
  // Counted from the first failure: a request that got no answer may have taken longer already.
  std::optional<int64_t> failing_since_ms;
  bool cancelled = false;
  while (!job.is_ended()) {
    if (interrupts != nullptr && interrupts->count() > 1)
      return make_error(Code::kCancelled,
                        "nobody waits for job {} ({}) any more: `hozon job watch {}` shows how it "
                        "ends",
                        job.id, job.kind, job.id);
    if (interrupts != nullptr && interrupts->count() == 1 && !cancelled) {
      cancelled = true;
      say_(fmt::format("cancelling job {} ({}); Ctrl-C again stops waiting for it", job.id,
                       job.kind));
      (void)cancel_job(job.id);  // refused when it has ended meanwhile, which is seen below
    }
    if (progress_) progress_(job);
    const Result<Json> now = get(fmt::format("/v1/jobs/{}?wait_ms={}", job.id, kFollowStepMs));
    if (now) {
      job = Job(*now);
      failing_since_ms.reset();
      continue;
    }
    const int64_t failed_ms = monotonic_ms();
    if (!failing_since_ms) failing_since_ms = failed_ms;
    if (now.error().code != Code::kUnavailable ||
        failed_ms - *failing_since_ms > kRestartPatienceMs)
      return add_context(now.error(), fmt::format("job {} cannot be followed", job.id));
    std::this_thread::sleep_for(std::chrono::milliseconds(kFollowStepMs));
  }
  if (progress_) progress_(job);
  return job;
}

Result<Json> Client::run(const std::string& method, const std::string& target, const Json& body) {
  const Job started = HOZON_TRY(start(method, target, body));
  const Job ended = HOZON_TRY(finish(started));
  if (ended.state == "done") {
    const auto result = ended.json.find("result");
    return result == ended.json.end() || result->is_null() ? Json::object() : *result;
  }
  if (ended.error_message.empty() || ended.state == "cancelled")
    return make_error(Code::kCancelled,
                      "job {} ({}) was cancelled; what it had begun is taken back", ended.id,
                      ended.kind);
  return std::unexpected(Error{code_from_name(ended.error_code), ended.error_message});
}

// What is done when it is answered: no job.
Result<Json> Client::change(const std::string& method, const std::string& target,
                            const Json& body) {
  if (plan_only_)
    return make_error(Code::kInvalidArgument, "there is no plan of this: it does nothing but that");
  HttpCall call{.method = method, .target = target};
  HOZON_TRY(put_body(call, body));
  return exchange(call);
}

Result<Json> Client::create_token(const std::string& name, const std::vector<std::string>& rights,
                                  uint64_t expires_in_s) {
  return change("POST", "/v1/tokens",
                {{"name", name}, {"rights", rights}, {"expires_in_s", expires_in_s}});
}

Result<std::vector<Json>> Client::tokens() { return list<Json>("/v1/tokens"); }

Result<Json> Client::revoke_token(const std::string& name) {
  return change("DELETE", "/v1/tokens/" + percent_encode(name), nullptr);
}

Result<std::vector<Json>> Client::peers() { return list<Json>("/v1/peers"); }

Result<Json> Client::set_peer(const std::string& user, const std::vector<std::string>& rights) {
  return change("PUT", "/v1/peers/" + percent_encode(user), {{"rights", rights}});
}

Result<Json> Client::remove_peer(const std::string& user) {
  return change("DELETE", "/v1/peers/" + percent_encode(user), nullptr);
}

Result<std::vector<Json>> Client::audit(uint64_t most, const std::string& query) {
  return list<Json>(fmt::format("/v1/audit?limit={}{}", most, query));
}

// ---- pools ----

Result<std::vector<Pool>> Client::pools() { return list<Pool>("/v1/pools"); }

Result<Pool> Client::pool(const std::string& name) {
  return Pool(HOZON_TRY(get("/v1/pools/" + percent_encode(name))));
}

Result<Json> Client::create_pool(const std::string& name, uint64_t size_bytes) {
  return run("POST", "/v1/pools", {{"name", name}, {"size_bytes", size_bytes}});
}

Result<Json> Client::delete_pool(const std::string& name, bool force) {
  return run("DELETE", "/v1/pools/" + percent_encode(name) + (force ? "?force=true" : ""), nullptr);
}

Result<PoolCheck> Client::check_pool(const std::string& name, bool data) {
  const Job started =
      HOZON_TRY(start("POST", "/v1/pools/" + percent_encode(name) + "/check", {{"data", data}}));
  const Job ended = HOZON_TRY(finish(started));
  const auto result = ended.json.find("result");
  if (result != ended.json.end() && result->is_object() && result->contains("errors"))
    return PoolCheck(*result);
  if (ended.error_message.empty())
    return make_error(Code::kCancelled, "the check of pool '{}' was cancelled", name);
  return std::unexpected(Error{code_from_name(ended.error_code), ended.error_message});
}

Result<Job> Client::start_pool_scrub(const std::string& name, uint64_t bytes_per_second) {
  return start("POST", "/v1/pools/" + percent_encode(name) + "/scrub",
               {{"bytes_per_second", bytes_per_second}});
}

Result<PoolScrub> Client::scrub_pool(const std::string& name, uint64_t bytes_per_second) {
  const Job started = HOZON_TRY(start_pool_scrub(name, bytes_per_second));
  const Job ended = HOZON_TRY(finish(started));
  const auto result = ended.json.find("result");
  const bool is_whole = ended.error_code.empty() || ended.error_code == "corruption";
  if (is_whole && result != ended.json.end() && result->is_object()) return PoolScrub(*result);
  if (ended.error_message.empty())
    return make_error(Code::kCancelled, "the scrub of pool '{}' was cancelled", name);
  return std::unexpected(Error{code_from_name(ended.error_code), ended.error_message});
}

// ---- volumes ----

Result<std::vector<Volume>> Client::volumes(const std::string& pool) {
  return list<Volume>("/v1/volumes" + pool_query(pool));
}

Result<Volume> Client::volume(const std::string& name, const std::string& pool) {
  return Volume(HOZON_TRY(get(volume_path(name) + pool_query(pool))));
}

Result<std::string> Client::volume_uri(const std::string& name, const std::string& point,
                                       const std::string& pool) {
  std::string query = pool_query(pool);
  if (!point.empty()) query += (query.empty() ? "?point=" : "&point=") + percent_encode(point);
  return text_of(HOZON_TRY(get(volume_path(name) + "/uri" + query)), "uri");
}

Result<std::vector<Point>> Client::points(const std::string& volume, const std::string& pool) {
  return list<Point>(volume_path(volume) + "/points" + pool_query(pool));
}

Result<Json> Client::create_volume(const VolumeRequest& request) {
  Json body = {{"name", request.name}};
  if (!request.pool.empty()) body["pool"] = request.pool;
  if (!request.from.empty()) body["from"] = request.from;
  if (request.size_bytes != 0) body["size_bytes"] = request.size_bytes;
  return run("POST", "/v1/volumes", body);
}

Result<Json> Client::resize_volume(const std::string& name, uint64_t size_bytes, bool allow_shrink,
                                   const std::string& pool) {
  return run("POST", volume_path(name) + "/resize" + pool_query(pool),
             {{"size_bytes", size_bytes}, {"allow_shrink", allow_shrink}});
}

Result<Json> Client::defragment_volume(const std::string& name, uint64_t bytes_per_second,
                                       const std::string& pool) {
  return run("POST", volume_path(name) + "/defragment" + pool_query(pool),
             {{"bytes_per_second", bytes_per_second}});
}

Result<Json> Client::snapshot_volumes(const std::vector<std::string>& volumes,
                                      const std::string& point, const std::string& pool) {
  HOZON_CHECK(!volumes.empty());
  const std::vector<std::string> others(volumes.begin() + 1, volumes.end());
  return run("POST", volume_path(volumes.front()) + "/snapshot" + pool_query(pool),
             {{"name", point}, {"with", others}});
}

Result<Json> Client::clone_volume(const std::string& name, const std::string& point,
                                  const std::string& new_name, const std::string& pool) {
  return run("POST", volume_path(name) + "/clone" + pool_query(pool),
             {{"point", point}, {"new_name", new_name}});
}

Result<Json> Client::export_volume(const ExportRequest& request) {
  return run("POST", volume_path(request.volume) + "/export" + pool_query(request.pool),
             {{"point", request.point},
              {"path", request.path},
              {"format", request.format},
              {"force", request.force},
              {"verify", request.verify}});
}

Result<Json> Client::return_volume(const std::string& name, const std::string& point,
                                   const std::string& pool) {
  return run("POST", volume_path(name) + "/return" + pool_query(pool), {{"point", point}});
}

Result<Json> Client::delete_volume(const std::string& name, bool with_points,
                                   const std::string& pool) {
  std::string query = pool_query(pool);
  if (with_points) query += query.empty() ? "?with_points=true" : "&with_points=true";
  return run("DELETE", volume_path(name) + query, nullptr);
}

Result<Json> Client::delete_point(const std::string& volume, const std::string& point,
                                  const std::string& pool) {
  return run("DELETE", volume_path(volume) + "/points/" + percent_encode(point) + pool_query(pool),
             nullptr);
}

// ---- machines ----

Result<std::vector<Machine>> Client::machines(const std::string& fields) {
  return list<Machine>("/v1/machines" + (fields.empty() ? "" : "?fields=" + fields));
}

Result<Machine> Client::machine(const std::string& name) {
  return Machine(HOZON_TRY(get(machine_path(name))));
}

Result<Json> Client::create_machine(const MachineRequest& request) {
  Json body = {{"name", request.name}};
  const std::pair<const char*, const std::string*> texts[] = {
      {"description", &request.description}, {"pool", &request.pool},
      {"kernel", &request.kernel},           {"initrd", &request.initrd},
      {"append", &request.append},           {"firmware", &request.firmware},
      {"template", &request.from_template},  {"return_on_shutdown", &request.return_on_shutdown}};
  for (const auto& [member, value] : texts)
    if (!value->empty()) body[member] = *value;
  if (request.memory_bytes != 0) body["memory_bytes"] = request.memory_bytes;
  if (request.cpus != 0) body["cpus"] = request.cpus;
  if (request.tpm) body["tpm"] = true;
  if (!request.tags.empty()) body["tags"] = request.tags;
  body["disks"] = Json::array();
  for (const DiskRequest& disk : request.disks) {
    Json object = Json::object();
    if (disk.size_bytes != 0) object["size_bytes"] = disk.size_bytes;
    if (!disk.image.empty()) object["image"] = disk.image;
    body["disks"].push_back(std::move(object));
  }
  return run("POST", "/v1/machines", body);
}

Result<Json> Client::start_machine(const std::string& name, bool paused) {
  return run("POST", machine_path(name) + "/start", {{"paused", paused}});
}

Result<Json> Client::shutdown_machine(const std::string& name, uint64_t timeout_ms) {
  return run("POST", machine_path(name) + "/shutdown", {{"timeout_ms", timeout_ms}});
}

Result<Json> Client::machine_verb(const std::string& name, const std::string& verb) {
  return run("POST", machine_path(name) + "/" + verb, nullptr);
}

Result<Json> Client::freeze_machine(const std::string& name, uint64_t hold_ms) {
  return run("POST", machine_path(name) + "/freeze", {{"hold_ms", hold_ms}});
}

Result<Json> Client::resume_machine(const std::string& name, bool connect, bool instant) {
  return run("POST", machine_path(name) + "/resume", {{"connect", connect}, {"instant", instant}});
}

Result<Json> Client::delete_machine(const std::string& name) {
  return run("DELETE", machine_path(name), nullptr);
}

// ---- snapshots ----

Result<std::vector<Snapshot>> Client::snapshots(const std::string& machine, bool with_sizes,
                                                const std::string& fields) {
  std::string target = machine_path(machine) + "/snapshots";
  if (with_sizes) target += "?sizes=true";
  if (!fields.empty()) target += (with_sizes ? "&fields=" : "?fields=") + fields;
  // Sizes are read from the disk, some blocks for each point, and others use it, too.
  constexpr int kSizesMs = 600'000;
  return list<Snapshot>(target, with_sizes ? kSizesMs : kListMs);
}

Result<Snapshot> Client::snapshot(const std::string& machine, const std::string& name) {
  return Snapshot(HOZON_TRY(get(snapshot_path(machine, name))));
}

Result<Json> Client::create_snapshot(const std::string& machine, const SnapshotRequest& request) {
  Json body = {{"name", request.name},
               {"description", request.description},
               {"with_memory", request.with_memory},
               {"quiesce", request.quiesce},
               {"disks", request.disks}};
  if (request.settings_only) body["settings_only"] = true;
  if (!request.tags.empty()) body["tags"] = request.tags;
  if (request.expires_in_s != 0) body["expires_in_s"] = request.expires_in_s;
  return run("POST", machine_path(machine) + "/snapshots", body);
}

Result<Json> Client::return_to(const std::string& machine, const std::string& snapshot,
                               const ReturnRequest& how) {
  return run("POST", snapshot_path(machine, snapshot) + "/return", return_body(how));
}

Result<Json> Client::plan_return(const std::string& machine, const std::string& snapshot,
                                 const ReturnRequest& how) {
  return ask_plan("POST", snapshot_path(machine, snapshot) + "/return", return_body(how));
}

Result<Json> Client::preview(const std::string& machine, const std::string& snapshot,
                             const PreviewRequest& request) {
  return run(
      "POST", snapshot_path(machine, snapshot) + "/preview",
      {{"settings", request.settings}, {"memory", request.memory}, {"disks", request.disks}});
}

Result<Json> Client::commit_preview(const std::string& machine, bool discard_newer) {
  return run("POST", machine_path(machine) + "/preview/commit", {{"discard_newer", discard_newer}});
}

Result<Json> Client::undo_preview(const std::string& machine) {
  return run("POST", machine_path(machine) + "/preview/undo", nullptr);
}

Result<Json> Client::clone_snapshot(const std::string& machine, const std::string& snapshot,
                                    const CloneRequest& request) {
  Json body = {
      {"new_name", request.new_name}, {"with_memory", request.with_memory}, {"full", request.full}};
  if (!request.description.empty()) body["description"] = request.description;
  if (!request.pool.empty()) body["pool"] = request.pool;
  return run("POST", snapshot_path(machine, snapshot) + "/clone", body);
}

Result<Json> Client::rename_snapshot(const std::string& machine, const std::string& snapshot,
                                     const std::string& new_name) {
  return run("POST", snapshot_path(machine, snapshot) + "/rename", {{"new_name", new_name}});
}

Result<Json> Client::describe_snapshot(const std::string& machine, const std::string& snapshot,
                                       const std::string& description) {
  return run("POST", snapshot_path(machine, snapshot) + "/describe",
             {{"description", description}});
}

Result<Json> Client::delete_snapshots(const std::string& machine, const DeleteRequest& request) {
  Json body = {{"snapshots", request.snapshots},
               {"subtree", request.subtree},
               {"all_unpinned", request.all_unpinned}};
  if (request.for_good) body["ttl_s"] = 0;
  if (request.metadata_only) body["metadata_only"] = true;
  return run("POST", machine_path(machine) + "/delete-snapshots", body);
}

Result<Json> Client::snapshot_verb(const std::string& machine, const std::string& snapshot,
                                   const std::string& verb, const Json& body) {
  return run("POST", snapshot_path(machine, snapshot) + "/" + verb, body);
}

Result<std::vector<Snapshot>> Client::trash(const std::string& machine) {
  return list<Snapshot>(machine_path(machine) + "/trash");
}

Result<Json> Client::restore_from_trash(const std::string& machine, const std::string& snapshot) {
  return run("POST", machine_path(machine) + "/trash/" + percent_encode(snapshot) + "/restore",
             nullptr);
}

Result<Json> Client::empty_trash(const std::string& machine) {
  return run("DELETE", machine_path(machine) + "/trash", nullptr);
}

Result<Json> Client::set_quota(const std::string& machine, uint64_t snapshots) {
  return run("POST", machine_path(machine) + "/quota", {{"snapshots", snapshots}});
}

// ---- jobs ----

Result<std::vector<Job>> Client::jobs() { return list<Job>("/v1/jobs"); }

Result<Job> Client::job(uint64_t id) { return Job(HOZON_TRY(get(fmt::format("/v1/jobs/{}", id)))); }

Result<Job> Client::cancel_job(uint64_t id) {
  return Job(
      HOZON_TRY(exchange({.method = "POST", .target = fmt::format("/v1/jobs/{}/cancel", id)})));
}

}  // namespace hozon::client
