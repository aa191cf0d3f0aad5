// Proves: readers of the log get everything or are told (L1, L2); what a transaction of the
// inventory changed is told once, after it is on the disk, and not at all when it is taken back;
// and every table of the schema has somebody who says whether its changes are events.
#include "control/event_log.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <latch>

#include "control/inventory.h"

namespace hozon::control {
namespace {

Event named(const std::string& name) {
  return {.kind = "machine", .change = "changed", .uuid = name, .name = name};
}

// Publishes and waits until it can be read.
void publish_all(EventLog& log, size_t count) {
  const uint64_t end = log.newest() + count;
  for (size_t i = 0; i < count; ++i) log.publish(named(std::to_string(i)));
  while (log.newest() < end) std::this_thread::yield();
}

TEST(EventLog, GivesEachReaderEverythingAfterItsNumber) {
  EventLog log(1000);
  log.begin([](Event& event) { event.status = "seen"; });
  EXPECT_EQ(log.newest(), 999U);
  publish_all(log, 10);
  const EventLog::Page page = log.read(1003, 4);
  ASSERT_EQ(page.events.size(), 4U);
  EXPECT_FALSE(page.lost);
  EXPECT_EQ(page.events[0].id, 1004U);
  EXPECT_EQ(page.events[0].name, "4");
  EXPECT_EQ(page.events[0].status, "seen");
  EXPECT_TRUE(log.read(1009, 4).events.empty());
  EXPECT_FALSE(log.read(1009, 4).lost);
}

TEST(EventLog, TellsReadersThatAreTooFarBehindOrOfAnotherRun) {
  EventLog log(1000);
  log.begin([](Event&) {});
  EXPECT_TRUE(log.read(998, 1).lost);   // of an earlier run
  EXPECT_TRUE(log.read(1000, 1).lost);  // of a later one, when the clock went back
  publish_all(log, EventLog::kKept + 5);
  EXPECT_EQ(log.oldest(), 1004U);
  EXPECT_TRUE(log.read(1003, 1).lost);
  EXPECT_FALSE(log.read(1004, 1).lost);
  EXPECT_EQ(log.read(1004, 1).events.front().id, 1005U);
}

TEST(EventLog, WakesReadersUntilTheyLeave) {
  EventLog log(1);
  log.begin([](Event&) {});
  std::latch woken(1);
  const uint64_t reader = log.subscribe([&] { woken.count_down(); });
  log.publish(named("a"));
  woken.wait();
  log.unsubscribe(reader);
  publish_all(log, 3);  // would count the latch below zero
}

class InventoryEventsTest : public testing::Test {
 protected:
  void SetUp() override {
    path_ = fmt::format("{}hozon-events-{}.db", testing::TempDir(), ::getpid());
    TearDown();
    auto opened = Inventory::open(path_);
    ASSERT_TRUE(opened) << opened.error().what;
    inventory_ = std::make_unique<Inventory>(std::move(*opened));
    const Status watched =
        inventory_->watch([this](Event event) { events_.push_back(std::move(event)); });
    ASSERT_TRUE(watched) << watched.error().what;
  }
  void TearDown() override {
    inventory_.reset();
    for (const char* end : {"", "-wal", "-shm"}) std::filesystem::remove(path_ + end);
  }
  static MachineRow machine(const std::string& uuid, const std::string& name) {
    MachineRow row;
    row.uuid = uuid;
    row.name = name;
    row.pool = "main";
    row.disks = {{"vda", name + ".vda", "main", 4096, true}};
    row.nics = {{"net0", "52:54:00:00:00:01"}};
    return row;
  }
  std::string taken() {
    std::string words;
    for (const Event& event : std::exchange(events_, {}))
      words += fmt::format("{} {} {} {};", event.kind, event.change, event.name, event.status);
    return words;
  }
  std::string path_;
  std::unique_ptr<Inventory> inventory_;
  std::vector<Event> events_;
};

TEST_F(InventoryEventsTest, TellsOnceWhatATransactionDidToEachObject) {
  ASSERT_TRUE(inventory_->insert_machine(machine("u1", "web")));
  EXPECT_EQ(taken(), "machine created web ;");
  ASSERT_TRUE(inventory_->update_machine(machine("u1", "web")));
  // Outside of a transaction each statement is one: the row, two for disks and two for NICs.
  EXPECT_TRUE(taken().starts_with("machine changed web ;"));
  SnapshotRow snapshot;
  snapshot.uuid = "s1";
  snapshot.machine_uuid = "u1";
  snapshot.name = "before";
  ASSERT_TRUE(inventory_->insert_snapshot(snapshot));
  EXPECT_EQ(taken(), "snapshot created before locked;");
  ASSERT_TRUE(inventory_->set_snapshot_status("s1", "ok"));
  EXPECT_EQ(taken(), "snapshot changed before ok;");
  ASSERT_TRUE(inventory_->trash_snapshot("s1", 1, 2));
  EXPECT_EQ(taken(), "snapshot changed before trashed;");
  ASSERT_TRUE(inventory_->delete_machine("u1"));
  EXPECT_EQ(taken(), "snapshot deleted s1 trashed;machine deleted web ;");
}

TEST_F(InventoryEventsTest, TellsNothingOfWhatIsTakenBack) {
  {
    auto transaction = Transaction::begin(inventory_->database());
    ASSERT_TRUE(transaction);
    ASSERT_TRUE(inventory_->insert_machine(machine("u1", "web")));
    EXPECT_EQ(taken(), "");  // not on the disk yet
  }
  EXPECT_EQ(taken(), "");
  auto outer = Transaction::begin(inventory_->database());
  ASSERT_TRUE(outer);
  {
    auto inner = Transaction::begin(inventory_->database());
    ASSERT_TRUE(inner);
    ASSERT_TRUE(inventory_->insert_machine(machine("u2", "taken-back")));
  }
  ASSERT_TRUE(inventory_->insert_machine(machine("u3", "kept")));
  ASSERT_TRUE(outer->commit());
  EXPECT_EQ(taken(), "machine created kept ;");
}

TEST_F(InventoryEventsTest, KnowsEveryTableOfTheSchema) {
  const auto missing = inventory_->tables_without_events();
  ASSERT_TRUE(missing);
  EXPECT_EQ(*missing, std::vector<std::string>{})
      << "say in inventory_events.cc what kind of event their changes are, or that they are none";
}

}  // namespace
}  // namespace hozon::control
