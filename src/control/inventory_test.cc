// Proves: records survive a round trip and a reopening; names stay unique; deleting a node of the
// history moves its children and the machine's position to its parent; a newer inventory is
// refused.
#include "control/inventory.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>

namespace hozon::control {
namespace {

class InventoryTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char text[] = "/tmp/hozon-inventory-XXXXXX";
    directory_ = ::mkdtemp(text);
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }
  std::string path() const { return directory_ + "/hozon.db"; }

  static MachineRow web() {
    MachineRow row;
    row.uuid = "u-web";
    row.name = "web";
    row.pool = "main";
    row.memory_bytes = 1 << 28;
    row.cpus = 2;
    row.append = "console=ttyS0 'quoted'";
    row.created_ns = 1'700'000'000'123'456'789;
    row.disks = {{"vda", "web.vda", "main", 4096, true}, {"vdb", "web.vdb", "main", 512, false}};
    row.nics = {{"net0", "52:54:00:00:00:01", "user"}};
    return row;
  }
  static SnapshotRow snapshot(const std::string& uuid, const std::string& parent, uint64_t at) {
    SnapshotRow row;
    row.uuid = uuid;
    row.machine_uuid = "u-web";
    row.name = "name of " + uuid;
    row.parent = parent;
    row.created_ns = at;
    row.settings = {{"cpus", 2}};
    row.disks = {{"vda", "web.vda", "main", uuid, 4096, {}}};
    return row;
  }
  std::string directory_;
};

TEST_F(InventoryTest, MachinesSurviveReopening) {
  {
    auto inventory = Inventory::open(path());
    ASSERT_TRUE(inventory) << inventory.error().what;
    ASSERT_TRUE(inventory->insert_machine(web()));
  }
  auto inventory = Inventory::open(path());
  for (const char* reference : {"web", "u-web"}) {
    const auto found = inventory->machine(reference);
    ASSERT_TRUE(found) << found.error().what;
    EXPECT_EQ(found->append, web().append);
    EXPECT_EQ(found->created_ns, web().created_ns);
    EXPECT_EQ(found->disks, web().disks);
    EXPECT_EQ(found->nics, web().nics);
  }
  EXPECT_EQ(inventory->machine("nobody").error().code, Code::kNotFound);
  EXPECT_EQ(*inventory->user_of_volume("main", "web.vdb"), "web");
  EXPECT_EQ(*inventory->user_of_volume("other", "web.vdb"), "");
}

TEST_F(InventoryTest, NamesAreUnique) {
  auto inventory = Inventory::open(path());
  ASSERT_TRUE(inventory->insert_machine(web()));
  MachineRow second = web();
  second.uuid = "u-2";
  second.disks.clear();
  EXPECT_EQ(inventory->insert_machine(second).error().code, Code::kAlreadyExists);
  ASSERT_TRUE(inventory->insert_snapshot(snapshot("s1", "", 1)));
  SnapshotRow same = snapshot("s2", "", 2);
  same.name = "name of s1";
  EXPECT_EQ(inventory->insert_snapshot(same).error().code, Code::kAlreadyExists);
  EXPECT_EQ(inventory->snapshots("u-web")->size(), 1U);
}

TEST_F(InventoryTest, DeletingANodeReparents) {
  auto inventory = Inventory::open(path());
  ASSERT_TRUE(inventory->insert_machine(web()));
  ASSERT_TRUE(inventory->insert_snapshot(snapshot("a", "", 1)));
  ASSERT_TRUE(inventory->insert_snapshot(snapshot("b", "a", 2)));
  ASSERT_TRUE(inventory->insert_snapshot(snapshot("c", "b", 3)));
  ASSERT_TRUE(inventory->insert_snapshot(snapshot("d", "b", 4)));
  ASSERT_TRUE(inventory->set_current_parent("u-web", "b"));
  ASSERT_TRUE(inventory->delete_snapshot("b"));
  EXPECT_EQ(inventory->snapshot("u-web", "c")->parent, "a");
  EXPECT_EQ(inventory->snapshot("u-web", "d")->parent, "a");
  EXPECT_EQ(inventory->machine("web")->current_parent, "a");
  ASSERT_TRUE(inventory->delete_snapshot("a"));
  EXPECT_EQ(inventory->snapshot("u-web", "c")->parent, "");
  EXPECT_EQ(inventory->machine("web")->current_parent, "");
  ASSERT_TRUE(inventory->delete_machine("u-web"));
  EXPECT_TRUE(inventory->snapshots("u-web")->empty());
}

TEST_F(InventoryTest, AMemoryFromTheTrashWakesNoMachine) {
  auto inventory = Inventory::open(path());
  ASSERT_TRUE(inventory->insert_machine(web()));
  SnapshotRow slept = snapshot("z", "", 1);
  slept.kind = "suspend";
  slept.status = "ok";
  ASSERT_TRUE(inventory->insert_snapshot(slept));
  ASSERT_EQ((*inventory->suspend_of("u-web"))->uuid, "z");
  ASSERT_TRUE(inventory->trash_snapshot("z", 2, 3));
  EXPECT_FALSE(*inventory->suspend_of("u-web"));
  ASSERT_TRUE(inventory->restore_snapshot(inventory->trash("u-web")->front(), "z again"));
  EXPECT_FALSE(*inventory->suspend_of("u-web"));
  EXPECT_EQ(inventory->snapshot("u-web", "z")->kind, "user");
}

TEST_F(InventoryTest, ATransactionThatIsNotCommittedLeavesNothing) {
  auto inventory = Inventory::open(path());
  {
    const auto transaction = Transaction::begin(inventory->database());
    ASSERT_TRUE(inventory->insert_machine(web()));  // an inner one, committed
  }
  EXPECT_FALSE(inventory->machine("web"));
}

TEST_F(InventoryTest, ANewerVersionIsRefusedWithASentence) {
  ASSERT_TRUE(Inventory::open(path()));
  {
    auto database = Database::open(path());
    ASSERT_TRUE(database->run_script("PRAGMA user_version=99"));
  }
  const auto inventory = Inventory::open(path());
  ASSERT_FALSE(inventory);
  EXPECT_EQ(inventory.error().code, Code::kUnimplemented);
  EXPECT_NE(inventory.error().what.find("newer Hozon"), std::string::npos);
}

TEST_F(InventoryTest, AFileThatIsNoDatabaseIsNamed) {
  {
    const std::unique_ptr<FILE, int (*)(FILE*)> file(::fopen(path().c_str(), "w"), ::fclose);
    ::fputs("this is not a database, it is a sentence that is long enough to be read as one",
            file.get());
  }
  const auto inventory = Inventory::open(path());
  ASSERT_FALSE(inventory);
  EXPECT_NE(inventory.error().what.find(path()), std::string::npos) << inventory.error().what;
}

TEST_F(InventoryTest, JobsKeepTheirStepsUntilTheyEnd) {
  auto inventory = Inventory::open(path());
  JobRow row;
  row.job.kind = "volume.create";
  row.job.object = "x";
  row.caller.key = "key-1";
  row.locks = {"volume:main/x"};
  const uint64_t id = *inventory->insert_job(row);
  EXPECT_EQ((*inventory->job_of_key("key-1"))->job, id);
  ASSERT_TRUE(inventory->add_step(id, "volume.delete", {{"name", "x"}}));
  const auto unfinished = inventory->unfinished_jobs();
  ASSERT_EQ(unfinished->size(), 1U);
  EXPECT_EQ(unfinished->front().locks, row.locks);
  EXPECT_EQ(inventory->steps(id)->front().arguments.at("name"), "x");
  Job job = *inventory->job(id);
  job.state = JobState::kFailed;
  job.error = Error{Code::kBusy, "later", 0};
  ASSERT_TRUE(inventory->finish_job(job));
  EXPECT_TRUE(inventory->steps(id)->empty());
  EXPECT_TRUE(inventory->unfinished_jobs()->empty());
  EXPECT_EQ(inventory->job(id)->error->what, "later");
}

}  // namespace
}  // namespace hozon::control
