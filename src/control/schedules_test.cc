// Proves: what people change about a schedule counts from then on: a new rule makes up for nothing
// that was due before, other changes leave the next run what it was, and a disabled one has none.
// Method: a control plane over a simulated pool. The rule comes true half a year away from now, so
// that the runner has nothing to do meanwhile. What runs make: schedule_runner_test.cc.
#include "control/control_fixture.h"
#include "control/schedule_rule.h"
#include "control/schedule_table.h"

namespace hozon::control {
namespace {

constexpr uint64_t kSecondNs = 1'000'000'000;
constexpr uint64_t kDayNs = 24 * 3600 * kSecondNs;

class SchedulesTest : public ControlCase {
 protected:
  void SetUp() override {
    ControlCase::SetUp();
    add_machine("web");
    const auto now_s = static_cast<int64_t>(wall_clock_ns() / kSecondNs);
    const int month = (TimeZone::of("UTC")->local(now_s).month() + 5) % 12 + 1;
    ScheduleRequest request;
    request.name = "s";
    request.settings.rule = fmt::format("cron 0 0 1 {} *", month);
    request.settings.zone = "UTC";
    request.settings.machines = MachineChoice{.all = true};
    done(control->start_schedule_create(request));
    // As if it had been made ten days ago.
    long_ago = wall_clock_ns() - 10 * kDayNs;
    ASSERT_TRUE(ScheduleTable(*records).set_cursor(row().uuid, long_ago));
    far_next = control->schedule("s")->next_ns;
    EXPECT_GT(far_next, wall_clock_ns() + 100 * kDayNs);
  }
  ScheduleRow row() { return *ScheduleTable(*records).schedule("s"); }
  uint64_t next_of(const std::string& rule, uint64_t after_ns) {
    return static_cast<uint64_t>(*ScheduleRule::parse(rule)->next_after(
               static_cast<int64_t>(after_ns / kSecondNs), *TimeZone::of("UTC"))) *
           kSecondNs;
  }
  uint64_t long_ago = 0, far_next = 0;
};

TEST_F(SchedulesTest, ANewRuleCountsFromNowOn) {
  ScheduleChange change;
  change.rule = "daily at 02:00";
  const uint64_t before = wall_clock_ns();
  const auto edited = done(control->start_schedule_edit("s", change));
  const uint64_t next = next_of("daily at 02:00", before);
  EXPECT_GE(row().cursor_ns, before);
  EXPECT_EQ(edited.at("next_ns"), next);
  EXPECT_EQ(control->schedule("s")->next_ns, next);
  EXPECT_EQ(row().settings.rule, "daily at 02:00");
  const auto runs = *ScheduleTable(*records).runs(row().uuid, 10);
  for (const ScheduleRun& run : runs) EXPECT_GE(run.due_ns, before);
}

TEST_F(SchedulesTest, ANewZoneCountsFromNowOn) {
  ScheduleChange change;
  change.zone = "Asia/Tokyo";
  const uint64_t before = wall_clock_ns();
  done(control->start_schedule_edit("s", change));
  EXPECT_GE(row().cursor_ns, before);
  EXPECT_EQ(control->schedule("s")->next_ns, far_next - 9 * 3600 * kSecondNs);
}

TEST_F(SchedulesTest, OtherChangesLeaveTheNextRunWhatItWas) {
  ScheduleChange change;
  change.description = "other words";
  change.retention = Retention{.last = 3};
  change.rule = row().settings.rule;  // as it is
  done(control->start_schedule_edit("s", change));
  EXPECT_EQ(row().cursor_ns, long_ago);
  EXPECT_EQ(row().settings.retention, *change.retention);
  EXPECT_EQ(control->schedule("s")->next_ns, far_next);
}

TEST_F(SchedulesTest, WhatWasDueWhileItWasDisabledIsNotMadeUpFor) {
  done(control->start_schedule_enable("s", false));
  EXPECT_EQ(control->schedule("s")->next_ns, 0U);
  EXPECT_FALSE(row().enabled);
  // It gets a rule that was due several times since, and a cursor of before that.
  ScheduleRow changed = row();
  changed.settings.rule = "daily at 02:00";
  changed.cursor_ns = long_ago;
  ASSERT_TRUE(ScheduleTable(*records).update(changed));
  const uint64_t before = wall_clock_ns();
  done(control->start_schedule_enable("s", true));
  EXPECT_GE(row().cursor_ns, before);
  EXPECT_EQ(control->schedule("s")->next_ns, next_of("daily at 02:00", before));
  const auto runs = *ScheduleTable(*records).runs(row().uuid, 10);
  for (const ScheduleRun& run : runs) EXPECT_GE(run.due_ns, before);
}

TEST_F(SchedulesTest, DisablingOneEndsTheTurnsThatWait) {
  ScheduleRun run;
  run.schedule_uuid = row().uuid;
  run.due_ns = wall_clock_ns();
  run.cause = "due";
  run.tasks.resize(1);
  run.tasks[0].machine_uuid = records->machine("web")->uuid;
  run.tasks[0].machine = "web";
  run.tasks[0].at_ns = run.due_ns + kDayNs;
  const uint64_t id = *ScheduleTable(*records).insert_run(run);
  done(control->start_schedule_enable("s", false));
  const ScheduleRun after = *ScheduleTable(*records).run(id);
  ASSERT_EQ(after.tasks.size(), 1U);
  EXPECT_EQ(after.tasks[0].state, "skipped");
  EXPECT_EQ(after.tasks[0].message, "the schedule was disabled");
  EXPECT_TRUE(records->snapshots(records->machine("web")->uuid)->empty());
}

}  // namespace
}  // namespace hozon::control
