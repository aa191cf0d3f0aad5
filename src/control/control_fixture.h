// src/control/control_fixture.h
// For tests: a whole control plane over a simulated pool (sim_pool.h), without supervisor and
// QEMU. Its guests cannot be started, and are down; everything else is what it is in hozond.
//
// Records are read and prepared through a second connection to the inventory, as a tool for
// repairs would do it.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <optional>

#include "control/core.h"
#include "control/names.h"
#include "control/settings.h"
#include "control/sim_pool.h"

#pragma GCC diagnostic ignored "-Wmissing-field-initializers"  // requests name what they ask for

namespace hozon::control {

class ControlCase : public ::testing::Test {
 protected:
  void SetUp() override {
    char text[] = "/tmp/hozon-control-XXXXXX";
    directory = ::mkdtemp(text);
    for (const char* name : {"/pools/main", "/run"})
      std::filesystem::create_directories(directory + name);
    std::ofstream(qemu()) << "#!/bin/sh\nexit 1\n";
    std::filesystem::permissions(qemu(), std::filesystem::perms::owner_all);
    pool.emplace(directory + "/run/pool-main.link");
    records.emplace(*Inventory::open(directory + "/hozon.db"));
    open();
  }
  void TearDown() override {
    control.reset();
    core.reset();
    records.reset();
    pool.reset();
    std::filesystem::remove_all(directory);
    std::filesystem::remove(stops() + ".go");
  }
  // Most tests speak to a Control; those of what a Core does by itself have no Control beside it.
  virtual void open() {
    auto opened = Control::open(options());
    ASSERT_TRUE(opened) << opened.error().what;
    control = *std::move(opened);
  }
  void open_core() {
    auto opened = Core::open(options());
    ASSERT_TRUE(opened) << opened.error().what;
    core = *std::move(opened);
  }
  Options options() const {
    Options given;
    given.directory = directory;
    given.program_directory = directory;
    given.qemu_binary = qemu();
    return given;
  }
  std::string qemu() const { return directory + "/qemu"; }

  // A machine that is down, on whose disks stands "first".
  MachineRow add_machine(const std::string& name, size_t disks = 2, unsigned nics = 1) {
    MachineRow row;
    row.uuid = new_uuid();
    row.name = name;
    row.pool = "main";
    row.memory_bytes = 64_MiB;
    row.machine_type = "pc-q35-7.2";
    row.cpu_model = "qemu64";
    row.vmgenid = new_uuid();
    row.created_ns = wall_clock_ns();
    for (size_t i = 0; i < disks; ++i) {
      const std::string volume = volume_of_disk(name, disk_id(i));
      row.disks.push_back({disk_id(i), volume, "main", 8_MiB, true});
      pool->create(volume, 8_MiB);
    }
    for (unsigned i = 0; i < nics; ++i)
      row.nics.push_back({fmt::format("net{}", i), new_mac_address(), "user"});
    EXPECT_TRUE(records->insert_machine(row));
    std::filesystem::create_directories(directory + "/machines/" + row.uuid);
    write(row, "first");
    return row;
  }
  // A snapshot of all disks of a machine that is down, as a record; keep() makes its points, at one
  // instant, and puts it into the inventory.
  static SnapshotRow row_of(const MachineRow& machine, const std::string& name) {
    SnapshotRow row;
    row.uuid = new_uuid();
    row.machine_uuid = machine.uuid;
    row.name = name;
    row.status = "ok";
    row.created_ns = wall_clock_ns();
    row.machine_state = "down";
    row.settings = settings_of(machine);
    for (const Disk& disk : machine.disks)
      row.disks.push_back({disk.id, disk.volume, disk.pool, row.uuid, disk.size_bytes, {}});
    return row;
  }
  void keep(const SnapshotRow& row) {
    std::vector<std::string> volumes;
    for (const SnapshotDisk& disk : row.disks) volumes.push_back(disk.volume);
    EXPECT_TRUE(Storage(directory).snapshot("main", volumes, row.uuid));
    EXPECT_TRUE(records->insert_snapshot(row));
  }
  // The same text at the same place of all disks.
  void write(const MachineRow& machine, const std::string& text) {
    for (const Disk& disk : machine.disks) pool->write(disk.volume, 0, text);
  }
  bool all_hold(const MachineRow& machine, const std::string& text) {
    return std::ranges::all_of(
        machine.disks, [&](const Disk& disk) { return pool->read(disk.volume, 0) == text; });
  }

  Job wait(const Result<JobId>& begun) {
    EXPECT_TRUE(begun) << begun.error().what;
    if (!begun) return {};
    return control ? control->wait(*begun).value() : core->jobs.wait(*begun, -1).value();
  }
  // A job that has to end well.
  nlohmann::json done(const Result<JobId>& begun) {
    const Job job = wait(begun);
    EXPECT_EQ(job_state_name(job.state), "done") << (job.error ? job.error->what : "");
    return job.result;
  }
  void snapshot(const MachineRow& machine, const std::string& name) {
    SnapshotRequest request;
    request.name = name;
    done(control->start_snapshot_create(machine.uuid, request));
  }
  std::vector<std::string> names(const MachineRow& machine) {
    std::vector<std::string> found;
    const auto rows = *records->snapshots(machine.uuid);
    for (const SnapshotRow& row : rows) found.push_back(row.name);
    return found;
  }
  static std::shared_ptr<Plan> plan_of(const std::function<Result<JobId>(const Caller&)>& ask) {
    Caller caller;
    caller.plan = std::make_shared<Plan>();
    const auto asked = ask(caller);
    EXPECT_TRUE(asked) << asked.error().what;
    return caller.plan;
  }

  // The next job of this kind stands still, with its locks, until go_on(). It has begun when
  // is_held() is true.
  static void hold_next(const std::string& kind) {
    std::filesystem::remove(stops() + ".go");
    std::ofstream(stops()) << "hold " << kind << " 2\n";
  }
  static bool is_held() {
    for (int i = 0; i < 2000; ++i) {
      if (!std::filesystem::exists(stops())) return true;
      ::usleep(5000);
    }
    return false;
  }
  static void go_on() { std::ofstream(stops() + ".go") << "go\n"; }

  std::string directory;
  std::optional<SimPool> pool;
  std::optional<Inventory> records;
  std::unique_ptr<Control> control;
  std::unique_ptr<Core> core;

 private:
  // stop_point.h reads the variable once, so one name serves all tests of this program.
  static const std::string& stops() {
    static const std::string file = [] {
      const std::string name = fmt::format("/tmp/hozon-control-stops-{}", ::getpid());
      ::setenv("HOZON_TEST_STOPS", name.c_str(), 1);
      return name;
    }();
    return file;
  }
  // Before anything of this program looks at it.
  inline static const bool kSet = !stops().empty();
};

}  // namespace hozon::control
