// Proves: a machine with an initial state never goes on from what it did since: a start goes back
// first, and with all of its disks; undoing that brings all of them again.
// Method: a control plane over a simulated pool. No guest can be started here, so that a start ends
// where QEMU would have run; what it was to run on is told by the disks.
#include "control/control_fixture.h"

namespace hozon::control {
namespace {

class InitialTest : public ControlCase {
 protected:
  void SetUp() override {
    ControlCase::SetUp();
    kiosk = add_machine("kiosk");
    snapshot(kiosk, "clean");
    done(control->start_machine_initial("kiosk", "clean"));
    write(kiosk, "changed");
  }
  // Begun as after a run of the guest that has just ended; what looks after machines that are down
  // has not seen it yet.
  Result<JobId> start_after_a_run(const Caller& caller = {}) {
    const std::shared_ptr<void> alone = control->hold_changes();
    EXPECT_TRUE(records->set_left_initial(kiosk.uuid, true));
    return control->start_machine_start("kiosk", false, caller);
  }
  size_t kept() {
    const auto rows = *records->snapshots(kiosk.uuid);
    return static_cast<size_t>(std::ranges::count(rows, "system", &SnapshotRow::kind));
  }
  MachineRow kiosk;
};

TEST_F(InitialTest, AStartGoesBackFirst) {
  const Job job = wait(start_after_a_run());
  EXPECT_EQ(job.kind, "machine.start");
  ASSERT_TRUE(job.error);
  EXPECT_NE(job.error->what.find("was returned to 'clean'"), std::string::npos) << job.error->what;
  EXPECT_TRUE(all_hold(kiosk, "first"));
  ASSERT_GE(pool->calls("volume.return").size(), 1U);
  EXPECT_EQ(pool->calls("volume.return")[0].at("items").size(), 2U);
  EXPECT_GE(kept(), 1U);
}

TEST_F(InitialTest, APlanOfAStartSaysThatItGoesBack) {
  const auto plan = plan_of([&](const Caller& caller) { return start_after_a_run(caller); });
  EXPECT_EQ(plan->kind, "machine.start");
  ASSERT_FALSE(plan->makes.empty());
  EXPECT_NE(plan->makes[0].find("kiosk@before-return-"), std::string::npos) << plan->makes[0];
}

// The machine was busy when the start was asked for, and went down only then.
TEST_F(InitialTest, WhatIsOnRecordWhenTheStartBeginsDecides) {
  hold_next("machine.start");
  const auto begun = control->start_machine_start("kiosk");
  ASSERT_TRUE(is_held());
  ASSERT_TRUE(records->set_left_initial(kiosk.uuid, true));
  go_on();
  const Job job = wait(begun);
  ASSERT_TRUE(job.error);
  EXPECT_NE(job.error->what.find("was returned to 'clean'"), std::string::npos) << job.error->what;
  EXPECT_TRUE(all_hold(kiosk, "first"));
}

TEST_F(InitialTest, AMachineThatStandsThereIsStartedAsItIs) {
  const Job job = wait(control->start_machine_start("kiosk"));
  ASSERT_TRUE(job.error);
  EXPECT_EQ(job.error->what.find("returned"), std::string::npos) << job.error->what;
  EXPECT_NE(job.error->what.find("cannot start"), std::string::npos) << job.error->what;
}

// What looks after machines does so every two seconds, and when a job about a pool has ended.
TEST_F(InitialTest, AMachineThatIsDownGoesBackByItself) {
  // Its start fails only after it was put on record.
  EXPECT_TRUE(wait(control->start_machine_start("kiosk")).error);
  (void)wait(control->start_pool_check("main", false));
  for (int i = 0; i < 2000 && !all_hold(kiosk, "first"); ++i) ::usleep(5000);
  EXPECT_TRUE(all_hold(kiosk, "first"));
  const auto rows = *records->snapshots(kiosk.uuid);
  ASSERT_EQ(rows.size(), 2U);
  EXPECT_EQ(rows[1].kind, "system");
  EXPECT_EQ(rows[1].marks.expires_ns - rows[1].created_ns, kInitialKeepSeconds * 1'000'000'000);
  for (const SnapshotDisk& disk : rows[1].disks)
    EXPECT_EQ(pool->read(disk.volume, 0, disk.point), "changed");
}

TEST_F(InitialTest, AReturnLeavesNoChangedDiskAndItsUndoBringsAllOfThem) {
  const auto return_after_a_run = [&] {
    const std::shared_ptr<void> alone = control->hold_changes();
    EXPECT_TRUE(records->set_left_initial(kiosk.uuid, true));
    ReturnRequest how;
    how.state = "down";
    return control->start_snapshot_return("kiosk", "clean", {}, how);
  };
  done(return_after_a_run());
  EXPECT_TRUE(all_hold(kiosk, "first"));
  EXPECT_FALSE(records->machine("kiosk")->left_initial);
  done(control->start_machine_undo("kiosk"));
  EXPECT_TRUE(all_hold(kiosk, "changed"));
}

TEST_F(InitialTest, ItsSnapshotStaysUntilThereIsAnother) {
  DeleteRequest request;
  request.snapshots = {"clean"};
  EXPECT_FALSE(control->start_snapshot_delete("kiosk", request));
  snapshot(kiosk, "other");
  done(control->start_machine_initial("kiosk", "other"));
  EXPECT_TRUE(control->start_snapshot_delete("kiosk", request));
}

}  // namespace
}  // namespace hozon::control
