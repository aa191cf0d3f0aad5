// Pools: a directory each, made and removed under a hidden name, so that the supervisor only ever
// sees whole ones.
#include <chrono>
#include <filesystem>
#include <thread>

#include "base/units.h"
#include "control/core.h"
#include "control/json.h"
#include "control/names.h"
#include "control/program.h"
#include "link/unix_socket.h"
#include "qemu/process.h"

namespace hozon::control {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr int kShowPatienceMs = 3000;
constexpr int kOpenPatienceMs = 60'000;

}  // namespace

Result<Pool> Core::pool_view(const std::string& name) {
  if (!storage.has_pool(name)) return make_error(Code::kNotFound, "pool '{}' does not exist", name);
  Pool pool;
  pool.name = name;
  pool.state = "ok";
  if (const auto daemons = storage.daemons()) {
    for (const Storage::Daemon& daemon : *daemons) {
      if (daemon.name != "stored-" + name) continue;
      pool.pid = daemon.pid;
      pool.restarts = daemon.restarts;
    }
  }
  const auto stats = storage.stats(name, kShowPatienceMs);
  if (!stats) {
    pool.state = "down";
    const std::string words = last_words(storage.log_path(name));
    pool.message = stats.error().what + (words.empty() ? "" : "; its daemon said: " + words);
    return pool;
  }
  pool.size_bytes = stats->size_bytes;
  pool.used_bytes = stats->live_bytes + stats->pending_bytes + stats->in_flight_bytes;
  pool.free_bytes = stats->free_bytes;
  pool.reserve_bytes = stats->reserve_bytes;
  pool.volumes = stats->volumes;
  pool.points = stats->points;
  pool.reclaiming = stats->reclaiming;
  pool.damaged = stats->damaged;
  if (pool.damaged > 0) {
    pool.state = "damaged";
    pool.message =
        pool.damaged == 1
            ? "1 place cannot be read: restore what is touched from elsewhere or delete it"
            : fmt::format(
                  "{} places cannot be read: restore what is touched from elsewhere or delete it",
                  pool.damaged);
    if (const auto places = storage.damaged_places(name)) pool.damage = damage_json(name, *places);
  }
  if (stats->parked) {
    pool.state = "full";
    pool.message = stats->filesystem_full
                       ? "guest writes wait: the filesystem below the pool is full; make room "
                         "there, or delete snapshots or volumes"
                       : "guest writes wait for space: delete snapshots or volumes";
  }
  if (stats->read_only) {
    pool.state = "read_only";
    pool.message = stats->failure;
  }
  return pool;
}

Result<std::vector<Pool>> Control::pools() const {
  std::vector<Pool> pools;
  for (const std::string& name : core_->storage.pool_names())
    if (auto pool = core_->pool_view(name)) pools.push_back(*std::move(pool));
  return pools;
}

Result<Pool> Control::pool(const std::string& name) const { return core_->pool_view(name); }

namespace {

Result<json> create_pool(Core& core, JobRun& run, const PoolRequest& request) {
  const std::string hidden = core.storage.pool_directory("." + request.name + ".new");
  std::error_code error;
  HOZON_TRY(run.journal("pool.discard", {{"pool", request.name}}));
  fs::remove_all(hidden, error);
  run.step("formatting");
  const ProgramEnd end = HOZON_TRY(
      run_program({.argv = {core.options.program_directory + "/hozon-stored", "create",
                            "--pool-dir", hidden, "--size", std::to_string(request.size_bytes)},
                   .address_space_bytes = 0,
                   .cpu_seconds = 0,
                   .on_output = [&](std::string_view) { return run.check().has_value(); }}));
  if (end.exit_status != 0)
    return make_error(end.exit_status == 2 ? Code::kInvalidArgument : Code::kIo,
                      "pool '{}' could not be made: {}", request.name, last_line(end.errors));
  fs::rename(hidden, core.storage.pool_directory(request.name), error);
  if (error) return errno_error(error.value(), "put pool '{}' in its place", request.name);
  run.step("starting its daemon");
  HOZON_TRY(core.storage.start_pool(request.name));
  const auto stats = core.storage.stats(request.name, kOpenPatienceMs);
  if (!stats)
    return add_context(stats.error(),
                       fmt::format("the daemon of pool '{}' does not answer ({})", request.name,
                                   last_words(core.storage.log_path(request.name))));
  HOZON_TRY(run.commit([] { return Status(); }));
  return to_json(HOZON_TRY(core.pool_view(request.name)));
}

Status refuse_volumes(Core& core, const std::string& name) {
  const auto stats = core.storage.stats(name);
  if (!stats)
    return add_context(stats.error(),
                       "whether the pool is empty is not known; with force it is deleted all the "
                       "same");
  if (stats->volumes == 0) return {};
  return make_error(Code::kWrongState,
                    "pool '{}' has {} volumes: delete them first, or delete it with --force", name,
                    stats->volumes);
}

Status plan_pool_delete(Core& core, const std::string& name, bool force, Plan& plan) {
  if (!force) HOZON_TRY(refuse_volumes(core, name));
  plan.removes.push_back("pool " + name);
  const auto volumes = core.storage.volumes(name);
  if (!volumes) return {};
  for (const link::VolumeInfo& volume : *volumes)
    plan.unreachable.push_back("volume " + volume.name);
  return {};
}

Result<json> delete_pool(Core& core, JobRun& run, const std::string& name, bool force) {
  if (!force) HOZON_TRY(refuse_volumes(core, name));
  // From here on it can only go forward: undoing means deleting too.
  HOZON_TRY(run.journal("pool.discard", {{"pool", name}, {"finish", true}}));
  run.step("stopping its daemon");
  HOZON_TRY(core.undo("pool.discard", {{"pool", name}}));
  HOZON_TRY(run.commit([] { return Status(); }));
  return json{{"deleted", name}};
}

}  // namespace

Result<JobId> Control::start_pool_create(const PoolRequest& request, const Caller& caller) {
  if (const auto found = HOZON_TRY(core_->jobs.find_job(caller))) return *found;
  HOZON_TRY(check_name("pool", request.name, kPoolNameMax));
  HOZON_TRY(link::check_unix_path(core_->storage.link_socket(request.name)));
  if (request.size_bytes == 0)
    return make_error(Code::kInvalidArgument, "a pool needs a size, such as 20G");
  if (core_->storage.has_pool(request.name))
    return make_error(Code::kAlreadyExists, "a pool named '{}' exists", request.name);
  if (caller.plan) caller.plan->makes.push_back("pool " + request.name);
  return core_->jobs.begin(
      {.kind = "pool.create",
       .object = request.name,
       .caller = caller,
       .locks = {Core::pool_lock(request.name)},
       .subject = fmt::format("pool '{}'", request.name)},
      [core = core_.get(), request](JobRun& run) { return create_pool(*core, run, request); });
}

Result<JobId> Control::start_pool_delete(const std::string& name, bool force,
                                         const Caller& caller) {
  if (const auto found = HOZON_TRY(core_->jobs.find_job(caller))) return *found;
  if (!core_->storage.has_pool(name))
    return make_error(Code::kNotFound, "pool '{}' does not exist", name);
  const std::string user = HOZON_TRY(core_->inventory.user_of_pool(name));
  if (!user.empty())
    return make_error(Code::kWrongState,
                      "pool '{}' is used by machine '{}': delete the machine first", name, user);
  if (caller.plan) HOZON_TRY(plan_pool_delete(*core_, name, force, *caller.plan));
  return core_->jobs.begin({.kind = "pool.delete",
                            .object = name,
                            .caller = caller,
                            .locks = {Core::pool_lock(name)},
                            .subject = fmt::format("pool '{}'", name)},
                           [core = core_.get(), name, force](JobRun& run) {
                             return delete_pool(*core, run, name, force);
                           });
}

Result<JobId> Control::start_pool_check(const std::string& name, bool data, const Caller& caller) {
  if (const auto found = HOZON_TRY(core_->jobs.find_job(caller))) return *found;
  if (!core_->storage.has_pool(name))
    return make_error(Code::kNotFound, "pool '{}' does not exist", name);
  const auto work = [core = core_.get(), name, data](JobRun& run) -> Result<json> {
    run.step(data ? "reading everything" : "reading the maps");
    const link::CheckReport report = HOZON_TRY(core->storage.check(name, data));
    const PoolCheck check{name,
                          report.errors.empty(),
                          report.errors,
                          report.warnings,
                          report.points,
                          report.map_blocks,
                          report.data_blocks,
                          report.lost_blocks,
                          core->damage_json(name, report.damaged)};
    run.set_result(to_json(check));
    if (check.clean) return to_json(check);
    return make_error(Code::kCorruption, "pool '{}' has {} errors; the first: {}", name,
                      check.errors.size(), check.errors.front());
  };
  return core_->jobs.begin({.kind = "pool.check",
                            .object = name,
                            .caller = caller,
                            .locks = {},
                            .subject = fmt::format("pool '{}'", name)},
                           work);
}

}  // namespace hozon::control
