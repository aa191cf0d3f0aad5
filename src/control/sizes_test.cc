// Proves: what sizes say of snapshots, sets, machines and pools is what the pool has less when they
// are gone.
// Method: a control plane over a simulated pool that counts blocks; random histories with clones.
#include "control/sizes.h"

#include <random>

#include "control/control_fixture.h"

namespace hozon::control {
namespace {

class SizesTest : public ControlCase {
 protected:
  uint64_t remove(const MachineRow& machine, const std::vector<std::string>& snapshots) {
    const uint64_t before = pool->used_bytes();
    DeleteRequest request;
    request.snapshots = snapshots;
    request.ttl_s = 0;
    done(control->start_snapshot_delete(machine.uuid, request));
    return before - pool->used_bytes();
  }
};

TEST_F(SizesTest, ASetFreesWhatOnlyItsMembersShare) {
  const MachineRow web = add_machine("web");
  snapshot(web, "a");
  snapshot(web, "b");
  write(web, "second");
  snapshot(web, "c");
  write(web, "third");
  const auto each = *control->machine_sizes("web", {});
  ASSERT_EQ(each.snapshots.size(), 3U);
  EXPECT_EQ(each.snapshots[0].freed_bytes, 0U);
  EXPECT_EQ(each.snapshots[1].freed_bytes, 0U);
  EXPECT_EQ(each.snapshots[2].freed_bytes, 2 * SimPool::kBlockBytes);
  EXPECT_EQ(each.set_bytes, 4 * SimPool::kBlockBytes);
  for (const SnapshotSize& size : each.snapshots)
    EXPECT_EQ(size.referenced_bytes, 2 * SimPool::kBlockBytes) << size.name;
  EXPECT_EQ(each.snapshots[0].shared_bytes, 2 * SimPool::kBlockBytes);
  EXPECT_EQ(each.snapshots[2].shared_bytes, 0U);
  const auto both = *control->machine_sizes("web", {"a", "b"});
  EXPECT_EQ(both.set_bytes, 2 * SimPool::kBlockBytes);
  EXPECT_EQ(remove(web, {"a", "b"}), both.set_bytes);
}

TEST_F(SizesTest, RandomSetsFreeWhatWasSaid) {
  std::mt19937_64 random(11);
  const MachineRow web = add_machine("web");
  std::vector<std::string> present;
  for (int round = 0; round < 12; ++round) {
    for (int i = 0; i < 3; ++i) {
      for (const Disk& disk : web.disks)
        for (int writes = 0; writes < 4; ++writes)
          pool->write(disk.volume, random() % 8, fmt::format("{}", random()));
      present.push_back(fmt::format("s{}-{}", round, i));
      snapshot(web, present.back());
    }
    if (round == 4) {
      CloneRequest clone;
      clone.new_name = "clone";
      done(control->start_snapshot_clone("web", present[present.size() / 2], clone));
    }
    std::ranges::shuffle(present, random);
    const std::vector<std::string> chosen(present.end() - 2, present.end());
    present.resize(present.size() - 2);
    const auto said = *control->machine_sizes("web", chosen);
    EXPECT_EQ(remove(web, chosen), said.set_bytes) << round;
  }
  const uint64_t machine_bytes = control->machine_sizes("web", {})->machine_bytes;
  const uint64_t before = pool->used_bytes();
  done(control->start_machine_delete("web"));
  EXPECT_EQ(before - pool->used_bytes(), machine_bytes);
}

TEST_F(SizesTest, TheOwnersOfAPoolAndWhatTheyShareAreWhatIsUsed) {
  const MachineRow web = add_machine("web");
  snapshot(web, "s");
  write(web, "second");
  CloneRequest clone;
  clone.new_name = "copy";
  done(control->start_snapshot_clone("web", "s", clone));
  done(control->start_template_create(
      {.name = "t", .description = "", .machine = "web", .snapshot = "s"}));
  pool->create("loose", 1_MiB);
  pool->write("loose", 0, "of nobody");
  const PoolSizes sizes = *control->pool_sizes("main");
  std::map<std::string, std::pair<std::string, uint64_t>> owners;
  for (const OwnerSize& owner : sizes.owners) owners[owner.name] = {owner.kind, owner.freed_bytes};
  using Owner = std::pair<std::string, uint64_t>;
  EXPECT_EQ(owners.size(), 4U);
  EXPECT_EQ(owners["web"], (Owner{"machine", 2 * SimPool::kBlockBytes}));
  EXPECT_EQ(owners["copy"], (Owner{"machine", 0}));
  EXPECT_EQ(owners["t"], (Owner{"template", 0}));
  EXPECT_EQ(owners["loose"], (Owner{"volume", SimPool::kBlockBytes}));
  EXPECT_EQ(sizes.shared_bytes, 2 * SimPool::kBlockBytes);
  EXPECT_EQ(sizes.used_bytes, 5 * SimPool::kBlockBytes);
  EXPECT_EQ(sizes.own_bytes, 0U);
}

}  // namespace
}  // namespace hozon::control
