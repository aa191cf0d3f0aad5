// Volumes and points that belong to nobody, and the refusals that protect those of machines.
#include "control/core.h"
#include "control/image.h"
#include "control/json.h"
#include "control/names.h"
#include "control/plans.h"
#include "control/space_watch.h"

namespace hozon::control {
namespace {

using nlohmann::json;

// What the data plane will refuse, for a plan.
Status refuse_shrink(uint64_t present, uint64_t wanted, bool allowed, const std::string& volume) {
  if (allowed || wanted >= present) return {};
  return make_error(Code::kWrongState,
                    "volume '{}' has {} and would have {}: allow it with --shrink", volume,
                    format_bytes(present), format_bytes(wanted));
}

}  // namespace

Result<std::string> Core::find_pool(const std::string& volume, const std::string& pool) {
  if (!pool.empty()) {
    HOZON_TRY(storage.volume(pool, volume));
    return pool;
  }
  std::string found;
  std::optional<Error> trouble;
  for (const std::string& candidate : storage.pool_names()) {
    const auto info = storage.volume(candidate, volume);
    if (!info && info.error().code != Code::kNotFound) trouble = info.error();
    if (!info) continue;
    if (!found.empty())
      return make_error(Code::kInvalidArgument,
                        "pools '{}' and '{}' both have a volume '{}': say --pool", found, candidate,
                        volume);
    found = candidate;
  }
  if (!found.empty()) return found;
  if (trouble) return std::unexpected(*trouble);
  return make_error(Code::kNotFound, "volume '{}' does not exist", volume);
}

Status Core::refuse_if_machines(const std::string& pool, const std::string& volume,
                                const std::string& instead) {
  if (MemoryImages::is_image_volume(volume))
    return make_error(Code::kWrongState,
                      "volume '{}' is memory of running machines, and goes by itself", volume);
  const std::string user = HOZON_TRY(inventory.user_of_volume(pool, volume));
  if (user.empty()) return {};
  return make_error(Code::kWrongState, "volume '{}' belongs to machine '{}': {}", volume, user,
                    instead);
}

Status Core::create_volume(JobRun& run, const std::string& pool, const std::string& name,
                           uint64_t size_bytes, const std::string& from) {
  std::optional<Image> image;
  if (!from.empty()) {
    run.step("looking at the image");
    image = HOZON_TRY(inspect_image(from, options.qemu_img));
    if (size_bytes == 0) size_bytes = image->size_bytes;
    if (size_bytes < image->size_bytes)
      return make_error(Code::kInvalidArgument,
                        "volume '{}' of {} is too small for image '{}', which needs {}", name,
                        format_bytes(size_bytes), from, format_bytes(image->size_bytes));
  }
  HOZON_TRY(check_volume_size(size_bytes));
  // Looked up before the undo is journaled: it must never delete what was there already.
  const auto existing = storage.volume(pool, name);
  if (existing) return make_error(Code::kAlreadyExists, "a volume named '{}' exists", name);
  if (existing.error().code != Code::kNotFound) return std::unexpected(existing.error());
  const uint64_t step = HOZON_TRY(run.journal("volume.delete", {{"pool", pool}, {"name", name}}));
  const auto created = storage.create_volume(pool, name, size_bytes);
  if (!created) {
    if (created.error().code != Code::kUnavailable) HOZON_TRY(run.forget(step));
    return std::unexpected(created.error());
  }
  if (!image) return {};
  run.step("importing the image");
  SpaceWatch space(storage, pool);
  const Status imported =
      import_image(*image, storage.uri(pool, name), options.qemu_img, [&](uint64_t done) {
        run.progress(done, image->size_bytes);
        return run.check().has_value() && space.has_room();
      });
  HOZON_TRY(space.status());
  HOZON_TRY(imported);
  run.progress(image->size_bytes, image->size_bytes);
  return storage.checkpoint(pool);
}

Result<std::vector<Volume>> Control::volumes(const std::string& pool) const {
  std::vector<Volume> volumes;
  const std::vector<std::string> pools =
      pool.empty() ? core_->storage.pool_names() : std::vector<std::string>{pool};
  for (const std::string& name : pools)
    for (const link::VolumeInfo& info : HOZON_TRY(core_->storage.volumes(name)))
      volumes.push_back(core_->view(info, name));
  return volumes;
}

Result<Volume> Control::volume(const std::string& name, const std::string& pool) const {
  const std::string home = HOZON_TRY(core_->find_pool(name, pool));
  Volume volume = core_->view(HOZON_TRY(core_->storage.volume(home, name)), home);
  if (const auto bytes = core_->storage.mapped_bytes(home, name)) volume.mapped_bytes = *bytes;
  return volume;
}

Result<std::string> Control::volume_uri(const std::string& name, const std::string& point,
                                        const std::string& pool) const {
  const std::string home = HOZON_TRY(core_->find_pool(name, pool));
  if (!point.empty()) HOZON_TRY(core_->storage.point(home, name, point));
  return core_->storage.uri(home, name, point);
}

Result<std::vector<Point>> Control::points(const std::string& volume, bool all,
                                           const std::string& pool) const {
  const std::string home = HOZON_TRY(core_->find_pool(volume, pool));
  std::vector<Point> points;
  for (const link::PointInfo& info : HOZON_TRY(core_->storage.points(home, volume, all)))
    points.push_back(core_->view(info, volume, home));
  return points;
}

Result<JobId> Control::start_volume_create(const VolumeRequest& request, const Caller& caller) {
  if (const auto found = HOZON_TRY(core_->jobs.find_job(caller))) return *found;
  HOZON_TRY(check_name("volume", request.name, kVolumeNameMax));
  if (request.from.empty() || request.size_bytes != 0)
    HOZON_TRY(check_volume_size(request.size_bytes));
  if (!request.from.empty()) HOZON_TRY(inspect_image(request.from, core_->options.qemu_img));
  if (core_->storage.volume(request.pool, request.name))
    return make_error(Code::kAlreadyExists, "a volume named '{}' exists", request.name);
  HOZON_TRY(core_->storage.stats(request.pool));
  const auto work = [core = core_.get(), request](JobRun& run) -> Result<json> {
    HOZON_TRY(
        core->create_volume(run, request.pool, request.name, request.size_bytes, request.from));
    HOZON_TRY(run.commit([] { return Status(); }));
    return to_json(
        core->view(HOZON_TRY(core->storage.volume(request.pool, request.name)), request.pool));
  };
  if (caller.plan) {
    caller.plan->makes.push_back("volume " + request.name);
    if (!request.from.empty())
      caller.plan->writes_bytes = stored_image_bytes(request.from, core_->options);
  }
  return core_->begin_volume("volume.create", request.pool, {request.name}, request.name, caller,
                             work);
}

Result<JobId> Control::start_volume_resize(const std::string& volume, uint64_t size_bytes,
                                           bool allow_shrink, const std::string& pool,
                                           const Caller& caller) {
  if (const auto found = HOZON_TRY(core_->jobs.find_job(caller))) return *found;
  HOZON_TRY(check_volume_size(size_bytes));
  const std::string home = HOZON_TRY(core_->find_pool(volume, pool));
  HOZON_TRY(core_->refuse_if_machines(home, volume, "its size is one of the machine's settings"));
  const auto work = [=, core = core_.get()](JobRun& run) -> Result<json> {
    const uint64_t before = HOZON_TRY(core->storage.volume(home, volume)).size_bytes;
    if (before != size_bytes)
      HOZON_TRY(run.journal("volume.settle_size",
                            {{"pool", home}, {"name", volume}, {"size_bytes", size_bytes}}));
    HOZON_TRY(core->storage.resize_volume(home, volume, size_bytes, allow_shrink));
    HOZON_TRY(run.commit([] { return Status(); }));
    return to_json(core->view(HOZON_TRY(core->storage.volume(home, volume)), home));
  };
  if (caller.plan) {
    const uint64_t present = HOZON_TRY(core_->storage.volume(home, volume)).size_bytes;
    HOZON_TRY(refuse_shrink(present, size_bytes, allow_shrink, volume));
    if (size_bytes < present)
      caller.plan->notes.push_back(
          fmt::format("the last {} have to be empty", format_bytes(present - size_bytes)));
  }
  return core_->begin_volume("volume.resize", home, {volume}, volume, caller, work);
}

Result<JobId> Control::start_volume_snapshot(const std::vector<std::string>& volumes,
                                             const std::string& point, const std::string& pool,
                                             const Caller& caller) {
  if (const auto found = HOZON_TRY(core_->jobs.find_job(caller))) return *found;
  if (volumes.empty()) return make_error(Code::kInvalidArgument, "name at least one volume");
  HOZON_TRY(check_point_name(point));
  std::string home = pool;
  std::string names;
  for (const std::string& volume : volumes) {
    const std::string found = HOZON_TRY(core_->find_pool(volume, pool));
    if (!home.empty() && found != home)
      return make_error(Code::kInvalidArgument,
                        "volumes of one instant have to be in one pool; '{}' is in '{}' and '{}' "
                        "is not",
                        volumes.front(), home, volume);
    home = found;
    names += (names.empty() ? "" : ", ") + volume;
  }
  const auto work = [=, core = core_.get()](JobRun& run) -> Result<json> {
    // Looked up before the undo is journaled: it must never delete a point that was there already.
    for (const std::string& volume : volumes)
      if (core->storage.point(home, volume, point))
        return make_error(Code::kAlreadyExists, "volume '{}' has a point named '{}'", volume,
                          point);
    HOZON_TRY(
        run.journal("points.delete", {{"pool", home}, {"volumes", volumes}, {"point", point}}));
    const auto made = HOZON_TRY(core->storage.snapshot(home, volumes, point));
    HOZON_TRY(run.commit([] { return Status(); }));
    json points = json::array();
    for (size_t i = 0; i < made.size() && i < volumes.size(); ++i)
      points.push_back(to_json(core->view(made[i], volumes[i], home)));
    return json{{"points", points}};
  };
  if (caller.plan)
    for (const std::string& volume : volumes)
      caller.plan->makes.push_back(fmt::format("point {}@{}", volume, point));
  return core_->begin_volume("volume.snapshot", home, volumes, names + "@" + point, caller, work);
}

Result<JobId> Control::start_volume_clone(const std::string& volume, const std::string& point,
                                          const std::string& new_volume, const std::string& pool,
                                          const Caller& caller) {
  if (const auto found = HOZON_TRY(core_->jobs.find_job(caller))) return *found;
  HOZON_TRY(check_name("volume", new_volume, kVolumeNameMax));
  const std::string home = HOZON_TRY(core_->find_pool(volume, pool));
  if (!point.empty()) HOZON_TRY(core_->storage.point(home, volume, point));
  if (core_->storage.volume(home, new_volume))
    return make_error(Code::kAlreadyExists, "a volume named '{}' exists", new_volume);
  const auto work = [=, core = core_.get()](JobRun& run) -> Result<json> {
    if (core->storage.volume(home, new_volume))
      return make_error(Code::kAlreadyExists, "a volume named '{}' exists", new_volume);
    HOZON_TRY(run.journal("volume.delete", {{"pool", home}, {"name", new_volume}}));
    const auto made = HOZON_TRY(core->storage.clone(home, volume, point, new_volume));
    HOZON_TRY(run.commit([] { return Status(); }));
    return to_json(core->view(made, home));
  };
  if (caller.plan) caller.plan->makes.push_back("volume " + new_volume);
  return core_->begin_volume("volume.clone", home, {new_volume},
                             Storage::export_name(volume, point) + " " + new_volume, caller, work);
}

Result<JobId> Control::start_volume_return(const std::string& volume, const std::string& point,
                                           const std::string& pool, const Caller& caller) {
  if (const auto found = HOZON_TRY(core_->jobs.find_job(caller))) return *found;
  const std::string home = HOZON_TRY(core_->find_pool(volume, pool));
  HOZON_TRY(core_->storage.point(home, volume, point));
  HOZON_TRY(
      core_->refuse_if_machines(home, volume, "use `hozon snapshot return` with the machine"));
  const auto work = [=, core = core_.get()](JobRun& run) -> Result<json> {
    std::string kept = name_with_time("before-return-", wall_clock_ns());
    const std::string base = kept;
    for (int i = 2; core->storage.point(home, volume, kept); ++i)
      kept = fmt::format("{}-{}", base, i);
    HOZON_TRY(
        run.journal("volume.settle_return", {{"pool", home}, {"volume", volume}, {"kept", kept}}));
    HOZON_TRY(core->storage.return_to(home, {{volume, volume, point}}, kept));
    HOZON_TRY(run.commit([] { return Status(); }));
    const auto info = HOZON_TRY(core->storage.volume(home, volume));
    return json{{"volume", to_json(core->view(info, home))}, {"kept", kept}};
  };
  if (caller.plan)
    caller.plan->makes.push_back(fmt::format("a point of {} with the state that is left", volume));
  return core_->begin_volume("volume.return", home, {volume}, Storage::export_name(volume, point),
                             caller, work);
}

Result<JobId> Control::start_volume_delete(const std::string& volume, bool with_points,
                                           const std::string& pool, const Caller& caller) {
  if (const auto found = HOZON_TRY(core_->jobs.find_job(caller))) return *found;
  const std::string home = HOZON_TRY(core_->find_pool(volume, pool));
  HOZON_TRY(core_->refuse_if_machines(home, volume, "it goes with `hozon machine delete`"));
  const uint64_t points = HOZON_TRY(core_->storage.volume(home, volume)).snapshot_count;
  if (points > 0 && !with_points)
    return make_error(
        Code::kWrongState,
        "volume '{}' has {} points: delete them first, or all together with --with-points", volume,
        points);
  const auto work = [=, core = core_.get()](JobRun& run) -> Result<json> {
    const json arguments = {{"pool", home}, {"name", volume}, {"finish", true}};
    const uint64_t step = HOZON_TRY(run.journal("volume.delete", arguments));
    HOZON_TRY(
        Core::finish_or_forget(run, step, core->storage.delete_volume(home, volume, with_points)));
    return json{{"deleted", volume}};
  };
  if (caller.plan) {
    caller.plan->removes.push_back("volume " + volume);
    caller.plan->unreachable.push_back("volume " + volume);
    HOZON_TRY(plan_volume_delete(*core_, home, volume, *caller.plan));
  }
  return core_->begin_volume("volume.delete", home, {volume}, volume, caller, work);
}

Result<JobId> Control::start_point_delete(const std::string& volume, const std::string& point,
                                          const std::string& pool, const Caller& caller) {
  if (const auto found = HOZON_TRY(core_->jobs.find_job(caller))) return *found;
  const std::string home = HOZON_TRY(core_->find_pool(volume, pool));
  HOZON_TRY(core_->storage.point(home, volume, point));
  const std::string user = HOZON_TRY(core_->inventory.user_of_point(home, volume, point));
  if (!user.empty())
    return make_error(Code::kWrongState,
                      "point '{}' of volume '{}' is part of snapshot '{}': use `hozon snapshot "
                      "delete`",
                      point, volume, user);
  const auto work = [=, core = core_.get()](JobRun& run) -> Result<json> {
    const json arguments = {
        {"pool", home}, {"volumes", json::array({volume})}, {"point", point}, {"finish", true}};
    const uint64_t step = HOZON_TRY(run.journal("points.delete", arguments));
    HOZON_TRY(Core::finish_or_forget(run, step, core->storage.delete_point(home, volume, point)));
    return json{{"deleted", Storage::export_name(volume, point)}};
  };
  if (caller.plan) {
    caller.plan->removes.push_back("point " + Storage::export_name(volume, point));
    caller.plan->unreachable = caller.plan->removes;
    caller.plan->frees_bytes = HOZON_TRY(core_->storage.exclusive_bytes(home, volume, point));
  }
  return core_->begin_volume("point.delete", home, {volume}, Storage::export_name(volume, point),
                             caller, work);
}

}  // namespace hozon::control
