// Files of snapshots.
#include "client/client.h"
#include "client/targets.h"

namespace hozon::client {
namespace {

constexpr int kFilesMs = 60'000;  // without a sign of life

}  // namespace

Error error_of(const HttpAnswer& answer) {
  const Json body = Json::parse(answer.body, nullptr, false);
  const std::string detail = text_of(body, "detail");
  if (detail.empty())
    return Error{Code::kInternal, fmt::format("hozond answered with status {}", answer.status)};
  return Error{code_from_name(text_of(body, "code")), detail};
}

Result<Json> Client::filesystems(const std::string& machine, const std::string& snapshot) {
  return exchange({.method = "GET",
                   .target = snapshot_path(machine, snapshot) + "/filesystems",
                   .repeatable = true,
                   .timeout_ms = kFilesMs});
}

Result<Json> Client::details(const std::string& machine, const std::string& snapshot) {
  return exchange({.method = "GET",
                   .target = snapshot_path(machine, snapshot) + "/details",
                   .repeatable = true,
                   .timeout_ms = 4 * kFilesMs});
}

Result<Json> Client::files(const std::string& machine, const std::string& snapshot,
                           const std::string& place) {
  return exchange(
      {.method = "GET",
       .target = snapshot_path(machine, snapshot) + "/files?place=" + percent_encode(place),
       .repeatable = true,
       .timeout_ms = kFilesMs});
}

Status Client::download_files(const std::string& machine, const std::string& snapshot,
                              const std::string& place, bool as_tar,
                              const std::function<Status(std::string_view)>& take) {
  const HttpCall call{
      .method = "GET",
      .target = fmt::format("{}/content?place={}{}", snapshot_path(machine, snapshot),
                            percent_encode(place), as_tar ? "&as=tar" : ""),
      .timeout_ms = kFilesMs};
  const Result<HttpAnswer> answer = connection_.download(call, take);
  if (!answer) return std::unexpected(absence_of(answer.error()).value_or(answer.error()));
  if (answer->status >= 400) return std::unexpected(error_of(*answer));
  return {};
}

}  // namespace hozon::client
