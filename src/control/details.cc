// One reader per question: the file systems first, then the files of the one that has a system.
#include "control/details.h"

#include <algorithm>

#include "control/core.h"
#include "control/firmware_state.h"
#include "control/json.h"
#include "control/names.h"

namespace hozon::control {
namespace {

using nlohmann::json;

constexpr uint64_t kTextFileMax = 64_MiB;
constexpr const char* kDpkg = "/var/lib/dpkg/status";
constexpr const char* kApk = "/lib/apk/db/installed";

std::string text_in(const json& object, const char* member) {
  if (!object.is_object()) return {};
  const auto found = object.find(member);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

uint64_t number_in(const json& object, const char* member) {
  if (!object.is_object()) return 0;
  const auto found = object.find(member);
  return found != object.end() && found->is_number_unsigned() ? found->get<uint64_t>() : 0;
}

json member_of(const json& object, const char* member) {
  if (!object.is_object()) return nullptr;
  const auto found = object.find(member);
  return found == object.end() ? json() : *found;
}

// A snapshot's files, as far as they are small texts.
class TextFiles {
 public:
  TextFiles(const Control& control, std::string machine, std::string snapshot)
      : control_(control), machine_(std::move(machine)), snapshot_(std::move(snapshot)) {}

  Result<std::string> read(const std::string& place) const {
    FileDownload download =
        HOZON_TRY(control_.read_snapshot_files(machine_, snapshot_, place, false));
    std::string text;
    std::string room(256 << 10, '\0');
    for (;;) {
      const size_t got = HOZON_TRY(download.reader->read(room));
      if (got == 0) break;
      text.append(room.data(), got);
      if (text.size() > kTextFileMax)
        return make_error(Code::kResourceExhausted, "'{}' is larger than {}: it is not read here",
                          place, format_bytes(kTextFileMax));
    }
    HOZON_TRY(download.reader->finish());
    return text;
  }
  bool has(const std::string& place) const {
    return control_.snapshot_files(machine_, snapshot_, place).has_value();
  }

 private:
  const Control& control_;
  std::string machine_, snapshot_;
};

// The file system with the guest's operating system; empty: none has one.
std::string find_system(const TextFiles& files, SnapshotDetails& details) {
  for (const DiskDetails& disk : details.disks)
    for (const link::Filesystem& one : disk.filesystems) {
      if (!one.reason.empty()) continue;
      const std::string place = one.name + ":/etc/os-release";
      const auto text = files.read(place);
      if (!text) continue;
      if (details.os.empty()) {
        details.os = os_name(*text);
        details.os_source = place;
      }
      if (details.hostname.empty())
        if (const auto name = files.read(one.name + ":/etc/hostname"))
          details.hostname = link::name_text(name->substr(0, name->find_first_of("\r\n")));
      return one.name;
    }
  return {};
}

void add_applications(const TextFiles& files, const std::string& system, SnapshotDetails& details) {
  if (system.empty()) {
    details.applications_reason = details.disks_reason.empty()
                                      ? "no file system that is read has an operating system"
                                      : details.disks_reason;
    return;
  }
  const std::string dpkg = system + ":" + kDpkg;
  const auto status = files.read(dpkg);
  if (status) {
    details.applications = dpkg_packages(*status);
    details.applications_source = dpkg;
    return;
  }
  const std::string apk = system + ":" + kApk;
  if (const auto installed = files.read(apk)) {
    details.applications = apk_packages(*installed);
    details.applications_source = apk;
    return;
  }
  for (const char* rpm : {":/usr/lib/sysimage/rpm", ":/var/lib/rpm"})
    if (files.has(system + rpm)) {
      details.applications_reason = "the package database is one of rpm, which is not read yet";
      return;
    }
  details.applications_reason = status.error().code == Code::kNotFound
                                    ? "no package database that is known is on " + system
                                    : status.error().what;
}

void add_facts(const json& environment, SnapshotDetails& details) {
  const json facts = member_of(environment, "guest");
  details.os = text_in(facts, "os");
  details.hostname = text_in(facts, "hostname");
  if (!details.os.empty()) details.os_source = "guest agent";
  const json interfaces = member_of(facts, "interfaces");
  for (InterfaceDetails& one : details.interfaces) {
    if (!interfaces.is_array()) break;
    for (const json& said : interfaces) {
      if (text_in(said, "mac") != one.mac) continue;
      one.guest_name = text_in(said, "name");
      const json addresses = member_of(said, "addresses");
      if (!addresses.is_array()) continue;
      for (const json& address : addresses)
        if (address.is_string()) one.addresses.push_back(address.get<std::string>());
    }
  }
}

void add_settings(const json& settings, SnapshotDetails& details) {
  details.memory_bytes = number_in(settings, "memory_bytes");
  details.cpus = number_in(settings, "cpus");
  details.machine_type = text_in(settings, "machine_type");
  details.firmware = text_in(settings, "firmware");
  if (details.firmware.empty()) details.firmware = "bios";
  const json nics = member_of(settings, "nics");
  if (!nics.is_array()) return;
  for (const json& nic : nics)
    details.interfaces.push_back(
        {text_in(nic, "id"), text_in(nic, "mac"), text_in(nic, "kind"), "", {}});
}

json to_json(const DiskDetails& details) {
  json disk = to_json(details.disk);
  disk["filesystems"] = json::array();
  for (const link::Filesystem& one : details.filesystems)
    disk["filesystems"].push_back(to_json(one));
  return disk;
}

}  // namespace

json to_json(const SnapshotDetails& details) {
  json disks = json::array(), interfaces = json::array(), applications = json::array();
  for (const DiskDetails& disk : details.disks) disks.push_back(to_json(disk));
  for (const InterfaceDetails& one : details.interfaces)
    interfaces.push_back({{"id", one.id},
                          {"mac", one.mac},
                          {"kind", one.kind},
                          {"guest_name", one.guest_name},
                          {"addresses", one.addresses}});
  for (const Application& one : details.applications)
    applications.push_back(
        {{"name", one.name}, {"version", one.version}, {"architecture", one.architecture}});
  return {{"general",
           {{"machine", details.snapshot.machine},
            {"snapshot", details.snapshot.name},
            {"description", details.snapshot.description},
            {"os", details.os},
            {"os_source", details.os_source},
            {"hostname", details.hostname},
            {"memory_bytes", details.memory_bytes},
            {"cpus", details.cpus},
            {"firmware", details.firmware},
            {"machine_type", details.machine_type},
            {"machine_state", details.snapshot.machine_state},
            {"consistency", details.snapshot.consistency},
            {"created_ns", details.snapshot.created_ns}}},
          {"disks", disks},
          {"disks_reason", details.disks_reason},
          {"network_interfaces", interfaces},
          {"applications",
           {{"source", details.applications_source},
            {"reason", details.applications_reason},
            {"items", applications}}}};
}

Result<SnapshotDetails> Control::snapshot_details(const std::string& machine,
                                                  const std::string& snapshot) const {
  const MachineRow owner = HOZON_TRY(core_->inventory.machine(machine));
  const SnapshotRow row = HOZON_TRY(core_->listed_snapshot(owner, snapshot));
  SnapshotDetails details;
  details.snapshot = core_->view(row, owner, {});
  add_settings(row.settings, details);
  add_facts(row.environment, details);
  for (const SnapshotDisk& disk : details.snapshot.disks)
    if (disk.disk != kMemoryDisk && disk.disk != kNvramDisk && disk.disk != kTpmDisk)
      details.disks.push_back({disk, {}});
  const auto systems = snapshot_filesystems(machine, row.uuid);
  if (!systems) details.disks_reason = systems.error().what;
  if (systems)
    for (const link::Filesystem& one : *systems)
      for (DiskDetails& disk : details.disks)
        if (disk.disk.disk == one.disk) disk.filesystems.push_back(one);
  const TextFiles files(*this, machine, row.uuid);
  add_applications(files, find_system(files, details), details);
  return details;
}

}  // namespace hozon::control
