// Defragmenting a volume as a job: slice after slice, so that it can be watched, slowed down and
// cancelled. There is nothing to undo, since no content changes and every slice is whole.
#include <algorithm>
#include <chrono>
#include <thread>

#include "base/units.h"
#include "control/core.h"

namespace hozon::control {
namespace {

using nlohmann::json;
using Clock = std::chrono::steady_clock;

constexpr uint64_t kSliceLeast = 4_MiB;
constexpr uint64_t kSliceMost = 64_MiB;
constexpr auto kLookEvery = std::chrono::milliseconds(100);

json report_json(const Storage::Defragmented& all) {
  return {{"examined_bytes", all.examined_bytes},
          {"moved_bytes", all.moved_bytes},
          {"left_bytes", all.left_bytes}};
}

// Until `moved_bytes` since `start` are no more than the rate allows.
Status wait_for_rate(JobRun& run, Clock::time_point start, uint64_t moved_bytes,
                     uint64_t bytes_per_second) {
  if (bytes_per_second == 0) return run.check();
  const std::chrono::duration<double> due(static_cast<double>(moved_bytes) /
                                          static_cast<double>(bytes_per_second));
  while (true) {
    HOZON_TRY(run.check());
    if (Clock::now() - start >= due) return {};
    std::this_thread::sleep_for(kLookEvery);
  }
}

Result<json> defragment_volume(Core& core, JobRun& run, const std::string& pool,
                               const std::string& volume, uint64_t bytes_per_second) {
  const uint64_t total = HOZON_TRY(core.storage.mapped_bytes(pool, volume));
  const uint64_t slice_bytes =
      bytes_per_second == 0 ? kSliceMost : std::clamp(bytes_per_second, kSliceLeast, kSliceMost);
  const Clock::time_point start = Clock::now();
  run.step("putting blocks side by side");
  Storage::Defragmented all;
  do {
    const Storage::Defragmented slice =
        HOZON_TRY(core.storage.defragment(pool, volume, all.next_offset, slice_bytes));
    all.examined_bytes += slice.examined_bytes;
    all.moved_bytes += slice.moved_bytes;
    all.left_bytes += slice.left_bytes;
    all.next_offset = slice.next_offset;
    run.progress(all.examined_bytes, std::max(all.examined_bytes, total));
    run.set_result(report_json(all));
    HOZON_TRY(wait_for_rate(run, start, all.moved_bytes, bytes_per_second));
  } while (all.next_offset != 0);
  return report_json(all);
}

}  // namespace

Result<JobId> Control::start_volume_defragment(const std::string& volume, uint64_t bytes_per_second,
                                               const std::string& pool, const Caller& caller) {
  if (const auto found = HOZON_TRY(core_->jobs.find_job(caller))) return *found;
  const std::string home = HOZON_TRY(core_->find_pool(volume, pool));
  if (caller.plan) caller.plan->notes.push_back("only blocks that no point shares are moved");
  // Not the volume's own lock: snapshots, returns and guests go on meanwhile.
  return core_->jobs.begin({.kind = "volume.defragment",
                            .object = volume,
                            .caller = caller,
                            .locks = {fmt::format("defragment:{}/{}", home, volume)},
                            .subject = fmt::format("the defragmenting of volume '{}'", volume)},
                           [core = core_.get(), home, volume, bytes_per_second](JobRun& run) {
                             return defragment_volume(*core, run, home, volume, bytes_per_second);
                           });
}

}  // namespace hozon::control
