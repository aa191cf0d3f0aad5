// hozon-check: verifies a pool that nobody serves, and with --repair repairs what needs no guess.
// Without it only reads; the journal is replayed in memory. Exit codes: kExitCodes.
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "base/log.h"
#include "io/file_device.h"
#include "io/loop.h"
#include "store/pool.h"

namespace {

using hozon::Code;
using hozon::Result;
using hozon::Task;
using hozon::store::CheckReport;
using hozon::store::RepairReport;

Task<Result<CheckReport>> check_pool(hozon::Loop& loop, hozon::Device& data, hozon::Device& journal,
                                     bool verify_data) {
  hozon::store::OpenOptions options;
  options.read_only = true;
  HOZON_CO_TRY(const std::unique_ptr<hozon::store::Pool> pool,
               co_await hozon::store::Pool::open(loop, data, journal, options));
  HOZON_CO_TRY(CheckReport report, co_await pool->check(verify_data));
  HOZON_CO_CHECK(co_await pool->close());
  co_return report;
}

constexpr const char* kExitCodes =
    "Exit codes: 0 sound, nothing was changed; 1 errors were found, or remain after a repair, or "
    "the "
    "pool cannot be read; 2 usage; 3 no such pool; 4 in use; 5 repaired, and sound now";
constexpr int kRepaired = 5;

Task<void> run_repair(hozon::Loop& loop, hozon::Device& data, hozon::Device& journal,
                      Result<RepairReport>& result) {
  result = co_await hozon::store::Pool::repair(loop, data, journal);
  loop.stop();
}

Task<void> run_check(hozon::Loop& loop, hozon::Device& data, hozon::Device& journal,
                     bool verify_data, Result<CheckReport>& result) {
  result = co_await check_pool(loop, data, journal, verify_data);
  loop.stop();
}

struct Request {
  std::string directory;
  bool verify_data = true;
  bool repair = false;
};

// A check is a repair that changes nothing.
Result<RepairReport> check_directory(const Request& request) {
  const auto loop = HOZON_TRY(hozon::Loop::create());
  const hozon::FileDevice::OpenOptions options{
      .direct = true, .read_only = !request.repair, .lock = true};
  const auto data = HOZON_TRY(hozon::FileDevice::open(*loop, request.directory + "/data", options));
  const auto other = hozon::FileDevice::open(*loop, request.directory + "/journal", options);
  if (!other && other.error().code != Code::kNotFound) return std::unexpected(other.error());
  hozon::Device& journal = other ? **other : *data;  // of earlier versions, or none
  if (request.repair) {
    Result<RepairReport> result;
    hozon::spawn(run_repair(*loop, *data, journal, result));
    loop->run();
    return result;
  }
  Result<CheckReport> checked;
  hozon::spawn(run_check(*loop, *data, journal, request.verify_data, checked));
  loop->run();
  return RepairReport{.changes = {}, .remaining = HOZON_TRY(std::move(checked))};
}

nlohmann::json to_json(const hozon::store::DamagedPlace& place) {
  nlohmann::json touched = nlohmann::json::array();
  for (const auto& [volume, point] : place.touched)
    touched.push_back({{"volume", volume}, {"point", point}});
  return {{"object", place.object},
          {"volume", place.volume},
          {"offset_bytes", place.offset_bytes},
          {"length_bytes", place.length_bytes},
          {"block", place.block},
          {"what", place.what},
          {"touched", touched},
          {"touched_left_out", place.touched_left_out}};
}

void print(const RepairReport& repaired, bool as_json) {
  const CheckReport& report = repaired.remaining;
  if (as_json) {
    nlohmann::json damaged = nlohmann::json::array();
    for (const auto& place : report.damaged) damaged.push_back(to_json(place));
    const nlohmann::json out = {{"errors", report.errors},
                                {"warnings", report.warnings},
                                {"points", report.points},
                                {"map_blocks", report.map_blocks},
                                {"data_blocks", report.data_blocks},
                                {"lost_blocks", report.lost_blocks},
                                {"damaged", damaged},
                                {"changes", repaired.changes}};
    fmt::print("{}\n", out.dump(2));
    return;
  }
  for (const std::string& change : repaired.changes) fmt::print("repaired: {}\n", change);
  for (const std::string& warning : report.warnings) fmt::print("warning: {}\n", warning);
  for (const std::string& error : report.errors) fmt::print("error: {}\n", error);
  fmt::print("{} points, {} map blocks, {} data blocks: {}\n", report.points, report.map_blocks,
             report.data_blocks,
             report.errors.empty() ? "no errors" : fmt::format("{} errors", report.errors.size()));
}

int exit_code(Code code) {
  if (code == Code::kNotFound) return 3;
  return code == Code::kBusy ? 4 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Verifies a Hozon pool that nobody serves; changes nothing unless --repair.",
               "hozon-check");
  app.footer(
      fmt::format("{}\n"
                  "Examples: hozon-check /srv/vm/pools/main\n"
                  "          hozon-check --repair /srv/vm/pools/main\n"
                  "While the pool is served, use: hozon pool check NAME, hozon pool scrub NAME",
                  kExitCodes));
  Request request;
  std::string output = "table";
  bool skip_data = false;
  app.add_option("POOL_DIR", request.directory, "directory with the file data")->required();
  CLI::Option* no_data = app.add_flag("--no-data", skip_data,
                                      "verify the pool's structure only, not the guests' blocks");
  app.add_flag(
         "--repair", request.repair,
         "correct the bitmap (lost space, used blocks marked as free) and a damaged superblock "
         "slot; damaged maps and data are named and left as they are")
      ->excludes(no_data);
  app.add_option("-o,--output", output, "table or json")->check(CLI::IsMember({"table", "json"}));
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  request.verify_data = !skip_data;
  hozon::log_start("hozon-check", hozon::LogLevel::kError);
  const Result<RepairReport> report = check_directory(request);
  if (!report) {
    const bool in_use = report.error().code == Code::kBusy;
    fmt::print(stderr, "hozon-check: error: {}{}{}\n", report.error().what,
               in_use ? "; while a pool is served, use: hozon pool check NAME" : "",
               request.repair && !in_use ? "; nothing was repaired" : "");
    return exit_code(report.error().code);
  }
  print(*report, output == "json");
  if (!report->remaining.errors.empty()) return 1;
  return report->changes.empty() ? 0 : kRepaired;
}
