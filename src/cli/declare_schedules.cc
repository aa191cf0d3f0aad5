// Schedules, as the command line has them.
#include "cli/commands.h"
#include "cli/declare.h"

namespace hozon::cli {
namespace {

Verb with_settings(Verb verb, Arguments& a) {
  ScheduleArguments& s = a.schedule;
  return verb
      .text("--when", s.when,
            "When it runs: 'hourly at :15', 'daily at 02:00,14:00', 'weekly on mon,fri at 02:00',\n"
            "'cron 0 2 * * mon-fri'")
      .text("--zone", s.zone,
            "Time zone of these times, such as Europe/Berlin (default: the host's)")
      .list("--machines", a.machines, "Machines of these names")
      .list("--tags", a.tags, "Machines with one of these tags")
      .list("--states", s.states, "Machines that are up, paused or down then")
      .flag("--all", a.all, "All machines")
      .text("--kind", s.kind,
            "disk (default), quiesced (or none), memory (of machines that run then)")
      .list(
          "--keep", s.keep,
          "Which of its snapshots stay: last=10,within=30d,hourly=24,daily=7,weekly=4,monthly=12,\n"
          "yearly=3. What any of them names stays, and the newest, and pinned ones. all: all")
      .text("--jitter", s.jitter, "Each machine's turn comes up to so much later, such as 10m")
      .count("--parallel", s.parallel, "Machines at a time (default 4)")
      .text("--catch-up", s.catch_up,
            "What to do about runs that were missed: latest (default) makes up for one, none")
      .text("--description", a.description, "What it is for");
}

}  // namespace

void declare_schedules(CLI::App& root, Arguments& a) {
  CLI::App* noun = add_noun(root, "schedule", "Rules that make and expire snapshots");
  const std::string which = "Name of the schedule";
  with_settings(
      add_change(noun, a, "create", "Make a schedule",
                 "hozon schedule create nightly --when 'daily at 02:00' --tags production "
                 "--keep daily=7,weekly=4",
                 schedule_create)
          .required("SCHEDULE", a.object, "Name of the new schedule"),
      a)
      .must_have("--when")
      .flag("--disabled", a.schedule.disabled, "It does not run yet");
  add_verb(noun, a, "list", "List schedules, when they run next, and what failed",
           "hozon schedule list", schedule_list);
  add_verb(noun, a, "show", "Show a schedule and its latest runs", "hozon schedule show nightly",
           schedule_show)
      .required("SCHEDULE", a.object, which);
  with_settings(add_change(noun, a, "edit", "Change what is given; the rest stays",
                           "hozon schedule edit nightly --keep daily=14,weekly=8", schedule_edit)
                    .required("SCHEDULE", a.object, which),
                a);
  add_change(noun, a, "enable", "Let it run; nothing is made up for",
             "hozon schedule enable nightly", schedule_enable)
      .required("SCHEDULE", a.object, which);
  add_change(noun, a, "disable", "Do not let it run", "hozon schedule disable nightly",
             schedule_disable)
      .required("SCHEDULE", a.object, which);
  add_change(noun, a, "run", "Run it once, now", "hozon schedule run nightly", schedule_run)
      .required("SCHEDULE", a.object, which);
  add_verb(noun, a, "preview", "Show its next runs, and what will be kept on a date",
           "hozon schedule preview nightly --at 2027-01-31", schedule_preview)
      .required("SCHEDULE", a.object, which)
      .count("--count", a.schedule.count, "How many runs (default 10)")
      .text("--at", a.schedule.at,
            "What will be kept and what dropped by then: 2027-01-31 or '2027-01-31 14:00'")
      .text("--machine", a.name, "Only of this machine");
  add_change(noun, a, "delete", "Delete a schedule; its snapshots stay",
             "hozon schedule delete nightly", schedule_delete)
      .required("SCHEDULE", a.object, which)
      .confirmed();
}

}  // namespace hozon::cli
