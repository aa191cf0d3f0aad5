#include "cli/cli.h"

#include <csignal>
#include <cstdio>

#include "cli/context.h"
#include "cli/parser.h"
#include "cli/plan.h"
#include "cli/sentences.h"

namespace hozon::cli {
namespace {

// `code`: the word of docs/errors.md.
int fail(ExitCode exit_code, std::string_view code, const std::string& sentence) {
  std::fflush(stdout);
  const SaidError said = say_error(code, printable(sentence));
  fmt::print(stderr, "hozon: {}{}\n", said.is_translated ? "エラー：" : "error: ", said.sentence);
  if (!said.help.empty()) fmt::print(stderr, "（{}）\n", said.help);
  return static_cast<int>(exit_code);
}

// The exit code is the one that the command itself would end with, as far as that is known.
Result<ExitCode> show_plan(Context& context) {
  const client::Json& plan = context.client().plan();
  const std::string name = client::text_of(plan, "object");
  context.printer().object(plan, name, plan_text(plan));
  const Status refusal = client::refusal_of(plan);
  return refusal ? ExitCode::kOk : exit_code_of(refusal.error().code);
}

ExitCode show_left(Context& context) {
  const client::Job& job = *context.client().left();
  context.printer().done(job.json, std::to_string(job.id),
                         "Job {} ({} {}) has begun: hozon job watch {}", job.id, job.kind,
                         job.object, job.id);
  return ExitCode::kOk;
}

}  // namespace

int run(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);
  const std::vector<std::string> words(argv + (argc > 0 ? 1 : 0), argv + argc);
  const Parsed parsed = parse_command_line(words);
  if (!parsed.arguments) {
    std::fputs(parsed.output.c_str(), stdout);
    return parsed.error.empty() ? static_cast<int>(parsed.exit_code)
                                : fail(parsed.exit_code, "invalid_argument", parsed.error);
  }
  Context context(*parsed.arguments);
  Result<ExitCode> outcome = parsed.arguments->command(*parsed.arguments, context);
  if (!context.client().plan().is_null()) outcome = show_plan(context);
  if (context.client().left()) outcome = show_left(context);
  if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) {
    if (outcome) return fail(ExitCode::kFailed, "io", "the output could not be written");
  }
  if (outcome) return static_cast<int>(*outcome);
  const Error& error = outcome.error();
  return fail(exit_code_of(error.code), code_name(error.code), error.what);
}

}  // namespace hozon::cli
