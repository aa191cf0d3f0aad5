// Proves: what a deletion takes away comes back until its time in the trash ends, with every byte,
// and not later; a pin keeps from both; what is decided is what is on record when the work begins,
// whatever was seen before; a quota counts what it says.
// Method: a control plane, or what it does by itself at a given time, over a simulated pool.
#include "control/control_fixture.h"
#include "control/schedule_table.h"

namespace hozon::control {
namespace {

constexpr uint64_t kSecondNs = 1'000'000'000;

class TrashTest : public ControlCase {
 protected:
  void SetUp() override {
    ControlCase::SetUp();
    web = add_machine("web");
  }
  SnapshotRow add(const std::string& name, const std::string& kind = "user",
                  uint64_t expires_ns = 0, bool pinned = false, const std::string& schedule = {}) {
    SnapshotRow row = row_of(web, name);
    row.kind = kind;
    row.schedule_uuid = schedule;
    row.marks.expires_ns = expires_ns;
    row.marks.pinned = pinned;
    keep(row);
    return row;
  }
  bool has_points(const SnapshotRow& row) {
    return std::ranges::all_of(row.disks, [&](const SnapshotDisk& disk) {
      return pool->read(disk.volume, 0, disk.point) == "first";
    });
  }
  bool has_no_point(const SnapshotRow& row) {
    return std::ranges::all_of(row.disks, [&](const SnapshotDisk& disk) {
      return pool->read(disk.volume, 0, disk.point) == "gone";
    });
  }
  std::vector<std::string> trash_names() {
    std::vector<std::string> found;
    const auto rows = *records->trash(web.uuid);
    for (const TrashRow& row : rows) found.push_back(row.name);
    return found;
  }
  MachineRow web;
};

using Names = std::vector<std::string>;

// ---- what happens by itself ----

class ExpiryTest : public TrashTest {
 protected:
  void open() override { open_core(); }
  // How many jobs it began.
  size_t expire(uint64_t now_ns) {
    const auto before = core->jobs.jobs(100).size();
    core->expire(now_ns);
    const auto jobs = core->jobs.jobs(100);
    for (const Job& job : jobs) (void)core->jobs.wait(job.id, -1);
    return jobs.size() - before;
  }
  // Far from the present, so that what looks at the clock sees nothing to do.
  uint64_t at_ns = wall_clock_ns() + 1000 * kSecondNs;
};

TEST_F(ExpiryTest, ExpiredOnesGoToTheTrashAndPinnedOnesStay) {
  const SnapshotRow due = add("due", "user", at_ns);
  const SnapshotRow pinned = add("pinned", "user", at_ns, true);
  const SnapshotRow left = add("left", "system", at_ns);
  const SnapshotRow left_pinned = add("left-pinned", "system", at_ns, true);
  const SnapshotRow later = add("later", "user", at_ns + 1);
  const SnapshotRow never = add("never");
  EXPECT_EQ(expire(at_ns - 1), 0U);
  EXPECT_EQ(names(web).size(), 6U);
  EXPECT_EQ(expire(at_ns), 1U);
  EXPECT_EQ(names(web), (Names{"pinned", "left-pinned", "later", "never"}));
  EXPECT_EQ(trash_names(), Names{"due"});
  for (const SnapshotRow& row : {due, pinned, left_pinned, later, never})
    EXPECT_TRUE(has_points(row)) << row.name;
  EXPECT_TRUE(has_no_point(left));
  EXPECT_EQ(expire(at_ns), 0U);
}

TEST_F(ExpiryTest, TheTrashKeepsUntilItsTimeEndsAndNoLonger) {
  const SnapshotRow row = add("a");
  ASSERT_TRUE(records->trash_snapshot(row.uuid, at_ns - 10, at_ns));
  EXPECT_EQ(expire(at_ns - 1), 0U);
  EXPECT_EQ(trash_names(), Names{"a"});
  EXPECT_TRUE(has_points(row));
  EXPECT_EQ(expire(at_ns), 1U);
  EXPECT_TRUE(trash_names().empty());
  EXPECT_TRUE(has_no_point(row));
  EXPECT_FALSE(records->snapshot(web.uuid, row.uuid));
}

TEST_F(ExpiryTest, PointsWhoseRecordWentAloneHaveNoEnd) {
  const SnapshotRow alone = add("alone"), other = add("other");
  ASSERT_TRUE(records->trash_snapshot(alone.uuid, at_ns - 10, 0));
  EXPECT_EQ(expire(at_ns), 0U);
  ASSERT_TRUE(records->trash_snapshot(other.uuid, at_ns - 10, at_ns));
  EXPECT_EQ(expire(at_ns), 1U);
  EXPECT_EQ(trash_names(), Names{"alone"});
  EXPECT_TRUE(has_points(alone));
}

// Each was due when it was looked for, and is not any more when the machine's lock is held.
TEST_F(ExpiryTest, WhatIsPinnedProlongedOrRestoredMeanwhileStays) {
  const SnapshotRow pinned = add("pinned", "user", at_ns);
  const SnapshotRow prolonged = add("prolonged", "user", at_ns);
  const SnapshotRow left = add("left", "system", at_ns);
  const SnapshotRow restored = add("restored");
  const SnapshotRow due = add("due", "user", at_ns);
  ASSERT_TRUE(records->trash_snapshot(restored.uuid, at_ns - 10, at_ns));
  hold_next("snapshot.expire");
  core->expire(at_ns);
  ASSERT_TRUE(is_held());
  SnapshotMarks marks;
  marks.expires_ns = at_ns;
  marks.pinned = true;
  ASSERT_TRUE(records->set_marks(pinned.uuid, marks));
  ASSERT_TRUE(records->set_marks(left.uuid, marks));
  marks.pinned = false;
  marks.expires_ns = at_ns + 1;
  ASSERT_TRUE(records->set_marks(prolonged.uuid, marks));
  ASSERT_TRUE(records->restore_snapshot(records->trash(web.uuid)->front(), "restored"));
  go_on();
  for (const Job& job : core->jobs.jobs(10)) {
    const Job ended = *core->jobs.wait(job.id, -1);
    EXPECT_EQ(job_state_name(ended.state), "done");
  }
  EXPECT_EQ(names(web), (Names{"pinned", "prolonged", "left", "restored"}));
  EXPECT_EQ(trash_names(), Names{"due"});
  for (const SnapshotRow& row : {pinned, prolonged, left, restored, due})
    EXPECT_TRUE(has_points(row)) << row.name;
}

// ---- what people do ----

TEST_F(TrashTest, ADeletionKeepsTheBytesAndOneForGoodDoesNot) {
  snapshot(web, "a");
  snapshot(web, "b");
  const SnapshotRow a = *records->snapshot(web.uuid, "a"), b = *records->snapshot(web.uuid, "b");
  write(web, "second");
  DeleteRequest request;
  request.snapshots = {"a"};
  done(control->start_snapshot_delete("web", request));
  EXPECT_TRUE(pool->calls("point.delete").empty());
  EXPECT_TRUE(has_points(a));
  EXPECT_EQ(trash_names(), Names{"a"});
  EXPECT_EQ(records->trash(web.uuid)->front().until_ns,
            records->trash(web.uuid)->front().trashed_ns + kTrashSeconds * kSecondNs);
  request.snapshots = {"b"};
  request.ttl_s = 0;
  done(control->start_snapshot_delete("web", request));
  EXPECT_TRUE(has_no_point(b));
  EXPECT_EQ(trash_names(), Names{"a"});
  done(control->start_machine_undo("web"));
  EXPECT_EQ(names(web), Names{"a"});
  done(control->start_snapshot_return("web", "a"));
  EXPECT_TRUE(all_hold(web, "first"));
}

TEST_F(TrashTest, OfARecordThatGoesAloneThePointsStayUntilTheTrashIsEmptied) {
  snapshot(web, "a");
  const SnapshotRow a = *records->snapshot(web.uuid, "a");
  write(web, "second");
  DeleteRequest request;
  request.snapshots = {"a"};
  request.metadata_only = true;
  const auto plan = plan_of(
      [&](const Caller& caller) { return control->start_snapshot_delete("web", request, caller); });
  EXPECT_EQ(plan->frees_bytes, 0U);
  EXPECT_EQ(plan->notes,
            Names{"their points stay until `hozon snapshot trash empty web` reclaims them"});
  done(control->start_snapshot_delete("web", request));
  EXPECT_TRUE(names(web).empty());
  EXPECT_TRUE(has_points(a));
  ASSERT_EQ(trash_names(), Names{"a"});
  EXPECT_EQ(records->trash(web.uuid)->front().until_ns, 0U);
  snapshot(web, "a");  // the name is free
  done(control->start_machine_undo("web"));
  EXPECT_EQ(names(web).size(), 2U);
  request.snapshots = {a.uuid};
  done(control->start_snapshot_delete("web", request));
  done(control->start_trash_empty("web"));
  EXPECT_TRUE(has_no_point(a));
  EXPECT_EQ(names(web), Names{"a"});
  request.ttl_s = 0;
  EXPECT_FALSE(control->start_snapshot_delete("web", request));
}

TEST_F(TrashTest, WhatWentForGoodMeanwhileIsNotRestored) {
  for (const bool undoes : {false, true}) {
    const SnapshotRow gone = add("gone"), child = add("child");
    ASSERT_TRUE(records->trash_snapshot(gone.uuid, 1, wall_clock_ns() + 1000 * kSecondNs));
    hold_next(undoes ? "machine.undo" : "snapshot.restore");
    const auto begun =
        undoes ? control->start_machine_undo("web") : control->start_trash_restore("web", "gone");
    ASSERT_TRUE(is_held());
    ASSERT_TRUE(records->delete_snapshot(gone.uuid));
    go_on();
    const Job job = wait(begun);
    ASSERT_TRUE(job.error) << job.result;
    EXPECT_EQ(job.error->code, Code::kNotFound);
    EXPECT_EQ(names(web), Names{"child"});
    ASSERT_TRUE(records->delete_snapshot(child.uuid));
  }
}

TEST_F(TrashTest, APinThatIsSetWhileADeletionWaitsHolds) {
  const SnapshotRow a = add("a"), b = add("b");
  DeleteRequest request;
  request.snapshots = {"a", "b"};
  for (const uint64_t ttl_s : {kTrashSeconds, uint64_t{0}}) {
    request.ttl_s = ttl_s;
    hold_next("snapshot.delete");
    const auto begun = control->start_snapshot_delete("web", request);
    ASSERT_TRUE(is_held());
    SnapshotMarks marks;
    marks.pinned = true;
    ASSERT_TRUE(records->set_marks(b.uuid, marks));
    go_on();
    EXPECT_EQ(wait(begun).error.value().code, Code::kWrongState);
    EXPECT_EQ(names(web), (Names{"a", "b"}));
    EXPECT_TRUE(has_points(a) && has_points(b));
    ASSERT_TRUE(records->set_marks(b.uuid, {}));
  }
}

TEST_F(TrashTest, AQuotaCountsAllButTheTrashAndTheStateOfSleep) {
  add("by-hand");
  add("left", "system");
  add("nightly", "user", 0, false, "uuid-of-a-schedule");
  add("asleep", "suspend");
  const SnapshotRow deleted = add("deleted");
  ASSERT_TRUE(records->trash_snapshot(deleted.uuid, 1, wall_clock_ns() + 1000 * kSecondNs));
  done(control->start_machine_quota("web", 3));
  SnapshotRequest request;
  request.name = "one-more";
  const auto refused = control->start_snapshot_create("web", request);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kResourceExhausted);
  EXPECT_NE(refused.error().what.find("3 snapshots (1 made by people, 2 by the system)"),
            std::string::npos)
      << refused.error().what;
  done(control->start_machine_quota("web", 4));
  done(control->start_snapshot_create("web", request));
  EXPECT_FALSE(control->start_snapshot_create("web", {}));
}

TEST_F(TrashTest, DeletingAScheduleLeavesItsSnapshots) {
  ScheduleRequest wanted;
  wanted.name = "nightly";
  wanted.settings.rule = "cron 0 0 29 2 *";
  wanted.settings.machines = MachineChoice{.all = true};
  done(control->start_schedule_create(wanted));
  const std::string uuid = control->schedule("nightly")->uuid;
  const SnapshotRow made = add("made", "user", 0, false, uuid);
  const auto result = done(control->start_schedule_delete("nightly"));
  EXPECT_EQ(result.at("snapshots_left"), 1);
  EXPECT_EQ(names(web), Names{"made"});
  EXPECT_TRUE(has_points(made));
}

}  // namespace
}  // namespace hozon::control
