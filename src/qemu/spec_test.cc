// Proves: the command line pins what a saved memory depends on, the kept part holds nothing that
// may differ between hosts or clones, bad descriptions are refused by name, and the restore gate
// refuses what QEMU would silently accept.
#include "qemu/spec.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

namespace hozon {
namespace {

MachineSpec sample() {
  MachineSpec spec;
  spec.uuid = "11111111-2222-4333-8444-555555555555";
  spec.name = "web,1";
  spec.memory_bytes = 256ULL << 20;
  spec.machine_type = "pc-q35-7.2";
  spec.cpu_model = "qemu64";
  spec.disks = {{.id = "vda", .nbd_socket = "/run/x.nbd", .nbd_export = "a b,c", .boot_index = 1}};
  spec.nics = {{.id = "net0", .mac = "52:54:00:00:00:01"}};
  spec.vmgenid = "auto";
  return spec;
}

std::string joined(const std::vector<std::string>& pieces) {
  return fmt::format("{}", fmt::join(pieces, "\n"));
}

TEST(Spec, PinsEveryDeviceAndEscapesNames) {
  const auto line = build_command_line(sample(), StartMode::kIncoming, "/usr/bin/qemu");
  ASSERT_TRUE(line) << line.error().what;
  const std::string text = joined(*line);
  EXPECT_EQ(line->front(), "/usr/bin/qemu");
  EXPECT_NE(text.find("guest=web,,1,"), std::string::npos);
  EXPECT_NE(text.find(R"("export":"a b,c")"), std::string::npos);
  EXPECT_NE(text.find(R"("addr":"0x10")"), std::string::npos);
  EXPECT_NE(text.find("-S\n-incoming\nfd:3"), std::string::npos);
  EXPECT_NE(text.find("memory-backend-ram,id=m0,size=256M"), std::string::npos);
}

TEST(Spec, KeepsOnlyWhatASavedMemoryDependsOn) {
  MachineSpec other = sample();
  other.uuid = "99999999-2222-4333-8444-555555555555";
  other.name = "clone";
  other.disks[0].nbd_socket = "/elsewhere/y.nbd";
  other.disks[0].nbd_export = "z";
  other.disks[0].boot_index = 7;
  other.nics[0].mac = "52:54:00:00:00:02";
  other.vmgenid = "99999999-2222-4333-8444-555555555555";
  EXPECT_EQ(*normalised_command_line(sample()), *normalised_command_line(other));
}

TEST(Spec, AMappedMemoryIsThatOfTheImageAndFitsWhatAnonymousMemorySaved) {
  MachineSpec mapped = sample();
  mapped.memory_file = "/d,1/mount/ram";
  const auto line = build_command_line(mapped, StartMode::kIncoming, "qemu");
  ASSERT_TRUE(line) << line.error().what;
  EXPECT_NE(
      joined(*line).find("memory-backend-file,id=m0,share=off,size=256M,mem-path=/d,,1/mount/ram"),
      std::string::npos);
  EXPECT_EQ(*normalised_command_line(sample()), *normalised_command_line(mapped));
}

TEST(Spec, FirmwareAndTpmAreWhatASavedMemoryDependsOn) {
  std::vector<std::string> seen = {joined(*normalised_command_line(sample()))};
  for (const Firmware firmware : {Firmware::kUefi, Firmware::kUefiSecure}) {
    MachineSpec spec = sample();
    spec.firmware = firmware;
    spec.nvram.nbd_socket = "/run/x.nbd";
    spec.nvram.nbd_export = "web.nvram";
    const auto line = build_command_line(spec, StartMode::kRun, "qemu");
    ASSERT_TRUE(line) << line.error().what;
    const bool secure = firmware == Firmware::kUefiSecure;
    EXPECT_NE(joined(*line).find(secure ? "smm=on" : "smm=off"), std::string::npos);
    EXPECT_NE(joined(*line).find(R"("export":"web.nvram")"), std::string::npos);
    seen.push_back(joined(*normalised_command_line(spec)));
    spec.tpm = true;
    seen.push_back(joined(*normalised_command_line(spec)));
    spec.nvram.nbd_export = "clone.nvram";
    EXPECT_EQ(joined(*normalised_command_line(spec)), seen.back());
  }
  std::ranges::sort(seen);
  EXPECT_EQ(std::ranges::adjacent_find(seen), seen.end());
}

TEST(Spec, ADiskKeepsItsAddressWhenAnotherGoes) {
  MachineSpec spec = sample();
  spec.disks[0].id = "vdc";
  const auto line = build_command_line(spec, StartMode::kRun, "qemu");
  ASSERT_TRUE(line);
  EXPECT_NE(joined(*line).find(R"("addr":"0x12")"), std::string::npos);
}

TEST(Spec, RefusesBadDescriptionsByName) {
  const std::vector<std::pair<std::string, std::function<void(MachineSpec&)>>> cases = {
      {"name", [](MachineSpec& s) { s.name = ""; }},
      {"uuid", [](MachineSpec& s) { s.uuid = "x"; }},
      {"memory", [](MachineSpec& s) { s.memory_bytes = 1; }},
      {"multiple of 1 MiB", [](MachineSpec& s) { s.memory_bytes += 1; }},
      {"CPUs", [](MachineSpec& s) { s.cpus = 0; }},
      {"CPUs", [](MachineSpec& s) { s.cpus = kCpusMax + 1; }},
      {"machine type", [](MachineSpec& s) { s.machine_type = "q35"; }},
      {"machine type", [](MachineSpec& s) { s.machine_type = "pc-q35-7.2,smm=on"; }},
      {"CPU model", [](MachineSpec& s) { s.cpu_model = "host,migratable=on"; }},
      {"vda to vdh", [](MachineSpec& s) { s.disks[0].id = "vdi"; }},
      {"twice", [](MachineSpec& s) { s.disks.push_back(s.disks[0]); }},
      {"absolute", [](MachineSpec& s) { s.disks[0].nbd_socket = "x.nbd"; }},
      {"absolute", [](MachineSpec& s) { s.disks[0].nbd_socket = "/" + std::string(107, 'x'); }},
      {"export", [](MachineSpec& s) { s.disks[0].nbd_export = ""; }},
      {"MAC", [](MachineSpec& s) { s.nics[0].mac = "53:54:00:00:00:01"; }},
      {"net0 to net7", [](MachineSpec& s) { s.nics[0].id = "eth0"; }},
      {"use 'user'", [](MachineSpec& s) { s.nics[0].kind = "bridge"; }},
      {"needs a kernel", [](MachineSpec& s) { s.initrd = "/x"; }},
      {"absolute", [](MachineSpec& s) { s.kernel = "x"; }},
      {"one line", [](MachineSpec& s) { s.kernel = "/x", s.append = "a\nb"; }},
      {"generation id", [](MachineSpec& s) { s.vmgenid = "y"; }},
      {"memory image", [](MachineSpec& s) { s.memory_file = "ram"; }},
      {"needs a volume", [](MachineSpec& s) { s.firmware = Firmware::kUefi; }},
      {"keeps no variables", [](MachineSpec& s) { s.nvram.nbd_export = "x"; }},
      {"absolute",
       [](MachineSpec& s) {
         s.firmware = Firmware::kUefi;
         s.nvram.nbd_socket = "x";
         s.nvram.nbd_export = "y";
       }},
  };
  for (const auto& [word, spoil] : cases) {
    MachineSpec spec = sample();
    spoil(spec);
    const Status status = validate_spec(spec);
    ASSERT_FALSE(status) << word;
    EXPECT_EQ(status.error().code, Code::kInvalidArgument) << word;
    EXPECT_NE(status.error().what.find(word), std::string::npos) << status.error().what;
    EXPECT_FALSE(build_command_line(spec, StartMode::kRun, "qemu"));
  }
}

TEST(Spec, TheGateRefusesWhatQemuWouldAccept) {
  const SavedEnvironment saved{*normalised_command_line(sample()), "7.2.22", Accelerator::kTcg};
  EXPECT_TRUE(check_memory_restorable(saved, saved));
  SavedEnvironment now = saved;
  now.qemu_version = "8.0.1";
  EXPECT_TRUE(check_memory_restorable(saved, now));
  now.qemu_version = "7.2.9";
  EXPECT_FALSE(check_memory_restorable(saved, now));
  now = saved;
  now.accelerator = Accelerator::kKvm;
  EXPECT_FALSE(check_memory_restorable(saved, now));
  const std::vector<std::function<void(MachineSpec&)>> changes = {
      [](MachineSpec& s) { s.cpu_model = "Nehalem"; },
      [](MachineSpec& s) { s.cpus = 2; },
      [](MachineSpec& s) { s.memory_bytes *= 2; },
      [](MachineSpec& s) { s.vga = true; },
      [](MachineSpec& s) { s.disks.clear(); },
      [](MachineSpec& s) { s.agent = false; },
      [](MachineSpec& s) { s.machine_type = "pc-q35-7.1"; }};
  for (const auto& change : changes) {
    MachineSpec spec = sample();
    change(spec);
    now = saved;
    now.normalised = *normalised_command_line(spec);
    EXPECT_EQ(check_memory_restorable(saved, now).error().code, Code::kWrongState);
  }
}

TEST(Spec, MakesUsableIdentities) {
  MachineSpec spec = sample();
  spec.uuid = new_uuid();
  spec.nics[0].mac = new_mac_address();
  EXPECT_TRUE(validate_spec(spec)) << spec.uuid << " " << spec.nics[0].mac;
  EXPECT_NE(new_uuid(), new_uuid());
}

}  // namespace
}  // namespace hozon
