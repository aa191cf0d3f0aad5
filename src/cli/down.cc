// hozon down: machines first (asked, then powered off), then the daemons.
#include <chrono>
#include <filesystem>
#include <thread>

#include "cli/commands.h"
#include "cli/sentences.h"
#include "client/supervisor.h"

namespace hozon::cli {
namespace {

constexpr double kShutdownSeconds = 10;
constexpr int kStatusTimeoutMs = 5'000;
constexpr int kStopTimeoutMs = 60'000;

struct Ending {
  client::Machine machine;
  bool asked = false;
  client::Job job = {};
};

// Asks all running guests at once, then waits for all. Returns those that are still not off.
std::vector<client::Machine> shut_down(Context& context, std::vector<client::Machine> machines,
                                       double seconds, client::Json& done) {
  std::vector<Ending> endings;
  for (client::Machine& machine : machines) {
    Ending ending{std::move(machine)};
    if (ending.machine.state == "up" || ending.machine.state == "stopping") {
      const auto job = context.client().start(
          "POST", "/v1/machines/" + client::percent_encode(ending.machine.uuid) + "/shutdown",
          {{"timeout_ms", static_cast<uint64_t>(seconds * 1000)}});
      ending.asked = job.has_value();
      if (job) ending.job = *job;
    }
    endings.push_back(std::move(ending));
  }
  std::vector<client::Machine> left;
  for (Ending& ending : endings) {
    if (ending.asked) {
      const auto ended = context.client().follow(ending.job);
      if (ended && ended->state == "done") {
        done.push_back({{"machine", ending.machine.name}, {"how", "shut down"}});
        continue;
      }
    }
    left.push_back(std::move(ending.machine));
  }
  return left;
}

Status stop_machines(const Arguments& args, Context& context, client::Json& done) {
  std::vector<client::Machine> running;
  for (client::Machine& machine : HOZON_TRY(context.client().machines("uuid,name,state,pid"))) {
    const bool is_asleep = machine.state == "suspended" && machine.pid == 0;
    if (machine.state != "down" && !is_asleep) running.push_back(std::move(machine));
  }
  if (!args.kill)
    running = shut_down(context, std::move(running),
                        args.has_timeout ? args.timeout_s : kShutdownSeconds, done);
  for (const client::Machine& machine : running) {
    const auto killed = context.client().machine_verb(machine.uuid, "kill");
    if (!killed) {
      const auto now = context.client().machine(machine.uuid);
      if (!now || now->state != "down")
        return add_context(killed.error(),
                           fmt::format("machine '{}' could not be powered off", machine.name));
    }
    done.push_back({{"machine", machine.name}, {"how", "powered off"}});
  }
  return {};
}

ExitCode report(Context& context, const client::Json& done, bool was_up) {
  std::string text;
  for (const client::Json& item : done)
    text += say_filled("Machine {} is {}.", client::text_of(item, "machine"),
                       say(client::text_of(item, "how"))) +
            "\n";
  text += was_up ? say_filled("Hozon is down in {}.", context.directory())
                 : say_filled("Hozon is not up in {}.", context.directory());
  text += "\n";
  context.printer().object(
      {{"directory", context.directory()}, {"was_up", was_up}, {"machines", done}},
      context.directory(), text);
  return ExitCode::kOk;
}

}  // namespace

CommandResult down(const Arguments& args, Context& context) {
  client::Json done = client::Json::array();
  const std::string& directory = context.directory();
  std::error_code error;
  if (!std::filesystem::is_directory(directory, error))
    return make_error(Code::kNotFound, "there is no directory '{}'", directory);
  const auto status = client::ask_supervisor(directory, "status", kStatusTimeoutMs);
  if (!status) {
    const bool absent =
        status.error().code == Code::kNotFound ||
        (status.error().code == Code::kUnavailable && status.error().sys_errno != 0);
    if (absent) return report(context, done, false);
    return std::unexpected(status.error());
  }
  const Status machines = stop_machines(args, context, done);
  if (!machines && !args.kill)
    return make_error(
        Code::kUnavailable,
        "{}; machines may be running, so Hozon stays up (`hozon down --kill` stops it "
        "all the same)",
        machines.error().what);
  if (!machines) context.remark_that(say_sentence(machines.error().what));
  HOZON_TRY(client::stop_supervisor(directory, kStopTimeoutMs));
  return report(context, done, true);
}

}  // namespace hozon::cli
