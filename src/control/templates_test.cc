// Proves: machines made from a template share its blocks and nothing of its identity; a template
// has no memory and leaves nothing on the machine that it was made from; deleting it takes nothing
// from the machines that were made from it.
// Method: a control plane over a simulated pool.
#include "control/templates.h"

#include <set>

#include "control/control_fixture.h"

namespace hozon::control {
namespace {

class TemplatesTest : public ControlCase {
 protected:
  void SetUp() override {
    ControlCase::SetUp();
    web = add_machine("web", 2, 3);
  }
  void make_template(const std::string& snapshot = {}) {
    done(control->start_template_create(
        {.name = "t", .description = "", .machine = "web", .snapshot = snapshot}));
  }
  MachineRow make_machine(const std::string& name, const std::string& initial = {}) {
    MachineRequest request;
    request.name = name;
    request.from_template = "t";
    request.pool.clear();
    request.memory_bytes = 0;
    request.cpus = 0;
    request.return_on_shutdown = initial;
    done(control->start_machine_create(request));
    return records->machine(name).value();
  }
  MachineRow web;
};

TEST_F(TemplatesTest, MachinesOfOneTemplateShareNoAddressWithItOrWithEachOther) {
  make_template();
  const MachineRow one = make_machine("one", "clean");
  make_machine("two");
  std::set<std::string> macs, ids;
  for (const char* name : {"web", "t", "one", "two"}) {
    const MachineRow row = *records->machine(name);
    ASSERT_EQ(row.nics.size(), 3U) << name;
    for (const Nic& nic : row.nics) EXPECT_TRUE(macs.insert(nic.mac).second) << name << nic.mac;
    EXPECT_TRUE(ids.insert(row.vmgenid).second) << name;
    EXPECT_TRUE(ids.insert(row.uuid).second) << name;
  }
  // Nor does a return bring back another's.
  const auto settings = records->snapshot(one.uuid, "clean")->settings;
  for (const Nic& nic : one.nics)
    EXPECT_NE(settings.dump().find(nic.mac), std::string::npos) << settings.dump();
}

TEST_F(TemplatesTest, MachinesShareBlocksUntilTheyWrite) {
  make_template();
  const uint64_t before = pool->used_bytes();
  const MachineRow one = make_machine("one");
  EXPECT_EQ(pool->used_bytes(), before);
  write(one, "of one");
  const MachineRow two = make_machine("two");
  EXPECT_TRUE(all_hold(web, "first"));
  EXPECT_TRUE(all_hold(two, "first"));
  EXPECT_TRUE(all_hold(*records->machine("t"), "first"));
}

TEST_F(TemplatesTest, ThePassingSnapshotIsGoneWhenTheTemplateIsThere) {
  make_template();
  for (const Disk& disk : web.disks) EXPECT_TRUE(pool->points(disk.volume).empty()) << disk.volume;
  EXPECT_EQ(pool->calls("point.delete").size(), web.disks.size());
  // It was of one instant, and so is what machines are made from.
  const auto made_points = pool->calls("volume.snapshot");
  ASSERT_EQ(made_points.size(), 2U);
  for (const auto& call : made_points) EXPECT_EQ(call.at("volumes").size(), 2U);
  EXPECT_TRUE(names(web).empty());
  const MachineRow made = *records->machine("t");
  for (const Disk& disk : made.disks) EXPECT_EQ(pool->points(disk.volume).size(), 1U);
}

TEST_F(TemplatesTest, ThePassingSnapshotIsGoneWhenTheTemplateCannotBeMade) {
  pool->create("t.vdb", 8_MiB);  // somebody else's, in the way of the second disk
  const Job job = wait(control->start_template_create(
      {.name = "t", .description = "", .machine = "web", .snapshot = ""}));
  EXPECT_EQ(job_state_name(job.state), "failed");
  for (const Disk& disk : web.disks) EXPECT_TRUE(pool->points(disk.volume).empty());
  EXPECT_FALSE(records->machine("t"));
  EXPECT_EQ(pool->volumes(), (std::vector<std::string>{"t.vdb", "web.vda", "web.vdb"}));
}

TEST_F(TemplatesTest, TheMemoryOfASnapshotStaysWithItsMachine) {
  SnapshotRow saved = row_of(web, "live");
  saved.machine_state = "up";
  saved.memory = {{"mode", "live"}, {"state_after_load", "up"}};
  pool->create("web.ram", 64_MiB);
  pool->write("web.ram", 0, "memory");
  saved.disks.insert(saved.disks.begin(), {kMemoryDisk, "web.ram", "main", saved.uuid, 64_MiB, {}});
  keep(saved);

  make_template("live");
  const MachineRow one = make_machine("one");
  for (const MachineRow& row : {*records->machine("t"), one}) {
    EXPECT_EQ(row.disks.size(), 2U) << row.name;
    EXPECT_FALSE(*records->suspend_of(row.uuid)) << row.name;
    const auto rows = *records->snapshots(row.uuid);
    for (const SnapshotRow& snapshot : rows) {
      EXPECT_TRUE(snapshot.memory.is_null()) << snapshot.memory;
      EXPECT_EQ(snapshot.kind, "user");
      EXPECT_EQ(snapshot.machine_state, "down");
      EXPECT_EQ(snapshot.disks.size(), 2U);
    }
  }
  EXPECT_EQ(records->snapshots(records->machine("t")->uuid)->size(), 1U);
  EXPECT_EQ(pool->volumes(), (std::vector<std::string>{"one.vda", "one.vdb", "t.vda", "t.vdb",
                                                       "web.ram", "web.vda", "web.vdb"}));
}

TEST_F(TemplatesTest, DeletingATemplateTakesNothingFromItsMachines) {
  make_template();
  const MachineRow one = make_machine("one", "clean");
  const MachineRow two = make_machine("two");
  write(two, "of two");
  snapshot(two, "s");
  write(two, "later");
  const auto plan =
      plan_of([&](const Caller& caller) { return control->start_template_delete("t", caller); });
  EXPECT_NE(std::ranges::find(plan->removes, "template t"), plan->removes.end());
  for (const std::string& words : plan->removes)
    EXPECT_EQ(words.find("one"), std::string::npos) << words;
  done(control->start_template_delete("t"));
  EXPECT_EQ(pool->volumes(), (std::vector<std::string>{"one.vda", "one.vdb", "two.vda", "two.vdb",
                                                       "web.vda", "web.vdb"}));
  EXPECT_TRUE(all_hold(one, "first"));
  EXPECT_TRUE(all_hold(two, "later"));
  EXPECT_EQ(records->machine("one")->disks, one.disks);
  done(control->start_snapshot_return("two", "s"));
  EXPECT_TRUE(all_hold(two, "of two"));
  write(one, "changed");
  done(control->start_snapshot_return("one", "clean"));
  EXPECT_TRUE(all_hold(one, "first"));
}

}  // namespace
}  // namespace hozon::control
