// Proves: a group is of one instant, because one call makes all of its points; it returns and is
// deleted as a whole, or not at all; a pin holds, whenever it is set. A snapshot of one machine is
// of one instant, too.
// Method: a control plane over a simulated pool, which tells what it was asked for.
#include "control/groups.h"

#include "control/control_fixture.h"

namespace hozon::control {
namespace {

class GroupsTest : public ControlCase {
 protected:
  void SetUp() override {
    ControlCase::SetUp();
    for (const char* name : {"a", "b", "c"}) machines.push_back(add_machine(name));
    GroupRequest request;
    request.name = "g";
    for (const MachineRow& machine : machines) request.machines.push_back(machine.name);
    made = done(control->start_group_create(request));
  }
  std::vector<MachineRow> machines;
  nlohmann::json made;
};

TEST_F(GroupsTest, OneCallMakesThePointsOfAllDisksOfAllMachines) {
  const auto calls = pool->calls("volume.snapshot");
  ASSERT_EQ(calls.size(), 1U);
  EXPECT_EQ(calls[0].at("volumes").size(), 6U);
  ASSERT_EQ(made.at("members").size(), 3U);
  for (const MachineRow& machine : machines) {
    const SnapshotRow snapshot = *records->snapshot(machine.uuid, "g");
    EXPECT_EQ(snapshot.status, "ok");
    EXPECT_EQ(snapshot.group_name, "g");
    ASSERT_EQ(snapshot.disks.size(), 2U);
    for (const SnapshotDisk& disk : snapshot.disks) {
      EXPECT_EQ(disk.point, calls[0].at("point"));
      EXPECT_EQ(pool->read(disk.volume, 0, disk.point), "first");
    }
    EXPECT_EQ(records->machine(machine.uuid)->current_parent, snapshot.uuid);
  }
}

TEST_F(GroupsTest, OneCallMakesThePointsOfAllDisksOfOneMachine) {
  snapshot(machines[0], "alone");
  const auto calls = pool->calls("volume.snapshot");
  ASSERT_EQ(calls.size(), 2U);
  EXPECT_EQ(calls[1].at("volumes").size(), 2U);
}

TEST_F(GroupsTest, AReturnPlansAndReturnsEveryMachine) {
  for (const MachineRow& machine : machines) write(machine, "second");
  const auto plan =
      plan_of([&](const Caller& caller) { return control->start_group_return("g", "", caller); });
  for (const MachineRow& machine : machines) {
    const auto names_it = [&](const std::string& words) {
      return words.find(" " + machine.name + "@before-return-") != std::string::npos;
    };
    EXPECT_EQ(std::ranges::count_if(plan->makes, names_it), 1) << machine.name;
    EXPECT_EQ(std::ranges::count_if(
                  plan->identity,
                  [&](const std::string& words) { return words.starts_with(machine.name + ": "); }),
              1)
        << machine.name;
    EXPECT_TRUE(all_hold(machine, "second"));
  }
  const auto result = done(control->start_group_return("g", ""));
  EXPECT_EQ(result.at("machines").size(), 3U);
  const auto calls = pool->calls("volume.return");
  ASSERT_EQ(calls.size(), 1U);
  EXPECT_EQ(calls[0].at("items").size(), 6U);
  for (const MachineRow& machine : machines) {
    EXPECT_TRUE(all_hold(machine, "first")) << machine.name;
    const auto rows = *records->snapshots(machine.uuid);
    ASSERT_EQ(rows.size(), 2U) << machine.name;
    EXPECT_EQ(rows[1].kind, "system");
    EXPECT_EQ(rows[1].status, "ok");
    EXPECT_NE(records->machine(machine.uuid)->vmgenid, machine.vmgenid);
    EXPECT_EQ(records->machine(machine.uuid)->current_parent, rows[0].uuid);
    for (const SnapshotDisk& disk : rows[1].disks)
      EXPECT_EQ(pool->read(disk.volume, 0, disk.point), "second");
  }
}

TEST_F(GroupsTest, AReturnOfWhichOneMemberIsInUseIsRefusedBeforeAnythingChanges) {
  for (const MachineRow& machine : machines) write(machine, "second");
  const SnapshotRow snapshot = *records->snapshot(machines[1].uuid, "g");
  ASSERT_TRUE(records->set_snapshot_status(snapshot.uuid, "in_preview"));
  const auto refused = control->start_group_return("g", "");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kWrongState);
  EXPECT_TRUE(pool->calls("volume.return").empty());
}

// Its machine is not locked by the job, so that anything may be at work there.
TEST_F(GroupsTest, AMemberThatComesBackFromTheTrashMeanwhileIsLeftAlone) {
  for (const MachineRow& machine : machines) write(machine, "second");
  for (const bool deletes : {false, true}) {
    const std::string c = machines[2].uuid;
    ASSERT_TRUE(records->trash_snapshot(records->snapshot(c, "g")->uuid, 1, UINT64_MAX / 2));
    hold_next(deletes ? "group.delete" : "group.return");
    const auto begun =
        deletes ? control->start_group_delete("g") : control->start_group_return("g", "");
    ASSERT_TRUE(is_held());
    ASSERT_TRUE(records->restore_snapshot(records->trash(c)->front(), "g"));
    go_on();
    done(begun);
    EXPECT_TRUE(all_hold(machines[0], "first"));
    EXPECT_TRUE(all_hold(machines[1], "first"));
    EXPECT_TRUE(all_hold(machines[2], "second"));
    EXPECT_EQ(names(machines[2]), std::vector<std::string>{"g"});
  }
  // It is what the group has now.
  ASSERT_EQ(control->group("g")->members.size(), 1U);
  EXPECT_EQ(control->group("g")->members[0].machine, "c");
}

TEST_F(GroupsTest, ADeletionTakesEveryMemberToTheTrashAndItsBytesStay) {
  done(control->start_group_delete("g"));
  EXPECT_TRUE(control->groups()->empty());
  EXPECT_FALSE(control->group("g"));
  EXPECT_TRUE(pool->calls("point.delete").empty());
  for (const MachineRow& machine : machines) {
    EXPECT_TRUE(names(machine).empty()) << machine.name;
    const auto trash = *records->trash(machine.uuid);
    ASSERT_EQ(trash.size(), 1U) << machine.name;
    EXPECT_EQ(trash[0].name, "g");
    EXPECT_GE(trash[0].until_ns, trash[0].trashed_ns + kTrashSeconds * 1'000'000'000);
    EXPECT_EQ(pool->points(machine.disks[0].volume).size(), 1U);
  }
}

TEST_F(GroupsTest, APinThatIsThereBeforeADeletionKeepsAllMembers) {
  done(control->start_snapshot_pin("b", "g", "needed"));
  const auto refused = control->start_group_delete("g");
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().what.find("pinned (needed)"), std::string::npos);
  for (const MachineRow& machine : machines)
    EXPECT_EQ(names(machine), std::vector<std::string>{"g"});
}

TEST_F(GroupsTest, APinThatIsSetWhileADeletionWaitsKeepsAllMembers) {
  hold_next("group.delete");
  const auto begun = control->start_group_delete("g");
  ASSERT_TRUE(is_held());
  SnapshotMarks marks;
  marks.pinned = true;
  marks.pin_reason = "needed";
  ASSERT_TRUE(records->set_marks(records->snapshot(machines[1].uuid, "g")->uuid, marks));
  go_on();
  const Job job = wait(begun);
  EXPECT_EQ(job_state_name(job.state), "failed");
  ASSERT_TRUE(job.error);
  EXPECT_EQ(job.error->code, Code::kWrongState);
  EXPECT_NE(job.error->what.find("pinned (needed)"), std::string::npos) << job.error->what;
  EXPECT_EQ(control->group("g")->members.size(), 3U);
  for (const MachineRow& machine : machines) {
    EXPECT_EQ(names(machine), std::vector<std::string>{"g"}) << machine.name;
    EXPECT_TRUE(records->trash(machine.uuid)->empty()) << machine.name;
  }
}

}  // namespace
}  // namespace hozon::control
