// What differs between two points, page after page.
#include "client/client.h"

namespace hozon::client {
namespace {

std::string volume_path(const std::string& name) { return "/v1/volumes/" + percent_encode(name); }

}  // namespace

Status Client::add_pages(Json& diff) {
  while (diff.contains("next_offset") && diff["next_offset"].is_number_unsigned()) {
    std::string query = volume_path(text_of(diff, "volume")) +
                        "/diff?most=10000&offset=" + std::to_string(number_of(diff, "next_offset"));
    for (const char* word : {"pool", "point", "base_volume", "base_point"})
      query += fmt::format("&{}={}", word, percent_encode(text_of(diff, word)));
    const Json page = HOZON_TRY(get(query));
    for (const Json& range : page.value("ranges", Json::array())) diff["ranges"].push_back(range);
    diff["changed_bytes"] = number_of(diff, "changed_bytes") + number_of(page, "changed_bytes");
    diff["next_offset"] = page.value("next_offset", Json());
  }
  return {};
}

Result<Json> Client::volume_diff(const std::string& volume, const std::string& point,
                                 const std::string& base_volume, const std::string& base_point,
                                 const std::string& pool) {
  Json diff = HOZON_TRY(
      get(fmt::format("{}/diff?point={}&base_volume={}&base_point={}&pool={}", volume_path(volume),
                      percent_encode(point), percent_encode(base_volume),
                      percent_encode(base_point), percent_encode(pool))));
  HOZON_TRY(add_pages(diff));
  return diff;
}

Result<Json> Client::snapshot_diff(const std::string& machine, const std::string& from,
                                   const std::string& to) {
  Json diff =
      HOZON_TRY(get(fmt::format("/v1/machines/{}/diff?from={}&to={}", percent_encode(machine),
                                percent_encode(from), percent_encode(to))));
  for (Json& disk : diff["disks"]) HOZON_TRY(add_pages(disk));
  return diff;
}

}  // namespace hozon::client
