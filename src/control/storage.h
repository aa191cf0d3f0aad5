// src/control/storage.h
// The pools of this instance, as the control plane uses them: typed calls over each pool's link,
// and the supervisor that runs their daemons.
//
// Every call opens its own connection, so calls do not wait for each other. A daemon that is being
// restarted is waited for (kPatienceMs). A change whose answer got lost is kUnavailable: the job
// that made it rolls back or settles by looking.
// Threading: any thread; const and without state but the directory.
#pragma once

#include <functional>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "control/types.h"
#include "link/protocol.h"

namespace hozon::control {

class Storage {
 public:
  static constexpr int kPatienceMs = 20'000;
  static constexpr int kCheckPatienceMs = 24 * 3600 * 1000;

  // Called after each call over a link that changed something, with its parameters.
  using Tell = std::function<void(const std::string& pool, const std::string& op,
                                  const nlohmann::json& parameters)>;
  explicit Storage(
      std::string directory,
      Tell tell = [](const std::string&, const std::string&, const nlohmann::json&) {})
      : directory_(std::move(directory)), tell_(std::move(tell)) {}

  // --- pools and daemons ---
  struct Daemon {
    std::string name;  // "hozond", "stored-<pool>"
    int pid = 0;
    uint64_t restarts = 0;
    std::string state;
    std::string last_end;
  };
  Result<std::vector<Daemon>> daemons() const;
  Status start_pool(const std::string& pool) const;
  // Success too when it is not served.
  Status stop_pool(const std::string& pool) const;
  std::vector<std::string> pool_names() const;  // directories in D/pools, sorted
  bool has_pool(const std::string& pool) const;
  std::string pool_directory(const std::string& pool) const;
  std::string nbd_socket(const std::string& pool) const;
  std::string link_socket(const std::string& pool) const;
  std::string log_path(const std::string& pool) const;
  // nbd+unix:///<volume[@point], percent-encoded>?socket=<path>
  std::string uri(const std::string& pool, const std::string& volume,
                  const std::string& point = {}) const;
  static std::string export_name(const std::string& volume, const std::string& point = {});

  // --- the link ---
  Result<link::PoolStats> stats(const std::string& pool, int timeout_ms = kPatienceMs) const;
  Result<link::CheckReport> check(const std::string& pool, bool data) const;
  // The number of the scrub; kBusy while one runs.
  Result<uint64_t> start_scrub(const std::string& pool, uint64_t bytes_per_second) const;
  Result<link::ScrubReport> scrub_report(const std::string& pool) const;
  // Returns when none runs any more.
  Status cancel_scrub(const std::string& pool) const;
  // From `offset` on, until about `most_bytes` were looked at (Pool::defragment).
  struct Defragmented {
    uint64_t examined_bytes = 0;
    uint64_t moved_bytes = 0;
    uint64_t left_bytes = 0;
    uint64_t next_offset = 0;  // 0: that was the end
  };
  Result<Defragmented> defragment(const std::string& pool, const std::string& volume,
                                  uint64_t offset, uint64_t most_bytes) const;
  Result<std::vector<link::DamagedPlace>> damaged_places(const std::string& pool) const;
  Status checkpoint(const std::string& pool) const;
  Result<std::vector<link::VolumeInfo>> volumes(const std::string& pool) const;
  Result<link::VolumeInfo> volume(const std::string& pool, const std::string& name) const;
  Result<link::VolumeInfo> create_volume(const std::string& pool, const std::string& name,
                                         uint64_t size_bytes) const;
  Status resize_volume(const std::string& pool, const std::string& name, uint64_t size_bytes,
                       bool allow_shrink) const;
  Status delete_volume(const std::string& pool, const std::string& name, bool with_points) const;
  Result<std::vector<link::PointInfo>> snapshot(const std::string& pool,
                                                const std::vector<std::string>& volumes,
                                                const std::string& point) const;
  Result<link::VolumeInfo> clone(const std::string& pool, const std::string& volume,
                                 const std::string& point, const std::string& new_volume) const;
  Status return_to(const std::string& pool, const std::vector<link::ReturnItem>& items,
                   const std::string& keep) const;
  Result<std::vector<link::PointInfo>> points(const std::string& pool, const std::string& volume,
                                              bool all = false) const;
  // kNotFound when the volume has no such point.
  Result<link::PointInfo> point(const std::string& pool, const std::string& volume,
                                const std::string& point) const;
  Status delete_point(const std::string& pool, const std::string& volume,
                      const std::string& point) const;
  Result<uint64_t> exclusive_bytes(const std::string& pool, const std::string& volume,
                                   const std::string& point) const;
  // Of many points of a volume, by name; those that are gone are left out.
  Result<std::unordered_map<std::string, uint64_t>> exclusive_bytes(
      const std::string& pool, const std::string& volume,
      const std::vector<std::string>& points) const;
  // What deleting these together would give back, and `volumes` with all their points; an empty
  // point is a volume's head.
  struct Freed {
    uint64_t data_bytes = 0;
    uint64_t map_bytes = 0;
    uint64_t bytes() const { return data_bytes + map_bytes; }
  };
  struct PointName {
    std::string volume, point;
  };
  Result<Freed> freed_bytes(const std::string& pool, const std::vector<PointName>& points,
                            const std::vector<std::string>& volumes = {}) const;
  // What differs between two points (an empty name: the head), from `offset` on. Of one pool, any
  // branches. The page ends at `next_offset`.
  struct ChangedPage {
    std::vector<Range> ranges;
    uint64_t next_offset = 0;
  };
  Result<ChangedPage> changed(const std::string& pool, const PointName& target,
                              const PointName& base, uint64_t offset, uint64_t length,
                              uint64_t most) const;
  Result<uint64_t> mapped_bytes(const std::string& pool, const std::string& volume,
                                const std::string& point = {}) const;

 private:
  Result<nlohmann::json> call(const std::string& pool, const std::string& op,
                              const nlohmann::json& parameters, int timeout_ms = kPatienceMs) const;
  Result<nlohmann::json> ask_supervisor(const nlohmann::json& request, int timeout_ms) const;

  std::string directory_;
  Tell tell_;
};

}  // namespace hozon::control
