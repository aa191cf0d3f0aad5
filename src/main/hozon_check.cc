// hozon-check: verifies a pool that nobody serves. Reads only; the journal is replayed in memory.
// Exit codes: 0 sound, 1 errors were found or the check failed, 2 usage, 3 no such pool, 4 in use.
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

Task<void> run_check(hozon::Loop& loop, hozon::Device& data, hozon::Device& journal,
                     bool verify_data, Result<CheckReport>& result) {
  result = co_await check_pool(loop, data, journal, verify_data);
  loop.stop();
}

Result<CheckReport> check_directory(const std::string& directory, bool verify_data) {
  const auto loop = HOZON_TRY(hozon::Loop::create());
  const hozon::FileDevice::OpenOptions options{.direct = true, .read_only = true, .lock = true};
  const auto data = HOZON_TRY(hozon::FileDevice::open(*loop, directory + "/data", options));
  const auto journal = HOZON_TRY(hozon::FileDevice::open(*loop, directory + "/journal", options));
  Result<CheckReport> result;
  hozon::spawn(run_check(*loop, *data, *journal, verify_data, result));
  loop->run();
  return result;
}

void print(const CheckReport& report, bool as_json) {
  if (as_json) {
    const nlohmann::json out = {
        {"errors", report.errors},           {"warnings", report.warnings},
        {"points", report.points},           {"map_blocks", report.map_blocks},
        {"data_blocks", report.data_blocks}, {"lost_blocks", report.lost_blocks}};
    fmt::print("{}\n", out.dump(2));
    return;
  }
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
  CLI::App app("Verifies a Hozon pool that nobody serves; changes nothing.", "hozon-check");
  app.footer(
      "Example: hozon-check /srv/vm/pools/main\n"
      "While the pool is served, use: hozon pool check NAME");
  std::string directory;
  std::string output = "table";
  bool skip_data = false;
  app.add_option("POOL_DIR", directory, "directory with the files data and journal")->required();
  app.add_flag("--no-data", skip_data, "verify the pool's structure only, not the guests' blocks");
  app.add_option("-o,--output", output, "table or json")->check(CLI::IsMember({"table", "json"}));
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  hozon::log_start("hozon-check", hozon::LogLevel::kWarning);
  const Result<CheckReport> report = check_directory(directory, !skip_data);
  if (!report) {
    const bool in_use = report.error().code == Code::kBusy;
    fmt::print(stderr, "hozon-check: error: {}{}\n", report.error().what,
               in_use ? "; while a pool is served, use: hozon pool check NAME" : "");
    return exit_code(report.error().code);
  }
  print(*report, output == "json");
  return report->errors.empty() ? 0 : 1;
}
