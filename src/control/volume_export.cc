// Exports read a point, never a head: what a guest writes meanwhile has no part in the image.
#include <sys/stat.h>

#include "control/core.h"
#include "control/image_export.h"
#include "control/names.h"

namespace hozon::control {
namespace {

using nlohmann::json;

// A point for the time of the export, of a volume as it is now.
struct PassingPoint {
  std::string name;
  uint64_t step = 0;
};

Result<PassingPoint> make_point(Core& core, JobRun& run, const VolumeExport& request) {
  PassingPoint point{fmt::format("export-{}", run.id().value), 0};
  point.step = HOZON_TRY(
      run.journal("points.delete",
                  {{"pool", request.pool}, {"volumes", {request.volume}}, {"point", point.name}}));
  HOZON_TRY(core.storage.snapshot(request.pool, {request.volume}, point.name));
  return point;
}

Result<uint64_t> make_partial(JobRun& run, const std::string& partial) {
  const uint64_t step = HOZON_TRY(run.journal("file.remove", {{"path", partial}}));
  const Status created = create_partial_image(partial);
  if (created) return step;
  HOZON_TRY(run.forget(step));  // what is there is not ours
  return std::unexpected(created.error());
}

Result<json> file_identity(const std::string& path) {
  struct stat status{};
  if (::stat(path.c_str(), &status) != 0) return errno_error(errno, "image '{}'", path);
  return json{{"device", uint64_t{status.st_dev}}, {"inode", uint64_t{status.st_ino}}};
}

Status fill_partial(JobRun& run, const VolumeExport& request, const std::string& partial,
                    const std::string& uri, uint64_t size_bytes, const std::string& qemu_img) {
  const uint64_t total = request.verify ? 2 * size_bytes : size_bytes;
  uint64_t before = 0;
  const auto on_progress = [&](uint64_t done) {
    run.progress(before + done, total);
    return run.check().has_value();
  };
  run.step("writing the image");
  HOZON_TRY(export_image(uri, size_bytes, partial, request.format, qemu_img, on_progress));
  if (!request.verify) return {};
  run.step("comparing the image");
  before = size_bytes;
  return compare_image(uri, size_bytes, partial, request.format, qemu_img, on_progress);
}

}  // namespace

Result<json> Core::do_export(JobRun& run, const VolumeExport& request) {
  std::optional<PassingPoint> passing;
  if (request.point.empty()) passing = HOZON_TRY(make_point(*this, run, request));
  const std::string point = passing ? passing->name : request.point;
  const uint64_t size_bytes =
      HOZON_TRY(storage.point(request.pool, request.volume, point)).size_bytes;
  const std::string partial = fmt::format("{}.part-{}", request.path, run.id().value);
  HOZON_TRY(make_partial(run, partial));
  HOZON_TRY(fill_partial(run, request, partial, storage.uri(request.pool, request.volume, point),
                         size_bytes, options.qemu_img));
  if (passing) {
    HOZON_TRY(delete_points(request.pool, {request.volume}, passing->name));
    HOZON_TRY(run.forget(passing->step));
  }
  json settle = HOZON_TRY(file_identity(partial));
  settle["path"] = request.path;
  HOZON_TRY(run.journal("file.settle_name", settle));
  HOZON_TRY(publish_image(partial, {request.path, request.format, request.force}));
  HOZON_TRY(run.commit([] { return Status(); }));
  return json{{"path", request.path}, {"format", request.format}, {"bytes", size_bytes}};
}

Result<JobId> Control::start_volume_export(const VolumeExport& request, const Caller& caller) {
  if (const auto found = HOZON_TRY(core_->jobs.find_job(caller))) return *found;
  VolumeExport found = request;
  found.pool = HOZON_TRY(core_->find_pool(request.volume, request.pool));
  if (!found.point.empty()) HOZON_TRY(core_->storage.point(found.pool, found.volume, found.point));
  HOZON_TRY(check_image_target({found.path, found.format, found.force}, core_->directory));
  const auto work = [core = core_.get(), found](JobRun& run) -> Result<json> {
    return core->do_export(run, found);
  };
  if (caller.plan) {
    caller.plan->makes.push_back("file " + found.path);
    caller.plan->file_bytes =
        HOZON_TRY(core_->storage.mapped_bytes(found.pool, found.volume, found.point));
  }
  return core_->jobs.begin(
      {.kind = "volume.export",
       .object = Storage::export_name(found.volume, found.point) + " " + found.path,
       .caller = caller,
       .locks = {"file:" + found.path},
       .subject = fmt::format("file '{}'", found.path)},
      work);
}

}  // namespace hozon::control
