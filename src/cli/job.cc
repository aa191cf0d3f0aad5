// hozon job ..., hozon version
#include "base/units.h"
#include "cli/commands.h"
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
                 job.error_message.empty() ? job.step : job.error_message});
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
  details.add("State", job.state);
  details.add("Step", job.step);
  details.add("Progress", progress_text(job));
  details.add("Error", job.error_message);
  details.add("Began", time_text(job.created_ns));
  if (job.ended_ns != 0) details.add("Ended", time_text(job.ended_ns));
  details.add("Took", took_text(job));
  context.printer().object(job.json, std::to_string(job.id), details.render());
  return ExitCode::kOk;
}

CommandResult version(const Arguments&, Context& context) {
  context.printer().object({{"name", "hozon"}, {"version", kVersion}}, kVersion,
                           fmt::format("hozon {}\n", kVersion));
  return ExitCode::kOk;
}

}  // namespace hozon::cli
