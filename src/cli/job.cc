// hozon job ..., hozon version
#include "base/units.h"
#include "cli/commands.h"
#include "cli/sentences.h"
#include "cli/version.h"

namespace hozon::cli {
namespace {

constexpr size_t kJobsShown = 20;

std::string progress_text(const client::Job& job) {
  if (job.progress_total == 0) return "";
  const uint64_t done = std::min(job.progress_done, job.progress_total);
  const double share = static_cast<double>(done) / static_cast<double>(job.progress_total);
  return fmt::format("{}%", static_cast<int>(100 * share));
}

std::string took_text(const client::Job& job) {
  if (job.ended_ns <= job.created_ns) return "";
  return duration_text((job.ended_ns - job.created_ns) / 1000);
}

}  // namespace

CommandResult job_list(const Arguments& args, Context& context) {
  std::vector<client::Job> jobs = HOZON_TRY(context.client().jobs());
  if (!args.all && jobs.size() > kJobsShown)
    jobs.erase(jobs.begin() + static_cast<std::ptrdiff_t>(kJobsShown), jobs.end());
  client::Json items = client::Json::array();
  std::vector<std::string> names;
  for (const client::Job& job : jobs) {
    items.push_back(job.json);
    names.push_back(std::to_string(job.id));
  }
  context.printer().list(items, names, [&jobs] {
    Table table({"JOB", "KIND", "OBJECT", "STATE", "PROGRESS", "BEGAN", "TOOK", "MESSAGE"});
    for (const client::Job& job : jobs)
      table.add({std::to_string(job.id), job.kind, job.object, job.state, progress_text(job),
                 time_text(job.created_ns), took_text(job),
                 say_sentence(job.error_message.empty() ? job.step : job.error_message)});
    return table;
  });
  return ExitCode::kOk;
}

CommandResult job_show(const Arguments& args, Context& context) {
  const client::Job job = HOZON_TRY(context.client().job(args.job));
  Details details;
  details.add("Job", std::to_string(job.id));
  details.add("Kind", job.kind);
  details.add("Object", job.object);
  details.add("Asked for by", job.owner);
  details.add("State", job.state);
  details.add("Step", say_sentence(job.step));
  if (job.steps_total != 0)
    details.add("Steps", say_filled("{} of {}", job.steps_done, job.steps_total));
  details.add("Progress", progress_text(job));
  if (job.eta_ms) details.add("Time left", duration_text(*job.eta_ms * 1000));
  details.add("Error", say_sentence(job.error_message));
  details.add("Began", time_text(job.created_ns));
  if (job.ended_ns != 0) details.add("Ended", time_text(job.ended_ns));
  details.add("Took", took_text(job));
  context.printer().object(job.json, std::to_string(job.id), details.render());
  return ExitCode::kOk;
}

namespace {

// How the job ended, as the exit code and the words that its own command would have had.
CommandResult report_end(const client::Job& job, Context& context) {
  if (job.state == "done") {
    context.printer().done(job.json, std::to_string(job.id), "Job {} ({} {}) is done.", job.id,
                           job.kind, job.object);
    return ExitCode::kOk;
  }
  return make_error(job.error_code.empty() ? Code::kCancelled : code_from_name(job.error_code),
                    "job {} ({} {}) is {}: {}", job.id, job.kind, job.object, job.state,
                    job.error_message);
}

}  // namespace

CommandResult job_watch(const Arguments& args, Context& context) {
  const client::Job job = HOZON_TRY(context.client().job(args.job));
  return report_end(HOZON_TRY(context.client().follow(job)), context);
}

CommandResult job_cancel(const Arguments& args, Context& context) {
  const client::Job asked = HOZON_TRY(context.client().cancel_job(args.job));
  const client::Job ended = HOZON_TRY(context.client().follow(asked));
  if (ended.state != "cancelled") return report_end(ended, context);
  context.printer().done(ended.json, std::to_string(ended.id),
                         "Job {} ({} {}) is cancelled; what it had begun is taken back.", ended.id,
                         ended.kind, ended.object);
  return ExitCode::kOk;
}

CommandResult version(const Arguments&, Context& context) {
  context.printer().object({{"name", "hozon"}, {"version", kVersion}}, kVersion,
                           fmt::format("hozon {}\n", kVersion));
  return ExitCode::kOk;
}

}  // namespace hozon::cli
