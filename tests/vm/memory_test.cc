// Proves: a guest's memory is saved while it runs, belongs to the instant at which its disk was
// copied, and goes on in a fresh QEMU; a second save writes only what changed; damage is found
// before anything runs; and whatever dies during a save (store, QEMU, helper) the verdict is
// "failed" and the guest runs on. The volumes are served by nbdkit, whose memory plugin starts as
// zeros.
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>

#include "qemu/huge_pages.h"
#include "qemu/nbd_volume.h"
#include "qemu/thread_watch.h"
#include "qemu/write_protection.h"
#include "vm_machine.h"

namespace hozon {
namespace {

class MemoryTest : public VmTest {
 protected:
  void SetUp() override {
    const Status possible = check_live_save_possible();
    if (live_ && !possible) GTEST_SKIP() << possible.error().what;
    disk_ = serve_disk("disk.img");
    machine_ = std::make_unique<VmMachine>(path("m"), *disk_);
    const Status booted = machine_->boot();
    ASSERT_TRUE(booted) << booted.error().what;
    // Something to save, and something that goes on.
    ASSERT_TRUE(
        machine_->run("dd if=/dev/urandom of=/run/fill bs=1M count=16 2>/dev/null", 60'000));
    ASSERT_TRUE(machine_->run("(counter /data 50 >/dev/null 2>&1 &)"));
  }
  Result<RamHelper> start_save(const std::string& name, const std::string& uri,
                               int patience_ms = 20'000) {
    RamHelperRequest request = ram_request(*machine_, name, uri);
    request.patience_ms = patience_ms;
    return start_ram_save(request);
  }
  // The whole of a good save. The disk is copied to `disk_copy` while the guest stands still.
  Result<SaveOutcome> save(const std::string& name, const std::string& uri,
                           const std::string& disk_copy) {
    RamHelper helper = HOZON_TRY(start_save(name, uri));
    const uint64_t first_event = machine_->qmp->last_event();
    HOZON_TRY(machine_->qmp->call("stop"));
    std::filesystem::copy_file(path("disk.img"), path(disk_copy));

    if (Status begun = begin_save(*machine_, helper); !begun) return std::unexpected(begun.error());
    return end_save(*machine_, helper, first_event);
  }
  void expect_guest_goes_on() {
    const auto first = machine_->count();
    ASSERT_TRUE(first) << first.error().what;
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
    const auto second = machine_->count();
    ASSERT_TRUE(second) << second.error().what;
    EXPECT_GT(second->number, first->number);
    EXPECT_EQ(second->token, first->token);
  }
  bool live_ = true;
  std::unique_ptr<NbdServer> disk_;
  std::unique_ptr<VmMachine> machine_;
};

// What is left to a user who may not protect memory: the guest stands still while it is saved.
class StoppedMemoryTest : public MemoryTest {
 protected:
  StoppedMemoryTest() { live_ = false; }
};

TEST_F(StoppedMemoryTest, SavesAStoppedGuestAndBringsItBack) {
  const auto memory = serve_memory();
  auto helper = start_save("save-1", memory->uri());
  ASSERT_TRUE(helper) << helper.error().what;
  const uint64_t first_event = machine_->qmp->last_event();
  const auto before = machine_->count();
  ASSERT_TRUE(machine_->qmp->call("stop"));
  const Status begun = begin_save(*machine_, *helper, false);
  ASSERT_TRUE(begun) << begun.error().what;
  const auto outcome = end_save(*machine_, *helper, first_event);
  ASSERT_TRUE(outcome) << outcome.error().what;
  ASSERT_EQ(outcome->status.phase, RamPhase::kDone) << outcome->status.error.what;
  ASSERT_TRUE(machine_->qmp->call("cont"));
  expect_guest_goes_on();
  machine_->kill();
  VmMachine restored(path("r"), *disk_);
  restored.spec = machine_->spec;
  const Status loaded = load_memory(restored, "load-1", memory->uri());
  ASSERT_TRUE(loaded) << loaded.error().what;
  ASSERT_TRUE(restored.qmp->call("cont"));
  const auto after = restored.count();
  ASSERT_TRUE(after) << after.error().what;
  EXPECT_EQ(after->token, before->token);
}

TEST_F(MemoryTest, SavesARunningGuestAndBringsItBack) {
  const auto memory = serve_memory();
  std::this_thread::sleep_for(std::chrono::milliseconds(1200));  // some files on the disk
  const auto before = machine_->count();
  ASSERT_TRUE(before) << before.error().what;
  const auto fill = machine_->run("md5sum < /run/fill", 60'000);
  const auto saved = save("save-1", memory->uri(), "copy.img");
  ASSERT_TRUE(saved) << saved.error().what;
  ASSERT_EQ(saved->status.phase, RamPhase::kDone) << saved->status.error.what;
  EXPECT_EQ(saved->qemu_status, "completed");
  EXPECT_GT(saved->status.pages_written, (16_MiB) / 4096);
  EXPECT_LT(saved->status.thin_bytes, 2_MiB);
  EXPECT_NE(saved->status.first_page_ns, 0U);
  fmt::print("stopped {:.1f} ms, {} pages written, thin stream {} bytes\n", saved->stopped_ms,
             saved->status.pages_written, saved->status.thin_bytes);
  expect_guest_goes_on();

  // The next image of the same machine writes what changed, and replaces the first one.
  const auto again = save("save-2", memory->uri(), "copy2.img");
  ASSERT_TRUE(again) << again.error().what;
  ASSERT_EQ(again->status.phase, RamPhase::kDone) << again->status.error.what;
  EXPECT_LT(again->status.pages_written, saved->status.pages_written / 2);
  const auto at_most = machine_->count();
  machine_->kill();

  const auto copy = serve_disk("copy2.img");
  VmMachine restored(path("r"), *copy);
  restored.spec = machine_->spec;
  restored.spec.disks[0].nbd_socket = copy->socket();
  const Status loaded = load_memory(restored, "load-1", memory->uri());
  ASSERT_TRUE(loaded) << loaded.error().what;
  EXPECT_EQ(restored.qmp->call("query-status")->value("status", ""), "paused");
  ASSERT_TRUE(restored.qmp->call("cont"));
  const auto after = restored.count();
  ASSERT_TRUE(after) << after.error().what;
  EXPECT_EQ(after->token, before->token);
  EXPECT_GT(after->number, before->number);
  EXPECT_LE(after->number, at_most->number + 20);
  EXPECT_EQ(restored.run("md5sum < /run/fill", 60'000).value_or("?"), fill.value_or("??"));
  // Files of the disk and the counter in memory belong together: the newest file is at most a
  // second behind the count, and none is ahead of it.
  const auto newest = restored.run("sync; ls /data 2>/dev/null | grep 'count-[0-9]*$' | tail -n 1");
  ASSERT_TRUE(newest);
  EXPECT_LE(std::stoull(newest->substr(6)), restored.count()->number);
}

// QEMU gets ready while the guest runs, and takes the memory of the instant at which the gate
// opened.
TEST_F(MemoryTest, QemuPreparesAheadAndWaitsForTheCut) {
  const auto memory = serve_memory();
  RamHelperRequest request = ram_request(*machine_, "save-1", memory->uri());
  request.is_held = true;
  auto helper = start_ram_save(request);
  ASSERT_TRUE(helper) << helper.error().what;
  const NewThreads threads(machine_->process->pid());
  const uint64_t first_event = machine_->qmp->last_event();
  ASSERT_TRUE(begin_save(*machine_, *helper));
  EXPECT_TRUE(threads.wait_at_rest(10'000));
  expect_guest_goes_on();
  EXPECT_EQ(machine_->qmp->call("query-migrate")->value("status", ""), "setup");
  EXPECT_EQ(read_ram_status(helper->status_path)->stream_bytes, 0U);

  const auto before = machine_->count();
  ASSERT_TRUE(machine_->qmp->call("stop"));
  std::filesystem::copy_file(path("disk.img"), path("copy.img"));
  EXPECT_EQ(machine_->qmp->call("query-migrate")->value("status", ""), "setup");
  helper->gate = Fd();
  const auto outcome = end_save(*machine_, *helper, first_event);
  ASSERT_TRUE(outcome) << outcome.error().what;
  ASSERT_EQ(outcome->status.phase, RamPhase::kDone) << outcome->status.error.what;
  expect_guest_goes_on();
  machine_->kill();

  const auto copy = serve_disk("copy.img");
  VmMachine restored(path("r"), *copy);
  restored.spec = machine_->spec;
  restored.spec.disks[0].nbd_socket = copy->socket();
  const Status loaded = load_memory(restored, "load-1", memory->uri());
  ASSERT_TRUE(loaded) << loaded.error().what;
  ASSERT_TRUE(restored.qmp->call("cont"));
  const auto after = restored.count();
  ASSERT_TRUE(after) << after.error().what;
  EXPECT_EQ(after->token, before->token);
  EXPECT_GE(after->number, before->number);
}

TEST_F(MemoryTest, AGateWhoseOwnerDiesOpensAndTheGuestGoesOn) {
  const auto memory = serve_memory();
  RamHelperRequest request = ram_request(*machine_, "save-1", memory->uri());
  request.is_held = true;
  auto helper = start_ram_save(request);
  ASSERT_TRUE(helper) << helper.error().what;
  const uint64_t first_event = machine_->qmp->last_event();
  ASSERT_TRUE(begin_save(*machine_, *helper));
  helper->gate = Fd();  // as the death of this process would
  const auto outcome = end_save(*machine_, *helper, first_event);
  ASSERT_TRUE(outcome) << outcome.error().what;
  EXPECT_EQ(outcome->status.phase, RamPhase::kDone) << outcome->status.error.what;
  expect_guest_goes_on();

  // The helper itself dies while QEMU waits.
  request.name = "save-2";
  helper = start_ram_save(request);
  ASSERT_TRUE(helper) << helper.error().what;
  const uint64_t second_event = machine_->qmp->last_event();
  ASSERT_TRUE(begin_save(*machine_, *helper));
  ASSERT_TRUE(helper->process.kill());
  const auto lost = end_save(*machine_, *helper, second_event);
  ASSERT_TRUE(lost) << lost.error().what;
  EXPECT_EQ(lost->qemu_status, "failed");
  EXPECT_TRUE(free_write_protection(machine_->process->pid()));
  expect_guest_goes_on();
}

uint64_t huge_page_bytes(pid_t process) {
  std::ifstream rollup(fmt::format("/proc/{}/smaps_rollup", process));
  uint64_t kib = 0;
  for (std::string word; rollup >> word;)
    if (word == "AnonHugePages:") rollup >> kib;
  return kib << 10;
}

TEST_F(MemoryTest, TheHugePagesThatASaveBrokeUpAreJoinedAgain) {
  const pid_t qemu = machine_->process->pid();
  const uint64_t ram = machine_->spec.memory_bytes;
  const auto fill = machine_->run("md5sum < /run/fill", 60'000);
  const auto memory = serve_memory();
  const uint64_t before = huge_page_bytes(qemu);
  if (before < 32_MiB) GTEST_SKIP() << "this host gives no huge pages";
  const auto saved = save("save-1", memory->uri(), "copy.img");
  ASSERT_TRUE(saved) << saved.error().what;
  const uint64_t broken = huge_page_bytes(qemu);
  EXPECT_LT(broken, before / 2);
  const auto joined = join_huge_pages(qemu, ram);
  if (!joined && joined.error().code != Code::kNotFound) GTEST_SKIP() << joined.error().what;
  ASSERT_TRUE(joined) << joined.error().what;
  EXPECT_GT(huge_page_bytes(qemu), broken + before / 4);
  EXPECT_GE(*joined, before / 4);
  EXPECT_LT(*joined, ram) << "memory that was never touched is left alone";
  EXPECT_EQ(machine_->run("md5sum < /run/fill", 60'000).value_or("?"), fill.value_or("??"));
  expect_guest_goes_on();
  // Nobody's memory, and memory of another size.
  EXPECT_EQ(join_huge_pages(qemu, 1ULL << 44).error().code, Code::kNotFound);
}

TEST_F(MemoryTest, DamageIsFoundBeforeAnythingRuns) {
  const auto memory = serve_memory();
  const auto saved = save("save-1", memory->uri(), "copy.img");
  ASSERT_TRUE(saved) << saved.error().what;
  ASSERT_EQ(saved->status.phase, RamPhase::kDone) << saved->status.error.what;
  machine_->kill();
  const auto volume = NbdVolume::open(memory->uri());
  ASSERT_TRUE(volume) << volume.error().what;
  const uint64_t ram = machine_->spec.memory_bytes;
  // A page, the device state, the header: one byte of each at a time.
  for (const uint64_t at : {20_MiB + 5, ram + 4096 + 100, ram + 20}) {
    std::vector<std::byte> unit(kNbdUnit);
    const uint64_t place = at / kNbdUnit * kNbdUnit;
    ASSERT_TRUE((*volume)->read(place, unit));
    unit[at - place] ^= std::byte{1};
    ASSERT_TRUE((*volume)->write(place, unit));
    ASSERT_TRUE((*volume)->flush());
    VmMachine restored(path(fmt::format("r{}", at)), *disk_);
    restored.spec = machine_->spec;
    const Status loaded = load_memory(restored, "load-1", memory->uri());
    ASSERT_FALSE(loaded) << "damage at " << at;
    EXPECT_EQ(loaded.error().code, Code::kCorruption) << loaded.error().what;
    EXPECT_TRUE(restored.process->wait_end(5000)) << "QEMU does not go on with half a memory";
    unit[at - place] ^= std::byte{1};
    ASSERT_TRUE((*volume)->write(place, unit));
    ASSERT_TRUE((*volume)->flush());
  }
  VmMachine restored(path("r"), *disk_);
  restored.spec = machine_->spec;
  const Status loaded = load_memory(restored, "load-1", memory->uri());
  EXPECT_TRUE(loaded) << loaded.error().what;
}

TEST_F(MemoryTest, ASlowStoreDoesNotHoldTheGuest) {
  const auto memory = serve_memory({"--filter=delay", "wdelay=400ms"});
  const auto start = std::chrono::steady_clock::now();
  auto helper = start_save("save-1", memory->uri());
  ASSERT_TRUE(helper) << helper.error().what;
  const uint64_t first_event = machine_->qmp->last_event();
  ASSERT_TRUE(machine_->qmp->call("stop"));
  const Status begun = begin_save(*machine_, *helper);
  ASSERT_TRUE(begun) << begun.error().what;
  expect_guest_goes_on();  // while the store is still busy
  const auto status = read_ram_status(helper->status_path);
  ASSERT_TRUE(status);
  EXPECT_EQ(status->phase, RamPhase::kRunning);
  const auto outcome = end_save(*machine_, *helper, first_event);
  ASSERT_TRUE(outcome) << outcome.error().what;
  EXPECT_EQ(outcome->status.phase, RamPhase::kDone) << outcome->status.error.what;
  const auto took = std::chrono::steady_clock::now() - start;
  EXPECT_GT(took, std::chrono::seconds(1))
      << "the filter did not slow the store; test proves nothing";
}

TEST_F(MemoryTest, TheStoreDiesDuringASave) {
  const auto memory = serve_memory({"--filter=delay", "wdelay=400ms"});
  auto helper = start_save("save-1", memory->uri(), 1500);
  ASSERT_TRUE(helper) << helper.error().what;
  const uint64_t first_event = machine_->qmp->last_event();
  ASSERT_TRUE(machine_->qmp->call("stop"));
  ASSERT_TRUE(begin_save(*machine_, *helper));
  ASSERT_TRUE(wait_ram_helper(*helper, 10'000, true));
  memory->stop();
  const auto outcome = end_save(*machine_, *helper, first_event);
  ASSERT_TRUE(outcome) << outcome.error().what;
  EXPECT_EQ(outcome->status.phase, RamPhase::kFailed);
  EXPECT_EQ(outcome->status.error.code, Code::kUnavailable) << outcome->status.error.what;
  EXPECT_EQ(outcome->qemu_status, "completed") << "the helper drained, so QEMU is content";
  expect_guest_goes_on();
}

TEST_F(MemoryTest, TheStoreIsRestartedDuringASave) {
  // A file keeps what the killed server had acknowledged, as a pool does.
  const std::string file = path("memory.img");
  std::ofstream(file).close();
  std::filesystem::resize_file(file, memory_volume_bytes(machine_->spec.memory_bytes));
  const std::vector<std::string> slow = {"--filter=delay", "file", file, "wdelay=200ms"};
  auto memory = std::make_unique<NbdServer>(path("memory.nbd"), slow);
  const std::string uri = memory->uri();
  auto helper = start_save("save-1", uri);
  ASSERT_TRUE(helper) << helper.error().what;
  const uint64_t first_event = machine_->qmp->last_event();
  ASSERT_TRUE(machine_->qmp->call("stop"));
  ASSERT_TRUE(begin_save(*machine_, *helper));
  ASSERT_TRUE(wait_ram_helper(*helper, 10'000, true));
  for (int round = 0; round < 2; ++round) {
    memory->stop();
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    memory = std::make_unique<NbdServer>(path("memory.nbd"), slow);
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
  }
  const auto outcome = end_save(*machine_, *helper, first_event);
  ASSERT_TRUE(outcome) << outcome.error().what;
  ASSERT_EQ(outcome->status.phase, RamPhase::kDone) << outcome->status.error.what;
  const std::string log = last_words(machine_->directory + "/save-1.log");
  EXPECT_NE(log.find("connecting again"), std::string::npos) << "it was done too early: " << log;
  machine_->kill();
  VmMachine restored(path("r"), *disk_);
  restored.spec = machine_->spec;
  const Status loaded = load_memory(restored, "load-1", uri);
  EXPECT_TRUE(loaded) << loaded.error().what;
}

TEST_F(MemoryTest, QemuDiesDuringASave) {
  const auto memory = serve_memory();
  auto helper = start_save("save-1", memory->uri());
  ASSERT_TRUE(helper) << helper.error().what;
  ASSERT_TRUE(machine_->qmp->call("stop"));
  ASSERT_TRUE(helper->process.signal(SIGSTOP));  // QEMU gets stuck in the middle of its stream
  ASSERT_TRUE(begin_save(*machine_, *helper));
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  ASSERT_TRUE(machine_->process->kill());
  ASSERT_TRUE(helper->process.signal(SIGCONT));
  const auto status = wait_ram_helper(*helper, 10'000);
  ASSERT_TRUE(status) << status.error().what;
  EXPECT_EQ(status->phase, RamPhase::kFailed);
  EXPECT_EQ(status->error.code, Code::kCorruption);
  EXPECT_NE(status->error.what.find("QEMU broke off"), std::string::npos) << status->error.what;
  // And no image is left that could be taken for one.
  VmMachine restored(path("r"), *disk_);
  restored.spec = machine_->spec;
  const Status loaded = load_memory(restored, "load-1", memory->uri());
  ASSERT_FALSE(loaded);
  EXPECT_EQ(loaded.error().code, Code::kNotFound) << loaded.error().what;
}

TEST_F(MemoryTest, AGuestWhoseHelperWasKilledIsFreed) {
  const auto memory = serve_memory();
  auto helper = start_save("save-1", memory->uri());
  ASSERT_TRUE(helper) << helper.error().what;
  const uint64_t first_event = machine_->qmp->last_event();
  ASSERT_TRUE(machine_->qmp->call("stop"));
  ASSERT_TRUE(helper->process.signal(SIGSTOP));
  ASSERT_TRUE(begin_save(*machine_, *helper));
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  ASSERT_TRUE(helper->process.kill());
  const auto outcome = end_save(*machine_, *helper, first_event);
  ASSERT_TRUE(outcome) << outcome.error().what;
  EXPECT_EQ(outcome->qemu_status, "failed");
  EXPECT_EQ(outcome->status.phase, RamPhase::kFailed);
  EXPECT_FALSE(machine_->run("true", 2000)) << "QEMU is not the 7.2 this rescue is for";
  const auto freed = free_write_protection(machine_->process->pid());
  ASSERT_TRUE(freed) << freed.error().what;
  EXPECT_GT(*freed, 0U);
  expect_guest_goes_on();
  // And it can be saved again.
  const auto saved = save("save-2", memory->uri(), "copy.img");
  ASSERT_TRUE(saved) << saved.error().what;
  EXPECT_EQ(saved->status.phase, RamPhase::kDone) << saved->status.error.what;
  expect_guest_goes_on();
}

TEST_F(MemoryTest, AnAbandonedSaveEndsTheHelper) {
  const auto memory = serve_memory();
  auto helper = start_save("save-1", memory->uri());
  ASSERT_TRUE(helper) << helper.error().what;
  ASSERT_TRUE(helper->process.signal(SIGTERM));  // does not impress it while the stream is open
  EXPECT_FALSE(helper->process.wait_end(200));
  helper->stream = Fd();
  const auto status = wait_ram_helper(*helper, 5000);
  ASSERT_TRUE(status) << status.error().what;
  EXPECT_EQ(status->phase, RamPhase::kFailed);
  EXPECT_NE(status->error.what.find("never began"), std::string::npos) << status->error.what;
}

TEST_F(MemoryTest, AVolumeThatIsNotThereOrTooSmallIsSaidBeforeTheGuestStops) {
  auto helper = start_save("save-1", "nbd+unix:///?socket=" + path("nobody.nbd"), 300);
  ASSERT_FALSE(helper);
  EXPECT_EQ(helper.error().code, Code::kUnavailable) << helper.error().what;
  const NbdServer small(path("small.nbd"), {"memory", "16M"});
  helper = start_save("save-2", small.uri());
  ASSERT_FALSE(helper);
  EXPECT_EQ(helper.error().code, Code::kInvalidArgument) << helper.error().what;
}

}  // namespace
}  // namespace hozon
