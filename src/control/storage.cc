#include "control/storage.h"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <thread>

#include "link/client.h"

namespace hozon::control {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

constexpr int kConnectMs = 3000;
constexpr int kSupervisorMs = 90'000;  // it gives a daemon a minute to stop

std::string percent_encoded(std::string_view text, std::string_view kept) {
  std::string encoded;
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       kept.find(c) != std::string_view::npos;
    if (plain)
      encoded += c;
    else
      encoded += fmt::format("%{:02X}", static_cast<unsigned char>(c));
  }
  return encoded;
}

template <typename T, typename Decode>
Result<std::vector<T>> decode_all(const json& result, std::string_view name, Decode decode) {
  std::vector<T> values;
  const json array = HOZON_TRY(link::array_field(result, name));
  for (const json& element : array) values.push_back(HOZON_TRY(decode(element)));
  return values;
}

}  // namespace

Result<json> Storage::ask_supervisor(const json& request, int timeout_ms) const {
  auto client = link::LinkClient::connect(directory_ + "/run/supervisor.sock", kConnectMs);
  if (!client) return add_context(client.error(), "the supervisor does not answer");
  const std::string line = HOZON_TRY(client->exchange(request.dump(), timeout_ms));
  const json answer = json::parse(line, nullptr, false);
  if (!answer.is_object()) return make_error(Code::kUnavailable, "the supervisor talks nonsense");
  if (HOZON_TRY(link::bool_field_or(answer, "ok", false))) return answer;
  return std::unexpected(
      Error{code_from_name(HOZON_TRY(link::string_field_or(answer, "code", "internal"))),
            HOZON_TRY(link::string_field_or(answer, "error", "the supervisor gave no reason")), 0});
}

Result<std::vector<Storage::Daemon>> Storage::daemons() const {
  const json answer = HOZON_TRY(ask_supervisor({{"op", "status"}}, kConnectMs));
  return decode_all<Daemon>(answer, "children", [](const json& child) -> Result<Daemon> {
    Daemon daemon;
    daemon.name = HOZON_TRY(link::string_field(child, "name"));
    daemon.pid = static_cast<int>(HOZON_TRY(link::u64_field(child, "pid")));
    daemon.restarts = HOZON_TRY(link::u64_field(child, "restarts"));
    daemon.state = HOZON_TRY(link::string_field_or(child, "state", ""));
    daemon.last_end = HOZON_TRY(link::string_field_or(child, "last_end", ""));
    return daemon;
  });
}

Status Storage::start_pool(const std::string& pool) const {
  const auto answer = ask_supervisor({{"op", "pool_start"}, {"pool", pool}}, kSupervisorMs);
  if (!answer && answer.error().code != Code::kAlreadyExists)
    return std::unexpected(answer.error());
  return {};
}

Status Storage::stop_pool(const std::string& pool) const {
  const auto answer = ask_supervisor({{"op", "pool_stop"}, {"pool", pool}}, kSupervisorMs);
  if (!answer && answer.error().code != Code::kNotFound) return std::unexpected(answer.error());
  return {};
}

std::vector<std::string> Storage::pool_names() const {
  std::vector<std::string> names;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(directory_ + "/pools", error)) {
    const std::string name = entry.path().filename().string();
    if (entry.is_directory(error) && !name.starts_with('.')) names.push_back(name);
  }
  std::ranges::sort(names);
  return names;
}

bool Storage::has_pool(const std::string& pool) const {
  std::error_code error;
  return !pool.empty() && !pool.starts_with('.') && pool.find('/') == std::string::npos &&
         fs::is_directory(pool_directory(pool), error);
}

std::string Storage::pool_directory(const std::string& pool) const {
  return directory_ + "/pools/" + pool;
}
std::string Storage::nbd_socket(const std::string& pool) const {
  return directory_ + "/run/pool-" + pool + ".nbd";
}
std::string Storage::link_socket(const std::string& pool) const {
  return directory_ + "/run/pool-" + pool + ".link";
}
std::string Storage::log_path(const std::string& pool) const {
  return directory_ + "/log/stored-" + pool + ".log";
}

std::string Storage::export_name(const std::string& volume, const std::string& point) {
  return point.empty() ? volume : volume + "@" + point;
}

std::string Storage::uri(const std::string& pool, const std::string& volume,
                         const std::string& point) const {
  return "nbd+unix:///" + percent_encoded(export_name(volume, point), "._-@") +
         "?socket=" + percent_encoded(nbd_socket(pool), "._-/");
}

Result<json> Storage::call(const std::string& pool, const std::string& op, const json& parameters,
                           int timeout_ms) const {
  if (!has_pool(pool)) return make_error(Code::kNotFound, "pool '{}' does not exist", pool);
  auto client = link::LinkClient::connect(link_socket(pool), kConnectMs);
  if (client) {
    Result<json> answer = client->call(op, parameters, timeout_ms);
    if (answer) tell_(pool, op, parameters);
    if (answer || answer.error().code != Code::kUnavailable) return answer;
    return add_context(answer.error(), fmt::format("pool '{}'", pool));
  }
  return add_context(client.error(), fmt::format("pool '{}' is not served", pool));
}

Result<link::PoolStats> Storage::stats(const std::string& pool, int timeout_ms) const {
  return link::decode_pool_stats(HOZON_TRY(call(pool, "pool.stats", json::object(), timeout_ms)));
}

Result<link::CheckReport> Storage::check(const std::string& pool, bool data) const {
  return link::decode_check_report(
      HOZON_TRY(call(pool, "pool.check", {{"data", data}}, kCheckPatienceMs)));
}

Result<uint64_t> Storage::start_scrub(const std::string& pool, uint64_t bytes_per_second) const {
  const json answer =
      HOZON_TRY(call(pool, "pool.scrub.start", {{"bytes_per_second", bytes_per_second}}));
  return link::u64_field(answer, "scrub");
}

Result<link::ScrubReport> Storage::scrub_report(const std::string& pool) const {
  return link::decode_scrub_report(HOZON_TRY(call(pool, "pool.scrub.show", json::object())));
}

Status Storage::cancel_scrub(const std::string& pool) const {
  HOZON_TRY(call(pool, "pool.scrub.cancel", json::object()));
  constexpr auto kLookEvery = std::chrono::milliseconds(50);
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(kPatienceMs);
  while (HOZON_TRY(scrub_report(pool)).state == "running") {
    if (std::chrono::steady_clock::now() > deadline)
      return make_error(Code::kUnavailable, "the scrub of pool '{}' does not end", pool);
    std::this_thread::sleep_for(kLookEvery);
  }
  return {};
}

Result<Storage::Defragmented> Storage::defragment(const std::string& pool,
                                                  const std::string& volume, uint64_t offset,
                                                  uint64_t most_bytes) const {
  const json answer = HOZON_TRY(
      call(pool, "volume.defragment",
           {{"name", volume}, {"offset", offset}, {"most_bytes", most_bytes}}, kCheckPatienceMs));
  Defragmented done;
  done.examined_bytes = HOZON_TRY(link::u64_field(answer, "examined_bytes"));
  done.moved_bytes = HOZON_TRY(link::u64_field(answer, "moved_bytes"));
  done.left_bytes = HOZON_TRY(link::u64_field(answer, "left_bytes"));
  done.next_offset = HOZON_TRY(link::u64_field(answer, "next_offset"));
  return done;
}

Result<std::vector<link::DamagedPlace>> Storage::damaged_places(const std::string& pool) const {
  return link::damaged_places_field(HOZON_TRY(call(pool, "pool.damage", json::object())), "places");
}

Status Storage::checkpoint(const std::string& pool) const {
  HOZON_TRY(call(pool, "pool.checkpoint", json::object(), kCheckPatienceMs));
  return {};
}

Result<std::vector<link::VolumeInfo>> Storage::volumes(const std::string& pool) const {
  return decode_all<link::VolumeInfo>(HOZON_TRY(call(pool, "volume.list", json::object())),
                                      "volumes", link::decode_volume);
}

Result<link::VolumeInfo> Storage::volume(const std::string& pool, const std::string& name) const {
  return link::decode_volume(HOZON_TRY(call(pool, "volume.show", {{"name", name}})));
}

Result<link::VolumeInfo> Storage::create_volume(const std::string& pool, const std::string& name,
                                                uint64_t size_bytes) const {
  return link::decode_volume(
      HOZON_TRY(call(pool, "volume.create", {{"name", name}, {"size_bytes", size_bytes}})));
}

Status Storage::resize_volume(const std::string& pool, const std::string& name, uint64_t size_bytes,
                              bool allow_shrink) const {
  HOZON_TRY(call(pool, "volume.resize",
                 {{"name", name}, {"size_bytes", size_bytes}, {"allow_shrink", allow_shrink}}));
  return {};
}

Status Storage::delete_volume(const std::string& pool, const std::string& name,
                              bool with_points) const {
  HOZON_TRY(call(pool, "volume.delete", {{"name", name}, {"with_points", with_points}}));
  return {};
}

Result<std::vector<link::PointInfo>> Storage::snapshot(const std::string& pool,
                                                       const std::vector<std::string>& volumes,
                                                       const std::string& point) const {
  return decode_all<link::PointInfo>(
      HOZON_TRY(call(pool, "volume.snapshot", {{"volumes", volumes}, {"point", point}})), "points",
      link::decode_point);
}

Result<link::VolumeInfo> Storage::clone(const std::string& pool, const std::string& volume,
                                        const std::string& point,
                                        const std::string& new_volume) const {
  return link::decode_volume(HOZON_TRY(call(
      pool, "volume.clone", {{"volume", volume}, {"point", point}, {"new_name", new_volume}})));
}

Status Storage::return_to(const std::string& pool, const std::vector<link::ReturnItem>& items,
                          const std::string& keep) const {
  HOZON_TRY(call(pool, "volume.return", {{"items", link::encode(items)}, {"keep", keep}}));
  return {};
}

Result<std::vector<link::PointInfo>> Storage::points(const std::string& pool,
                                                     const std::string& volume, bool all) const {
  return decode_all<link::PointInfo>(
      HOZON_TRY(call(pool, "point.list", {{"volume", volume}, {"all", all}})), "points",
      link::decode_point);
}

Result<link::PointInfo> Storage::point(const std::string& pool, const std::string& volume,
                                       const std::string& point) const {
  for (const link::PointInfo& info : HOZON_TRY(points(pool, volume)))
    if (info.name == point) return info;
  return make_error(Code::kNotFound, "volume '{}' has no point '{}'", volume, point);
}

Status Storage::delete_point(const std::string& pool, const std::string& volume,
                             const std::string& point) const {
  HOZON_TRY(call(pool, "point.delete", {{"volume", volume}, {"point", point}}));
  return {};
}

Result<uint64_t> Storage::exclusive_bytes(const std::string& pool, const std::string& volume,
                                          const std::string& point) const {
  return link::u64_field(
      HOZON_TRY(call(pool, "point.exclusive", {{"volume", volume}, {"point", point}})), "bytes");
}

Result<std::unordered_map<std::string, uint64_t>> Storage::exclusive_bytes(
    const std::string& pool, const std::string& volume,
    const std::vector<std::string>& points) const {
  std::unordered_map<std::string, uint64_t> all;
  for (size_t first = 0; first < points.size(); first += link::kPointsAtOnceMax) {
    const auto begin = points.begin() + static_cast<std::ptrdiff_t>(first);
    const size_t count = std::min(link::kPointsAtOnceMax, points.size() - first);
    const std::vector<std::string> some(begin, begin + static_cast<std::ptrdiff_t>(count));
    const json answer =
        HOZON_TRY(call(pool, "points.exclusive", {{"volume", volume}, {"points", some}}));
    const auto bytes = answer.find("bytes");
    if (bytes == answer.end() || !bytes->is_object())
      return make_error(Code::kInternal, "pool '{}' answered without sizes", pool);
    for (const auto& [point, size] : bytes->items())
      if (size.is_number_unsigned()) all[point] = size.get<uint64_t>();
  }
  return all;
}

Result<Storage::Freed> Storage::freed_bytes(const std::string& pool,
                                            const std::vector<PointName>& points,
                                            const std::vector<std::string>& volumes) const {
  if (points.empty() && volumes.empty()) return Freed{};
  nlohmann::json list = nlohmann::json::array();
  for (const PointName& name : points) list.push_back({name.volume, name.point});
  const auto answer =
      HOZON_TRY(call(pool, "points.freed", {{"points", std::move(list)}, {"volumes", volumes}}));
  return Freed{HOZON_TRY(link::u64_field(answer, "data_bytes")),
               HOZON_TRY(link::u64_field(answer, "map_bytes"))};
}

Result<Storage::ChangedPage> Storage::changed(const std::string& pool, const PointName& target,
                                              const PointName& base, uint64_t offset,
                                              uint64_t length, uint64_t most) const {
  const nlohmann::json answer = HOZON_TRY(call(pool, "point.changed",
                                               {{"volume", target.volume},
                                                {"point", target.point},
                                                {"base_volume", base.volume},
                                                {"base_point", base.point},
                                                {"offset", offset},
                                                {"length", length},
                                                {"most", most}}));
  ChangedPage page;
  page.next_offset = HOZON_TRY(link::u64_field(answer, "next_offset"));
  for (const nlohmann::json& range : HOZON_TRY(link::array_field(answer, "ranges"))) {
    if (!range.is_array() || range.size() != 2 || !range[0].is_number_unsigned() ||
        !range[1].is_number_unsigned())
      return make_error(Code::kInternal, "pool '{}' answered with a range that is none", pool);
    page.ranges.push_back({range[0].get<uint64_t>(), range[1].get<uint64_t>()});
  }
  return page;
}

Result<uint64_t> Storage::mapped_bytes(const std::string& pool, const std::string& volume,
                                       const std::string& point) const {
  return link::u64_field(
      HOZON_TRY(call(pool, "volume.mapped", {{"volume", volume}, {"point", point}})), "bytes");
}

}  // namespace hozon::control
