// Proves: a guest boots over NBD from the command line that the room builds, is found again by
// another process, obeys the power button, and outlives a restart of the server of its disk.
#include <signal.h>

#include <chrono>
#include <thread>

#include "qemu/accelerator.h"
#include "vm_machine.h"

namespace hozon {
namespace {

TEST_F(VmTest, BootsIsFoundAgainAndObeysThePowerButton) {
  const auto disk = serve_disk("disk.img");
  VmMachine machine(path("m"), *disk);
  const Status booted = machine.boot();
  ASSERT_TRUE(booted) << booted.error().what;
  EXPECT_EQ(machine.run("grep -c ' /data ext4' /proc/mounts").value_or("?"), "1");
  EXPECT_EQ(machine.run("cat /sys/class/net/eth0/address").value_or("?"), "52:54:00:00:00:01");
  EXPECT_EQ(machine.run("ls /dev/virtio-ports").value_or("?"), "org.qemu.guest_agent.0");
  EXPECT_EQ(machine.run("ls /sys/bus/pci/devices | grep -c '10.0'").value_or("?"), "1");

  auto found = DetachedProcess::adopt(machine.directory, kQemuPidFile, machine.spec.uuid);
  ASSERT_TRUE(found) << found.error().what;
  EXPECT_EQ(found->pid(), machine.process->pid());
  EXPECT_FALSE(DetachedProcess::adopt(machine.directory, kQemuPidFile, new_uuid()));

  const uint64_t before = machine.qmp->last_event();
  ASSERT_TRUE(machine.qmp->call("system_powerdown"));
  EXPECT_TRUE(machine.qmp->wait_event({"SHUTDOWN"}, before, 10'000));
  EXPECT_TRUE(found->wait_end(10'000));
  EXPECT_EQ(DetachedProcess::adopt(machine.directory, kQemuPidFile, machine.spec.uuid).error().code,
            Code::kNotFound);
}

TEST_F(VmTest, AMissingKernelIsReportedInQemusWords) {
  const auto disk = serve_disk("disk.img");
  VmMachine machine(path("m"), *disk);
  machine.spec.kernel = "/nonexistent/vmlinuz";
  const Status started = machine.start(StartMode::kRun);
  ASSERT_FALSE(started);
  EXPECT_NE(started.error().what.find("/nonexistent/vmlinuz"), std::string::npos)
      << started.error().what;
}

TEST_F(VmTest, TheGuestWaitsForTheServerOfItsDisk) {
  auto disk = serve_disk("disk.img");
  VmMachine machine(path("m"), *disk);
  const Status booted = machine.boot();
  ASSERT_TRUE(booted) << booted.error().what;
  ASSERT_TRUE(
      machine.run("((sleep 1; dd if=/dev/zero of=/data/file bs=64k count=64 conv=fsync && "
                  "echo written > /run/result) >/dev/null 2>&1 &)"));
  disk->stop();
  std::this_thread::sleep_for(std::chrono::seconds(2));
  EXPECT_EQ(machine.run("cat /run/result").value_or("?"),
            "cat: can't open '/run/result': No such file or directory");
  disk = serve_disk("disk.img");
  std::string result;
  for (int i = 0; i < 100 && result != "written"; ++i) {
    result = machine.run("cat /run/result").value_or("?");
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  EXPECT_EQ(result, "written");
}

}  // namespace
}  // namespace hozon
