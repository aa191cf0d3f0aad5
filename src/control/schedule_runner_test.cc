// Proves: for every due time and every machine that is chosen, exactly one snapshot is made, and
// what stays is what retention keeps; whatever fails, whoever is away, and wherever the program is
// killed.
// Method: the real runner over a real inventory, with a clock and machines that are simulated. A
// kill is an exception at one of the runner's steps: what was committed stays, a new runner goes
// on. Jobs outlive it, as those of the job board do. A year is compared with a model that knows
// only the due times (schedule_rule_test.cc has those checked) and retain() applied after each.
#include "control/schedule_runner.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>

#include "control/names.h"
#include "qemu/spec.h"

#pragma GCC diagnostic ignored "-Wmissing-field-initializers"  // settings name what they change

namespace hozon::control {
namespace {

constexpr uint64_t kSecond = 1'000'000'000;
constexpr uint64_t kHour = 3600 * kSecond;

struct Killed {};

uint64_t instant(int year, int month, int day, int hour = 0, int minute = 0) {
  return static_cast<uint64_t>(cctz::convert(cctz::civil_second(year, month, day, hour, minute, 0),
                                             cctz::utc_time_zone())
                                   .time_since_epoch()
                                   .count()) *
         kSecond;
}

class World final : public ScheduleHands {
 public:
  World() : inventory(*Inventory::open(":memory:")), table(inventory) { restart(); }

  void add_machine(const std::string& name, std::vector<std::string> tags = {},
                   const std::string& state = "up") {
    MachineRow row;
    row.uuid = "uuid-" + name;
    row.name = name;
    row.pool = "main";
    ASSERT_TRUE(inventory.insert_machine(row));
    world.push_back({row.uuid, name, std::move(tags), state});
  }

  ScheduleRow add_schedule(ScheduleSettings settings, uint64_t from_ns) {
    ScheduleRow row;
    row.uuid = "uuid-of-schedule";
    row.name = "nightly";
    if (settings.zone.empty()) settings.zone = "Europe/Berlin";
    const Status checked = check_schedule(settings);
    EXPECT_TRUE(checked) << checked.error().what;
    row.settings = std::move(settings);
    row.cursor_ns = row.created_ns = from_ns;
    EXPECT_TRUE(table.insert(row));
    return row;
  }

  void restart() { runner.emplace(inventory, *this); }

  // Turns every `step_ns` until `until_ns`, or at the next due time while nothing is open; after a
  // kill a new runner goes on at once.
  void run(uint64_t until_ns, uint64_t step_ns) {
    while (now_ns <= until_ns) {
      for (int turns = 0; turns < 4; ++turns) {  // so that what one turn began, the next one ends
        try {
          const Status turned = runner->turn(now_ns);
          ASSERT_TRUE(turned) << turned.error().what;
        } catch (const Killed&) {
          ++kills;
          restart();
        }
      }
      now_ns += step_ns;
      if (table.open_tasks()->empty())
        now_ns = std::max(now_ns, std::min(next_due(), until_ns + step_ns));
    }
  }

  uint64_t next_due() {
    const ScheduleRow row = *table.schedule("uuid-of-schedule");
    const auto next = ScheduleRule::parse(row.settings.rule)
                          ->next_after(static_cast<int64_t>(row.cursor_ns / kSecond),
                                       *TimeZone::of(row.settings.zone));
    return static_cast<uint64_t>(*next) * kSecond;
  }

  std::vector<uint64_t> dues(const std::string& machine) {
    const auto snapshots = table.snapshots("uuid-of-schedule", "uuid-" + machine);
    std::vector<uint64_t> found;
    for (const ScheduledSnapshot& snapshot : *snapshots) found.push_back(snapshot.due_ns);
    return found;
  }

  // --- hands ---
  Result<std::vector<ScheduledMachine>> machines() override { return world; }

  Result<JobId> begin_snapshot(const std::string& machine_uuid, const SnapshotRequest& request,
                               const Caller& caller) override {
    if (jobs.contains(caller.key)) return jobs[caller.key].id;
    if (refuse) return make_error(*refuse, "refused for the test");
    Job job = new_job();
    if (fails()) {
      job.state = JobState::kFailed;
      job.error = Error{Code::kUnavailable, "failed for the test", 0};
    } else {
      SnapshotRow row;
      row.uuid = new_uuid();
      row.machine_uuid = machine_uuid;
      row.name = request.name_base;
      row.status = "ok";
      row.created_ns = now_ns;
      row.schedule_uuid = request.schedule_uuid;
      row.due_ns = request.due_ns;
      row.marks.pinned = pins.contains(request.due_ns);
      HOZON_TRY(inventory.insert_snapshot(row));
      made.emplace_back(machine_uuid, request.due_ns, request.with_memory, request.quiesce, now_ns);
      job.result = {{"name", row.name}};
    }
    jobs[caller.key] = job;
    if (job_lasts_ns != 0) jobs[caller.key].ended_ns = now_ns + job_lasts_ns;
    most_at_work = std::max(most_at_work, at_work());
    return job.id;
  }

  Result<JobId> begin_delete(const std::string& machine_uuid, const DeleteRequest& request,
                             const Caller& caller) override {
    if (jobs.contains(caller.key)) return jobs[caller.key].id;
    Job job = new_job();
    nlohmann::json names = nlohmann::json::array();
    for (const std::string& uuid : request.snapshots) {
      names.push_back(HOZON_TRY(inventory.snapshot(machine_uuid, uuid)).name);
      HOZON_TRY(inventory.trash_snapshot(uuid, now_ns, now_ns + request.ttl_s * kSecond));
    }
    job.result = {{"deleted", names}};
    jobs[caller.key] = job;
    return job.id;
  }

  Result<std::optional<Job>> job_of(const std::string& key) override {
    std::optional<Job> job;
    if (const auto found = jobs.find(key); found != jobs.end()) {
      job = found->second;
      if (job->ended_ns > now_ns) job->state = JobState::kRunning;
    }
    return job;
  }

  void report(const ScheduleRow&, const ScheduleTask& task, uint64_t again_ns) override {
    reports.push_back(task.message);
    gave_up += again_ns == 0 ? 1 : 0;
  }

  void between_steps() override {
    if (kill_one_in != 0 && random() % kill_one_in == 0) throw Killed();
  }

  Inventory inventory;
  ScheduleTable table;
  std::optional<ScheduleRunner> runner;
  std::vector<ScheduledMachine> world;
  uint64_t now_ns = 0;
  std::mt19937_64 random{7};
  uint64_t kill_one_in = 0, fail_one_in = 0;
  std::optional<Code> refuse;
  std::set<uint64_t> pins;
  uint64_t job_lasts_ns = 0;
  size_t most_at_work = 0, kills = 0, gave_up = 0;
  std::vector<std::string> reports;
  // machine, due, with memory, quiesce, when
  std::vector<std::tuple<std::string, uint64_t, bool, std::string, uint64_t>> made;
  std::map<std::string, Job> jobs;

 private:
  bool fails() { return fail_one_in != 0 && random() % fail_one_in == 0; }
  size_t at_work() const {
    return static_cast<size_t>(std::ranges::count_if(
        jobs, [this](const auto& entry) { return entry.second.ended_ns > now_ns; }));
  }
  Job new_job() {
    Job job;
    job.id = {jobs.size() + 1};
    job.state = JobState::kDone;
    return job;
  }
};

// What has to be there after a year in which nothing went wrong for good.
struct Model {
  std::vector<uint64_t> dues, kept;
};

Model model_of(const ScheduleSettings& settings, uint64_t from_ns, uint64_t to_ns,
               const std::set<uint64_t>& pins) {
  const ScheduleRule rule = *ScheduleRule::parse(settings.rule);
  const TimeZone zone = *TimeZone::of(settings.zone);
  Model model;
  for (auto at = rule.next_after(static_cast<int64_t>(from_ns / kSecond), zone);
       at && static_cast<uint64_t>(*at) * kSecond <= to_ns; at = rule.next_after(*at, zone)) {
    const uint64_t due = static_cast<uint64_t>(*at) * kSecond;
    model.dues.push_back(due);
    model.kept.push_back(due);
    std::vector<RetentionItem> items;
    for (const uint64_t kept : model.kept)
      items.push_back({static_cast<int64_t>(kept / kSecond), pins.contains(kept)});
    const auto reasons = retain(items, settings.retention, zone);
    std::vector<uint64_t> left;
    for (size_t i = 0; i < items.size(); ++i)
      if (!reasons[i].empty()) left.push_back(model.kept[i]);
    model.kept = left;
  }
  return model;
}

void expect_each_once(World& world, const Model& model) {
  for (const ScheduledMachine& machine : world.world) {
    std::vector<uint64_t> made;
    for (const auto& [uuid, due, memory, quiesce, when] : world.made)
      if (uuid == machine.uuid) made.push_back(due);
    EXPECT_EQ(made.size(), model.dues.size()) << machine.name;
    EXPECT_EQ(made, model.dues) << machine.name;
    EXPECT_EQ(world.dues(machine.name), model.kept) << machine.name;
  }
}

TEST(ScheduleRunner, AYearMakesEachSnapshotOnceAndKeepsWhatTheModelKeeps) {
  World world;
  world.add_machine("a");
  world.add_machine("b");
  const uint64_t from = instant(2026, 1, 1), to = instant(2027, 1, 1);
  const auto row =
      world.add_schedule({.rule = "cron 30 */6 * * *",
                          .machines = {.all = true},
                          .retention = {.last = 3, .daily = 7, .weekly = 4, .monthly = 6}},
                         from);
  const Model model = model_of(row.settings, from, to, {});
  world.pins = {model.dues[100], model.dues[1000]};
  world.now_ns = from;
  world.run(to, kHour / 2);
  expect_each_once(world, model_of(row.settings, from, to, world.pins));
  EXPECT_GT(model.dues.size(), 1450U);
  EXPECT_TRUE(world.reports.empty());
}

TEST(ScheduleRunner, KillsAndFailuresNeitherDoubleNorLoseASnapshot) {
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    World world;
    world.random.seed(seed);
    world.add_machine("a");
    world.add_machine("b", {}, "down");
    const uint64_t from = instant(2026, 3, 1), to = instant(2026, 4, 15);
    const auto row = world.add_schedule({.rule = "daily at 02:30,14:00",
                                         .machines = {.all = true},
                                         .retention = {.last = 2, .weekly = 3}},
                                        from);
    world.now_ns = from;
    world.kill_one_in = 5;
    world.fail_one_in = 4;
    world.run(to, 60 * kSecond);
    SCOPED_TRACE(seed);
    expect_each_once(world, model_of(row.settings, from, to, {}));
    EXPECT_GT(world.kills, 50U);
    EXPECT_FALSE(world.reports.empty());
    EXPECT_EQ(world.gave_up, 0U);
  }
}

TEST(ScheduleRunner, AfterDowntimeTheLatestRunIsMadeUpForAndTheOthersAreCounted) {
  for (const bool catch_up : {true, false}) {
    World world;
    world.add_machine("a");
    const uint64_t from = instant(2026, 6, 1);
    world.add_schedule({.rule = "daily at 02:00",
                        .zone = "UTC",
                        .machines = {.all = true},
                        .catch_up = catch_up ? "latest" : "none"},
                       from);
    world.now_ns = from + 5 * 24 * kHour + 12 * kHour;
    world.run(world.now_ns, kSecond);
    const auto runs = *world.table.runs("uuid-of-schedule", 10);
    ASSERT_EQ(runs.size(), 1U);
    EXPECT_EQ(runs[0].missed, 5U);
    EXPECT_EQ(runs[0].cause, catch_up ? "catch-up" : "missed");
    EXPECT_EQ(runs[0].due_ns, instant(2026, 6, 6, 2));
    EXPECT_NE(runs[0].ended_ns, 0U);
    EXPECT_EQ(world.dues("a").size(), catch_up ? 1U : 0U);
    world.run(instant(2026, 6, 8, 1), kHour / 60);
    EXPECT_EQ(world.dues("a").size(), catch_up ? 2U : 1U);
  }
}

TEST(ScheduleRunner, AClockThatWasSetBackStopsNoSchedule) {
  World world;
  world.add_machine("a");
  world.add_schedule({.rule = "hourly", .zone = "UTC", .machines = {.all = true}},
                     instant(2036, 1, 1));
  world.now_ns = instant(2026, 1, 1);
  world.run(instant(2026, 1, 1, 3, 30), 60 * kSecond);
  EXPECT_EQ(world.dues("a").size(), 3U);
}

TEST(ScheduleRunner, ChoosesByNameTagAndState) {
  const ScheduledMachine web{"u1", "web", {"production", "db"}, "up"};
  EXPECT_TRUE(is_chosen(web, {.names = {"web"}}));
  EXPECT_TRUE(is_chosen(web, {.tags = {"test", "db"}}));
  EXPECT_TRUE(is_chosen(web, {.tags = {"db"}, .states = {"up", "paused"}}));
  EXPECT_FALSE(is_chosen(web, {.tags = {"db"}, .states = {"down"}}));
  EXPECT_FALSE(is_chosen(web, {.names = {"mail"}, .tags = {"db"}}));
  EXPECT_FALSE(is_chosen(web, {}));
  EXPECT_TRUE(is_chosen(web, {.all = true}));
}

TEST(ScheduleRunner, KindsAskForWhatTheMachineCanDo) {
  for (const std::string kind : {"disk", "quiesced", "memory"}) {
    World world;
    world.add_machine("runs");
    world.add_machine("is-down", {}, "down");
    world.add_machine("sleeps", {}, "suspended");
    world.add_schedule({.rule = "hourly", .machines = {.all = true}, .kind = kind},
                       instant(2026, 1, 1));
    world.now_ns = instant(2026, 1, 1, 1);
    world.run(world.now_ns, kSecond);
    ASSERT_EQ(world.made.size(), 2U);
    EXPECT_EQ(std::get<0>(world.made[1]), "uuid-runs");
    EXPECT_EQ(std::get<2>(world.made[1]), kind == "memory");
    EXPECT_EQ(std::get<3>(world.made[1]), kind == "quiesced" ? "require" : "");
    EXPECT_FALSE(std::get<2>(world.made[0]));
    const auto run = world.table.runs("uuid-of-schedule", 1)->front();
    ASSERT_EQ(run.tasks.size(), 3U);
    EXPECT_EQ(run.tasks[2].state, "skipped");
    EXPECT_NE(run.tasks[2].message.find("suspended"), std::string::npos);
  }
}

TEST(ScheduleRunner, JitterSpreadsTheTurnsAndTheLimitHolds) {
  World world;
  for (int i = 0; i < 40; ++i) world.add_machine(fmt::format("m{:02}", i));
  const uint64_t due = instant(2026, 1, 1, 1);
  world.add_schedule(
      {.rule = "hourly", .zone = "UTC", .machines = {.all = true}, .jitter_s = 600, .parallel = 3},
      due - kHour);
  world.now_ns = due;
  world.job_lasts_ns = 30 * kSecond;
  world.run(due + kHour - kSecond, 5 * kSecond);
  EXPECT_EQ(world.made.size(), 40U);
  EXPECT_EQ(world.most_at_work, 3U);
  std::set<uint64_t> turns;
  for (const ScheduledMachine& machine : world.world) {
    const uint64_t turn = jitter_ns("uuid-of-schedule", machine.uuid, due, 600);
    EXPECT_LT(turn, 600 * kSecond);
    turns.insert(turn / (60 * kSecond));
  }
  EXPECT_GE(turns.size(), 8U);  // of ten minutes
}

TEST(ScheduleRunner, AFailureIsReportedTriedAgainAndGivenUpWhenTheNextRunComes) {
  World world;
  world.add_machine("a");
  world.add_schedule({.rule = "hourly", .zone = "UTC", .machines = {.all = true}},
                     instant(2026, 1, 1));
  world.refuse = Code::kBusy;
  world.now_ns = instant(2026, 1, 1, 1);
  world.run(instant(2026, 1, 1, 1, 10), kSecond);
  EXPECT_TRUE(world.made.empty());
  EXPECT_GE(world.reports.size(), 4U);
  world.refuse.reset();
  world.run(instant(2026, 1, 1, 1, 30), kSecond);
  EXPECT_EQ(world.dues("a"), std::vector<uint64_t>{instant(2026, 1, 1, 1)});
  world.refuse = Code::kBusy;
  world.run(instant(2026, 1, 1, 3, 1), 10 * kSecond);
  EXPECT_EQ(world.dues("a").size(), 1U);
  const auto runs = *world.table.runs("uuid-of-schedule", 2);
  EXPECT_EQ(runs[1].tasks[0].state, "failed");
  EXPECT_EQ(runs[1].tasks[0].code, "busy");
  EXPECT_GE(world.gave_up, 1U);
}

TEST(ScheduleRunner, AQuotaIsKeptByDroppingFirst) {
  World world;
  world.add_machine("a");
  world.add_schedule(
      {.rule = "hourly", .zone = "UTC", .machines = {.all = true}, .retention = {.last = 2}},
      instant(2026, 1, 1));
  world.now_ns = instant(2026, 1, 1, 1);
  world.run(instant(2026, 1, 1, 2, 30), 60 * kSecond);
  ASSERT_EQ(world.dues("a").size(), 2U);
  world.refuse = Code::kResourceExhausted;
  world.run(instant(2026, 1, 1, 3), kSecond);
  EXPECT_EQ(world.dues("a"), std::vector<uint64_t>{instant(2026, 1, 1, 2)});
  world.refuse.reset();
  world.run(instant(2026, 1, 1, 3, 1), kSecond);
  EXPECT_EQ(world.dues("a"),
            (std::vector<uint64_t>{instant(2026, 1, 1, 2), instant(2026, 1, 1, 3)}));
}

TEST(ScheduleRunner, ANamedMachineThatIsGoneIsAFailureOfItsOwn) {
  World world;
  world.add_machine("a");
  world.add_schedule({.rule = "hourly", .machines = {.names = {"a", "gone"}}}, instant(2026, 1, 1));
  world.now_ns = instant(2026, 1, 1, 1);
  world.run(world.now_ns, kSecond);
  EXPECT_EQ(world.made.size(), 1U);
  EXPECT_EQ(world.reports, std::vector<std::string>{"machine 'gone' does not exist"});
}

TEST(ScheduleRunner, APreviewShowsWhatThenHappens) {
  World world;
  world.add_machine("a");
  const uint64_t from = instant(2026, 1, 1), middle = instant(2026, 2, 1);
  const uint64_t until = instant(2026, 5, 20);
  const auto row = world.add_schedule({.rule = "daily at 02:00",
                                       .machines = {.all = true},
                                       .retention = {.last = 2, .weekly = 3, .monthly = 2}},
                                      from);
  world.now_ns = from;
  world.run(middle, kHour);
  const ScheduleRow now = *world.table.schedule(row.uuid);
  const SchedulePreview preview =
      *preview_schedule(now, {.runs = 3, .until_ns = until, .machine = ""}, middle,
                        {{"a", *world.table.snapshots(row.uuid, "uuid-a")}});
  ASSERT_EQ(preview.runs.size(), 3U);
  EXPECT_EQ(preview.runs[0].second, "2026-02-01 02:00 CET");
  world.run(until, kHour);
  std::vector<uint64_t> kept;
  for (const PreviewedSnapshot& snapshot : preview.machines.at(0).kept) {
    EXPECT_FALSE(snapshot.reasons.empty());
    kept.push_back(snapshot.due_ns);
  }
  EXPECT_EQ(kept, world.dues("a"));
  for (const PreviewedSnapshot& snapshot : preview.machines.at(0).dropped)
    EXPECT_GT(snapshot.dropped_ns, snapshot.due_ns);
}

TEST(ScheduleRunner, RefusesSettingsThatMakeNoSense) {
  const auto refusal = [](ScheduleSettings settings) {
    const Status checked = check_schedule(settings);
    return checked ? std::string() : checked.error().what;
  };
  const ScheduleSettings good{.rule = "hourly", .machines = {.all = true}};
  EXPECT_EQ(refusal(good), "");
  const auto expect = [&](const std::string& words,
                          const std::function<void(ScheduleSettings&)>& change) {
    ScheduleSettings settings = good;
    change(settings);
    EXPECT_NE(refusal(settings).find(words), std::string::npos) << refusal(settings);
  };
  expect("needs machines", [](auto& s) { s.machines = {}; });
  expect("not both", [](auto& s) { s.machines.tags = {"x"}; });
  expect("state 'asleep'", [](auto& s) { s.machines = {.states = {"asleep"}}; });
  expect("kind 'full'", [](auto& s) { s.kind = "full"; });
  expect("catch-up 'all'", [](auto& s) { s.catch_up = "all"; });
  expect("not a time zone", [](auto& s) { s.zone = "Mars"; });
  expect("jitter", [](auto& s) { s.jitter_s = kJitterSecondsMax + 1; });
  expect("at a time", [](auto& s) { s.parallel = 0; });
  expect("at a time", [](auto& s) { s.parallel = kParallelMax + 1; });
  expect("at most 100000", [](auto& s) { s.retention.daily = kRetentionMax + 1; });
}

}  // namespace
}  // namespace hozon::control
