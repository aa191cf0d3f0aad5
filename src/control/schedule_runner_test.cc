// Proves: for every due time and every machine that is chosen, exactly one snapshot is made, and
// what stays is what retention keeps; whatever fails, whoever is away, and wherever the program is
// killed.
// Method: the real runner over a real inventory, in a simulated world (schedule_world.h). A year is
// compared with a model that knows only the due times (schedule_rule_test.cc has those checked) and
// retain() applied after each.
#include "control/schedule_world.h"

namespace hozon::control {
namespace {

using World = ScheduleWorld;

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

TEST(ScheduleRunner, ARunIsRecordedForItsDueTimeHoweverLateItComes) {
  const uint64_t due = instant(2026, 6, 2, 2);
  for (const uint64_t late :
       {uint64_t{0}, kSecond, ScheduleRunner::kPunctualNs - kSecond, ScheduleRunner::kPunctualNs,
        ScheduleRunner::kPunctualNs + 1, ScheduleRunner::kPunctualNs + kSecond, 5 * kHour}) {
    World world;
    world.add_machine("a");
    world.add_schedule({.rule = "daily at 02:00", .zone = "UTC", .machines = {.all = true}},
                       due - 12 * kHour);
    world.now_ns = due + late;
    world.run(world.now_ns, kSecond);
    const auto runs = *world.table.runs("uuid-of-schedule", 10);
    ASSERT_EQ(runs.size(), 1U);
    EXPECT_EQ(runs[0].due_ns, due) << late;
    EXPECT_EQ(runs[0].cause, late > ScheduleRunner::kPunctualNs ? "catch-up" : "due") << late;
    EXPECT_EQ(runs[0].missed, 0U);
    EXPECT_EQ(world.dues("a"), std::vector<uint64_t>{due}) << late;
    EXPECT_EQ(runs[0].tasks.at(0).snapshot, "nightly-20260602T020000Z") << late;
    EXPECT_EQ(world.table.schedule("nightly")->cursor_ns, due);
  }
}

TEST(ScheduleRunner, KillsAfterDowntimeMakeUpForOneRunAndOnce) {
  size_t kills = 0;
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    World world;
    world.random.seed(seed);
    world.add_machine("a");
    world.add_machine("b");
    const uint64_t from = instant(2026, 6, 1);
    world.add_schedule({.rule = "daily at 02:00", .zone = "UTC", .machines = {.all = true}}, from);
    world.now_ns = from + 132 * kHour;
    world.kill_one_in = 3;
    world.run(world.now_ns + 12 * kHour, kSecond);
    EXPECT_EQ(world.table.runs("uuid-of-schedule", 10)->size(), 1U) << seed;
    EXPECT_EQ(world.made.size(), 2U) << seed;
    for (const char* machine : {"a", "b"})
      EXPECT_EQ(world.dues(machine), std::vector<uint64_t>{instant(2026, 6, 6, 2)}) << seed;
    kills += world.kills;
  }
  EXPECT_GT(kills, 40U);
}

TEST(ScheduleRunner, ADisabledScheduleDoesNothing) {
  World world;
  world.add_machine("a");
  ScheduleRow row = world.add_schedule({.rule = "hourly", .zone = "UTC", .machines = {.all = true}},
                                       instant(2026, 1, 1));
  row.enabled = false;
  ASSERT_TRUE(world.table.update(row));
  world.now_ns = instant(2026, 1, 1, 1);
  world.run(instant(2026, 1, 1, 5), 60 * kSecond);
  EXPECT_TRUE(world.made.empty());
  EXPECT_TRUE(world.table.runs("uuid-of-schedule", 10)->empty());
}

// What people change while the runner works on what it has read a moment ago.
TEST(ScheduleRunner, WhatIsChangedWhileARunComesDueIsHeeded) {
  for (const bool disables : {true, false}) {
    World world;
    world.add_machine("a");
    world.add_schedule({.rule = "hourly", .zone = "UTC", .machines = {.all = true}},
                       instant(2026, 1, 1));
    world.now_ns = instant(2026, 1, 1, 1) + kSecond;
    bool changed = false;
    world.at_step = [&] {
      if (std::exchange(changed, true)) return;
      ScheduleRow row = *world.table.schedule("nightly");
      row.enabled = !disables;
      row.settings.rule = "daily at 12:00";
      row.cursor_ns = world.now_ns;
      ASSERT_TRUE(world.table.update(row));
      ASSERT_TRUE(world.table.skip_waiting(row.uuid, "changed"));
    };
    world.run(instant(2026, 1, 1, 11, 59), 60 * kSecond);
    EXPECT_TRUE(changed);
    EXPECT_TRUE(world.made.empty());
    EXPECT_TRUE(world.table.runs("uuid-of-schedule", 10)->empty());
    world.run(instant(2026, 1, 1, 13), 60 * kSecond);
    EXPECT_EQ(world.made.size(), disables ? 0U : 1U);
  }
}

TEST(ScheduleRunner, ACursorThatIsSetLeavesTheRestAsPeopleHaveIt) {
  const uint64_t due = instant(2026, 1, 1, 1);
  for (const bool clock_set_back : {true, false}) {
    World world;
    world.add_machine("a");
    const auto row =
        world.add_schedule({.rule = "hourly", .zone = "UTC", .machines = {.all = true}},
                           clock_set_back ? instant(2036, 1, 1) : due - kHour);
    ScheduleRun by_hand;  // of the second in which the schedule is due
    by_hand.schedule_uuid = row.uuid;
    by_hand.due_ns = due;
    by_hand.cause = "manual";
    by_hand.ended_ns = due;
    ASSERT_TRUE(world.table.insert_run(by_hand));
    world.now_ns = due;
    int steps = 0;
    world.at_step = [&] {
      // The cursor is set after the first step, or the second.
      if (++steps != (clock_set_back ? 1 : 2)) return;
      ScheduleRow now = *world.table.schedule("nightly");
      now.settings.description = "changed meanwhile";
      ASSERT_TRUE(world.table.update(now));
    };
    ASSERT_TRUE(world.runner->turn(world.now_ns));
    const ScheduleRow after = *world.table.schedule("nightly");
    EXPECT_EQ(after.settings.description, "changed meanwhile");
    EXPECT_EQ(after.cursor_ns, due);
    EXPECT_EQ(world.table.runs(row.uuid, 10)->size(), 1U);
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
  EXPECT_FALSE(is_chosen(web, {.tags = {"test"}}));
  EXPECT_FALSE(is_chosen(web, {.names = {"web"}, .tags = {"test"}}));
  EXPECT_FALSE(is_chosen(web, {.tags = {"test"}, .states = {"up"}}));
  EXPECT_FALSE(is_chosen({"u2", "bare", {}, "up"}, {.tags = {"db"}}));
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
  for (const auto& [uuid, due_ns, memory, quiesce, when] : world.made)
    EXPECT_GE(when, due + jitter_ns("uuid-of-schedule", uuid, due, 600)) << uuid;
  std::set<uint64_t> turns;
  for (const ScheduledMachine& machine : world.world) {
    const uint64_t turn = jitter_ns("uuid-of-schedule", machine.uuid, due, 600);
    EXPECT_LT(turn, 600 * kSecond);
    turns.insert(turn / (60 * kSecond));
  }
  EXPECT_GE(turns.size(), 8U);  // of ten minutes
}

TEST(ScheduleRunner, JitterIsAnotherForEachRunAndTheSameForOne) {
  const auto turn = [](const std::string& machine, uint64_t hour) {
    return jitter_ns("uuid-of-schedule", machine, instant(2026, 1, 1) + hour * kHour, 600);
  };
  constexpr uint64_t kRuns = 48;
  std::set<uint64_t> turns, minutes;
  uint64_t a_first = 0;
  for (uint64_t hour = 0; hour < kRuns; ++hour) {
    EXPECT_EQ(turn("a", hour), turn("a", hour));
    turns.insert(turn("a", hour));
    minutes.insert(turn("a", hour) / (60 * kSecond));
    a_first += turn("a", hour) < turn("b", hour) ? 1 : 0;
  }
  EXPECT_GT(turns.size(), kRuns - 4);
  EXPECT_GE(minutes.size(), 8U);  // of ten
  // Nobody is always the last.
  EXPECT_GT(a_first, kRuns / 6);
  EXPECT_LT(a_first, kRuns - kRuns / 6);
}

TEST(ScheduleRunner, NothingIsMadeForARunWhenTheNextOneHasCome) {
  World world;
  for (const char* machine : {"a", "b", "c"}) world.add_machine(machine);
  world.add_schedule(
      {.rule = "hourly", .zone = "UTC", .machines = {.all = true}, .jitter_s = 30, .parallel = 1},
      instant(2026, 1, 1));
  // The machines take 40 minutes each, so that one of three has no turn before the next run.
  world.now_ns = instant(2026, 1, 1, 1);
  world.job_lasts_ns = 40 * 60 * kSecond;
  world.run(instant(2026, 1, 1, 6), 30 * kSecond);
  EXPECT_GE(world.made.size(), 6U);
  for (const auto& [uuid, due, memory, quiesce, when] : world.made)
    EXPECT_LT(when, due + kHour) << uuid;
  const ScheduleRun first = world.table.runs("uuid-of-schedule", 10)->back();
  std::multiset<std::string> states;
  for (const ScheduleTask& task : first.tasks) {
    states.insert(task.state);
    if (task.state == "skipped") {
      EXPECT_EQ(task.message, "its turn had not come before the next run");
    }
  }
  EXPECT_EQ(states, (std::multiset<std::string>{"done", "done", "skipped"}));
}

TEST(ScheduleRunner, WhatFailedIsNotTriedAgainAfterTheNextRunHasCome) {
  World world;
  world.add_machine("a");
  world.add_schedule({.rule = "hourly", .zone = "UTC", .machines = {.all = true}},
                     instant(2026, 1, 1));
  // Made up for at half past, so that tries are left when the next run comes.
  world.now_ns = instant(2026, 1, 1, 1, 30);
  world.refuse = Code::kBusy;
  world.run(instant(2026, 1, 1, 1, 59), kSecond);
  ASSERT_EQ(world.table.open_tasks()->size(), 1U);
  ASSERT_LT(world.table.open_tasks()->front().task.attempts, ScheduleRunner::kAttemptsMax);
  world.refuse.reset();
  world.run(instant(2026, 1, 1, 2, 59), kSecond);
  EXPECT_EQ(world.dues("a"), std::vector<uint64_t>{instant(2026, 1, 1, 2)});
  EXPECT_EQ(world.made.size(), 1U);
  EXPECT_EQ(world.gave_up, 1U);
  const ScheduleRun first = world.table.runs("uuid-of-schedule", 10)->back();
  EXPECT_EQ(first.tasks[0].state, "failed");
  EXPECT_EQ(first.tasks[0].code, "busy");
}

TEST(ScheduleRunner, RetentionDropsAndCountsOnlyWhatTheScheduleMade) {
  World world;
  world.add_machine("a");
  const auto row = world.add_schedule(
      {.rule = "hourly", .zone = "UTC", .machines = {.all = true}, .retention = {.last = 2}},
      instant(2026, 1, 1));
  // Older than all that the schedule makes, in between, and newer.
  std::set<std::string> foreign;
  const auto add = [&](const std::string& name, const std::string& schedule, uint64_t at_ns,
                       const std::string& kind) {
    SnapshotRow snapshot;
    snapshot.uuid = new_uuid();
    snapshot.machine_uuid = "uuid-a";
    snapshot.name = name;
    snapshot.status = "ok";
    snapshot.kind = kind;
    snapshot.created_ns = at_ns;
    snapshot.schedule_uuid = schedule;
    if (!schedule.empty()) snapshot.due_ns = at_ns;
    ASSERT_TRUE(world.inventory.insert_snapshot(snapshot));
    foreign.insert(name);
  };
  for (const uint64_t at_ns : {instant(2020, 1, 1), instant(2026, 1, 1, 3), instant(2030, 1, 1)}) {
    add(fmt::format("by-hand-{}", at_ns), "", at_ns, "user");
    add(fmt::format("other-{}", at_ns), "uuid-of-another", at_ns, "user");
    add(fmt::format("left-{}", at_ns), "", at_ns, "system");
  }
  world.now_ns = instant(2026, 1, 1, 1);
  world.run(instant(2026, 1, 1, 8), 60 * kSecond);
  EXPECT_EQ(world.dues("a"),
            (std::vector<uint64_t>{instant(2026, 1, 1, 7), instant(2026, 1, 1, 8)}));
  std::set<std::string> names;
  const auto present = *world.inventory.snapshots("uuid-a");
  for (const SnapshotRow& snapshot : present)
    if (snapshot.schedule_uuid != row.uuid) names.insert(snapshot.name);
  EXPECT_EQ(names, foreign);
  EXPECT_EQ(present.size(), foreign.size() + 2);
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
